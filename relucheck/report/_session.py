"""The page of a pytest session: what each watched test showed, in the order of the tests' names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from relucheck.finding import Finding
from relucheck.report._html import found_tile, rendered
from relucheck.report._saved import finding_of, networks_of
from relucheck.report._view import Tile, tiles
from relucheck.timeline import Watched


@dataclass(frozen=True, slots=True)
class Case:
    """One test: its id and outcome, and what the watch over it saw."""

    test: str
    outcome: str
    steps: int
    findings: tuple[Finding, ...]
    networks: tuple[Watched, ...]


def case_of(test: str, outcome: str, text: str) -> Case:
    """A test with the JSON of its report, as a worker of pytest-xdist sends it."""
    content = json.loads(text)
    findings = tuple(map(finding_of, content["findings"]))
    return Case(test, outcome, content["steps"], findings, networks_of(content))


def session_page(cases: Sequence[Case]) -> str:
    """The page. Raises MissingJinjaError without Jinja2."""
    cases = sorted((case for case in cases if case.steps), key=lambda case: case.test)
    findings = [finding for case in cases for finding in case.findings]
    networks = [network for case in cases for network in case.networks]
    steps = sum(case.steps for case in cases)
    facts = f"{_count(len(cases), 'test')} with {_count(steps, 'backward pass', 'es')} in all."
    watched = Tile(str(len(cases)), "tests with backward passes")
    shown = [found_tile(findings), watched, *list(tiles(networks))[:2]]
    return rendered("session.html", title="pytest session", facts=facts, tiles=shown, cases=cases, where={})


def _count(number: int, word: str, ending: str = "s") -> str:
    return f"{number} {word}{'' if number == 1 else ending}"
