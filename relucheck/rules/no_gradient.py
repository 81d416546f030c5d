"""A trainable parameter that the loss does not depend on.

## What it does
Lists the parameters with `requires_grad=True` that no batch gives a gradient: layers that forward never
applies, or whose result is cut off by `detach`, `no_grad` or `.item()`.

## Why is this bad?
They are stored, saved and handed to the optimiser, and never learn.

## Example
```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(8, 3)
        self.forgotten = nn.Linear(8, 3)

    def forward(self, x):
        return self.used(x)


model = Net()
batches = [torch.randn(64, 8)]
```

## Use instead
```python
import torch
from torch import nn

model = nn.Linear(8, 3)
batches = [torch.randn(64, 8)]
```
Apply the layer, remove it, or say that it is frozen: `layer.requires_grad_(False)`.

## Silent on
Frozen parameters; gradients that are zero (a zero-initialised head); parameters that some batch reaches.

## References
`torch.autograd.grad(..., allow_unused=True)`; DistributedDataParallel's `find_unused_parameters`.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Measurements

RULE = Rule("RLU613", "no-gradient", Severity.WARNING, Measurements)


def check(m: Measurements) -> Iterator[Finding]:
    """One finding for the whole network where the loss is cut off, else one for each layer."""
    if m.detached:
        yield RULE.at(
            None,
            "the loss does not depend on any parameter: no layer receives a gradient",
            severity=Severity.ERROR,
            help="look for detach(), no_grad(), .item(), .data or a tensor made anew on the way to the loss",
        )
        return
    layers: dict[str, list[str]] = {}
    for parameter in m.unreached:
        layer, _, name = parameter.rpartition(".")
        layers.setdefault(layer, []).append(name)
    for layer, names in layers.items():
        yield _finding(m, layer, names)


def _finding(m: Measurements, layer: str, names: list[str]) -> Finding:
    span = next((g.span for g in m.gradients if g.name == layer), None)
    what = f"'{layer}'" if layer else "the network"
    return RULE.at(
        span,
        f"{', '.join(names)} of {what} received no gradient from any of {m.batches} batches",
        help="apply the layer, remove it, or freeze it with requires_grad_(False)",
        layer=layer,
    )
