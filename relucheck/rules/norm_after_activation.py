"""BatchNorm stands behind the activation instead of between the layer and it.

## What it does

Finds the order affine layer, one-sided activation, BatchNorm.

## Why is this bad?

The usual order is Linear, BatchNorm, ReLU. BatchNorm before ReLU centres the pre-activations, so about half of the
inputs pass every unit and no unit starts dead. Behind ReLU it cannot do that.

## Example

```python
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.ReLU(),
    nn.BatchNorm2d(8),  # RLU503
    nn.Conv2d(8, 8, 3),
    nn.ReLU(),
)
y = net(x)
```

## Use instead

```python
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.Conv2d(8, 8, 3),
    nn.ReLU(),
)
y = net(x)
```

## Fix

The unsafe fix exchanges the two steps.

## Silent on

Pre-activation blocks, whose norm begins the next block:

```python
import torch
from torch import nn


class PreAct(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.bn = nn.BatchNorm2d(c)
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return x + self.conv(torch.relu(self.bn(x)))


net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), PreAct(8), PreAct(8))
y = net(x)
```

## References

- Ioffe, Szegedy, "Batch Normalization", 2015, section 3.2: the transform is added "immediately before the
  nonlinearity".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import exchange

RULE = Rule("RLU503", "norm-after-activation", Severity.ADVICE, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report every BatchNorm directly behind a layer's rectifier."""
    for node in net.nodes:
        if node.op != "batch_norm":
            continue
        rectifier = net.inputs(node)[0]
        if not rectifier.one_sided or not _plain(net, node, rectifier):
            continue
        layer = net.layer_of(node)
        inside = node.args.get("in_container") is True and layer is not None
        yield RULE.at(
            layer.made if inside and layer is not None else node.span,
            f"{net.label(node)} normalises behind {rectifier.op}: it no longer keeps the pre-activations centred",
            help="put the BatchNorm between the layer and the activation",
            related=[here(rectifier.span, f"the {rectifier.op}")],
            fix=exchange(net, rectifier, node, "Put the BatchNorm before the activation"),
        )


def _plain(net: Net, node: Node, rectifier: Node) -> bool:
    """Whether layer, rectifier and norm are one step, and not the end of one block and start of the next."""
    source = net.inputs(rectifier)[0]
    starts_next_block = any(n.one_sided for n in net.consumers(node))
    return (
        source.kind is Kind.AFFINE
        and not starts_next_block
        and len(net.consumers(rectifier)) == 1
        and rectifier.scope == node.scope
    )
