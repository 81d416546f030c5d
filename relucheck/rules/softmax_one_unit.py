"""Softmax over an axis with one entry: the output is always 1.

## What it does

Finds softmax and log_softmax over an axis that is proved to have a single entry.

## Why is this bad?

`exp(x) / exp(x)` is 1 for every x. The output is constant, and no gradient passes.

## Example

```python
import torch.nn.functional as F
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 1)

    def forward(self, x):
        return F.softmax(self.fc(x), dim=-1)  # RLU107
```

## Use instead

```python
import torch
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 1)

    def forward(self, x):
        return torch.sigmoid(self.fc(x))
```

## Fix

The unsafe fix uses sigmoid, unless a loss on classes receives the result: then outputs are missing.

## Silent on

A number of outputs that is one only by default, and attention pooling: one score for each element, softmax over the
elements:

```python
import torch
from torch import nn


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, x):
        weights = torch.softmax(self.score(x), dim=1)
        return (weights * x).sum(dim=1)
```

## References

- 19 of 30 public uses of `nn.Linear(.., 1)` with `Softmax(dim=1)` are correct attention pooling, so the axis is proved.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Recall, Rule, Safety, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import written_as
from relucheck.rules._walk import (
    call_text,
    evidence,
    is_transparent,
    next_steps,
    place,
    subjects,
    width_out,
)

RULE = Rule("RLU107", "softmax-one-unit", Severity.ERROR, Net)

CLASS_LOSSES = frozenset({"cross_entropy", "nll_loss"})


def check(net: Net) -> Iterator[Finding]:
    """Report every softmax over a single entry."""
    for node in net.nodes:
        if node.op in ("softmax", "log_softmax", "softmin") and _is_over_one(net, node):
            source = _layer_before(net, node)
            if _has_other_widths(net, source):
                continue
            yield RULE.at(
                place(net, node),
                f"{call_text(net, node)} runs over an axis with one entry: its output is constant "
                f"{0 if node.op == 'log_softmax' else 1}",
                help="use sigmoid for one output, or give the layer before it one output for each class",
                related=[*evidence(net, node), here(place(net, source), "this layer has one output")],
                subjects=subjects(net, node),
                fix=_fix(net, node),
            )


def _fix(net: Net, node: Node) -> Fix | None:
    """A sigmoid for one output; where a loss on the scores of classes follows, outputs are missing instead."""
    layer = net.layer_of(node)
    stands = node.span if layer is None else layer.made
    before_classes = any(reader.op in CLASS_LOSSES for reader in next_steps(net, node, is_transparent))
    always = all(_is_over_one(net, other) for other in written_as(net, node))
    if node.op != "softmax" or stands is None or before_classes or not always:
        return None
    if layer is None:
        edit = Recall(stands, "F.sigmoid")
    else:
        edit = Recall(stands, "nn.Sigmoid", keep=False)
    return Fix("Use sigmoid", Safety.UNSAFE, (edit,))


def _is_over_one(net: Net, node: Node) -> bool:
    dim = net.args_of(node).get("dim")
    if not isinstance(dim, int) or isinstance(dim, bool):
        return False
    source = _layer_before(net, node)
    if _is_default(net, source):
        return False
    if node.shape is not None and -len(node.shape) <= dim < len(node.shape):
        return node.shape[dim] == 1
    if width_out(net, source) != 1:
        return False
    return (source.op == "linear" and dim == -1) or (source.op == "conv" and dim == 1)


def _is_default(net: Net, source: Node) -> bool:
    """Whether one output is only what nobody asked otherwise for: ``n_classes=1`` in a signature."""
    believed = net.args_of(source).get("believed", ())
    return isinstance(believed, tuple) and not {"out_features", "out_channels"}.isdisjoint(believed)


def _has_other_widths(net: Net, source: Node) -> bool:
    """Whether the same line also makes layers with more outputs: one is a case of many that a caller asks for."""
    layer = net.layer_of(source)
    names = ("out_features", "out_channels")
    return layer is not None and any(
        other.args.get(name) != layer.args.get(name)
        for other in net.layers
        for name in names
        if other.made == layer.made
    )


def _layer_before(net: Net, node: Node) -> Node:
    """The node whose axes a softmax sees: behind dropout and casts, which leave them as they are."""
    source = net.inputs(node)[0]
    while source.kind in (Kind.DROPOUT, Kind.IDENTITY) and source.inputs:
        source = net.inputs(source)[0]
    return source
