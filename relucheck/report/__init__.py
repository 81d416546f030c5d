"""Reports: one module a format, each with ``render(view) -> str``; helpers start with ``_``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from relucheck.finding import Finding, RuleModule
from relucheck.span import Span

_DOCS = "https://relucheck.readthedocs.io/rules"


@dataclass(frozen=True, slots=True)
class TextEdit:
    """A replacement of source text, as ``relucheck.source.edits`` works it out from a fix."""

    span: Span
    content: str


def _no_line(path: str, cell: int | None, row: int) -> str | None:
    return None


def _no_edits(finding: Finding) -> tuple[TextEdit, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class View:
    """What a report is made of: the findings, and how to look up what is shown beside them.

    ``read_line`` gives the text of a row of a file, or None; ``edits`` the text edits of a
    finding's fix, empty where there are none; ``rules`` the rules whose pages a format may hold;
    ``closing`` what formats for people say after their summary; ``partial`` whether something that was to
    be read could not be.
    """

    findings: Sequence[Finding] = ()
    read_line: Callable[[str, int | None, int], str | None] = _no_line
    edits: Callable[[Finding], tuple[TextEdit, ...]] = _no_edits
    rules: Sequence[RuleModule] = ()
    colour: bool = False
    closing: str = ""
    partial: bool = False


Render = Callable[[View], str]


def format_names() -> tuple[str, ...]:
    """The formats there are, as the command line spells them."""
    import pkgutil

    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name.strip("_").replace("_", "-") for name in names if not name.startswith("_"))


def renderer(name: str) -> Render:
    """The function that renders a format; ``json`` lives in ``json_`` beside the library's json."""
    import importlib

    module = name.replace("-", "_") + ("_" if name == "json" else "")
    return cast(Render, importlib.import_module(f"{__name__}.{module}").render)


def url(name: str) -> str:
    """The address of a rule's page."""
    return f"{_DOCS}/{name}/"


def absolute(path: str) -> str:
    """A path as machine-readable formats give it: whole."""
    return os.path.abspath(path) if path else ""
