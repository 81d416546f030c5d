"""The gradient falls towards the input until the first layers no longer learn.

## What it does
Compares the elasticity of the layers of one kind, `E = norm(dL/dW) * norm(W)`, from input to output. It
is how much the loss reacts to a relative change of a layer's weights, and no rescaling of ReLU layers
changes it. Warns where the smallest is less than 1/10 of the largest (SGD) or 1/100 (Adam-like
optimisers, and when the optimiser is not known), error below 1/10000, if E falls towards the input.

## Why is this bad?
The first layers stay as they were initialised. Over 38 networks measured, all 14 below 1/10 failed
under SGD, while Adam trained some down to 1/10000.

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
Small dL/dz alone, which scaling the layers changes; frozen layers; layers whose gradient is exactly zero
behind a zero-initialised head or branch, or behind a dead layer (RLU602); biases and norms.

## References
Glorot and Bengio 2010; He et al. 2015 (arXiv 1502.01852). AUTOTRAINER's 1e-3 lies in the same gap.
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


def bound_of(optimiser: str) -> float:
    """The smallest healthy min/max for an optimiser; the milder one where it is not known."""
    return ADAM_BOUND if not optimiser or optimiser in ADAM_LIKE else SGD_BOUND


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding, at the layer with the smallest elasticity."""
    if m.non_finite is not None or _flow.blocked(m):
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


_HELP = "use ReLU with He initialisation, normalisation layers, or residual connections"


def _message(chain: list[Gradient], first: Gradient, ratio: float) -> str:
    last = max(chain, key=lambda g: g.elasticity or 0.0)
    how = f"{ratio:.1e} times" if ratio else "0 times"
    return (
        f"the gradient vanishes towards the input: '{first.name}' has {how} the elasticity "
        f"norm(dL/dW)*norm(W) of '{last.name}'"
    )
