"""NaN or infinity, with the first operation that made it.

## What it does
Looks at the loss, the outputs and the gradients of every batch. Where one is not finite, runs that batch
again and names the first operation whose result is not finite though what it read was, in the forward
pass, else in the backward pass.

## Why is this bad?
One NaN in the loss makes every weight NaN at the next step.

## Example
```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return torch.log(torch.relu(self.fc(x)))


torch.manual_seed(0)
model = Net()
batches = [torch.randn(64, 8)]
```

## Use instead
```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return torch.log(torch.nn.functional.softplus(self.fc(x)) + 1e-6)


torch.manual_seed(0)
model = Net()
batches = [torch.randn(64, 8)]
```
Keep arguments of log, sqrt and division away from zero *before* the operation: `torch.where` after it
lets the NaN of the branch not taken into the gradient.

## Silent on
Minus infinity in an attention mask, which softmax removes.

## References
PyTorch documentation, `torch.autograd.detect_anomaly`; the double-where trick.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Measurements, NonFinite, Phase

RULE = Rule("RLU614", "non-finite", Severity.ERROR, Measurements)

_HELP = {
    Phase.INPUT: "clean the data: replace or drop samples with missing values",
    Phase.PARAMETER: "load or initialise the parameters again; training with this learning rate broke them",
    Phase.FORWARD: "keep its input in its domain (add an epsilon, clamp), or lower the learning rate",
    Phase.BACKWARD: "its derivative is infinite there: move the input away from zero before the operation",
}


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding: everything after the first is a consequence."""
    if m.non_finite is not None:
        bad = m.non_finite
        yield RULE.at(bad.span, _message(bad), help=_HELP[bad.phase], layer=bad.layer)


def _message(bad: NonFinite) -> str:
    after = f" in '{bad.layer}'" if bad.layer and bad.layer != bad.operation else ""
    batch = f"on batch {bad.batch}"
    if bad.phase is Phase.INPUT:
        return f"the input of the network holds {bad.value} {batch}"
    if bad.phase is Phase.PARAMETER:
        return f"the parameter '{bad.operation}' holds {bad.value} before {_pass(bad.batch)}"
    if bad.phase is Phase.BACKWARD:
        place = f"the gradient of {bad.operation}{after} {batch}"
        return f"{bad.value} appears first in {place}; the forward pass is finite"
    if not bad.operation:
        return f"the loss is {bad.value} {batch}, while all that the network computes is finite"
    return f"{bad.value} appears first in the output of {bad.operation}{after} {batch}"


def _pass(batch: int) -> str:
    return f"the pass on batch {batch}" if batch else "the first pass"
