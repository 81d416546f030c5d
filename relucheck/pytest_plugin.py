"""The ``relucheck`` fixture: a test that a network's activations and gradients are healthy.

```python
def test_network_is_healthy(relucheck):
    relucheck.check(Net(), batches, loss_fn=nn.CrossEntropyLoss(), max_dead=0.2)
```

pytest imports this module in every run, so it imports neither torch nor libcst: a fixture that no
test asks for costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from relucheck.live import Report

_NEVER = "never"


@dataclass(frozen=True, slots=True)
class Checker:
    """What the fixture hands to a test."""

    def probe(self, model: Any, batches: Any, loss_fn: Any = None, **options: Any) -> Report:
        """The report of ``relucheck.probe`` with the same arguments; asserts nothing."""
        from relucheck.live import probe

        return probe(model, batches, loss_fn, **options)

    def check(
        self,
        model: Any,
        batches: Any,
        loss_fn: Any = None,
        *,
        max_dead: float | None = None,
        fail_on: str = "warning",
        ignore: Sequence[str] = (),
        **options: Any,
    ) -> Report:
        """Fails the test where a finding is at or above ``fail_on``, and returns the report.

        ``max_dead`` is the share of silent units that any layer may have, in place of the levels of
        RLU601. ``ignore`` are codes or names of rules. Other options are those of ``relucheck.probe``.
        """
        __tracebackhide__ = True
        if max_dead is not None and not 0 <= max_dead <= 1:
            raise ValueError(f"max_dead is a share of a layer's units, from 0 to 1, not {max_dead}")
        report = self.probe(model, batches, loss_fn, **options)
        report = _without(report, ignore if max_dead is None else (*ignore, "RLU601"))
        report.raise_if_unhealthy(fail_on)
        if max_dead is not None and fail_on != _NEVER:
            _assert_alive(report, max_dead)
        return report


def _without(report: Report, ignore: Sequence[str]) -> Report:
    kept = tuple(f for f in report.findings if f.code not in ignore and f.name not in ignore)
    return replace(report, findings=kept)


def _assert_alive(report: Report, max_dead: float) -> None:
    __tracebackhide__ = True
    worst = [site for site in report.activations if site.one_sided and site.dead_share > max_dead]
    if not worst:
        return
    lines = [
        f"'{s.name}': {s.dead} of {s.units} units are silent ({s.dead_share:.0%}, allowed {max_dead:.0%}), "
        f"units {', '.join(map(str, s.dead_units[:8]))}{', ...' if s.dead > 8 else ''}"
        for s in worst
    ]
    remedy = (
        "lower the learning rate, or use BatchNorm, He initialisation or an activation with a slope on both "
        "sides (LeakyReLU, PReLU, ELU, GELU)"
    )
    raise AssertionError("\n".join([*lines, f"    {remedy}", "", report.table()]))


@pytest.fixture
def relucheck() -> Checker:
    """Checks networks on real passes: ``relucheck.check(model, batches, loss_fn=...)``."""
    return Checker()
