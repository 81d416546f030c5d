"""A ReLU feeds sigmoid, softmax or tanh directly: half of the squash cannot be reached.

## What it does

Finds one-sided activations (ReLU, ReLU6, clamp(min=0), however spelled) whose result goes straight into sigmoid,
softmax, log_softmax or tanh.

## Why is this bad?

`sigmoid(relu(x))` is never below 0.5 and `tanh(relu(x))` never negative. In a classifier, classes whose score is
negative for all samples get no gradient and can never be learned again: accuracy .99 falls to .80 on average with
Adam, and 9 of 10 seeds lose at least one class.

## Example

```python
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))  # RLU106
        return F.log_softmax(x, dim=1)
```

## Use instead

```python
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 50)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)
```

## Fix

The unsafe fix removes the rectifier.

## Silent on

Arithmetic, normalisation or a layer in between, and the adaptive adjacency of graph networks, which is computed from
parameters alone:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.randn(9, 4))
        self.b = nn.Parameter(torch.randn(4, 9))
        self.fc = nn.Linear(9, 9)
        self.norm = nn.LayerNorm(9)

    def forward(self, x):
        adjacency = F.softmax(F.relu(torch.mm(self.a, self.b)), dim=1)
        gate = torch.sigmoid(F.relu(self.fc(x)) - 1.0)
        return adjacency @ (gate * torch.tanh(self.norm(F.relu(self.fc(x)))))
```

## References

- 10 of the first 10 public files with `F.relu(self.fc3(x))` before `F.log_softmax` are copies of one old example.
- Wu et al., "Graph WaveNet", 2019, eq. 5 (the adaptive adjacency matrix).
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity, here
from relucheck.net import Net, Node
from relucheck.rules._fix import removal
from relucheck.rules._walk import (
    all_are,
    call_text,
    depends_on_data,
    evidence,
    input_origins,
    is_dropout,
    is_of_no_network,
    place,
    subjects,
)

RULE = Rule("RLU106", "relu-before-squash", Severity.ERROR, Net, yields_to=("RLU204", "RLU205"))

EFFECTS = {
    "sigmoid": "the result is never below 0.5",
    "tanh": "the result is never negative",
    "softmax": "all negative scores count the same and get no gradient",
    "log_softmax": "all negative scores count the same and get no gradient",
}


def check(net: Net) -> Iterator[Finding]:
    """Report every rectifier in front of a squash."""
    for node in net.nodes:
        if node.op not in EFFECTS:
            continue
        sources = input_origins(net, node, is_dropout)
        if all_are(sources, lambda n: n.one_sided) and not any(_is_meant(net, node, n) for n in sources):
            yield from (_finding(net, node, source) for source in sources)


def _is_meant(net: Net, squash: Node, source: Node) -> bool:
    """Whether no scores of a network are squashed: the weights of a graph, an attention map, plain numbers."""
    plain = is_of_no_network(net, net.inputs(source)[0])
    return plain or _is_graph(net, squash, source) or _is_over_positions(net, squash, source)


def _is_over_positions(net: Net, squash: Node, source: Node) -> bool:
    """Whether the activations of a feature map compete over its positions: a spatial softmax.

    Levine et al. 2016, section 4.1, for keypoints; Shu et al. 2021, eq. 4, for distillation.
    """
    dim, steps = net.args_of(squash).get("dim"), net.inputs(squash)
    if "softmax" not in squash.op or not all_are(input_origins(net, source), _is_map):
        return False
    flat = bool(steps) and steps[0].op == "flatten" and net.args_of(steps[0]).get("start_dim") == 2
    return dim in (2, -1) and (flat or steps[0].id == source.id)


def _is_map(node: Node) -> bool:
    return node.op in ("conv", "conv_transpose", "batch_norm")


def _is_graph(net: Net, squash: Node, source: Node) -> bool:
    """Whether the weights of a graph are made: of parameters alone, or as products of its nodes."""
    products = squash.op == "softmax" and net.inputs(source)[0].op == "matmul"
    return products or not depends_on_data(net, source)


def _finding(net: Net, squash: Node, source: Node) -> Finding:
    stands = place(net, source)
    return RULE.at(
        stands,
        f"{call_text(net, source)} goes straight into {squash.op}: {EFFECTS[squash.op]}",
        help=f"remove the {source.op} before the {squash.op}",
        related=[*evidence(net, source), here(place(net, squash), f"{squash.op} is applied here")],
        subjects=subjects(net, source, squash),
        fix=removal(net, source),
    )
