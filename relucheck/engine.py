"""Nets, classes and measurements in, sorted findings out; a fault costs one rule on one subject."""

from __future__ import annotations

import ast
import gc
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from relucheck.boundary import guarded
from relucheck.config import Configuration, Settings
from relucheck.finding import Finding, RuleModule
from relucheck.net import Crash, ModuleClass, Net, Reading, Unfinished
from relucheck.problems import Problem, SyntaxProblem, UnusedSuppression
from relucheck.selection import Known
from relucheck.span import Span
from relucheck.suppress import Suppression, suppressions, unused

if TYPE_CHECKING:
    from relucheck.source.files import Document

_READ_FROM_SOURCE = (Net, ModuleClass, SyntaxProblem, UnusedSuppression)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules said, where relucheck itself failed, and what took it too many steps."""

    findings: tuple[Finding, ...] = ()
    crashes: tuple[Crash, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()


@dataclass(frozen=True, slots=True)
class LintResult:
    """The result of linting files: what was found, what failed, and the texts for the report.

    ``silent`` are findings that would be shown if no other spoke about the same place.
    """

    findings: tuple[Finding, ...] = ()
    crashes: tuple[Crash, ...] = ()
    problems: tuple[Problem, ...] = ()
    documents: Mapping[str, Document] = field(default_factory=dict)
    silent: tuple[Finding, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()


def load_rules() -> tuple[RuleModule, ...]:
    """Every rule: the modules of ``relucheck.rules`` but for helpers, whose names start with ``_``."""
    import importlib
    import pkgutil

    import relucheck.rules as package

    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{n}") for n in names if not n.startswith("_")]
    rules = (RuleModule(m.RULE, inspect.cleandoc(m.__doc__ or ""), m.check) for m in modules)
    return tuple(sorted(rules, key=lambda rule: rule.rule.code))


def known_rules(rules: Iterable[RuleModule]) -> Known:
    """The codes and names that settings and suppressions may refer to."""
    return Known.of(module.rule for module in rules)


def run_rules(
    reading: Reading,
    rules: Sequence[RuleModule],
    measurements: Iterable[object] = (),
    configuration: Configuration | None = None,
) -> Outcome:
    """What the rules say about a reading and measurements, as the configuration selects it."""
    raw = raw_findings((*reading.nets, *reading.classes, *measurements), rules)
    findings = settle(outside(reading.trials, raw.findings), rules, configuration or Settings())
    return Outcome(in_order(findings), reading.crashes + raw.crashes)


def outside(places: Sequence[Span], findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that stand in none of these places."""
    return tuple(f for f in findings if f.span is None or not any(place.holds(f.span) for place in places))


def raw_findings(subjects: Iterable[object], rules: Sequence[RuleModule]) -> Outcome:
    """Everything that the rules say about the subjects, selected or not, in no order."""
    findings: list[Finding] = []
    crashes: list[Crash] = []
    for subject in subjects:
        for module in rules:
            if isinstance(subject, module.rule.subject):
                said = _checked(module, subject)
                if isinstance(said, Crash):
                    crashes.append(said)
                else:
                    findings += said
    return Outcome(tuple(findings), tuple(crashes))


def _checked(module: RuleModule, subject: object) -> tuple[Finding, ...] | Crash:
    rule = module.rule
    return guarded(
        lambda: tuple(module.check(subject)), _path_of(subject), f"{rule.code} ({rule.name}) failed"
    )


def _path_of(subject: object) -> str:
    """The file that a subject was read from, as far as it says."""
    span = getattr(subject, "span", None)
    return span.path if isinstance(span, Span) else str(getattr(subject, "path", ""))


def settle(
    raw: Iterable[Finding], rules: Sequence[RuleModule], configuration: Configuration
) -> tuple[Finding, ...]:
    """The findings that are selected, each mistake once, in the order of the rules' specificity."""
    return once(yielded(selected(raw, rules, configuration), rules))


def selected(
    raw: Iterable[Finding], rules: Sequence[RuleModule], configuration: Configuration
) -> Iterator[Finding]:
    """The findings that their files' settings select, with the severity that the settings give."""
    default = {module.rule.code: module.rule.default for module in rules}
    selections = {}
    for finding in raw:
        path = finding.span.path if finding.span else ""
        if path not in selections:
            selections[path] = configuration.at(os.path.dirname(path)).selection(path)
        selection = selections[path]
        severity = selection.override(finding.code, finding.name)
        judged = finding if severity is None else replace(finding, severity=severity)
        if selection.shows(judged, default=default.get(finding.code, True)):
            yield judged


def yielded(findings: Iterable[Finding], rules: Sequence[RuleModule]) -> tuple[Finding, ...]:
    """The findings without those whose rule lets another speak that is about the same place."""
    findings = tuple(findings)
    yields = {module.rule.code: frozenset(module.rule.yields_to) for module in rules}
    speakers: dict[Span, set[str]] = {}
    for finding in findings:
        for subject in finding.subjects:
            speakers.setdefault(subject, set()).add(finding.code)

    def speaks(finding: Finding) -> bool:
        first = yields.get(finding.code, frozenset())
        return not any(first & speakers[subject] for subject in finding.subjects)

    return tuple(finding for finding in findings if speaks(finding))


def once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each code and place: the gravest, then the first in the alphabet."""
    ranked = sorted(findings, key=lambda f: (-f.severity.rank, f.sort_key))
    first: dict[tuple[object, ...], Finding] = {}
    for finding in ranked:
        nowhere = () if finding.span else (finding.layer, finding.message)
        first.setdefault((finding.code, finding.span, *nowhere), finding)
    return tuple(first.values())


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in reading order."""
    return tuple(sorted(findings, key=lambda finding: finding.sort_key))


def without_suppressed(findings: Iterable[Finding], comments: Iterable[Suppression]) -> Iterator[Finding]:
    """The findings that no comment suppresses."""
    by_file: dict[str, list[Suppression]] = {}
    for comment in comments:
        by_file.setdefault(comment.span.path, []).append(comment)
    for finding in findings:
        own = by_file.get(finding.span.path, ()) if finding.span else ()
        if not any(comment.hides(finding) for comment in own):
            yield finding


Modules = Sequence[tuple["Document", ast.Module]]
Reader = Callable[[Modules, frozenset[str]], Reading]
"""Reads the files of these paths, among all the modules of the project."""


def source_reader(modules: Modules, paths: frozenset[str]) -> Reading:
    """The reader of source text, imported when there is something to read."""
    from relucheck.source.project import read_project

    return read_project(modules, paths)


def without_commented(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that no comment in their source file suppresses, for findings of real passes."""
    from relucheck.source.files import Document, read

    paths = {finding.span.path for finding in findings if finding.span}
    documents = (read(path) for path in sorted(paths))
    # a span and its comment must name the file alike, whatever the document calls it
    comments = [
        replace(comment, span=replace(comment.span, path=path))
        for path, document in zip(sorted(paths), documents, strict=True)
        if isinstance(document, Document)
        for comment in suppressions(document)
    ]
    return tuple(without_suppressed(findings, comments))


def lint_paths(
    paths: Iterable[str],
    configuration: Configuration,
    rules: Sequence[RuleModule],
    read: Reader = source_reader,
    jobs: int = 1,
) -> LintResult:
    """The findings in these files and folders, read by at most ``jobs`` processes."""
    from relucheck.source.files import discover, read_all

    discovery = discover(paths, configuration)
    documents, unread = read_all(discovery.files)
    result = lint_documents(documents, configuration, rules, read, jobs)
    return replace(result, problems=discovery.problems + unread)


def lint_documents(
    documents: Iterable[Document],
    configuration: Configuration,
    rules: Sequence[RuleModule],
    read: Reader = source_reader,
    jobs: int = 1,
) -> LintResult:
    """The findings in these documents, read as one project by at most ``jobs`` processes."""
    by_path = {document.path: document for document in documents}
    with _no_collection():
        modules, broken, failed = _parsed(by_path.values())
        parts = _judged(modules, rules, read, jobs)
    parts = (raw_findings(broken, rules), *parts)
    raw = Outcome(tuple(f for part in parts for f in part.findings))
    crashes = (*failed, *(crash for part in parts for crash in part.crashes))
    findings, silent = _shown(raw.findings, tuple(by_path.values()), rules, configuration, crashes)
    unfinished = tuple(sorted(u for part in parts for u in part.unfinished))
    return LintResult(findings, crashes, (), by_path, silent, unfinished)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No cyclic garbage collection: each would walk all syntax trees, three times the cost of parsing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parsed(
    documents: Iterable[Document],
) -> tuple[list[tuple[Document, ast.Module]], list[SyntaxProblem], list[Crash]]:
    """The documents with their trees, those that are not Python, and our failures to parse."""
    from relucheck.source.parse import parse

    modules: list[tuple[Document, ast.Module]] = []
    broken: list[SyntaxProblem] = []
    failed: list[Crash] = []

    def attempt(document: Document) -> ast.Module | SyntaxProblem:
        try:
            return parse(document)
        except SyntaxProblem as problem:
            return problem

    for document in documents:
        tree = guarded(lambda: attempt(document), document.path, "parsing failed")  # noqa: B023 - runs at once
        if isinstance(tree, SyntaxProblem):
            broken.append(tree)
        elif isinstance(tree, Crash):
            failed.append(tree)
        else:
            modules.append((document, tree))
    return modules, broken, failed


def _judged(modules: Modules, rules: Sequence[RuleModule], read: Reader, jobs: int) -> tuple[Outcome, ...]:
    """What the rules say about the modules, which are shared out among processes where that is quicker."""
    if not modules:
        return ()
    from relucheck.parallel import at_once
    from relucheck.source.pieces import shared_out

    parts = shared_out(modules, jobs)
    outcomes = at_once([lambda part=part: _part_judged(modules, part, rules, read) for part in parts])  # type: ignore[misc]
    return tuple(outcome or _ended(part) for part, outcome in zip(parts, outcomes, strict=True))


def _ended(part: frozenset[str]) -> Outcome:
    """A process was killed: what it would have said about its files is not known."""
    message = "the process that read this file was killed; was there too little memory?"
    return Outcome(crashes=tuple(Crash(path, message, "") for path in sorted(part)))


def _part_judged(
    modules: Modules, part: frozenset[str], rules: Sequence[RuleModule], read: Reader
) -> Outcome:
    """What the rules say about the files of a part; the reader's failure as a whole is one crash."""
    reading = guarded(lambda: read(modules, part), min(part), "reading the project failed")
    if isinstance(reading, Crash):
        return Outcome(crashes=(reading,))
    raw = raw_findings((*reading.nets, *reading.classes), rules)
    findings = outside(reading.trials, raw.findings)
    return Outcome(findings, (*reading.crashes, *raw.crashes), reading.unfinished)


def _shown(
    raw: Sequence[Finding],
    documents: Sequence[Document],
    rules: Sequence[RuleModule],
    configuration: Configuration,
    crashes: Sequence[Crash],
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The findings to show, without suppressed ones and with the idle suppressions, and the silent ones."""
    comments = tuple(comment for document in documents for comment in suppressions(document))
    chosen = tuple(selected(raw, rules, configuration))
    kept = tuple(without_suppressed(once(yielded(chosen, rules)), comments))
    silent = tuple(f for f in without_suppressed(once(chosen), comments) if f not in kept)
    failed = {crash.path for crash in crashes}  # what was not judged may need its suppressions
    judged = (comment for comment in comments if comment.span.path not in failed)
    idle = raw_findings(unused(judged, raw, known_rules(rules), _measured(rules)), rules)
    return in_order((*kept, *selected(idle.findings, rules, configuration))), in_order(silent)


def _measured(rules: Iterable[RuleModule]) -> frozenset[str]:
    """The codes of rules that only real passes can answer."""
    return frozenset(r.rule.code for r in rules if not issubclass(r.rule.subject, _READ_FROM_SOURCE))


def failing(findings: Iterable[Finding], configuration: Configuration) -> bool:
    """Whether any finding is as grave as its file's settings make a run fail for."""
    return any(finding.severity.rank >= _fail_rank(finding, configuration) for finding in findings)


def _fail_rank(finding: Finding, configuration: Configuration) -> int:
    folder = os.path.dirname(finding.span.path) if finding.span else ""
    return configuration.at(folder).fail_rank
