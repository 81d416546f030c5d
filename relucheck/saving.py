"""Writing reports where the user asked for them, and saying beforehand where that cannot work."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from relucheck.problems import UsageProblem

_JINJA = 'the HTML report needs Jinja2: pip install "relucheck[report]"'


class Page(Protocol):
    """A report that has a page."""

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str: ...


def page_ready(option: str, path: str | None) -> None:
    """Raises UsageProblem where a page could not be written, before a long run begins."""
    if path and find_spec("jinja2") is None:
        raise UsageProblem(f"{option} {path}: {_JINJA}")
    file_ready(option, path)


def file_ready(option: str, path: str | None) -> None:
    """Raises UsageProblem where there is no folder for a file."""
    folder = os.path.dirname(path or "") or "."
    if path and not os.path.isdir(folder):
        raise UsageProblem(f"{option} {path}: there is no folder {folder}")


def write_page(report: Page, path: str) -> None:
    """Writes a report's page; raises UsageProblem where that fails."""
    try:
        report.to_html(path)
    except (ImportError, OSError) as error:
        raise UsageProblem(f"--html {path}: {error}") from error


def write_json(text: str, path: str) -> None:
    """Writes a report's JSON; raises UsageProblem where that fails."""
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageProblem(f"--json {path}: {error}") from error
