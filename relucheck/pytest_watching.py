"""``pytest --relucheck``: the backward passes of every test, watched without a line changed.

Each test runs inside a ``watch``. What it found becomes user properties of the test's report, which
pytest-xdist sends from its workers and ``--junit-xml`` writes down, and a section of the summary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

import pytest

from relucheck.chosen import chosen
from relucheck.config import FAIL_ON, Settings, check_fail_on
from relucheck.finding import Finding
from relucheck.paths import place
from relucheck.problems import UsageProblem
from relucheck.pytest_plugin import check_share, too_silent, without_verdict
from relucheck.saving import page_ready

if TYPE_CHECKING:
    from relucheck.training import TrainingReport

FOUND, STEPS, SILENT = "relucheck", "relucheck_steps", "relucheck_max_dead"
"""The names of the user properties: one for each finding, the number of backward passes, and the largest
share of silent units in any layer."""

FIGURES = "relucheck_figures"
"""The attribute of a test's report that holds all figures as JSON, where a page is to be written."""

_FIGURES = pytest.StashKey[str]()

INSPECTED_FIRST, INSPECTED_EVERY = 100, 10
"""A test has few steps, so all of them are inspected; of a long training in a test, one in ten."""

_SHOWN = 3  # tests named beside a finding


@dataclass(frozen=True, slots=True)
class Demands:
    """What holds for one test: the settings, changed by its marks from the outside in."""

    fail_on: str
    select: tuple[str, ...]
    ignore: tuple[str, ...]
    max_dead: float | None = None
    watched: bool = True

    def marked(self, mark: pytest.Mark) -> Demands:
        """The demands with one mark's; raises ValueError or UsageProblem for what it cannot say."""
        unknown = sorted(set(mark.kwargs) - {"max_dead", "off", "fail_on"})
        if mark.args or unknown:
            raise ValueError(
                "@pytest.mark.relucheck takes max_dead=0.2, off=[...] or off=True, and fail_on=..., not "
                + (", ".join(unknown) or repr(mark.args[0]))
            )
        off = mark.kwargs.get("off", ())
        max_dead, fail_on = (
            mark.kwargs.get("max_dead", self.max_dead),
            mark.kwargs.get("fail_on", self.fail_on),
        )
        check_share(max_dead)
        check_fail_on(fail_on)
        named = () if isinstance(off, bool) else (off,) if isinstance(off, str) else tuple(off)
        rules = chosen(named, "@pytest.mark.relucheck(off=...)")
        return Demands(
            fail_on, self.select, (*self.ignore, *rules), max_dead, self.watched and off is not True
        )


@dataclass(frozen=True, slots=True)
class Watching:
    """The plugin object of one run with ``--relucheck``."""

    demands: Demands
    page: Path | None = None

    @classmethod
    def of(cls, config: pytest.Config, page: str = "") -> Watching:
        """From the options and the ini file; raises UsageError where they cannot be used."""
        if find_spec("torch") is None:
            raise pytest.UsageError('--relucheck needs PyTorch: pip install "relucheck[torch]"')
        fail_on = config.getoption("relucheck_fail_on") or config.getini("relucheck_fail_on")
        if fail_on not in FAIL_ON:
            raise pytest.UsageError(f"relucheck_fail_on is one of {', '.join(FAIL_ON)}, not {fail_on!r}")
        demands = Demands(fail_on, _selectors(config, "select"), _selectors(config, "ignore"))
        return cls(demands, _page(config, page) if page else None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Runs a test inside a watch; fails it where its demands are not met."""
        demands = self._demands_of(item)
        if not demands.watched:
            return (yield)
        from relucheck.training import watch

        settings = Settings(select=demands.select, ignore=demands.ignore)
        watching = watch(
            every=INSPECTED_EVERY,
            first=INSPECTED_FIRST,
            window=math.inf,  # a test is judged as a whole
            configuration=settings,
            stop=_stop_at(),
        )
        try:
            with watching:
                result = yield
        finally:
            report = watching.report
            item.user_properties.extend(_properties(report))
            if self.page is not None:
                item.stash[_FIGURES] = report.to_json()
        _demand(report, demands)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        """Lays the figures beside a test's report, which pytest-xdist sends with all attributes."""
        report = yield
        if call.when == "call" and _FIGURES in item.stash:
            setattr(report, FIGURES, item.stash[_FIGURES])
        return report

    def _demands_of(self, item: pytest.Item) -> Demands:
        demands, wrong = self.demands, ""
        try:
            for mark in reversed(list(item.iter_markers("relucheck"))):
                demands = demands.marked(mark)
        except (ValueError, UsageProblem) as error:
            wrong = str(error)
        if wrong:
            pytest.fail(wrong, pytrace=False)
        return demands

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The section with the findings, each once with the tests that showed it, and the page."""
        every = [r for group in terminalreporter.stats.values() for r in group]
        reports = sorted(
            (r for r in every if getattr(r, "when", None) == "call"),
            key=lambda r: str(r.nodeid),  # pytest-xdist brings them in any order
        )
        terminalreporter.write_sep("=", "relucheck")
        for line in summary(reports):
            terminalreporter.write_line(line)
        if self.page is not None:
            _write_page(self.page, reports)
            terminalreporter.write_line(f"wrote {self.page}")


def _page(config: pytest.Config, path: str) -> Path:
    """Where the page goes; raises UsageError where it cannot."""
    page = config.invocation_params.dir / path
    try:
        page_ready("--relucheck-html", str(page))
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    return page


def _write_page(page: Path, reports: Sequence[Any]) -> None:
    from relucheck.report._session import case_of, session_page

    cases = [case_of(r.nodeid, r.outcome, getattr(r, FIGURES)) for r in reports if hasattr(r, FIGURES)]
    page.write_text(session_page(cases), encoding="utf-8")


def _selectors(config: pytest.Config, name: str) -> tuple[str, ...]:
    try:
        return chosen(config.getini(f"relucheck_{name}"), f"relucheck_{name}")
    except UsageProblem as problem:
        raise pytest.UsageError(str(problem)) from None


def _stop_at() -> CodeType:
    """Where the user's part of the call stack ends: the function of pytest that calls the test's."""
    from _pytest import python

    code: CodeType = python.pytest_pyfunc_call.__code__
    return code


def _properties(report: TrainingReport) -> Iterator[tuple[str, object]]:
    if report.steps:
        yield STEPS, report.steps
    shares = [site.dead_share for site in report.activations if site.one_sided]
    if shares:
        yield SILENT, f"{max(shares):.4g}"
    for finding in report.findings:
        yield FOUND, _line(finding)
    for crash in report.crashes:
        yield FOUND, f"internal error: {crash.message}"


def _line(finding: Finding) -> str:
    return f"{place(finding.span)}{finding.code} {finding.severity.value}: {finding.message}"


def _demand(report: TrainingReport, demands: Demands) -> None:
    """Fails the test that runs where what was found is not allowed."""
    failing = report.failing(demands.fail_on)
    complaint = "" if demands.max_dead is None else too_silent(report.activations, demands.max_dead)
    if failing:
        count = f"{len(failing)} finding{'s' if len(failing) > 1 else ''}"
        pytest.fail(f"relucheck: {count} at or above {demands.fail_on}\n\n{report.table()}", pytrace=False)
    if complaint:
        pytest.fail(f"relucheck: {complaint}\n\n{without_verdict(report.table())}", pytrace=False)


def summary(reports: Sequence[Any]) -> Iterator[str]:
    """The lines of the section, from the reports of the tests' calls."""
    watched = [r for r in reports if any(name == STEPS for name, _ in r.user_properties)]
    steps = sum(value for r in watched for name, value in r.user_properties if name == STEPS)
    found: dict[str, list[str]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == FOUND:
                found.setdefault(value, []).append(report.nodeid)
    for text, tests in found.items():
        yield text
        yield f"    in {_named(list(dict.fromkeys(tests)))}"
    yield f"{_count(len(found), 'finding')} in {_count(len(watched), 'test')} with {steps} backward passes"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _named(tests: Sequence[str]) -> str:
    more = len(tests) - _SHOWN
    return ", ".join(tests[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
