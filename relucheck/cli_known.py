"""Findings that ``relucheck lint`` leaves out: those of a baseline, of unchanged lines, and suppressed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from relucheck.baseline import Baseline, Key, baseline_of, load, save
from relucheck.changed import changes_since, unchanged
from relucheck.engine import LintResult
from relucheck.finding import Finding
from relucheck.ignoring import ignores
from relucheck.problems import Problem, UsageProblem
from relucheck.writing import replace_content

_SHOWN = 5


def known(result: LintResult, baseline: str | None, changed_only: bool, base: str | None) -> Baseline:
    """The findings that are left out, by the options."""
    if base is not None and not changed_only:
        raise UsageProblem("--base says what --changed-only compares with; give both")
    of_file = load(baseline) if baseline is not None else Baseline()
    if baseline is not None:
        _say_stale(baseline, of_file.stale(result))
    if not changed_only:
        return of_file
    rest = of_file.unknown(result)
    old = baseline_of(unchanged(rest, changes_since(base)), result.documents)
    return Baseline(Counter(of_file.known) + Counter(old.known))


def _say_stale(path: str, stale: tuple[Key, ...]) -> None:
    if not stale:
        return
    named = [f"  {file}: {code}: {line}" for file, code, line in stale[:_SHOWN]]
    more = [f"  and {len(stale) - _SHOWN} more"] if len(stale) > _SHOWN else []
    entries = "1 entry is" if len(stale) == 1 else f"{len(stale)} entries are"
    head = f"warning: {path}: {entries} stale, their findings are gone; write it anew with --write-baseline"
    click.echo("\n".join([head, *named, *more]), err=True)


def write_baseline(result: LintResult, path: str | None) -> None:
    """Write a baseline in which everything that was found is known."""
    if path is None:
        raise UsageProblem(
            "--write-baseline needs the file: --baseline FILE --write-baseline, or baseline in the settings"
        )
    baseline = baseline_of(result.findings, result.documents)
    save(path, baseline)
    number = sum(baseline.known.values())
    click.echo(f"{path}: {number} known finding{'' if number == 1 else 's'}", err=True)


def add_ignores(result: LintResult, reason: str) -> tuple[Problem, ...]:
    """Write a suppression comment for every finding; what could not be written is a problem."""
    if "\n" in reason or "\r" in reason:
        raise UsageProblem("--add-ignore: the reason must be one line")
    problems: list[Problem] = []
    added = files = 0
    for path, findings in _by_file(result):
        made = _add_to_file(path, findings, result, reason)
        if isinstance(made, Problem):
            problems.append(made)
        else:
            added, files = added + made, files + bool(made)
    click.echo(f"Added {_counted(added, 'suppression')} in {_counted(files, 'file')}.", err=True)
    return tuple(problems)


def _by_file(result: LintResult) -> Iterator[tuple[str, list[Finding]]]:
    by_file: dict[str, list[Finding]] = {}
    for finding in result.findings:
        if finding.span is not None:
            by_file.setdefault(finding.span.path, []).append(finding)
    yield from by_file.items()


def _add_to_file(path: str, findings: list[Finding], result: LintResult, reason: str) -> int | Problem:
    """The number of suppressions written into one file."""
    from relucheck.source.patch import patched
    from relucheck.source.splices import CannotEdit

    document = result.documents[path]
    made = ignores(document, findings, reason)
    for finding in made.unplaced:
        click.echo(f"warning: {finding.span}: {finding.code}: its line can hold no suppression", err=True)
    try:
        before = Path(path).read_bytes()
        after = patched(before, document, made.splices)
    except OSError as error:
        return Problem(path, f"cannot be read ({error.strerror or error})")
    except UnicodeEncodeError as error:
        return Problem(path, f"the reason cannot be written in {document.encoding}: {error.reason}")
    except CannotEdit as problem:
        return Problem(path, f"is left as it is: {problem}")
    return replace_content(path, before, after) or made.added


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
