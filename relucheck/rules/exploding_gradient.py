"""The gradient grows towards the input, or from one time step back to the one before.

## What it does
Compares the elasticity `E = norm(dL/dW) * norm(W)` of layers of one kind, as RLU611 does, and warns where it
grows towards the input by more than 10 (SGD) or 100 (Adam-like, and when the optimiser is not known). In
a recurrent layer, compares `norm(dL/dh_t)` of the first time step with that of the last.

## Why is this bad?
One learning rate cannot suit all layers: steps that move the last layer throw the first ones away.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.RNN(8, 8, nonlinearity="relu", batch_first=True, bias=False)
with torch.no_grad():
    model.weight_hh_l0.copy_(1.5 * torch.eye(8))
    model.weight_ih_l0.copy_(torch.eye(8))
batches = [torch.randn(32, 20, 8)]


def last_step(output):
    return output[0][:, -1].sum()


loss_fn = last_step
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.RNN(8, 8, nonlinearity="relu", batch_first=True, bias=False)
with torch.no_grad():
    model.weight_hh_l0.copy_(torch.eye(8))
    model.weight_ih_l0.copy_(torch.eye(8))
batches = [torch.randn(32, 20, 8)]


def last_step(output):
    return output[0][:, -1].sum()


loss_fn = last_step
```
Clip the gradient norm, initialise recurrent weights as an identity or orthogonal matrix, or use an LSTM.

## Silent on
The size of the gradient by itself, which moves with the loss's scale; frozen layers; the growth by 1.21 a
layer that BatchNorm brings with it.

## References
Pascanu, Mikolov, Bengio 2013 (arXiv 1211.5063); Le, Jaitly, Hinton 2015 (arXiv 1504.00941).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Gradient, Measurements
from relucheck.ops import ADAM_LIKE

from . import _flow

RULE = Rule("RLU612", "exploding-gradient", Severity.WARNING, Measurements)


# Each BatchNorm with ReLU lets the gradient grow by sqrt(pi / (pi - 1)) at initialisation by itself
# (Yang et al. 2019, arXiv 1902.08129; measured 1.469 in mean square), and the net trains.
BATCH_NORM_GROWTH = math.sqrt(math.pi / (math.pi - 1))


def _bound(optimiser: str) -> float:
    """The same distances as for vanishing gradients, upwards (theory, section 2)."""
    return 100.0 if not optimiser or optimiser in ADAM_LIKE else 10.0


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding over depth, and one for each recurrent layer."""
    if m.non_finite is not None or _flow.blocked(m):
        return
    yield from _over_depth(m)
    seen: set[str] = set()
    for gradient in m.gradients:
        grown = _over_time(gradient)
        if grown > _bound(m.optimiser) and gradient.name.rpartition(".")[0] not in seen:
            seen.add(gradient.name.rpartition(".")[0])
            yield RULE.at(gradient.span, _time_message(gradient, grown), help=_HELP, layer=gradient.name)


_HELP = "clip the gradient norm, use an orthogonal or identity initialisation, or an LSTM or GRU"


def _over_depth(m: Measurements) -> Iterator[Finding]:
    bound = _bound(m.optimiser) * BATCH_NORM_GROWTH**m.batch_norms
    for chain in _flow.chains(m):
        grown = _flow.growth(chain)
        if grown is not None and grown > bound:
            first = max(chain, key=lambda g: g.elasticity or 0.0)
            last = min(chain, key=lambda g: g.elasticity or 0.0)
            message = (
                f"the gradient explodes towards the input: '{first.name}' has {grown:.1e} times the "
                f"elasticity norm(dL/dW)*norm(W) of '{last.name}'"
            )
            help_ = "use smaller initial weights (He or Xavier), normalisation, or residual connections"
            yield RULE.at(first.span, message, help=help_, layer=first.name)
            return


def _over_time(gradient: Gradient) -> float:
    steps = [s for s in gradient.steps if s > 0]
    return steps[0] / steps[-1] if len(steps) > 1 else 0.0


def _time_message(gradient: Gradient, grown: float) -> str:
    return (
        f"the gradient explodes over time: {grown:.1e} times as large at the first of "
        f"{len(gradient.steps)} steps as at the last in '{gradient.name}'"
    )
