"""Layers are kept in a plain list or dict, so their parameters are never trained.

## What it does

Finds layers with parameters that a module keeps only in a Python list or dict on `self` and applies in its
forward.

## Why is this bad?

`parameters()`, `to()`, `state_dict()` and the optimiser see registered modules only. Layers in a plain list keep
their random start values for ever, stay on the CPU, and are missing in checkpoints.

## Example

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = []
        for _ in range(3):
            self.hidden.append(nn.Linear(8, 8))  # RLU507
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.out(x)
```

## Use instead

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.ModuleList()
        for _ in range(3):
            self.hidden.append(nn.Linear(8, 8))
        self.out = nn.Linear(8, 1)

    def forward(self, x):
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.out(x)
```

## Fix

The unsafe fix puts the list into `nn.ModuleList` (a dict of strings into `nn.ModuleDict`), where modules alone are in
it and no method is called that these containers lack. The keys of `state_dict()` grow.

## Silent on

Layers that are registered as well, one module that was passed in (`self.teacher = [teacher]`), and lists of modules
without parameters:

```python
import torch
from torch import nn


class Registered(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = []
        for i in range(3):
            layer = nn.Linear(8, 8)
            self.layers.append(layer)
            self.add_module(f"layer{i}", layer)
        self.pools = [nn.AvgPool1d(2), nn.MaxPool1d(2)]

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return [pool(x) for pool in self.pools]
```

## References

- PyTorch documentation, `torch.nn.ModuleList`.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Register, Rule, Safety, Severity
from relucheck.net import Attribute, ModuleClass

RULE = Rule("RLU507", "layer-in-python-list", Severity.ERROR, ModuleClass)


def check(cls: ModuleClass) -> Iterator[Finding]:
    """Report every plain container of layers with parameters that forward applies."""
    for attribute in cls.unregistered:
        container = "nn.ModuleDict" if "dict" in attribute.spelling else "nn.ModuleList"
        yield RULE.at(
            attribute.span,
            f"self.{attribute.name} is {attribute.spelling}: the layers in it are not registered with {cls.name}, "
            "so their parameters are never trained, moved or saved",
            help=f"use {container}",
            fix=_fix(attribute),
        )


def _fix(attribute: Attribute) -> Fix | None:
    """The container of torch, where it can hold all that the plain one holds."""
    if not attribute.container:
        return None
    edit = Register(attribute.span, attribute.name, attribute.container)
    return Fix(f"Register the layers in nn.{attribute.container}", Safety.UNSAFE, (edit,))
