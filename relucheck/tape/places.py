"""The user's own lines: which call in which file led to the operation that runs now.

The Python stack tells it exactly. From Python 3.11 on, code objects also know the columns of each
call; before, a place is a line.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import CodeType, FrameType

import torch

from relucheck.span import Span

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARIES = (os.path.dirname(torch.__file__) + os.sep, contextlib.__file__, _OURS, "<frozen ")


def user_places(stop: CodeType) -> tuple[Span, ...]:
    """The calls outside torch and this package that led here, outermost first.

    The walk ends at the frame that runs ``stop``, so that what called relucheck is left out.
    """
    return tuple(_place(frame) for frame in _frames(stop))[::-1]


def innermost_place(through: frozenset[CodeType]) -> Span | None:
    """The innermost call outside torch and this package, whose caller is asking.

    None where one of ``through`` runs in between, so that it is not the user's call that asks.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code not in through:
        if not frame.f_code.co_filename.startswith(_LIBRARIES):
            return _place(frame)
        frame = frame.f_back
    return None


def _frames(stop: CodeType) -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not stop:
        if not frame.f_code.co_filename.startswith(_LIBRARIES):
            yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> Span:
    return _span(frame.f_code.co_filename, frame.f_code, frame.f_lasti, frame.f_lineno or 1)


@lru_cache(maxsize=4096)
def _span(path: str, code: CodeType, instruction: int, line: int) -> Span:
    # the path is part of the key: code objects of equal functions in two files are equal
    row, end_row, column, end_column = _positions(code, instruction) or (line, line, None, None)
    if column is None or end_column is None:
        return Span(path, None, row, 1, row, 1)
    return Span(
        path, None, row, _characters(path, row, column), end_row, _characters(path, end_row, end_column)
    )


def _positions(code: CodeType, instruction: int) -> tuple[int, int, int | None, int | None] | None:
    positions = getattr(code, "co_positions", None)
    if positions is None:
        return None
    row, end_row, column, end_column = next(islice(positions(), instruction // 2, None), (None,) * 4)
    return None if row is None or end_row is None else (row, end_row, column, end_column)


def _characters(path: str, row: int, column: int) -> int:
    """A column counted in UTF-8 bytes from 0 as one counted in characters from 1."""
    text = linecache.getline(path, row).encode()[:column]
    return len(text.decode(errors="ignore")) + 1 if text else column + 1
