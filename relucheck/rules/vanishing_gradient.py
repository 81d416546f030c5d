"""The gradient falls towards the input until the first layers no longer learn.

## What it does
Compares the elasticity of the layers of one kind, `E = norm(dL/dW) * norm(W)`, from input to output. It
is how much the loss reacts to a relative change of a layer's weights, and no rescaling of ReLU layers
changes it. Warns where the smallest is less than 1/10 of the largest (SGD) or 1/100 (Adam-like
optimisers, and when the optimiser is not known), error below 1/10000, if E falls towards the input.

Where the signal shrinks forward as fast as the gradient does backward, E is the same in all layers, however small. So
it warns, too, where no weight has a gradient with a norm above 1e-9 though dL/dz at the last layer's output is more
than 10,000 times as large: every entry of every gradient is then lost in the epsilon of Adam, 1e-8.

## Why is this bad?
The first layers stay as they were initialised. Over 38 networks measured, all 14 below 1/10 failed
under SGD, while Adam trained some down to 1/10000. Of 40 trainings with Adam that began with gradients
below 1e-9, 37 stayed at an accuracy of 0.19 or less; three, of ReLU with biases, came to 0.5 to 0.65 (He: 0.90).

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
layers = [nn.Linear(16, 16), nn.Sigmoid()] * 0
for _ in range(8):
    layers += [nn.Linear(16, 16), nn.Sigmoid()]
model = nn.Sequential(*layers, nn.Linear(16, 4))
batches = [torch.randn(64, 16)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
layers = []
for _ in range(8):
    linear = nn.Linear(16, 16)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    layers += [linear, nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(16, 4))
batches = [torch.randn(64, 16)]
```
Use ReLU with He initialisation, normalisation, or residual connections. GELU and SiLU do not cure it.

## Silent on
Small dL/dz alone, which scaling the layers changes; gradients that are small because the loss is, as in a fitted
network; an E that is equally small in all layers but above that floor, where it depends on the optimiser and its
rate whether the network learns; frozen layers; layers whose gradient is exactly zero behind a zero-initialised head
or branch, or behind a dead layer (RLU602); biases and norms.

## References
Glorot and Bengio 2010; He et al. 2015 (arXiv 1502.01852). AUTOTRAINER's 1e-3 lies in the same gap. Kingma and Ba
2015 (arXiv 1412.6980), algorithm 1: epsilon.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Gradient, Measurements
from relucheck.ops import ADAM_LIKE

from . import _flow

RULE = Rule("RLU611", "vanishing-gradient", Severity.WARNING, Measurements)

# log10(min E / max E) against success in 38 trainings (theory, section 2): SGD fails below 1e-1,
# Adam below 1e-2 now and then, everything below 1e-4.
SGD_BOUND, ADAM_BOUND, ERROR_BOUND = 1e-1, 1e-2, 1e-4


FLOOR = 1e-9
"""A tenth of the epsilon of Adam (Kingma and Ba 2015): with a gradient of smaller norm no entry moves by a tenth of
the learning rate in a step. Not invariant under scaling, as E is, since epsilon and the loss are not."""

ARRIVES = 1e4
"""How many times the largest norm(dL/dW) arrives at the last layer's output: it is not the loss that is small."""


def bound_of(optimiser: str) -> float:
    """The smallest healthy min/max for an optimiser; the milder one where it is not known."""
    return ADAM_BOUND if not optimiser or optimiser in ADAM_LIKE else SGD_BOUND


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding, at the layer with the smallest elasticity, or the first where all have none to speak of."""
    if m.non_finite is not None or _flow.blocked(m):
        return
    lost = below_floor(m)
    if lost:
        yield RULE.at(lost[0].span, _nowhere(lost), help=_HELP, layer=lost[0].name)
        return
    for chain in _flow.chains(m):
        ratio = _flow.fall(chain)
        if ratio is not None and ratio < bound_of(m.optimiser):
            severity = Severity.ERROR if ratio < ERROR_BOUND else Severity.WARNING
            first = min(chain, key=lambda g: g.elasticity or 0.0)
            yield RULE.at(
                first.span, _message(chain, first, ratio), severity=severity, help=_HELP, layer=first.name
            )
            return


def below_floor(m: Measurements) -> list[Gradient]:
    """All layers with a gradient, where those are below the floor though the loss sends enough; else none."""
    layers = [g for g in m.gradients if g.norm is not None and not g.frozen]
    arriving = next((g.rms for g in reversed(m.gradients) if g.rms is not None), 0.0)
    largest = max((g.norm or 0.0 for g in layers), default=0.0)
    lost = len(layers) >= 3 and 0 < largest < FLOOR and arriving > ARRIVES * largest
    return layers if lost else []


def _nowhere(layers: list[Gradient]) -> str:
    largest = max(layers, key=lambda g: g.norm or 0.0)
    return (
        f"no layer has a gradient to learn from: the largest norm(dL/dW) is {largest.norm:.1e}, at '{largest.name}', "
        "since signal and gradient both vanish on their way"
    )


_HELP = "use ReLU with He initialisation, normalisation layers, or residual connections"


def _message(chain: list[Gradient], first: Gradient, ratio: float) -> str:
    last = max(chain, key=lambda g: g.elasticity or 0.0)
    how = f"{ratio:.1e} times" if ratio else "0 times"
    return (
        f"the gradient vanishes towards the input: '{first.name}' has {how} the elasticity "
        f"norm(dL/dW)*norm(W) of '{last.name}'"
    )
