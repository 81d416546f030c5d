"""Dropout is the last operation before the loss or before the final softmax.

## What it does

Finds Dropout on the output of the last layer, where a loss or the final softmax receives it.

## Why is this bad?

Dropping a score sets it to zero, which is no neutral value: the loss then asks the network for scores that beat
random zeros, and predictions in training are noise.

## Example

```python
import torch
from torch import nn

head = nn.Sequential(
    nn.Linear(8, 16),
    nn.ReLU(),
    nn.Linear(16, 3),
    nn.Dropout(0.3),  # RLU109
)
loss = nn.CrossEntropyLoss()(head(torch.randn(4, 8)), torch.zeros(4).long())
```

## Use instead

```python
import torch
from torch import nn

head = nn.Sequential(
    nn.Linear(8, 16),
    nn.ReLU(),
    nn.Dropout(0.3),
    nn.Linear(16, 3),
)
loss = nn.CrossEntropyLoss()(head(torch.randn(4, 8)), torch.zeros(4).long())
```

## Fix

The unsafe fix removes the dropout.

## Silent on

Dropout on attention weights and in front of the last layer:

```python
import torch
from torch import nn

q, v, drop = nn.Linear(8, 8), nn.Linear(8, 8), nn.Dropout(0.1)
x = torch.randn(2, 5, 8)
weights = drop(torch.softmax(q(x) @ x.transpose(1, 2), dim=-1))
y = weights @ v(x)
```

## References

- 6 to 8 of 10 public `nn.Dropout(0.5), nn.Softmax(` pairs are this mistake.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Related, Rule, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Domain, Kind
from relucheck.rules._fix import removal
from relucheck.rules._walk import (
    all_are,
    at_loss,
    call_text,
    evidence,
    input_origins,
    losses,
    origins,
    place,
    subjects,
)

RULE = Rule("RLU109", "dropout-on-logits", Severity.WARNING, Net)

SQUASHES = frozenset({"softmax", "log_softmax", "sigmoid"})
REGRESSION = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})


def check(net: Net) -> Iterator[Finding]:
    """Report dropout on what a loss receives, and on what the final softmax receives."""
    for loss in losses(net):
        sources = origins(net, net.inputs(loss)[0])
        if _is_last_step(net, loss) and all_are(sources, lambda n: _drops_scores(net, n)):
            yield from (_finding(net, s, "the loss", at_loss(net, loss)) for s in sources)
    for node in net.nodes:
        if node.op in SQUASHES and _is_final(net, node):
            sources = input_origins(net, node)
            if all_are(sources, lambda n: _drops_scores(net, n)):
                where = [here(place(net, node), f"the {node.op}")]
                yield from (_finding(net, s, f"the final {node.op}", where) for s in sources)


def _is_last_step(net: Net, loss: Node) -> bool:
    """Whether a loss receives what the last layer computes: scores, or the predictions of a regression."""
    regresses = loss.op in REGRESSION and not _compares_features(net, loss)
    return loss.info.domain in (Domain.LOGITS, Domain.BINARY_LOGITS) or regresses


def _compares_features(net: Net, loss: Node) -> bool:
    """Whether the target is what a layer computes as well: the features of a teacher, or of another view."""
    learned = (Kind.AFFINE, Kind.NORM, Kind.ACTIVATION, Kind.DROPOUT)
    targets = origins(net, net.inputs(loss)[1], lambda n: n.op == "detach") if len(loss.inputs) > 1 else ()
    return any(target.kind in learned for target in targets)


def _drops_scores(net: Net, node: Node) -> bool:
    drops = node.kind is Kind.DROPOUT and net.args_of(node).get("p") != 0
    return drops and all_are(input_origins(net, node), lambda n: n.kind is Kind.AFFINE)


def _is_final(net: Net, node: Node) -> bool:
    """Whether a squash ends the network: its result is returned, or a loss receives it."""
    readers = net.consumers(node)
    return net.returned(node) and not any(n.kind is Kind.ARITHMETIC for n in readers)


def _finding(net: Net, node: Node, before: str, more: list[Related | None]) -> Finding:
    stands = place(net, node)
    return RULE.at(
        stands,
        f"{call_text(net, node)} drops scores right before {before}: "
        "a dropped score becomes 0, which is no neutral value",
        help="put the dropout in front of the last layer",
        related=[*evidence(net, node), *more],
        subjects=subjects(net, node),
        fix=removal(net, node),
    )
