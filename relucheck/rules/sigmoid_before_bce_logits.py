"""Sigmoid output reaches BCEWithLogitsLoss, which applies the sigmoid itself.

## What it does

Follows what `nn.BCEWithLogitsLoss` and `F.binary_cross_entropy_with_logits` receive as their prediction, and reports
a sigmoid (or softmax) that it comes from on every path.

## Why is this bad?

The loss squashes a second time: a probability between 0 and 1 becomes one between 0.5 and 0.73. The loss cannot fall
below 0.313 for positive and 0.693 for negative examples.

## Example

```python
import torch
import torch.nn.functional as F
from torch import nn

net = nn.Linear(8, 1)
probs = torch.sigmoid(net(torch.randn(4, 8)))  # RLU103
loss = F.binary_cross_entropy_with_logits(probs, torch.ones(4, 1))
```

## Use instead

```python
import torch
import torch.nn.functional as F
from torch import nn

net = nn.Linear(8, 1)
scores = net(torch.randn(4, 8))
loss = F.binary_cross_entropy_with_logits(scores, torch.ones(4, 1))
```

## Fix

The unsafe fix removes the sigmoid.

## Silent on

Gates, metrics and any other sigmoid than that of the prediction:

```python
import torch
import torch.nn.functional as F
from torch import nn

net, gate = nn.Linear(8, 1), nn.Linear(8, 1)
x = torch.randn(4, 8)
scores = net(x) * torch.sigmoid(gate(x))
loss = F.binary_cross_entropy_with_logits(scores, torch.ones(4, 1))
accuracy = (torch.sigmoid(scores) > 0.5).float().mean()
```

## References

- PyTorch documentation, `torch.nn.BCEWithLogitsLoss`: "combines a Sigmoid layer and the BCELoss in one single class".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.net import Net, Node
from relucheck.rules._fix import removal
from relucheck.rules._walk import (
    all_are,
    at_loss,
    call_text,
    evidence,
    expectation,
    is_bound,
    losses,
    origins,
    place,
    returned_at,
    subjects,
)

RULE = Rule("RLU103", "sigmoid-before-bce-logits", Severity.ERROR, Net)

LOSSES = frozenset({"bce_with_logits", "multilabel_soft_margin"})
SQUASHES = frozenset({"sigmoid", "hardsigmoid", "softmax"})


def check(net: Net) -> Iterator[Finding]:
    """Report every sigmoid whose result a loss on logits receives."""
    for loss in losses(net):
        if loss.op in LOSSES:
            sources = origins(net, net.inputs(loss)[0], is_bound)
            if all_are(sources, lambda node: node.op in SQUASHES):
                yield from (_finding(net, loss, source) for source in sources)


def _finding(net: Net, loss: Node, source: Node) -> Finding:
    stands = place(net, source)
    return RULE.at(
        stands,
        f"{call_text(net, source)} goes into a loss on logits: {expectation(net, loss)}",
        help="give the loss the raw scores, and apply sigmoid only where probabilities are needed",
        related=[*evidence(net, source), returned_at(net, source), *at_loss(net, loss)],
        subjects=subjects(net, source),
        fix=removal(net, source),
    )
