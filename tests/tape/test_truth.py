"""relucheck is exact in every unit count of networks whose truth brute force gives, and raises no false alarm."""

from __future__ import annotations

import pytest

from benchmarks.truth import compared, tools_of
from benchmarks.truth_peers import Said, relucheck, said_by
from relucheck.finding import Severity
from relucheck.live import Report, probe
from tests.tape.truth.case import Case, Site, truth
from tests.tape.truth.cases import CASES
from tests.tape.truth.healthy import ORDINARY, ordinary

DEAD = frozenset({"RLU601", "RLU602", "RLU605"})
FLOW = {
    "vanishing": {"RLU611", "RLU616"},
    "exploding": {"RLU612"},
    "not finite": {"RLU614"},
    "missing": {"RLU613"},
}


def report_of(case: Case) -> Report:
    report = probe(case.model(), case.batches(), case.loss)
    assert report.crashes == ()
    return report


def measured(report: Report) -> list[str]:
    """Codes of the measured rules that say more than advice."""
    return [
        f.code for f in report.findings if f.code.startswith("RLU6") and f.severity is not Severity.ADVICE
    ]


def test_there_are_enough() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 60
    dead = [case for case in CASES if any(site.dead for site in truth(case))]
    assert len(dead) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_units_and_gradients(case: Case) -> None:
    report = report_of(case)
    found = [a for a in report.activations if a.one_sided]
    assert [(a.units, a.dead_units, a.linear_units) for a in found] == [
        (site.units, site.dead, site.linear) for site in truth(case)
    ]
    assert all(a.samples == case.samples for a in report.activations)
    if case.stuck:
        assert tuple(a.saturated_units for a in report.activations) == case.stuck
    codes = set(measured(report))
    if case.fault:
        assert codes & FLOW[case.fault]
    elif case.fault is not None:
        assert not [c for c in codes if c.startswith("RLU61")]
    if case.group == "trap":
        assert codes == set()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ORDINARY)
def test_healthy_ordinary_networks(kind: str, seed: int) -> None:
    assert said_by(relucheck, ordinary(kind, seed)) == Said()


ONE = next(case for case in CASES if case.name == "mlp")
SOUND = next(case for case in CASES if case.name == "trap plain MLP")
BROKEN = next(case for case in CASES if case.fault == "missing")
DEAD_SITES = [Site(8, (0, 1), ()), Site(4, (), ())]


@pytest.mark.parametrize(
    ("case", "sites", "said", "units", "gradient"),
    [
        (ONE, DEAD_SITES, Said([(8, 2)]), "exact", ""),
        (ONE, DEAD_SITES, Said([(8, 3)]), "wrong", ""),
        (ONE, DEAD_SITES, Said([(8, 2), (4, 1)]), "wrong", ""),
        (ONE, DEAD_SITES, Said(flag="many zeros"), "flag", ""),
        (ONE, DEAD_SITES, Said(), "missed", ""),
        (ONE, DEAD_SITES, Said(crash="ValueError"), "crash", ""),
        (ONE, DEAD_SITES, Said([(8, 2)], gradient="vanishes"), "exact", "false"),
        (SOUND, [Site(8, (), ())], Said(), "", ""),
        (SOUND, [Site(8, (), ())], Said([(8, 1)]), "false dead", ""),
        (BROKEN, [], Said(gradient="no gradient"), "", "found"),
        (BROKEN, [], Said(), "", "missed"),
    ],
)
def test_how_answers_are_scored(case: Case, sites: list[Site], said: Said, units: str, gradient: str) -> None:
    verdict = compared(case, sites, said)
    assert (verdict.units, verdict.gradient) == (units, gradient)


def test_tools_that_break_are_scored_as_crashes() -> None:
    def broken(case: Case) -> Said:
        raise RuntimeError("no luck")

    assert said_by(broken, ONE).crash == "RuntimeError: no luck"
    assert list(tools_of("relucheck")) == ["relucheck"]
