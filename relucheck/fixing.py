"""Fixing to a fixed point: plan, patch, lint again, and take back what does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from relucheck.engine import LintResult
from relucheck.finding import Finding, Safety
from relucheck.problems import Problem

if TYPE_CHECKING:
    from relucheck.source.edits import Planned
    from relucheck.source.files import Document

ROUNDS = 50
"""More rounds than nested mistakes can need; a bound all the same."""

Lint = Callable[[Iterable["Document"]], LintResult]
Content = Callable[[str], bytes]
Identity = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A finding whose fix was not made, and why."""

    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True)
class FixResult:
    """What is left after fixing, and the new content of the files that changed, by path."""

    lint: LintResult
    contents: Mapping[str, bytes] = field(default_factory=dict)
    fixed: tuple[Finding, ...] = ()
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    """One finding's fix, as replacements of the text of one file."""

    finding: Finding
    path: str
    planned: Planned


def fix(first: LintResult, lint: Lint, content: Content, *, unsafe: bool) -> FixResult:
    """Fix what was found; nothing is written.

    ``lint`` lints the whole project again; ``content`` reads a file of it.
    """
    state = FixResult(first)
    for _ in range(ROUNDS):
        wanted = _wanted(state, unsafe)
        if not wanted:
            break
        state = _round(state, wanted, lint, content)
    return state


def applicable(finding: Finding, *, unsafe: bool) -> bool:
    """Whether a finding has a fix that may be made."""
    return finding.fix is not None and (unsafe or finding.fix.safety is Safety.SAFE)


def _wanted(state: FixResult, unsafe: bool) -> list[Finding]:
    """The findings to fix: those that were not tried in vain."""
    tried = {_identity(rejected.finding, state.lint) for rejected in state.rejected}
    possible = (f for f in state.lint.findings if applicable(f, unsafe=unsafe))
    return [f for f in possible if _identity(f, state.lint) not in tried]


def _identity(finding: Finding, lint: LintResult) -> Identity:
    """What stays of a finding when its line moves."""
    span = finding.span
    document = lint.documents.get(span.path) if span else None
    line = document.line(span.cell, span.row) if document and span else None
    return (span.path if span else "", finding.code, finding.message, (line or "").strip())


def _round(state: FixResult, wanted: Sequence[Finding], lint: Lint, content: Content) -> FixResult:
    """The state after one round: what can be fixed together is, the rest is rejected or waits."""
    steps, rejected = _planned(wanted, state.lint.documents)
    trial = _Trial(state, lint, content)
    done, reasons = _largest(trial, steps)
    after = trial.attempt(done) if done else state
    assert isinstance(after, FixResult)
    return replace(
        after,
        fixed=(*state.fixed, *(step.finding for step in done)),
        rejected=(*state.rejected, *rejected, *reasons),
    )


def _planned(
    wanted: Iterable[Finding], documents: Mapping[str, Document]
) -> tuple[list[_Step], list[Rejected]]:
    """The fixes that fit together, and those that the text has no room for; the others wait."""
    from relucheck.source.edits import apply

    by_path: dict[str, list[Finding]] = {}
    for finding in wanted:
        assert finding.fix is not None
        by_path.setdefault(finding.fix.edits[0].span.path, []).append(finding)
    steps: list[_Step] = []
    rejected: list[Rejected] = []
    for path, findings in by_path.items():
        owners = {id(finding.fix): finding for finding in findings}
        edited = apply(documents[path], [f.fix for f in findings if f.fix])
        steps += (_Step(owners[id(planned.fix)], path, planned) for planned in edited.applied)
        rejected += (Rejected(owners[id(r.fix)], r.reason) for r in edited.refused if not r.later)
    return steps, rejected


def _largest(trial: _Trial, steps: Sequence[_Step]) -> tuple[list[_Step], list[Rejected]]:
    """The steps that hold together, found by halving, and the others with what is wrong with each."""
    done: list[_Step] = []
    rejected: list[Rejected] = []
    todo = [list(steps)] if steps else []
    while todo:
        group = todo.pop(0)
        outcome = trial.attempt([*done, *group])
        if isinstance(outcome, FixResult):
            done += group
        elif len(group) == 1 and (tidied := _tidied(group[0])) and trial.holds([*done, tidied]):
            done.append(tidied)
        elif len(group) == 1:
            rejected.append(Rejected(group[0].finding, outcome))
        else:
            middle = len(group) // 2
            todo[:0] = [group[:middle], group[middle:]]
    return done, rejected


def _tidied(step: _Step) -> _Step | None:
    """A step that also takes out what nothing reads after it, if it leaves anything."""
    return replace(step, planned=step.planned.tidied) if step.planned.tidy else None


@dataclass(frozen=True, slots=True)
class _Trial:
    """Attempts from one state: patch, parse, lint again, compare."""

    state: FixResult
    lint: Lint
    content: Content
    _seen: dict[tuple[_Step, ...], FixResult | str] = field(default_factory=dict)

    def holds(self, steps: Sequence[_Step]) -> bool:
        """Whether nothing is wrong with the steps."""
        return isinstance(self.attempt(steps), FixResult)

    def attempt(self, steps: Sequence[_Step]) -> FixResult | str:
        """The state after the steps, or what is wrong with them; each set is linted once."""
        key = tuple(steps)
        if key not in self._seen:
            self._seen[key] = self._attempt(steps)
        return self._seen[key]

    def _attempt(self, steps: Sequence[_Step]) -> FixResult | str:
        patched = self._patched(steps)
        if isinstance(patched, str):
            return patched
        contents, documents = patched
        after = self.lint({**self.state.lint.documents, **documents}.values())
        after = replace(after, problems=self.state.lint.problems)
        wrong = objection(self.state.lint, after, [step.finding for step in steps])
        return wrong or replace(self.state, lint=after, contents={**self.state.contents, **contents})

    def _patched(self, steps: Iterable[_Step]) -> tuple[dict[str, bytes], dict[str, Document]] | str:
        """The new contents and documents of the files that the steps change."""
        from relucheck.source.edits import splices_in
        from relucheck.source.files import from_bytes
        from relucheck.source.patch import patched
        from relucheck.source.splices import CannotEdit

        contents: dict[str, bytes] = {}
        documents: dict[str, Document] = {}
        for path in dict.fromkeys(step.path for step in steps):
            own = splices_in(step.planned for step in steps if step.path == path)
            before = self.state.lint.documents[path]
            try:
                contents[path] = patched(self._content(path), before, own)
            except (CannotEdit, OSError) as problem:
                return str(problem)
            document = from_bytes(path, contents[path])
            if isinstance(document, Problem):
                return document.message
            documents[path] = document
        return contents, documents

    def _content(self, path: str) -> bytes:
        done = self.state.contents.get(path)
        return self.content(path) if done is None else done


def objection(before: LintResult, after: LintResult, fixed: Iterable[Finding]) -> str:
    """What is wrong with fixes, by the findings before and after them; empty where nothing is.

    Each finding that was fixed must be gone, and no rule may find more in a file than it did, with
    what other findings kept silent counted: a fixed cause lets its consequence be seen.
    """
    fixed = tuple(fixed)
    if len(after.crashes) > len(before.crashes):
        return "relucheck itself would fail on the result"
    fixed_words, fixed_codes = Counter(map(_words, fixed)), Counter(map(_code, fixed))
    before_words, after_words = Counter(map(_words, before.findings)), Counter(map(_words, after.findings))
    for words, number in fixed_words.items():
        if after_words[words] > before_words[words] - number:
            return f"{words[1]} would stay"
    known = Counter(map(_code, (*before.findings, *before.silent)))
    found = Counter(map(_code, after.findings))
    for code, number in found.items():
        if number > known[code] - fixed_codes[code]:
            return f"the result would have a new {code[1]} in {code[0]}"
    return ""


def _words(finding: Finding) -> tuple[str, str, str]:
    return (*_code(finding), finding.message)


def _code(finding: Finding) -> tuple[str, str]:
    return (finding.span.path if finding.span else "", finding.code)
