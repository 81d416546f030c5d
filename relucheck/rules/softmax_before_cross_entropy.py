"""Softmax or sigmoid output reaches cross-entropy, which applies log-softmax itself.

## What it does

Follows what `nn.CrossEntropyLoss` and `F.cross_entropy` receive as their prediction, across functions, classes and
files, and reports a softmax or sigmoid that it comes from on every path.

## Why is this bad?

The scores are squashed twice. The loss cannot fall below `log(e + C - 1) - 1` (1.46 for ten classes) and its gradient
is tiny: with plain SGD the network hardly learns (measured accuracy .18 instead of .83). `log_softmax` is exact but
done twice, so it is advice only.

## Example

```python
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(4, 32),
    nn.ReLU(),
    nn.Linear(32, 3),
    nn.Softmax(dim=1),  # RLU102
)
loss = nn.CrossEntropyLoss()(model(torch.randn(8, 4)), torch.zeros(8).long())
```

## Use instead

```python
import torch
from torch import nn

model = nn.Sequential(
    nn.Linear(4, 32),
    nn.ReLU(),
    nn.Linear(32, 3),
)
loss = nn.CrossEntropyLoss()(model(torch.randn(8, 4)), torch.zeros(8).long())
```

## Fix

The unsafe fix removes the squash; that of `log_softmax` is safe, for it changes no loss.

## Silent on

Softmax at evaluation only, behind a flag that is off, inside attention, and soft targets:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        logits = self.fc(x)
        if not self.training:
            return F.softmax(logits, dim=1)
        return logits


student, teacher = Net(), nn.Linear(4, 3)
x = torch.randn(8, 4)
loss = F.cross_entropy(student(x), F.softmax(teacher(x), dim=1))
```

## References

- PyTorch documentation, `torch.nn.CrossEntropyLoss`: the input is "expected to contain the unnormalized logits".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Safety, Severity
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

RULE = Rule("RLU102", "softmax-before-cross-entropy", Severity.ERROR, Net)

SQUASHES = frozenset({"softmax", "sigmoid", "log_softmax", "hardsigmoid", "softmin"})


def check(net: Net) -> Iterator[Finding]:
    """Report every squash whose result cross-entropy receives."""
    for loss in losses(net):
        if loss.op == "cross_entropy":
            sources = origins(net, net.inputs(loss)[0], is_bound)
            if all_are(sources, lambda node: node.op in SQUASHES):
                yield from (_finding(net, loss, source) for source in sources)


def _finding(net: Net, loss: Node, source: Node) -> Finding:
    exact = source.op == "log_softmax"
    stands = place(net, source)
    return RULE.at(
        stands,
        f"{call_text(net, source)} goes into cross-entropy: {expectation(net, loss)}",
        severity=Severity.ADVICE if exact else Severity.ERROR,
        help="return the raw scores, and apply softmax only where probabilities are needed",
        related=[*evidence(net, source), returned_at(net, source), *at_loss(net, loss)],
        subjects=subjects(net, source),
        fix=removal(net, source, Safety.SAFE if exact else Safety.UNSAFE),
    )
