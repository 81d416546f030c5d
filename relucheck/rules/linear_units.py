"""Units that are always on, so that their activation is the identity.

## What it does
Counts the units of a ReLU-like activation that are in its linear range at every position of every
sample. Speaks from half of a layer's units and 299 samples on.

## Why is this bad?
On such a unit the activation does nothing; it adds no non-linearity. A few are normal (a unit may
carry a value through); most of a layer means that the layer is nearly affine.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
with torch.no_grad():
    model[0].bias[:24] = 25.0
batches = [torch.randn(100, 8) for _ in range(3)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
batches = [torch.randn(100, 8) for _ in range(3)]
```
Normalise the inputs, use normalisation before the activation, or a smaller bias.

## Silent on
Layers that are affine as a whole (RLU602); fewer than 299 samples; outputs.

## References
Identity in the identity-preserving sense of Le, Jaitly, Hinton 2015 (arXiv 1504.00941) is intended there.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Measurements

RULE = Rule("RLU603", "linear-units", Severity.ADVICE, Measurements, yields_to=("RLU602",))

SHARE = 0.5  # as for silent units: below half a layer there is no measured harm
COLLAPSED = 0.95


def check(m: Measurements) -> Iterator[Finding]:
    """One finding for each site with many always-on units."""
    if m.non_finite is not None:
        return
    for site in m.activations:
        share = site.linear / site.units if site.units else 0.0
        if share >= SHARE and not site.undetermined and not site.last and site.collapsed_share < COLLAPSED:
            yield RULE.at(
                site.span,
                f"{site.linear} of {site.units} units of '{site.name}' are always on over all "
                f"{site.samples} samples: {site.function} is the identity on them",
                help="normalise the inputs, or put normalisation before the activation",
                layer=site.name,
            )
