"""ReLU in a recurrent network: the state grows without bound over time.

## What it does

Finds `nn.RNN` and `nn.RNNCell` with `nonlinearity="relu"`, and hand-written cells `relu(W x + U h)` whose state is
carried over a loop over time.

## Why is this bad?

The same matrix is applied at every step, and ReLU does not bound the state: with a largest singular value of 1.1 the
gradient grows by 1.1^100 = 13,781 over 100 steps.

## Example

```python
from torch import nn

rnn = nn.RNN(8, 16, nonlinearity="relu")  # RLU301
```

## Use instead

```python
from torch import nn

rnn = nn.RNN(8, 16, nonlinearity="tanh")
```

## Fix

The unsafe fix uses tanh.

## Silent on

Identity or orthogonal recurrent initialisation (IRNN), loops over layers, and gates:

```python
import torch
from torch import nn


class IRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(1, 16, nonlinearity="relu")
        nn.init.eye_(self.rnn.weight_hh_l0)

    def forward(self, x):
        return self.rnn(x)


class Convex(nn.Module):
    def __init__(self):
        super().__init__()
        self.wx = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.wz = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        z = x
        for wx, wz in zip(self.wx, self.wz):
            z = torch.relu(wx(x) + wz(z))
        return z
```

## References

- Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013.
- Le, Jaitly, Hinton, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units", 2015 (IRNN).
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Recall, Rule, Safety, SetArg, Severity, Swap, here
from relucheck.net import Init, Layer, Net, Node
from relucheck.ops import Kind
from relucheck.rules._walk import MAX_STEPS, place, subjects

RULE = Rule("RLU301", "relu-rnn", Severity.WARNING, Net)

ISOMETRIES = frozenset({"eye_", "orthogonal_", "dirac_", "identity_"})


def check(net: Net) -> Iterator[Finding]:
    """Report torch's recurrent layers with ReLU, and hand-written cells."""
    tamed = {init.layer for init in net.inits if init.function in ISOMETRIES or _is_given(init)}
    for layer in net.layers:
        if layer.id not in tamed and _is_rectified(layer):
            yield _of_layer(layer)
    for node in net.nodes:
        if node.op == "relu":
            recurrent = _recurrent_layer(net, node)
            if recurrent is not None and recurrent.layer not in tamed:
                yield _of_cell(net, node, recurrent)


def _is_given(init: Init) -> bool:
    """Whether a recurrent weight is another tensor, such as ``0.9 * torch.eye(n)``."""
    return init.function == "assigned" and init.tensor.startswith("weight_hh")


def _is_rectified(layer: Layer) -> bool:
    """Whether a recurrent layer is asked for ReLU, and not only by the default of an unused wrapper."""
    believed = layer.args.get("believed", ())
    chosen = not (isinstance(believed, tuple) and "nonlinearity" in believed)
    return layer.op in ("rnn", "rnn_cell") and layer.args.get("nonlinearity") == "relu" and chosen


def _of_layer(layer: Layer) -> Finding:
    fix = None
    if layer.made is not None:
        edit = SetArg(layer.made, "nonlinearity", '"tanh"', layer.explicit.get("nonlinearity"))
        fix = Fix("Use tanh", Safety.UNSAFE, (edit,))
    return RULE.at(
        layer.made,
        f"{layer.spelling} with nonlinearity='relu': the state and its gradient grow over time without bound",
        help="use tanh, LSTM or GRU, or initialise the recurrent weight with the identity (IRNN)",
        fix=fix,
        layer=layer.name,
    )


def _recurrent_layer(net: Net, node: Node) -> Node | None:
    """The layer U of ``relu(W x + U h)`` or ``relu(U [x, h])``, where h is the state of an earlier round.

    What is added to or stands next to h must be new in every round: a constant one makes a network
    that is applied several times in depth, not in time.
    """
    total = net.inputs(node)[0]
    if total.op == "add":
        return _of_sum(net, node, _addends(net, total))
    if total.kind is Kind.AFFINE and total.inputs and net.inputs(total)[0].op == "cat":
        return _of_cat(net, node, total)
    return None


def _of_sum(net: Net, node: Node, addends: list[Node]) -> Node | None:
    for affine in addends:
        before = _state(net, node, net.inputs(affine)[0]) if _weights(affine) is not None else None
        if before is None:
            continue
        earlier = _addends(net, net.inputs(before)[0])
        others = [n for n in addends if n.id != affine.id]
        if any(_weights(n) == _weights(affine) for n in earlier) and _is_new_input(
            net, others, earlier, before
        ):
            return affine
    return None


def _of_cat(net: Net, node: Node, affine: Node) -> Node | None:
    parts = net.inputs(net.inputs(affine)[0])
    for part in parts:
        before = _state(net, node, part)
        earlier = net.inputs(before)[0] if before is not None else None
        if before is None or earlier is None or _weights(earlier) != _weights(affine) or not earlier.inputs:
            continue
        others = [n for n in parts if n.id != part.id]
        if _is_new_input(net, others, list(net.inputs(net.inputs(earlier)[0])), before):
            return affine
    return None


def _addends(net: Net, node: Node) -> list[Node]:
    """What a sum is made of, nested sums included."""
    if node.op != "add":
        return [node]
    return [addend for part in net.inputs(node) for addend in _addends(net, part)]


def _state(net: Net, node: Node, value: Node) -> Node | None:
    """The same rectifier one round earlier, if a value is its result."""
    while value.kind in (Kind.DROPOUT, Kind.IDENTITY) and value.inputs:
        value = net.inputs(value)[0]
    same = value.op == "relu" and value.span == node.span and value.callers == node.callers
    return value if same and value.id != node.id else None


def _is_new_input(net: Net, others: list[Node], earlier: list[Node], before: Node) -> bool:
    """Whether the input besides the state does not depend on it and is another one in every round."""
    known = {node.id for node in earlier}
    applied = {(_weights(node), node.inputs) for node in earlier if _weights(node) is not None}
    new = [n for n in others if n.id not in known and (_weights(n), n.inputs) not in applied]
    return bool(new) and not any(_depends_on(net, n, before) for n in others)


def _weights(node: Node) -> tuple[str, object] | None:
    """Which weights an affine node applies: a layer's, or a bare parameter."""
    if node.kind is not Kind.AFFINE or not node.inputs:
        return None
    if node.layer is not None:
        return ("layer", node.layer)
    parameter = node.args.get("parameter")
    return None if parameter is None else ("parameter", parameter)


def _depends_on(net: Net, node: Node, target: Node) -> bool:
    todo, seen = [node], {node.id}
    while todo and len(seen) < MAX_STEPS:
        current = todo.pop()
        if current.id == target.id:
            return True
        new = [n for n in net.inputs(current) if n.id not in seen and n.id >= target.id]
        seen.update(n.id for n in new)
        todo.extend(new)
    return len(seen) >= MAX_STEPS


def _of_cell(net: Net, node: Node, recurrent: Node) -> Finding:
    layer = net.layer_of(recurrent)
    name = layer.name if layer is not None else "a layer"
    return RULE.at(
        place(net, node),
        f"the state relu(... + {name}(h)) is carried over time: it and its gradient grow without bound",
        help="use tanh, LSTM or GRU, or initialise the recurrent weight with the identity or a rotation",
        related=[here(layer.made, f"the recurrent layer {name}") if layer is not None else None],
        subjects=subjects(net, node),
        fix=_swapped(net, node),
    )


def _swapped(net: Net, node: Node) -> Fix | None:
    """Tanh for the ReLU: as a function, or where a layer that is applied to this state alone is made."""
    layer = net.layer_of(node)
    if layer is None and node.span is not None:
        return Fix("Use tanh", Safety.UNSAFE, (Recall(node.span, "F.tanh"),))
    elsewhere = any(
        other.span != node.span for other in net.nodes if layer is not None and other.layer == layer.id
    )
    if layer is None or layer.made is None or elsewhere:
        return None
    return Fix("Use tanh", Safety.UNSAFE, (Swap(layer.made, "ReLU", "Tanh"),))
