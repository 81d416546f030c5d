"""Units that sit on a plateau of their activation, where hardly any gradient passes.

## What it does
Counts the units whose slope is below 5 % of the largest slope, on at least 95 % of the samples: beyond
|z| = 4.36 for sigmoid (0.987 of its range), beyond |z| = 2.18 for tanh (|t| = 0.975), above the upper bound
of ReLU6 and Hardtanh, below -3 for GELU. Speaks from half of a layer's units and 299 samples on.

## Why is this bad?
The gradient through such a unit is a twentieth of what it could be, and products of twentieths vanish.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
with torch.no_grad():
    model[0].weight.mul_(100.0)
    model[0].bias.fill_(60.0)
batches = [torch.randn(100, 8) * 0.1 for _ in range(3)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
batches = [torch.randn(100, 8) * 0.1 for _ in range(3)]
```
Use smaller weights (Xavier initialisation with the gain of the activation), normalised inputs, or
normalisation before the activation.

## Silent on
Gates of LSTM and GRU; the sigmoid or tanh at the output, which a trained network drives to its ends.

## References
Glorot and Bengio 2010. Karpathy, makemore part 3, calls tanh saturated from |t| > 0.97.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Measurements

RULE = Rule("RLU604", "saturated-units", Severity.WARNING, Measurements)

SHARE = 0.5  # of a layer's units, as TheDeepChecker's saturation rule


def check(m: Measurements) -> Iterator[Finding]:
    """One finding for each site with many saturated units."""
    if m.non_finite is not None:
        return
    for site in m.activations:
        if site.units and site.saturated / site.units >= SHARE and not site.undetermined and not site.last:
            yield RULE.at(
                site.span,
                f"{site.saturated} of {site.units} units of '{site.name}' are saturated: the slope of "
                f"{site.function} is below 5 % of its largest on at least 95 % of {site.samples} samples",
                help="use smaller initial weights, normalised inputs, or normalisation before the activation",
                layer=site.name,
            )
