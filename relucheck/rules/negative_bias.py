"""The bias of a layer before ReLU starts at a large negative constant: its units start dead.

## What it does

Finds biases that are set to a constant of -0.5 or less on a layer that a one-sided activation follows.

## Why is this bad?

A unit whose pre-activation is negative for all inputs gives zero and gets no gradient, so it cannot recover.

## Example

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.out = nn.Linear(64, 1)
        nn.init.constant_(self.fc1.bias, -1.0)  # RLU403

    def forward(self, x):
        return self.out(torch.relu(self.fc1(x)))
```

## Use instead

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.out = nn.Linear(64, 1)
        nn.init.zeros_(self.fc1.bias)

    def forward(self, x):
        return self.out(torch.relu(self.fc1(x)))
```

## Fix

The unsafe fix starts the bias at 0.

## Silent on

Output layers (the prior of a focal loss) and gates:

```python
import torch
from torch import nn


class Highway(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gate = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, 2)
        self.gate.bias.data.fill_(-2.0)
        nn.init.constant_(self.out.bias, -4.6)

    def forward(self, x):
        return self.out(x * torch.sigmoid(self.gate(x)))
```

## References

- Lu, Shin, Su, Karniadakis, "Dying ReLU and Initialization", 2020: units whose bias outweighs their input are
  born dead.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Recall, Rule, Safety, Severity, here
from relucheck.net import Init, Net, Node
from relucheck.ops import Kind

RULE = Rule("RLU403", "negative-bias", Severity.WARNING, Net)

# nn.Linear starts with |bias| <= 1/sqrt(fan_in); half a unit is far outside for any usual width.
LARGE = -0.5


def check(net: Net) -> Iterator[Finding]:
    """Report every large negative bias in front of a one-sided activation."""
    last = {(init.layer, init.tensor): init for init in net.inits}
    for init in net.inits:
        value = _constant(init)
        if value is None or value > LARGE or init.maybe or not init.tensor.startswith("bias"):
            continue
        if last[(init.layer, init.tensor)] is not init or _has_written_weight(net, init.layer):
            continue
        after = _rectifier_after(net, init.layer)
        if after is None:
            continue
        layer = net.layers[init.layer]
        yield RULE.at(
            init.span,
            f"the bias of {layer.name or layer.spelling} starts at {value:g} before {after.op}: "
            "most of its units start dead",
            help="start the bias at 0 or a small positive number",
            related=[here(layer.made, "the layer"), here(after.span, f"the {after.op} that it feeds")],
            layer=layer.name,
            fix=_fix(net, init),
        )


def _has_written_weight(net: Net, layer: int) -> bool:
    """Whether the weight is a tensor that somebody wrote, and the bias a threshold that belongs to it."""
    return any(i.function == "assigned" and i.tensor == "weight" for i in net.inits if i.layer == layer)


def _fix(net: Net, init: Init) -> Fix | None:
    """Zeros, where the same call sets biases alone."""
    alike = [other for other in net.inits if other.span == init.span]
    if init.span is None or init.replaced or any(not other.tensor.startswith("bias") for other in alike):
        return None
    return Fix("Start the bias at 0", Safety.UNSAFE, (Recall(init.span, "nn.init.zeros_"),))


def _constant(init: Init) -> float | None:
    value = init.args.get("val")
    return float(value) if init.function == "constant_" and isinstance(value, int | float) else None


def _rectifier_after(net: Net, layer: int) -> Node | None:
    """The one-sided activation directly behind every use of a layer."""
    found: Node | None = None
    for node in net.nodes:
        if node.layer != layer:
            continue
        readers = net.consumers(node)
        while len(readers) == 1 and readers[0].kind is Kind.DROPOUT:
            readers = net.consumers(readers[0])
        if len(readers) != 1 or not readers[0].one_sided:
            return None
        found = readers[0]
    return found
