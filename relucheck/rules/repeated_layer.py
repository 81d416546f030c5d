"""One layer stands several times in a container: `[layer] * n` is n times the same weights.

## What it does

Finds `[layer] * n` with a layer that has parameters, in a ModuleList or Sequential. Also
`[layer for _ in range(n)]` and a layer that is appended again, where it is applied to its own output.

## Why is this bad?

The list holds n references to one object. The network looks n layers deep and has the parameters of one.

## Example

```python
from torch import nn


class Encoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim)] * 6)  # RLU509

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return x
```

## Use instead

```python
from torch import nn


class Encoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim) for _ in range(6)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return x
```

## Fix

The unsafe fix makes the layer anew for each place: `[layer(...) for _ in range(n)]`. A layer that is made elsewhere
is left alone.

## Silent on

Modules without parameters, heads that share their weights side by side, and sharing that a flag asks for
(`if shared_weights:`, or an `if` whose other side makes each layer anew):

```python
from torch import nn

acts = nn.ModuleList([nn.ReLU()] * 3)
pool = nn.Sequential(*[nn.MaxPool1d(2)] * 2)
```

## References

- Found in a family of VQ-VAE implementations (`nn.ModuleList([ResidualLayer(...)] * n_res_layers)`).
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Renew, Rule, Safety, Severity
from relucheck.net import ModuleClass

RULE = Rule("RLU509", "repeated-layer", Severity.WARNING, ModuleClass)


def check(cls: ModuleClass) -> Iterator[Finding]:
    """Report every container that holds one layer with parameters several times."""
    for attribute in cls.repeated:
        yield RULE.at(
            attribute.span,
            f"the same {attribute.spelling} stands several times in this container: all share one set of weights",
            help="make a new layer for each place: [make() for _ in range(n)]",
            fix=Fix("Make a new layer for each place", Safety.UNSAFE, (Renew(attribute.span),)),
        )
