"""``pytest --relucheck`` and ``--relucheck-lint``, each in a pytest run of its own."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import relucheck.training  # noqa: F401 (pytester forgets what a run in this process imports, and torch cannot be imported twice)
from tests.tape.test_plugin import _plugin

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _one_thread_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


TESTS = """
import pytest
import torch
from torch import nn

torch.manual_seed(0)


def train(dead=0, steps=4):
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].bias[:dead] = -25.0
    for _ in range(steps):
        nn.functional.cross_entropy(model(torch.randn(100, 8)), torch.randint(0, 3, (100,))).backward()


def test_healthy():
    train()


def test_half_dead():
    train(12)


@pytest.mark.relucheck(off=["RLU601"])
def test_off():
    train(12)


@pytest.mark.relucheck(off=True)
def test_not_watched():
    train(12)


@pytest.mark.relucheck(max_dead=0.05)
def test_max_dead():
    train(2)


@pytest.mark.relucheck(fail_on="never")
def test_never():
    train(12)


def test_fails_by_itself():
    train(12)
    assert False, "its own"


def test_no_network():
    pass
"""


def fresh(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *_plugin(), *args)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """In this process, which has imported torch already."""
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *_plugin(), *args)


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_findings_are_shown_and_fail_nothing_by_default(
    pytester: pytest.Pytester, workers: list[str]
) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(TESTS)
    result = (fresh if workers else run)(pytester, "--relucheck", *workers)
    result.assert_outcomes(passed=6, failed=2)  # max_dead is a demand of its own, and one fails by itself
    result.stdout.fnmatch_lines(
        [
            "*relucheck: '1': 2 of 20 units are silent (10%, allowed 5%) on all 400 samples, units 0, 1",
            "*= relucheck =*",
            "*test_findings_*.py:*: RLU601 warning: 12 of 20 units (60%) of '1' are dead on all 400 samples*",
            "    in test_findings*::test_half_dead*",
            "* in 6 tests with 24 backward passes",
        ]
        if not workers
        else ["*RLU601 warning: 12 of 20*", "* in 6 tests with 24 backward passes"]
    )


def test_fail_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = run(pytester, "--relucheck", "--relucheck-fail-on", "warning")
    result.assert_outcomes(passed=5, failed=3)
    result.stdout.fnmatch_lines(["*test_half_dead*", "relucheck: 1 finding at or above warning", "*its own*"])


def test_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeini(
        "[pytest]\nrelucheck = true\nrelucheck_fail_on = warning\nrelucheck_ignore = dead-units\n"
    )
    run(pytester).assert_outcomes(passed=6, failed=2)


def test_without_the_option_nothing_is_watched(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = run(pytester, "--strict-markers")
    result.assert_outcomes(passed=7, failed=1)
    result.stdout.no_fnmatch_line("*= relucheck =*")


def test_junit_properties(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    run(pytester, "--relucheck", "--junit-xml=out.xml", "-k", "half_dead")
    text = (pytester.path / "out.xml").read_text()
    assert '<property name="relucheck_steps" value="4"' in text
    assert 'name="relucheck" value="' in text
    assert "RLU601 warning: 12 of 20 units" in text


def properties(path: Path) -> dict[str, list[tuple[str, str]]]:
    """The properties of each test in a JUnit file."""
    cases = ElementTree.parse(path).getroot().iter("testcase")
    return {
        str(case.get("name")): [(str(p.get("name")), str(p.get("value"))) for p in case.iter("property")]
        for case in cases
    }


def section(text: str) -> list[str]:
    """The lines of relucheck's section in a summary."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if re.fullmatch(r"=+ relucheck =+", line))
    end = next(i for i, line in enumerate(lines) if i > start and line.startswith("="))
    return lines[start + 1 : end]


SEEDED = TESTS.replace(
    "    model = nn", "    torch.manual_seed(0)\n    model = nn"
)  # whatever ran before in the process


def test_workers_give_the_same_as_one_process(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytest.importorskip("jinja2")
    pytester.makepyfile(test_it=SEEDED)
    seen = []
    for workers in ((), ("-n", "2")):
        start = fresh if workers else run
        result = start(pytester, "--relucheck-html", "page.html", "--junit-xml=out.xml", *workers)
        result.assert_outcomes(passed=6, failed=2)
        page = (pytester.path / "page.html").read_text(encoding="utf-8")
        seen.append((properties(pytester.path / "out.xml"), section(result.stdout.str()), page))
    serial, parallel = seen
    steps, dead, finding = serial[0]["test_half_dead"]
    assert (steps, dead) == (("relucheck_steps", "4"), ("relucheck_max_dead", "0.6"))
    assert finding[0] == "relucheck"
    assert "RLU601 warning: 12 of 20 units (60%)" in finding[1]
    assert serial[0]["test_no_network"] == serial[0]["test_not_watched"] == []
    assert parallel == serial


def test_the_page_of_a_session(pytester: pytest.Pytester) -> None:
    pytest.importorskip("jinja2")
    pytester.makepyfile(TESTS)
    result = run(pytester, "--relucheck-html", "page.html")
    result.stdout.fnmatch_lines(["* in 6 tests with 24 backward passes", "wrote *page.html"])
    text = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert "6 tests with 24 backward passes in all." in text
    tests = re.findall(
        r'<section class="network" id="test\d+".*?<h2 class="mono">(.*?)</h2>', text, re.DOTALL
    )
    names = ("fails_by_itself", "half_dead", "healthy", "max_dead", "never", "off")
    module = tests[0].partition("::")[0]
    assert tests == [f"{module}::test_{name}" for name in names]
    assert text.count("12 of 20 units (60%)") == 3  # half_dead, never and fails_by_itself
    assert text.count("Sequential: 1 activation, 2 layers") == 6
    assert '<span class="here">' in text  # the source of the finding


def test_a_session_without_networks_has_a_page_too(pytester: pytest.Pytester) -> None:
    pytest.importorskip("jinja2")
    pytester.makepyfile("def test_one():\n    pass\n")
    run(pytester, "--relucheck-html", "page.html").assert_outcomes(passed=1)
    text = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert "No test ran a backward pass" in text


def test_a_page_that_cannot_be_written_is_said_first(pytester: pytest.Pytester) -> None:
    pytest.importorskip("jinja2")
    pytester.makepyfile(TESTS)
    result = run(pytester, "--relucheck-html", "no/such/page.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --relucheck-html *page.html: there is no folder *no/such"])


def test_marks_that_say_nothing_usable(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.relucheck(max_daed=0.2)
        def test_name():
            pass

        @pytest.mark.relucheck(max_dead=20)
        def test_share():
            pass

        @pytest.mark.relucheck(off=["no-such-rule"])
        def test_rule():
            pass
        """
    )
    result = run(pytester, "--relucheck")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["*takes max_dead=0.2*not max_daed", "*from 0 to 1, not 20", "*no-such-rule*"]
    )


def test_exceptions_of_a_test_pass_as_they_are(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest, torch, unittest

        def test_skip():
            pytest.skip("no data")

        @pytest.mark.xfail(raises=RuntimeError, strict=True)
        def test_error():
            torch.nn.Linear(3, 2)(torch.randn(4, 9)).sum().backward()

        class TestOld(unittest.TestCase):
            def test_backward(self):
                torch.nn.Linear(3, 2)(torch.randn(4, 3)).sum().backward()

        def test_fixture(relucheck):
            relucheck.check(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()), [torch.randn(4, 3)])
        """
    )
    result = run(pytester, "--relucheck")
    result.assert_outcomes(passed=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["0 findings in 1 test with 1 backward passes"])


SOURCE = """
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(x).softmax(-1)


def loss(model, x, y):
    return F.cross_entropy(model(x), y)


loss(Net(), 1, 2)
"""


def test_source_files_as_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(network=SOURCE, test_it="def test_one():\n    pass\n")
    result = run(pytester, "--relucheck-lint", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*network.py::relucheck-lint FAILED*", "network.py:*RLU102 error:*"])


def test_a_source_file_that_cannot_be_read_fails_by_itself(pytester: pytest.Pytester) -> None:
    """It passed, and so did every file after it, where one test had failed for all."""
    pytester.makepyfile(aclean="", network=SOURCE)
    pytester.path.joinpath("latin.py").write_bytes(b"s = '\xe9'\n")
    result = run(pytester, "--relucheck-lint", "-v")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["aclean.py::relucheck-lint PASSED*", "latin.py: is not utf-8: byte 0xe9*"])
    result.stdout.fnmatch_lines(["network.py:*RLU102 error:*"])
    result.stdout.no_fnmatch_line("*def findings_in*")


def test_a_source_file_fails_for_what_the_settings_say(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(network=SOURCE)
    pytester.path.joinpath("relucheck.toml").write_text('fail-on = "never"\n')
    run(pytester, "--relucheck-lint").assert_outcomes(passed=1)


def test_settings_that_cannot_be_followed_are_said_in_a_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(network=SOURCE)
    pytester.path.joinpath("relucheck.toml").write_text('fail_on = "never"\n')
    result = run(pytester, "--relucheck-lint")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*relucheck.toml:1: unknown key 'fail_on'*"])
    result.stdout.no_fnmatch_line("*raise UsageProblem*")


def test_linting_imports_no_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        network=SOURCE, test_it="import sys\ndef test_one():\n    assert 'torch' not in sys.modules\n"
    )
    fresh(pytester, "--relucheck-lint").assert_outcomes(passed=2, failed=1)
