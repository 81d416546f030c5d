"""Two activations in a row with nothing between them.

## What it does

Finds an activation applied directly to the result of another, also through dropout, pooling and reshapes: ReLU on
ReLU, one hidden activation on another, or two squashes after each other. Three in a row are one finding.

## Why is this bad?

ReLU of ReLU does nothing, so a layer is probably missing between them. `sigmoid(tanh(x))` only reaches 0.27 to 0.73,
and the product of both slopes makes the gradient small.

## Example

```python
from torch import nn

net = nn.Sequential(
    nn.Linear(8, 8),
    nn.ReLU(),
    nn.ReLU(),  # RLU202
    nn.Linear(8, 1),
    nn.Tanh(),
    nn.Sigmoid(),  # RLU202
)
y = net(x)
```

## Use instead

```python
from torch import nn

net = nn.Sequential(
    nn.Linear(8, 8),
    nn.ReLU(),
    nn.Linear(8, 1),
    nn.Sigmoid(),
)
y = net(x)
```

## Fix

The safe fix removes the repeated ReLUs, which changes no result. Other pairs are left alone: a layer may be missing
between them.

## Silent on

Branches, lists of gates, arithmetic in between, and composites such as `x * tanh(softplus(x))`:

```python
import torch
from torch import nn
from torch.nn import functional as F

gates = nn.ModuleList([nn.Sigmoid(), nn.Sigmoid(), nn.Tanh()])
fc = nn.Linear(8, 8)
i, o, g = [act(fc(x)) for act in gates]
y = F.relu(F.relu(fc(o * torch.tanh(i * g))) - 0.5)
z = x * torch.tanh(F.softplus(x))
```

## References

- Two public networks with three ReLUs in a row had lost the layers between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from relucheck.finding import Finding, Fix, Rule, Safety, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import removals
from relucheck.rules._walk import call_text, evidence, is_of_no_network, place, subjects

RULE = Rule("RLU202", "double-activation", Severity.WARNING, Net, yields_to=("RLU106", "RLU102", "RLU204"))

BETWEEN = frozenset(
    {"identity", "cast", "view", "flatten", "squeeze", "unsqueeze", "dropout", "feature_dropout"}
)
POOLS = frozenset(
    {"max_pool", "avg_pool", "global_avg_pool", "mean"}
)  # of what is not negative, not negative either
AVERAGES = POOLS - {"max_pool"}
SQUASHES = frozenset({"sigmoid", "tanh"})
TWICE = frozenset({"softmax", "log_softmax"})
HIDDEN = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "rrelu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
    }
)
NEVER_NEGATIVE = frozenset({"relu", "relu6", "sigmoid", "hardsigmoid", "softmax", "softplus"})
MIXED = frozenset(
    [
        ("sigmoid", "softmax"),
        ("softmax", "sigmoid"),
        ("softmax", "log_softmax"),
        ("sigmoid", "log_softmax"),
        ("sigmoid", "logsigmoid"),
    ]
)


def check(net: Net) -> Iterator[Finding]:
    """Report the second of every two activations in a row, once for a longer row."""
    pairs = {node.id: first for node in net.nodes if (first := _first_of(net, node)) is not None}
    for node_id, first in pairs.items():
        if first.id not in pairs:
            yield _finding(net, first, net.nodes[node_id], pairs)


def _first_of(net: Net, second: Node) -> Node | None:
    """The activation that alone feeds another, if the two make no sense together."""
    if second.kind is not Kind.ACTIVATION or not second.inputs:
        return None
    current, steps = _before(net, second)
    if steps & AVERAGES and current.op not in NEVER_NEGATIVE:
        return None  # what is negative is averaged with what is not
    alone = len(net.consumers(current)) == 1 and not net.returned(current)
    if not alone and not (current.op == second.op and current.op in SQUASHES | TWICE):
        return None  # the first is used without the second too: only the same squash again says nothing new
    if is_of_no_network(net, net.nodes[current.inputs[0]] if current.inputs else current):
        return None
    return current if _is_pointless(current, second) and not _over_other_axis(net, current, second) else None


def _before(net: Net, second: Node) -> tuple[Node, set[str]]:
    """What an activation is applied to, behind steps that change no sign, and these steps."""
    between = BETWEEN | POOLS if second.one_sided else BETWEEN
    current, steps = net.nodes[second.inputs[0]], set[str]()
    while current.op in between and len(net.consumers(current)) == 1:
        steps.add(current.op)
        current = net.nodes[current.inputs[0]]
    return current, steps


def _over_other_axis(net: Net, first: Node, second: Node) -> bool:
    """Whether rows and columns are normalised in turn, as Sinkhorn's iteration does."""
    axes = [net.args_of(node).get("dim") for node in (first, second)]
    return first.op in TWICE and all(isinstance(axis, int) for axis in axes) and axes[0] != axes[1]


def _is_pointless(first: Node, second: Node) -> bool:
    if second.one_sided and second.op != "clip" and first.op in NEVER_NEGATIVE:
        return True
    if any(first.op in ops and second.op in ops for ops in (SQUASHES, HIDDEN)):
        return True
    return (first.op == second.op and first.op in TWICE) or (first.op, second.op) in MIXED


def _finding(net: Net, first: Node, second: Node, pairs: Mapping[int, Node]) -> Finding:
    return RULE.at(
        place(net, second),
        f"{call_text(net, second)} directly on {call_text(net, first)}: {_effect(first, second)}",
        help="remove one of them, or put the missing layer between them",
        related=[*evidence(net, second), here(place(net, first), f"the first, {call_text(net, first)}")],
        subjects=subjects(net, first, second),
        fix=_fix(net, _row(net, first, pairs)),
    )


def _effect(first: Node, second: Node) -> str:
    if second.op in ("relu", "leaky_relu", "prelu") and first.op in NEVER_NEGATIVE:
        return "the second does nothing"
    if first.op in SQUASHES | {"softmax"}:
        return "the values are squashed twice"
    return "it is applied twice" if first.op == second.op else "a layer is missing between them"


def _row(net: Net, first: Node, pairs: Mapping[int, Node]) -> list[Node]:
    """An activation and all those that follow it in a row."""
    row = [first]
    while (after := next((i for i, before in pairs.items() if before.id == row[-1].id), None)) is not None:
        row.append(net.nodes[after])
    return row


def _fix(net: Net, row: list[Node]) -> Fix | None:
    """All ReLUs but the first removed, where nothing else is in the row."""
    if any(node.op != "relu" for node in row):
        return None
    name = "Remove the second ReLU" if len(row) == 2 else "Remove the repeated ReLUs"
    return removals(net, row[1:], name, Safety.SAFE)
