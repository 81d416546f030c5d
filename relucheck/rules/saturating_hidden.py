"""Three or more sigmoid or tanh hidden layers in a row: the gradient vanishes.

## What it does

Finds feed-forward chains of three or more hidden sigmoid or tanh layers without normalisation or shortcut.

## Why is this bad?

The slope of the sigmoid is at most 1/4, that of tanh at most 1, and both are near zero away from the origin. The
gradient of the first layer is the product of all slopes.

## Example

```python
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(784, 256),
    nn.Sigmoid(),  # RLU206
    nn.Linear(256, 128),
    nn.Sigmoid(),
    nn.Linear(128, 128),
    nn.Sigmoid(),
    nn.Linear(128, 10),
)
loss = nn.CrossEntropyLoss()(model(torch.randn(4, 784)), torch.zeros(4).long())
```

## Use instead

```python
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(784, 256),
    nn.ReLU(),
    nn.Linear(256, 128),
    nn.ReLU(),
    nn.Linear(128, 128),
    nn.ReLU(),
    nn.Linear(128, 10),
)
loss = nn.CrossEntropyLoss()(model(torch.randn(4, 784)), torch.zeros(4).long())
```

## Silent on

Two hidden layers, gates, recurrent cells and normalised networks; small function fits (width up to 64, no class loss)
are advice only:

```python
import torch
from torch import nn

net = nn.Sequential(nn.Linear(6, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1), nn.Sigmoid())
y = net(torch.randn(2, 6))
normed = nn.Sequential(*[nn.Sequential(nn.Linear(128, 128), nn.BatchNorm1d(128), nn.Tanh()) for _ in range(5)])
z = normed(torch.randn(2, 128))
```

## References

- Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
- Raissi, Perdikaris, Karniadakis, "Physics-informed neural networks", 2019 (small tanh networks on purpose).
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Domain, Kind
from relucheck.rules._walk import MAX_STEPS, call_text, losses, place, subjects, width_out

RULE = Rule("RLU206", "saturating-hidden", Severity.WARNING, Net)

HIDDEN = 3  # from three layers on, a sigmoid network with default initialisation fails to train (theory, section 2)
NARROW = 64
BETWEEN = frozenset(
    [
        "dropout",
        "feature_dropout",
        "identity",
        "cast",
        "view",
        "flatten",
        "squeeze",
        "unsqueeze",
        "avg_pool",
        "max_pool",
    ]
)
CLASSES = (Domain.LOGITS, Domain.BINARY_LOGITS, Domain.LOG_PROBABILITY, Domain.PROBABILITY)


def check(net: Net) -> Iterator[Finding]:
    """Report every chain of saturating hidden layers at its first activation."""
    following = {node.id: after for node in net.nodes if (after := _next_hidden(net, node)) is not None}
    inner = {after.id for after in following.values()}
    for start in following:
        if start not in inner:
            chain = _chain(net, start, following)
            if sum(1 for node in chain if _is_hidden(net, node)) >= HIDDEN and not _is_compared(net, chain):
                yield _finding(net, chain)


def _chain(net: Net, start: int, following: dict[int, Node]) -> list[Node]:
    chain = [net.nodes[start]]
    while chain[-1].id in following:
        chain.append(following[chain[-1].id])
    return chain


def _next_hidden(net: Net, node: Node) -> Node | None:
    """The saturating activation behind the next layer, where nothing else reads the values between."""
    if not _saturates(node):
        return None
    layer = _only_reader(net, node)
    if layer is None or layer.kind is not Kind.AFFINE:
        return None
    after = _only_reader(net, layer)
    return after if after is not None and _saturates(after) else None


def _saturates(node: Node) -> bool:
    return node.op in ("sigmoid", "tanh", "hardsigmoid", "softsign")


def _is_compared(net: Net, chain: list[Node]) -> bool:
    """Whether the line that makes an activation makes others too: the caller compares them."""
    layer = net.layer_of(chain[0])
    return layer is not None and any(
        other.made == layer.made and other.info.kind is Kind.ACTIVATION and not other.info.saturating
        for other in net.layers
    )


def _only_reader(net: Net, node: Node) -> Node | None:
    readers = net.consumers(node)
    while len(readers) == 1 and readers[0].op in BETWEEN:
        readers = net.consumers(readers[0])
    return readers[0] if len(readers) == 1 else None


def _is_hidden(net: Net, node: Node) -> bool:
    """Whether another layer follows: the squash of the output layer does not count."""
    reader = _only_reader(net, node)
    return reader is not None and reader.kind is Kind.AFFINE


def _finding(net: Net, chain: list[Node]) -> Finding:
    hidden = [node for node in chain if _is_hidden(net, node)]
    names = {node.op for node in hidden}
    return RULE.at(
        place(net, hidden[0]),
        f"{len(hidden)} {' and '.join(sorted(names))} hidden layers in a row without normalisation or shortcut: "
        f"the gradient vanishes towards the input",
        severity=Severity.ADVICE if _is_function_fit(net, hidden) else None,
        help="use ReLU or GELU with He initialisation, normalisation or shortcuts",
        related=[here(place(net, node), call_text(net, node)) for node in hidden[1:4]],
        subjects=subjects(net, *hidden),
    )


def _is_differentiated(net: Net, node: Node) -> bool:
    """Whether a loss is made of the network's derivatives, for which it has to be smooth."""
    todo, seen = [node], {node.id}
    while todo and len(seen) < MAX_STEPS:
        for reader in net.consumers(todo.pop()):
            if reader.spelling.endswith("autograd.grad"):
                return True
            if reader.id not in seen:
                seen.add(reader.id)
                todo.append(reader)
    return False


def _is_function_fit(net: Net, hidden: list[Node]) -> bool:
    """Whether the layers are narrow, or differentiated, and no loss on classes is in sight: a PINN or the like."""
    widths = [
        width_out(net, net.inputs(node)[0]) for node in hidden if net.inputs(node)[0].kind is Kind.AFFINE
    ]
    narrow = all(isinstance(width, int) and width <= NARROW for width in widths)
    return (narrow or _is_differentiated(net, hidden[-1])) and not any(
        loss.info.domain in CLASSES for loss in losses(net)
    )
