"""A layer with parameters is made inside forward, so it starts anew at every call.

## What it does

Finds layers with parameters, and Dropout, that are constructed inside `forward` and applied there without being
kept.

## Why is this bad?

The weights are random at every call and no optimiser ever sees them. A `nn.Dropout()` made in forward is in
training mode always: it drops values at evaluation too.

## Example

```python
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        x = nn.Dropout(0.5)(self.fc(x))  # RLU506
        return nn.LayerNorm(8)(x)  # RLU506
```

## Use instead

```python
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        return self.norm(self.dropout(self.fc(x)))
```

## Fix

The safe fix calls `F.dropout(x, p, training=self.training)` in place of a dropout. A layer with weights is left
alone: it needs a name in `__init__`.

## Silent on

Modules without parameters, layers that are given their weight (`conv.weight = self.kernel`), and layers that are
made once and kept, also by a decorator that may do so:

```python
from torch import nn


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = None

    def forward(self, x):
        x = nn.ReLU()(nn.Flatten()(x))
        if self.proj is None:
            self.proj = nn.Linear(x.size(1), 4)
        return self.proj(x)
```

## References

- Measured with torch 2.13: `nn.Dropout(0.5)(x)` in forward drops half of the values after `model.eval()`.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Inline, Rule, Safety, Severity
from relucheck.net import Attribute, ModuleClass
from relucheck.ops import Kind, op_named

FUNCTIONS = {
    "nn.Dropout": "F.dropout",
    "nn.Dropout1d": "F.dropout1d",
    "nn.Dropout2d": "F.dropout2d",
    "nn.Dropout3d": "F.dropout3d",
    "nn.AlphaDropout": "F.alpha_dropout",
}

RULE = Rule("RLU506", "layer-made-in-forward", Severity.ERROR, ModuleClass)


def check(cls: ModuleClass) -> Iterator[Finding]:
    """Report every layer that forward makes and applies without keeping it."""
    for attribute in cls.made_in_forward:
        yield RULE.at(
            attribute.span,
            f"{attribute.spelling} is made at every call of forward: {_harm(attribute)}",
            help="make it in __init__ and apply it as self.<name>(...)",
            fix=_fix(attribute),
        )


def _fix(attribute: Attribute) -> Fix | None:
    """Dropout as a function that follows the module's mode; a layer with weights needs a name in __init__."""
    function = FUNCTIONS.get(attribute.spelling)
    if function is None:
        return None
    edit = Inline(attribute.span, function, (("training", "self.training"),))
    return Fix("Drop by a function that follows the module's mode", Safety.SAFE, (edit,))


def _harm(attribute: Attribute) -> str:
    if op_named(attribute.op).kind is Kind.DROPOUT:
        return "it is always in training mode and drops values at evaluation too"
    return "its weights are new random numbers each time and are never trained"
