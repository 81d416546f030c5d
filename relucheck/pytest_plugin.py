"""The pytest plugin: the ``relucheck`` fixture, and the options that watch and lint.

```python
def test_network_is_healthy(relucheck):
    relucheck.check(Net(), batches, loss_fn=nn.CrossEntropyLoss(), max_dead=0.2)
```

``pytest --relucheck`` watches the backward passes of all tests (``pytest_watching``), and
``--relucheck-lint`` makes every source file a test (``pytest_lint``). pytest imports this module in
every run, so it imports neither torch nor libcst: what nobody asks for costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from relucheck.config import FAIL_ON, check_fail_on
from relucheck.problems import UsageProblem

if TYPE_CHECKING:
    from relucheck.live import Report
    from relucheck.measurements import Activation

_NEVER = "never"


_MARKER = (
    "relucheck(max_dead=None, off=(), fail_on=None): with --relucheck, the largest share of silent units "
    "that a layer may have in this test, the rules that do not hold for it (off=True: it is not watched), "
    "and the severity from which a finding fails it"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and the settings of the ini file."""
    group = parser.getgroup("relucheck", "activations and gradient flow of PyTorch networks")
    group.addoption("--relucheck", action="store_true", help="watch the backward passes of all tests")
    group.addoption(
        "--relucheck-fail-on",
        choices=FAIL_ON,
        default=None,
        help="fail a test with a finding of that severity or above (default: never, findings are only shown)",
    )
    group.addoption(
        "--relucheck-html", metavar="FILE", help="watch, and write what the tests showed as one HTML page"
    )
    group.addoption("--relucheck-lint", action="store_true", help="lint the collected Python files as tests")
    parser.addini("relucheck", "true: as --relucheck", "bool", False)
    parser.addini("relucheck_fail_on", "as --relucheck-fail-on", "string", "never")
    parser.addini("relucheck_html", "as --relucheck-html", "string", "")
    parser.addini("relucheck_select", "rules to show in watched tests: codes, RLU6, ALL", "args", [])
    parser.addini("relucheck_ignore", "rules to hide in watched tests", "args", [])


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and what the options ask for."""
    config.addinivalue_line("markers", _MARKER)
    page = config.getoption("relucheck_html") or config.getini("relucheck_html")
    if config.getoption("relucheck") or config.getini("relucheck") or page:
        from relucheck.pytest_watching import Watching

        config.pluginmanager.register(Watching.of(config, page), "relucheck-watching")
    if config.getoption("relucheck_lint"):
        from relucheck.pytest_lint import Linting

        config.pluginmanager.register(Linting(), "relucheck-linting")


@dataclass(frozen=True, slots=True)
class Checker:
    """What the fixture hands to a test."""

    def probe(self, model: Any, batches: Any, loss_fn: Any = None, **options: Any) -> Report:
        """The report of ``relucheck.probe`` with the same arguments; asserts nothing."""
        __tracebackhide__ = True
        from relucheck.live import ProbeError, probe

        try:
            return probe(model, batches, loss_fn, **options)
        except ProbeError as error:  # its own frames say nothing to the author of the test
            raise error.with_traceback(None) from error.__cause__

    def check(
        self,
        model: Any,
        batches: Any,
        loss_fn: Any = None,
        *,
        max_dead: float | None = None,
        fail_on: str = "warning",
        ignore: str | Sequence[str] = (),
        **options: Any,
    ) -> Report:
        """Fails the test where a finding is at or above ``fail_on``, and returns the report.

        ``max_dead`` is the share of silent units that any layer may have, in place of the levels of
        RLU601. ``ignore`` are codes or names of rules, or beginnings of codes. Other options are those of
        ``relucheck.probe``. Raises ValueError for a share, a severity or a rule that there is not.
        """
        __tracebackhide__ = True
        check_share(max_dead)
        check_fail_on(fail_on)
        ignored = _rules(ignore)
        report = self.probe(model, batches, loss_fn, **options)
        report = _without(report, ignored if max_dead is None else (*ignored, "RLU601"))
        report.raise_if_unhealthy(fail_on)
        if max_dead is not None and fail_on != _NEVER:
            _assert_alive(report, max_dead)
        return report


def check_share(max_dead: float | None) -> None:
    """Raises ValueError where a largest share of silent units is no share."""
    __tracebackhide__ = True
    if max_dead is not None and not 0 <= max_dead <= 1:
        raise ValueError(f"max_dead is a share of a layer's units, from 0 to 1, not {max_dead}")


def _rules(ignore: str | Sequence[str]) -> tuple[str, ...]:
    """The selectors of rules; raises ValueError, naming the nearest, for unknown ones."""
    __tracebackhide__ = True
    from relucheck.chosen import chosen

    try:
        return chosen((ignore,) if isinstance(ignore, str) else ignore, "ignore")
    except UsageProblem as problem:
        raise ValueError(str(problem)) from None


def _without(report: Report, ignore: tuple[str, ...]) -> Report:
    from relucheck.selection import ALL, Selection

    shown = Selection(select=(ALL,), ignore=ignore)
    return replace(report, findings=tuple(f for f in report.findings if shown.shows(f)))


def _assert_alive(report: Report, max_dead: float) -> None:
    __tracebackhide__ = True
    complaint = too_silent(report.activations, max_dead)
    if complaint:
        raise AssertionError(f"{complaint}\n\n{without_verdict(report.table())}")


def without_verdict(table: str) -> str:
    """A table without its last line that nothing was found, where a demand of the test is not met."""
    return table.removesuffix("No mistakes found.").rstrip()


def too_silent(activations: Sequence[Activation], max_dead: float) -> str:
    """What to say about the layers with a larger share of silent units than allowed; empty for none."""
    lines = [
        f"'{s.name}': {s.dead} of {s.units} units are silent ({s.dead_share:.0%}, allowed {max_dead:.0%}) on "
        f"all {s.samples} samples, units {', '.join(map(str, s.dead_units[:8]))}{', ...' if s.dead > 8 else ''}"
        for s in activations
        if s.one_sided and s.dead_share > max_dead
    ]
    remedy = (
        "lower the learning rate, or use BatchNorm, He initialisation or an activation with a slope on both "
        "sides (LeakyReLU, PReLU, ELU, GELU)"
    )
    return "\n".join([*lines, f"    {remedy}"]) if lines else ""


@pytest.fixture
def relucheck() -> Checker:
    """Checks networks on real passes: ``relucheck.check(model, batches, loss_fn=...)``."""
    return Checker()
