"""The pytest fixture, in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import torch
from torch import nn


def make(dead=0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].bias[:dead] = -25.0
    return model


batches = [torch.randn(100, 8) for _ in range(3)]


def test_healthy_passes(relucheck):
    assert relucheck.check(make(), batches).activations


def test_half_dead_fails(relucheck):
    relucheck.check(make(12), batches)


def test_max_dead_allows_passes(relucheck):
    relucheck.check(make(12), batches, max_dead=0.7)


def test_max_dead_fails(relucheck):
    relucheck.check(make(2), batches, max_dead=0.05)


def test_ignored_passes(relucheck):
    relucheck.check(make(12), batches, ignore=["dead-units"])


def test_never_passes(relucheck):
    relucheck.check(make(12), batches, fail_on="never")


def test_probe_passes(relucheck):
    assert relucheck.probe(make(12), batches).activations[0].dead == 12
"""


def _plugin() -> list[str]:
    """The option that loads the plugin, where the package is not installed with its entry point."""
    from importlib.metadata import entry_points

    installed = any(point.name == "relucheck" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "relucheck.pytest_plugin"]


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *_plugin())
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*test_half_dead_fails*",
            "*relucheck.check(make(12), batches)*",
            "*layer*function*units*dead*",
            "*relu*20*12 (60%)*",
            "*RLU601 warning: 12 of 20 units*",
            "*lower the learning*",
            "*test_max_dead_fails*",
            "*'1': 2 of 20 units are silent (10%, allowed 5%) on all 300 samples, units 0, 1",
        ]
    )
    result.stdout.no_fnmatch_line("*_assert_alive*")
    result.stdout.no_fnmatch_line("*No mistakes found*")  # where a test fails


MISTAKEN = """
import pytest
import torch
from torch import nn


class Sum(nn.Module):
    def forward(self, first, second):
        return first + second


batch = torch.randn(64, 8)


@pytest.mark.parametrize("options", [{"ignore": "dead-unit"}, {"fail_on": "warn"}, {"max_dead": 20}])
def test_options(relucheck, options):
    relucheck.check(nn.Linear(8, 3), [batch], **options)


def test_two_inputs(relucheck):
    relucheck.check(Sum(), [(batch, batch)])


def test_two_inputs_without_targets(relucheck):
    relucheck.check(Sum(), [((batch, batch), None)])


def test_family(relucheck):
    relucheck.check(nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 3)), [batch], ignore=["RLU2", "RLU6"])
"""


def test_what_a_test_asks_for_wrongly_is_said_in_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MISTAKEN)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *_plugin())
    result.assert_outcomes(passed=2, failed=4)
    result.stdout.fnmatch_lines(
        [
            "E*ValueError: ignore: unknown rule 'dead-unit'; did you mean 'dead-units'?",
            "E*ValueError: fail_on is one of error, warning, advice, never, not 'warn'",
            "E*ValueError: max_dead is a share of a layer's units, from 0 to 1, not 20",
            "E*pass ((first, second), None) for two inputs",
        ]
    )
    result.stdout.no_fnmatch_line("*passes.py*")


def test_importing_the_plugin_imports_neither_torch_nor_libcst() -> None:
    code = "import sys, relucheck.pytest_plugin; print([m for m in ('torch', 'libcst') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
