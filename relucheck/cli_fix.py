"""``relucheck lint --fix`` and ``--diff``: fixes made, written or shown, and what is said about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import click

from relucheck.baseline import Baseline
from relucheck.config import Configuration
from relucheck.engine import LintResult, in_order, lint_documents
from relucheck.finding import Finding, RuleModule
from relucheck.fixing import FixResult, Rejected, fix
from relucheck.problems import Problem
from relucheck.report import TextEdit
from relucheck.writing import replace_content

if TYPE_CHECKING:
    from relucheck.source.files import Document


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files that were linted: on disk, or standard input under a name."""

    name: str = ""
    stdin: bytes | None = None

    def content(self, path: str) -> bytes:
        """The bytes of a file as they are now."""
        return Path(path).read_bytes() if self.stdin is None else self.stdin


def fixed(
    result: LintResult,
    inputs: Inputs,
    left_out: Baseline | None,
    configuration: Configuration,
    rules: Sequence[RuleModule],
    *,
    unsafe: bool,
) -> FixResult:
    """What fixing makes of the files that were linted; nothing is written."""

    def lint(documents: Iterable[Document]) -> LintResult:
        found = lint_documents(documents, configuration, rules)
        return left_out.unknown(found) if left_out else found

    return fix(result, lint, inputs.content, unsafe=unsafe)


def written(result: FixResult, before: LintResult, inputs: Inputs) -> FixResult:
    """Write the files that changed; what could not be written is as it was before.

    The fixed text of standard input goes to standard output.
    """
    if inputs.stdin is not None:
        sys.stdout.buffer.write(result.contents.get(inputs.name, inputs.stdin))
        sys.stdout.buffer.flush()
        return result
    problems = tuple(p for path in sorted(result.contents) if (p := _replaced(path, result, before)))
    return _without(result, before, problems) if problems else result


def _without(result: FixResult, before: LintResult, problems: Sequence[Problem]) -> FixResult:
    """The result, had the files with problems not been fixed."""
    failed = frozenset(problem.path for problem in problems)
    kept = (f for f in result.lint.findings if path_of(f) not in failed)
    lint = replace(
        result.lint,
        findings=in_order((*kept, *(f for f in before.findings if path_of(f) in failed))),
        documents={**result.lint.documents, **{path: before.documents[path] for path in failed}},
        problems=(*result.lint.problems, *problems),
    )
    return replace(
        result,
        lint=lint,
        contents={path: c for path, c in result.contents.items() if path not in failed},
        fixed=tuple(f for f in result.fixed if path_of(f) not in failed),
    )


def path_of(finding: Finding) -> str:
    """The file of a finding, empty where none is known."""
    return finding.span.path if finding.span else ""


def _replaced(path: str, result: FixResult, before: LintResult) -> Problem | None:
    """Write one file, unless it is not what was linted any more."""
    from relucheck.source.files import from_bytes

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Problem(path, f"cannot be read ({error.strerror or error})")
    if from_bytes(path, content) != before.documents[path]:
        return Problem(path, "was changed by someone else meanwhile and is left as it is; run again")
    return replace_content(path, content, result.contents[path])


def diff(result: FixResult, inputs: Inputs) -> str:
    """Unified diffs of the files that would change; a notebook's for each cell."""
    parts: list[str] = []
    for path, after in sorted(result.contents.items()):
        before = inputs.content(path)
        for name, old, new in _texts(path, result, before, after):
            parts += _diff(name, old, new)
    return "".join(parts)


def _texts(path: str, result: FixResult, before: bytes, after: bytes) -> Iterator[tuple[str, str, str]]:
    """What a file's diff compares: its text, or each cell's that changed."""
    from relucheck.source.notebook_json import code_cells

    document = result.lint.documents[path]
    old, new = before.decode(document.encoding), after.decode(document.encoding)
    if not document.notebook:
        yield path, old, new
        return
    for (position, a), (_, b) in zip(code_cells(old), code_cells(new), strict=True):
        if a != b:
            yield f"{path}:cell {position}", a, b


def _diff(name: str, old: str, new: str) -> Iterator[str]:
    lines = unified_diff(_lines(old), _lines(new), name, name)
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    """The lines with their ends; only line feeds end one, so that a patch tool agrees."""
    *whole, rest = text.split("\n")
    return [line + "\n" for line in whole] + ([rest] if rest else [])


def text_edits(result: LintResult) -> Callable[[Finding], tuple[TextEdit, ...]]:
    """What gives the text edits of each finding's fix; a file is parsed for it when it is asked about."""
    known: dict[str, dict[int, tuple[TextEdit, ...]]] = {}

    def edits(finding: Finding) -> tuple[TextEdit, ...]:
        if finding.fix is None:
            return ()
        path = finding.fix.edits[0].span.path
        if path not in known:
            known[path] = _edits_in(path, result)
        return known[path].get(id(finding.fix), ())

    return edits


def _edits_in(path: str, result: LintResult) -> dict[int, tuple[TextEdit, ...]]:
    """The text edits of every fix in one file, by the fix."""
    from relucheck.source.edits import plan, replacements

    document = result.documents[path]
    fixes = [f.fix for f in result.findings if f.fix and f.fix.edits[0].span.path == path]
    return {
        id(planned.fix): tuple(TextEdit(r.span, r.content) for r in replacements(document, [planned]))
        for planned in plan(document, fixes)[0]
    }


def say(result: FixResult, *, would: bool) -> None:
    """Say on stderr how many findings were fixed, and which were not and why."""
    for rejected in result.rejected:
        click.echo(f"warning: {_rejection(rejected)}", err=True)
    if result.fixed:
        files = len(result.contents)
        what = f"{_counted(len(result.fixed), 'finding')} in {_counted(files, 'file')}"
        click.echo(f"{'Would fix' if would else 'Fixed'} {what}.", err=True)


def _rejection(rejected: Rejected) -> str:
    finding: Finding = rejected.finding
    return f"{finding.span}: {finding.code} {finding.name} is not fixed: {rejected.reason}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
