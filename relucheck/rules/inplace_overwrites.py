"""An in-place activation overwrites a tensor that is used afterwards.

## What it does

Finds in-place activations whose input is read again later, is returned as well, or is needed by the backward pass of
an earlier operation, or which are one of several outputs of a split.

## Why is this bad?

`x + block(x)`, where the block starts with `nn.ReLU(True)`, computes `relu(x) + block(x)` without any error: the
shortcut has been overwritten. Where backward needs the old value, PyTorch raises "a variable needed for gradient
computation has been modified by an inplace operation"; it also refuses to change one of the outputs of `chunk`,
`split` or `unbind` in place (measured with torch 2.13), but not those of `tensor_split` or slices.

## Example

```python
from torch import nn


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.block = nn.Sequential(
            nn.ReLU(True),  # RLU501
            nn.Conv2d(c, c, 3, padding=1),
        )

    def forward(self, x):
        return x + self.block(x)
```

## Use instead

```python
from torch import nn


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.block = nn.Sequential(
            nn.ReLU(inplace=False),
            nn.Conv2d(c, c, 3, padding=1),
        )

    def forward(self, x):
        return x + self.block(x)
```

## Fix

The unsafe fix passes `inplace=False`.

## Silent on

Fresh tensors that nobody else holds, integers, and probabilities that are only drawn from:

```python
import torch
from torch import nn


class Basic(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)
        self.bn = nn.BatchNorm2d(c)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        identity = x
        out = self.relu(self.bn(self.conv(x)))
        out = self.bn(self.conv(out))
        out += identity
        return self.relu(out)
```

## References

- The residual layers of a family of VQ-VAE implementations; measured with torch 2.13: no error is raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, SetArg, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._walk import asked_for, call_text, evidence, place, subjects

RULE = Rule("RLU501", "inplace-overwrites", Severity.ERROR, Net)

# What autograd saves, as measured with torch 2.13: these need the value of the input that they read ...
PRODUCTS = frozenset({"mul", "div", "matmul"})
NEEDS_INPUT = frozenset(
    [
        "pow",
        "log",
        "sin",
        "abs",
        "silu",
        "gelu",
        "mish",
        "leaky_relu",
        "elu",
        "softplus",
        "hardswish",
        "prelu",
        "batch_norm",
        "layer_norm",
        "max_pool",
        "avg_pool",
    ]
)
# ... and these need their own result, so it must not be overwritten.
NEEDS_OUTPUT = frozenset({"relu", "sigmoid", "tanh", "softmax", "log_softmax", "exp", "sqrt"})

# Functions that draw from a distribution: no gradient passes through what they return.
DRAWS = frozenset({"bernoulli", "multinomial"})
INTEGERS = frozenset({"long", "int", "short", "argmax", "argmin", "argsort", "randint", "arange"})
"""Methods and functions whose result holds integers."""
PARTS = frozenset({"index", "chunk", "part"})
"""Views that hold a part of the memory, and the values of a tuple."""
SPLITS = frozenset({"chunk", "split", "unbind"})
"""Functions whose outputs autograd does not let be changed in place, one of several; ``tensor_split`` is none."""


def check(net: Net) -> Iterator[Finding]:
    """Report every in-place activation whose input somebody still needs."""
    for node in net.of_kind(Kind.ACTIVATION):
        if node.inplace and not node.discarded and node.inputs:
            victim = _victim(net, node)
            if victim is not None:
                yield _finding(net, node, *victim)


def _victim(net: Net, node: Node) -> tuple[Node, str] | None:
    """Who still needs the memory that a node overwrites, and why."""
    path = _path(net, node)
    owner = path[-1]
    if _holds_integers(owner):
        return None
    if _saves_result(owner) and owner.inputs and not _ends_in_samples(net, node):
        return owner, f"the backward pass of {call_text(net, owner)} needs its result"
    split = _split_of(net, path)
    if split is not None and not node.maybe and "training" not in asked_for(node):
        return split, f"autograd refuses to change one of several outputs of {call_text(net, split)}"
    for holder in _holders(net, path, node):
        if net.returned(holder) and not holder.maybe:
            return holder, "it is returned as well"
        for reader in net.consumers(holder):
            if reader.id == node.id or _is_view(reader) or _is_same(reader, node):
                continue
            if _is_alternative(reader, node):
                continue
            if reader.id > node.id:
                return reader, f"{call_text(net, reader)} reads it afterwards"
            if holder.op != "index" and _needs(net, reader, holder):  # parts may be written back one by one
                return reader, f"the backward pass of {call_text(net, reader)} needs the old value"
    return None


def _split_of(net: Net, path: list[Node]) -> Node | None:
    """The split of a layer's output that a written tensor is one output of."""
    split = next((n for n in path[1:] if n.op == "chunk" and n.spelling.rpartition(".")[2] in SPLITS), None)
    return split if path[-1].kind is Kind.AFFINE and path[-1].layer is not None else None


def _holds_integers(node: Node) -> bool:
    """Whether a tensor holds indices, which are clamped in place to be in range and have no gradient."""
    return node.spelling.rpartition(".")[2] in INTEGERS


def _saves_result(node: Node) -> bool:
    """Whether autograd keeps a node's result; of ``clamp(min=0)``, which is a ReLU too, it keeps the input."""
    return node.op in NEEDS_OUTPUT and (node.op != "relu" or "relu" in node.spelling.lower())


def _ends_in_samples(net: Net, node: Node) -> bool:
    """Whether a value is used for drawing and comparing only, where no gradient comes back from."""
    readers = net.consumers(node)
    return bool(readers) and all(_draws(r) or r.kind is Kind.COMPARISON for r in readers)


def _draws(node: Node) -> bool:
    return node.spelling.rpartition(".")[2] in DRAWS


def _is_same(reader: Node, node: Node) -> bool:
    """Whether a reader computes what is in the overwritten memory already: relu of relu."""
    return reader.op == node.op and node.info.idempotent and not reader.inplace


def _path(net: Net, node: Node) -> list[Node]:
    """What an in-place node writes to: its input, what that is a view of, and so on to the owner of the memory."""
    path = [net.nodes[node.inputs[0]]]
    while _is_view(path[-1]) and path[-1].inputs:
        path.append(net.nodes[path[-1].inputs[0]])
    return path


def _is_view(node: Node) -> bool:
    """Whether a node shares its input's memory for sure: ``view`` does, ``reshape`` and ``to`` may copy."""
    if node.op == "view":
        return node.spelling.startswith("view")
    return node.info.view and node.op not in ("cast", "flatten")


def _holders(net: Net, path: list[Node], node: Node) -> Iterator[Node]:
    """The owner of some memory and its views, those after the write too, but not what the write returns.

    Where a part is written (``a`` of ``a, b = x.chunk(2)``), other parts are memory of their own, or other tensors.
    """
    part = next((n.id for n in path if n.op in PARTS), None)
    on_path = {n.id for n in path}
    todo, seen = [(path[-1], part is not None and path[-1].id != part)], {path[-1].id, node.id}
    while todo:
        holder, whole = todo.pop()
        yield holder
        for view in net.consumers(holder):
            other = view.op == "part" or (whole and view.op in PARTS)
            if _is_view(view) and view.id not in seen and (view.id in on_path or not other):
                seen.add(view.id)
                todo.append((view, whole and view.id != part))


def _is_alternative(reader: Node, node: Node) -> bool:
    """Whether a reader may belong to another path than the write."""
    return reader.kind is Kind.JOIN or reader.maybe or node.maybe


def _needs(net: Net, reader: Node, holder: Node) -> bool:
    """Whether backward needs what a reader has read: a product of two values, a learned layer, a curve."""
    if reader.kind is Kind.AFFINE:
        return reader.layer is not None and holder.op not in ("parameter", "constant", "buffer")
    if reader.op in PRODUCTS:
        others = [n for n in net.inputs(reader) if n.id != holder.id]
        return any(n.kind not in (Kind.SOURCE, Kind.UNKNOWN, Kind.JOIN) for n in others)
    return reader.op in NEEDS_INPUT and holder.kind is not Kind.SOURCE


def _finding(net: Net, node: Node, victim: Node, why: str) -> Finding:
    return RULE.at(
        place(net, node),
        f"{call_text(net, node)} overwrites its input in place, but {why}",
        help="use the activation without inplace=True here",
        related=[*evidence(net, node), here(place(net, victim), why)],
        subjects=subjects(net, node),
        fix=_fix(net, node),
    )


def _fix(net: Net, node: Node) -> Fix | None:
    layer = net.layer_of(node)
    if layer is not None and layer.made is not None and "inplace" in layer.explicit:
        edit = SetArg(layer.made, "inplace", "False", layer.explicit["inplace"])
        return Fix("Do not overwrite the input", Safety.UNSAFE, (edit,))
    if layer is None and node.span is not None and "inplace" in node.explicit:
        return Fix("Do not overwrite the input", Safety.UNSAFE, (SetArg(node.span, "inplace", "False"),))
    return None
