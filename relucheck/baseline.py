"""Findings that are known: told by file, rule and line text, so that a moved line stays known."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relucheck.engine import LintResult
from relucheck.finding import Finding
from relucheck.problems import UsageProblem
from relucheck.selection import SYNTAX_ERROR
from relucheck.writing import write_whole

if TYPE_CHECKING:
    from relucheck.source.files import Document

VERSION = 1

Key = tuple[str, str, str]
"""File, rule and line text."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """How often each known finding is known, with files as reports show them."""

    known: Mapping[Key, int] = field(default_factory=dict)

    def unknown(self, result: LintResult) -> LintResult:
        """A result without the findings that are known."""
        left = Counter(self.known)
        kept = []
        for finding in result.findings:
            key = key_of(finding, result.documents)
            if left[key] > 0:
                left[key] -= 1
            else:
                kept.append(finding)
        return replace(result, findings=tuple(kept))

    def stale(self, result: LintResult) -> tuple[Key, ...]:
        """The known findings that are gone from the files that were read, or whose file is gone."""
        gone = Counter(self.known)
        gone.subtract(key_of(finding, result.documents) for finding in result.findings)
        read = frozenset(result.documents)
        return tuple(key for key, number in sorted(gone.items()) if number > 0 and _was_read(key[0], read))


def _was_read(path: str, read: Collection[str]) -> bool:
    return path in read or not os.path.exists(path)


def baseline_of(findings: Iterable[Finding], documents: Mapping[str, Document]) -> Baseline:
    """The baseline in which these findings are known; a file that is no Python never is."""
    counted = (f for f in findings if f.code != SYNTAX_ERROR)
    return Baseline(Counter(key_of(finding, documents) for finding in counted))


def key_of(finding: Finding, documents: Mapping[str, Document]) -> Key:
    """What tells a finding: its file, its rule and the text of its line without the space around it."""
    span = finding.span
    if span is None:
        return ("", finding.code, finding.message)
    document = documents.get(span.path)
    line = document.line(span.cell, span.row) if document else None
    return (span.path, finding.code, (line or "").strip())


def load(path: str) -> Baseline:
    """The baseline in a file; its paths are relative to the file's folder."""
    from relucheck.paths import shown

    folder = os.path.dirname(path)
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        known: Counter[Key] = Counter()
        for file, code, line, count in _entries(data):
            known[(shown(os.path.join(folder, file)), code, line)] += count
    except OSError as error:
        hint = "; create it with --write-baseline" if isinstance(error, FileNotFoundError) else ""
        raise UsageProblem(f"{path}: cannot be read ({error.strerror}){hint}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageProblem(f"{path}: not a baseline ({error}); write it anew with --write-baseline") from None
    return Baseline(known)


def _entries(data: Any) -> Iterator[tuple[str, str, str, int]]:
    """The entries of a baseline's JSON."""
    if data["version"] != VERSION:
        raise ValueError(f"its version is {data['version']!r}")
    for file, entries in data["findings"].items():
        for entry in entries:
            if not (isinstance(entry["code"], str) and isinstance(entry["line"], str)):
                raise ValueError(f"an entry of {file} has no code or no line")
            yield file, entry["code"], entry["line"], int(entry["count"])


def save(path: str, baseline: Baseline) -> None:
    """Write a baseline: one entry a line, in order, so that version control shows what changes."""
    folder = os.path.abspath(os.path.dirname(path))
    by_file: dict[str, list[dict[str, object]]] = {}
    for (file, code, line), count in sorted(baseline.known.items()):
        relative = os.path.relpath(os.path.abspath(file), folder).replace(os.sep, "/")
        by_file.setdefault(relative, []).append({"code": code, "count": count, "line": line})
    text = json.dumps({"version": VERSION, "findings": by_file}, indent=1, ensure_ascii=False) + "\n"
    try:
        write_whole(Path(os.path.realpath(path)), text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be written ({error.strerror})") from None
