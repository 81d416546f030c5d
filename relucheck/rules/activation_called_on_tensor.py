"""An activation class is called with a tensor: it builds a module and applies nothing.

## What it does

Finds `nn.ReLU(x)`, `nn.Sigmoid(x)` and the like, where the argument is a tensor.

## Why is this bad?

The class takes options such as `inplace`. The call returns a module, not the activated tensor; the next layer fails
with a TypeError, or the module is returned as the prediction.

## Example

```python
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 2)

    def forward(self, x):
        x = nn.ReLU(self.fc1(x))  # RLU205
        return self.fc2(x)
```

## Use instead

```python
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 2)

    def forward(self, x):
        x = nn.ReLU()(self.fc1(x))
        return self.fc2(x)
```

## Fix

The safe fix makes the module first and then calls it: `nn.ReLU()(x)`. Softmax is left alone: its axis is not known.

## Silent on

Classes of the project that carry the same name:

```python
import torch
from torch import nn


class ReLU(torch.autograd.Function):
    def __new__(cls, x):
        return cls.apply(x)


y = ReLU(nn.Linear(8, 8)(torch.randn(2, 8)))
```

## References

- PyTorch: "linear(): argument 'input' must be Tensor, not ReLU".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, Severity, Swap
from relucheck.net import Net, Node
from relucheck.rules._walk import subjects

RULE = Rule("RLU205", "activation-called-on-tensor", Severity.ERROR, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report every activation class that is called with a tensor."""
    for node in net.nodes:
        if node.misused:
            yield RULE.at(
                node.span,
                f"{node.spelling}(x) builds a module and applies nothing: its argument is not the input",
                help=f"write {node.spelling}()(x), or use torch.nn.functional",
                subjects=subjects(net, node),
                fix=_fix(node),
            )


def _fix(node: Node) -> Fix | None:
    """Safe: the program fails or returns a module as it is. Softmax would be left without its axis."""
    if node.span is None or "softm" in node.op:
        return None
    name = node.spelling.rpartition(".")[2]
    return Fix("Make the module first, then call it", Safety.SAFE, (Swap(node.span, name, f"{name}()"),))
