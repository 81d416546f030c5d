"""A notebook's JSON, edited in place: only the source lines that change are written anew."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from difflib import SequenceMatcher
from json import JSONDecoder

from relucheck.source.splices import Splice, spliced

_SPACE = re.compile(r"[ \t\r\n]*")
_CHARACTER = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.|.", re.DOTALL)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_decode = JSONDecoder().raw_decode

Range = tuple[int, int]


def edit_cells(text: str, positions: Collection[int], edited: Callable[[int, str], str]) -> str:
    """The notebook with the sources of cells at these positions (from 1) edited."""
    splices: list[Splice] = []
    for position, (start, end) in source_ranges(text):
        if position in positions:
            before = source_in(text[start:end])
            after = edited(position, before)
            literal = text[start:end]
            write = _string if literal.startswith('"') else _list
            splices.append(Splice(start, end, write(literal, before, after, text.isascii())))
    return spliced(text, splices)


def source_in(literal: str) -> str:
    """The source that a JSON string, or list of strings, spells."""
    value = json.loads(literal)
    return value if isinstance(value, str) else "".join(line for line in value if isinstance(line, str))


def code_cells(text: str) -> Iterator[tuple[int, str]]:
    """The position and the source of each code cell."""
    return ((position, source_in(text[start:end])) for position, (start, end) in source_ranges(text))


def source_ranges(text: str) -> Iterator[tuple[int, Range]]:
    """The position of each code cell, and where the JSON of its source stands."""
    cells = dict(_members(text, _skip(text, 0)))["cells"]
    for position, start in enumerate(_items(text, cells[0]), 1):
        members = dict(_members(text, start[0]))
        if (
            "source" in members
            and json.loads(text[slice(*members.get("cell_type", (0, 0)))] or '""') == "code"
        ):
            yield position, members["source"]


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _members(text: str, at: int) -> Iterator[tuple[str, Range]]:
    """The keys of a JSON object that starts at an offset, and where their values stand."""
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, end = _decode(text, at)
        start = _skip(text, _skip(text, end) + 1)
        end = _decode(text, start)[1]
        yield key, (start, end)
        at = _next(text, end)


def _items(text: str, at: int) -> Iterator[Range]:
    """Where the items of a JSON list stand that starts at an offset."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        end = _decode(text, at)[1]
        yield at, end
        at = _next(text, end)


def _next(text: str, end: int) -> int:
    """The offset of the next member, or of the bracket that ends them."""
    at = _skip(text, end)
    return _skip(text, at + 1) if text[at] == "," else at


def _string(literal: str, before: str, after: str, ascii_only: bool) -> str:
    """A JSON string whose text changes; the characters that stay are spelled as they were."""
    spelled = _CHARACTER.findall(literal[1:-1])
    parts = [
        "".join(spelled[a:b]) if kind == "equal" else json.dumps(after[c:d], ensure_ascii=ascii_only)[1:-1]
        for kind, a, b, c, d in _opcodes(_LINE.findall(before), _LINE.findall(after))
    ]
    return f'"{"".join(parts)}"'


def _opcodes(before: list[str], after: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """What changes between two lists of lines, in characters."""
    old, new = _starts(before), _starts(after)
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        yield kind, old[a], old[b], new[c], new[d]


def _starts(lines: list[str]) -> list[int]:
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    return starts


def _list(literal: str, before: str, after: str, ascii_only: bool) -> str:
    """A JSON list of lines whose text changes; the lines that stay are spelled as they were."""
    ranges = list(_items(literal, 0))
    lines, new = [json.loads(literal[a:b]) for a, b in ranges], _LINE.findall(after)
    written: list[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, lines, new, autojunk=False).get_opcodes():
        kept = (literal[start:end] for start, end in ranges[a:b])
        written += kept if kind == "equal" else (json.dumps(n, ensure_ascii=ascii_only) for n in new[c:d])
    if not written or not ranges:
        return "[" + ", ".join(written) + "]"
    opening, closing = literal[: ranges[0][0]], literal[ranges[-1][1] :]
    gap = literal[ranges[0][1] : ranges[1][0]] if len(ranges) > 1 else "," + opening[1:]
    return opening + gap.join(written) + closing
