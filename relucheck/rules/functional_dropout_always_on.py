"""`F.dropout` without `training=` drops values at evaluation too.

## What it does

Finds calls of `F.dropout` (and `dropout1d`, `dropout2d`, `dropout3d`) in a module's forward that do not pass
`training`.

## Why is this bad?

The default is `training=True`, and `model.eval()` does not change it: predictions are random.

## Example

```python
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 8)
        self.fc2 = nn.Linear(8, 2)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.dropout(x, p=0.5)  # RLU505
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

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.dropout(x, p=0.5, training=self.training)
        return self.fc2(x)
```

## Fix

The safe fix passes `training=self.training`.

## Silent on

An explicit `training=True` (Monte Carlo dropout), methods and classes that are named for it, a rate of zero, and
calls under a test of the mode (`if self.training:`, `if dropout_switch:`, behind `if not self.training: return x`). A
`Prenet` drops at inference as well (Shen et al. 2018, section 2.2):

```python
import torch.nn.functional as F
from torch import nn


class MCDropout(nn.Module):
    def forward(self, x):
        return F.dropout(x, p=0.2)


class Explicit(nn.Module):
    def forward(self, x):
        return F.dropout(x, p=0.2, training=True)
```

## References

- PyTorch documentation, `torch.nn.functional.dropout`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, SetArg, Severity
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._walk import asked_for

RULE = Rule("RLU505", "functional-dropout-always-on", Severity.ERROR, Net)

# Names excuse: dropout that is meant to stay on is called so (Gal & Ghahramani 2016), a Prenet drops at
# inference as well (Tacotron 2, Shen et al. 2018, section 2.2), and augmentations change data for a training alone.
_MEANT = re.compile(
    r"(?:^|[._])(?:mc|monte_?carlo|bayes|stochastic|uncertainty|pre_?net|augment|corrupt)"
    r"|MC|MonteCarlo|Bayes|Pre_?[Nn]et|Augment|Corrupt"
)
# So do tests that ask for the mode in the author's own words: `if is_train:`, `if dropout_switch:`.
_MODE = re.compile(r"train|eval|infer|test|mode|phase|switch", re.IGNORECASE)


def check(net: Net) -> Iterator[Finding]:
    """Report every functional dropout in a forward that does not follow the mode."""
    for node in net.of_kind(Kind.DROPOUT):
        if node.layer is None and _always_on(node):
            yield RULE.at(
                node.span,
                f"F.{node.spelling} without training= stays on after model.eval(): predictions are random",
                help="pass training=self.training, or use nn.Dropout",
                fix=_fix(node),
            )


def _always_on(node: Node) -> bool:
    if not node.in_forward or "training" in node.explicit or node.args.get("p") == 0:
        return False
    if any(_MODE.search(name) for name in asked_for(node)) or node.args.get("may_be_off") is True:
        return False  # inside `if self.training:`, or with `p if self.training else 0`
    names = f"{node.scope}.{node.args.get('owner', '')}"
    return node.spelling.startswith(("dropout", "feature")) and not _MEANT.search(names)


def _fix(node: Node) -> Fix | None:
    if node.span is None:
        return None
    return Fix("Follow the module's mode", Safety.SAFE, (SetArg(node.span, "training", "self.training"),))
