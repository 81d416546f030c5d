"""How the gradient changes over the depth of a network; shared by the rules on gradient flow."""

from __future__ import annotations

import math
from collections.abc import Iterator

from relucheck.measurements import Gradient, Measurements

_KINDS = ("linear", "conv", "conv_transpose")
_SHARE = 0.5


def chains(m: Measurements) -> Iterator[list[Gradient]]:
    """The layers of one kind from input to output that can be compared, three or more.

    Only those that no shortcut goes around: on a residual branch a small gradient is no loss, since
    the stream carries it (LayerScale starts branches at 1e-6). Where most layers are on branches,
    those between the stages of a residual network do not compare either.
    """
    if 2 * sum(g.trunk for g in m.gradients) < len(m.gradients):
        return
    for kind in _KINDS:
        chain = [g for g in m.gradients if g.kind == kind and g.trunk and g.elasticity is not None]
        if len(chain) >= 3:
            yield chain


def blocked(m: Measurements) -> bool:
    """A zero weight or a dead layer lets nothing through, which is another finding or none at all.

    Zero-initialised heads and residual branches have a gradient from the second step on.
    """
    zero = any(g.weight_norm == 0 for g in m.gradients)
    dead = any(a.one_sided and a.units > 1 and a.dead == a.units for a in m.activations)
    return m.detached or zero or dead


def fall(chain: list[Gradient]) -> float | None:
    """The smallest over the largest E if the elasticity falls towards the input, else None."""
    return _ratio(chain, towards_input=True)


def growth(chain: list[Gradient]) -> float | None:
    """The largest over the smallest E if the elasticity grows towards the input, else None."""
    ratio = _ratio(chain, towards_input=False)
    return None if ratio is None else (math.inf if ratio == 0 else 1 / ratio)


def _ratio(chain: list[Gradient], *, towards_input: bool) -> float | None:
    """The smallest over the largest E where a line through log E explains at least half of it, in that direction."""
    elasticities = [g.elasticity or 0.0 for g in chain]
    largest = max(elasticities)
    if largest == 0:
        return 0.0 if towards_input else None
    ratio = min(elasticities) / largest
    floor = max(largest * 1e-40, 1e-300)
    logs = [math.log10(max(e, floor)) for e in elasticities]
    rise = slope(logs) * (len(logs) - 1)
    explained = rise if towards_input else -rise
    return ratio if explained >= _SHARE * (max(logs) - min(logs)) > 0 else None


def slope(values: list[float]) -> float:
    """The least-squares slope of values over their position."""
    n = len(values)
    middle, mean = (n - 1) / 2, sum(values) / n
    spread = sum((i - middle) ** 2 for i in range(n))
    return sum((i - middle) * (v - mean) for i, v in enumerate(values)) / spread
