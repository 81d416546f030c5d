"""Weight decay pulls the learned slopes of PReLU towards zero.

## What it does

Finds optimisers with an explicit `weight_decay` above 0 over all parameters of a model that holds `nn.PReLU`.

## Why is this bad?

Weight decay on the slope drives it to 0, and PReLU becomes ReLU: the reason for using it is gone. He et al. do not
decay it for that reason.

## Example

```python
import torch
from torch import nn

net = nn.Sequential(nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)  # RLU407
```

## Use instead

```python
import torch
from torch import nn

net = nn.Sequential(nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 1))
slopes = [p for m in net.modules() if isinstance(m, nn.PReLU) for p in m.parameters()]
others = [p for m in net.modules() if isinstance(m, nn.Linear) for p in m.parameters()]
optimizer = torch.optim.AdamW(
    [{"params": others, "weight_decay": 0.05}, {"params": slopes, "weight_decay": 0.0}], lr=1e-3
)
```

## Silent on

Parameter groups, and the default that the code does not name:

```python
import torch
from torch import nn

net = nn.Sequential(nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
```

## References

- He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, section 2.1: "we do not use weight decay when
  updating a_i".
- PyTorch documentation, `torch.nn.PReLU`: "weight decay should not be used when learning a for good performance".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity, here
from relucheck.net import Net, Optimiser

RULE = Rule("RLU407", "prelu-weight-decay", Severity.ADVICE, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report every optimiser that decays the slopes of PReLU layers."""
    for optimiser in net.optimisers:
        slopes = [net.layers[i] for i in optimiser.layers if net.layers[i].op == "prelu"]
        if slopes and _decays(optimiser):
            yield RULE.at(
                optimiser.span,
                f"weight_decay={optimiser.args['weight_decay']} also pulls the slopes of {len(slopes)} PReLU "
                f"{'layer' if len(slopes) == 1 else 'layers'} towards zero",
                help="put the PReLU parameters in a group with weight_decay=0",
                related=[here(layer.made, f"{layer.name or 'PReLU'} is made here") for layer in slopes[:3]],
            )


def _decays(optimiser: Optimiser) -> bool:
    decay = optimiser.args.get("weight_decay")
    named = "weight_decay" in optimiser.explicit and optimiser.all_parameters
    return named and isinstance(decay, int | float) and decay > 0
