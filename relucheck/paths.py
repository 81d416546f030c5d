"""Paths as messages show them: relative to the current folder where they lie inside."""

from __future__ import annotations

import os
from dataclasses import replace

from relucheck.span import Span


def shown(path: str) -> str:
    """A path as messages show it: relative to the current folder where it lies inside."""
    absolute, here = os.path.abspath(path), os.getcwd()
    inside = absolute.startswith(here.rstrip(os.sep) + os.sep)
    return os.path.relpath(absolute, here) if inside else os.path.normpath(path)


def place(span: Span | None) -> str:
    """How a message begins that is about a span, as in ``train.py:8:12: ``; empty where no line is known."""
    return "" if span is None else f"{replace(span, path=shown(span.path))}: "
