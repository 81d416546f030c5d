"""A network of several layers that computes one affine map.

## What it does
Takes the vector-Jacobian product of the network at probes of 1, 10 and 100 times the spread of the data.
If it is the same everywhere the network is affine, whatever its code looks like. For a chain of
`nn.Linear` it names the one layer that does the same and how far that layer's outputs are off.

## Why is this bad?
All layers but one are wasted: `W2 (W1 x + b1) + b2` is `W x + b`.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.Dropout(), nn.Linear(32, 3))
batches = [torch.randn(64, 8)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 3))
batches = [torch.randn(64, 8)]
```

## Silent on
A single layer (linear and logistic regression); networks with integer or sparse inputs; a PReLU that starts with
slope 1 and learns to bend.

## References
Theory D6: the test `f(x) + f(y) - f(x+y) - f(0)` fails on 50 affine layers in float32 by cancellation,
the product is constant to the last bit over 100 layers.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Affine, Measurements, Verdict

RULE = Rule("RLU621", "affine-network", Severity.ERROR, Measurements)


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding, at the last affine layer."""
    affine = m.affine
    if m.non_finite is not None or len(affine.layers) < 2 or affine.learns:
        return
    if affine.verdict is Verdict.AFFINE:
        yield RULE.at(affine.span, _message(affine), help=_HELP, layer=affine.layers[-1])
    elif affine.verdict is Verdict.CONSTANT:
        yield RULE.at(
            affine.span, "the output of the network does not depend on its input at all", help=_HELP
        )


_HELP = "put an activation between the layers"


def _message(affine: Affine) -> str:
    names = ", ".join(f"'{name}'" for name in affine.layers[:4]) + (", ..." if len(affine.layers) > 4 else "")
    same = ""
    if affine.equivalent and affine.difference is not None:
        same = (
            f"; one {affine.equivalent} does the same (largest relative difference {affine.difference:.1e})"
        )
    return f"the network is affine: its {len(affine.layers)} layers {names} amount to one{same}"
