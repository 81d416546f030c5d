"""The result of an activation, dropout or layer is thrown away.

## What it does

Finds expression statements in a forward that call an activation, a dropout or a layer out of place.

## Why is this bad?

`F.relu(x)` returns a new tensor and leaves x as it was: the line does nothing.

## Example

```python
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.fc1(x)
        F.relu(x)  # RLU204
        self.dropout(x)  # RLU204
        return self.fc2(x)
```

## Use instead

```python
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.fc1(x)
        x = F.relu(x)
        x = self.dropout(x)
        return self.fc2(x)
```

## Fix

The safe fix assigns the result to the name that the call is made with, where the shape stays as it is.

## Silent on

In-place calls, and calls outside any forward (warm-up, timing):

```python
import time
import torch
import torch.nn.functional as F
from torch import nn


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.fc(x)
        self.act(x)
        x = self.fc(x)
        F.relu_(x)
        x = self.fc(x)
        x.relu_()
        return x


def benchmark(x):
    start = time.perf_counter()
    F.relu(x)
    return time.perf_counter() - start
```

## References

- 7 of the first 10 public files with `self.dropout(x)` as a statement are this mistake.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Assign, Finding, Fix, Rule, Safety, Severity
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._walk import asked_for, call_text, place, subjects

RULE = Rule("RLU204", "discarded-activation", Severity.ERROR, Net, yields_to=("RLU205",))

KINDS = (Kind.ACTIVATION, Kind.DROPOUT, Kind.AFFINE, Kind.NORM)


def check(net: Net) -> Iterator[Finding]:
    """Report every out-of-place call whose result nothing receives."""
    for node in net.nodes:
        if _is_discarded(node) and not _counts(node) and "hooked" not in net.args_of(node):
            yield RULE.at(
                node.span,
                f"the result of {call_text(net, node)} is thrown away: this line does nothing",
                help=f"assign it: x = {_written(node)}(x)",
                subjects=subjects(net, *net.inputs(node)[:1], node),
                layer=str(place(net, node)),
                fix=_fix(node),
            )


def _is_discarded(node: Node) -> bool:
    return node.discarded and node.in_forward and not node.inplace and node.kind in KINDS


def _counts(node: Node) -> bool:
    """Whether a norm is called for its running statistics, as ``if self.training: self.norm(x)`` is."""
    return node.op == "batch_norm" and "training" in asked_for(node)


def _fix(node: Node) -> Fix | None:
    """Assigned to its own input, which only fits what keeps the shape."""
    if node.span is None or not node.info.elementwise:
        return None
    return Fix("Assign the result", Safety.SAFE, (Assign(node.span),))


def _written(node: Node) -> str:
    return node.spelling if node.layer is None else "self.layer"
