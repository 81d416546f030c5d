"""A weight matrix in front of an activation is set to one constant: all its units stay equal.

## What it does

Finds initialisations that set the weight of an affine layer to a single value, where an activation follows.

## Why is this bad?

Units with equal weights compute the same value and get the same gradient, so they stay equal for ever: the layer has
one unit. With zero, nothing passes at all.

## Example

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.out = nn.Linear(64, 1)
        nn.init.constant_(self.fc1.weight, 0.1)  # RLU402

    def forward(self, x):
        return self.out(torch.relu(self.fc1(x)))
```

## Use instead

```python
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.out = nn.Linear(64, 1)
        nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")

    def forward(self, x):
        return self.out(torch.relu(self.fc1(x)))
```

## Fix

The unsafe fix calls `kaiming_normal_` before ReLU, and `xavier_normal_` before tanh and sigmoid.

## Silent on

Norm weights, biases, layers that are not trained or have one unit, output layers, zero-initialised ends of residual
branches and modulation layers:

```python
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, dim)
        self.fc2 = nn.Linear(dim, dim)
        nn.init.ones_(self.norm.weight)
        nn.init.zeros_(self.fc1.bias)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x):
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))
```

## References

- Goodfellow, Bengio, Courville, "Deep Learning", 2016, section 8.4: the initial parameters need to "break symmetry".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity, here
from relucheck.net import Init, Layer, Net, Node
from relucheck.ops import Kind
from relucheck.rules._init import fitting
from relucheck.rules._walk import next_steps

RULE = Rule("RLU402", "constant-init", Severity.ERROR, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report every weight that stays one constant and feeds an activation."""
    last = {(init.layer, init.tensor): init for init in net.inits}
    for init in net.inits:
        value = _constant(init)
        layer = net.layers[init.layer]
        if value is None or init.maybe or init.tensor != "weight" or not _has_units_to_learn(layer):
            continue
        after = _activation_after_every_use(net, init.layer)
        if after is None or last[(init.layer, "weight")] is not init or _has_written_bias(net, init.layer):
            continue
        stuck = _is_stuck(net, init.layer, value, after)
        yield RULE.at(
            init.span,
            f"every weight of {layer.name or layer.spelling} starts as {value:g}: {_harm(value, stuck)}",
            severity=None if stuck else Severity.WARNING,
            help='use a random start, such as kaiming_normal_(weight, nonlinearity="relu")',
            related=[here(layer.made, "the layer"), here(after.span, f"the {after.op} that it feeds")],
            layer=layer.name,
            fix=fitting(net, init, after.op),
        )


def _has_units_to_learn(layer: Layer) -> bool:
    """Whether a layer is trained and has several units: a fixed kernel is no mistake, one unit equals itself."""
    units = layer.args.get("out_features", layer.args.get("out_channels"))
    return layer.info.kind is Kind.AFFINE and units != 1 and layer.args.get("frozen") is not True


def _has_written_bias(net: Net, layer: int) -> bool:
    """Whether the bias is a tensor that somebody wrote: then the units differ, by design."""
    return any(i.function == "assigned" and i.tensor == "bias" for i in net.inits if i.layer == layer)


def _harm(value: float, stuck: bool) -> str:
    if not stuck:
        return "all its units start as the same function of the input"
    if value == 0:
        return "its units are 0 for every input, get no gradient and stay dead"
    return "its units compute the same, get the same gradient and stay equal for ever"


def _is_stuck(net: Net, layer: int, value: float, after: Node) -> bool:
    """Whether the units can never become different: all equal, and nothing random reaches them.

    They stay equal where the weights of the next layers are constant too, and dead where a rectifier
    sees nothing but zeros. Otherwise random weights behind them tell them apart after one step.
    """
    if not _has_constant_bias(net, layer):
        return False
    if value == 0 and after.one_sided:
        return _last_value(net, layer, "bias") in (None, 0)
    return _feeds_constant_layers(net, layer)


def _has_constant_bias(net: Net, layer: int) -> bool:
    return net.layers[layer].args.get("bias") is False or _last_value(net, layer, "bias") is not None


def _last_value(net: Net, layer: int, tensor: str) -> float | None:
    """The constant that a parameter is set to last, or None where it is not one."""
    inits = [init for init in net.inits if init.layer == layer and init.tensor == tensor]
    return _constant(inits[-1]) if inits else None


def _feeds_constant_layers(net: Net, layer: int) -> bool:
    """Whether every affine layer that reads the units has constant weights too."""
    uses = [node for node in net.nodes if node.layer == layer]
    readers = [n for use in uses for n in next_steps(net, use, _is_between)]
    affine = [n for n in readers if n.kind is Kind.AFFINE and n.layer is not None]
    return bool(affine) and all(
        n.layer is not None and _last_value(net, n.layer, "weight") is not None for n in affine
    )


def _is_between(node: Node) -> bool:
    return node.kind is not Kind.AFFINE and node.kind is not Kind.LOSS


def _constant(init: Init) -> float | None:
    if init.function == "zeros_":
        return 0.0
    if init.function == "ones_":
        return 1.0
    if init.function == "constant_":
        value = init.args.get("val")
        return float(value) if isinstance(value, int | float) else None
    if init.function == "uniform_" and "a" in init.explicit and init.args["a"] == init.args.get("b"):
        return float(bound) if isinstance(bound := init.args["a"], int | float) else None
    spread = init.args.get("std")
    if init.function in ("normal_", "trunc_normal_") and "std" in init.explicit and spread == 0:
        return 0.0
    return None


def _activation_after_every_use(net: Net, layer: int) -> Node | None:
    """The activation behind a layer, if each of its uses feeds one (perhaps through a norm)."""
    found: Node | None = None
    for node in net.nodes:
        if node.layer != layer:
            continue
        after = _next_activation(net, node)
        if after is None or not _is_hidden(net, after):
            return None
        found = after
    return found


def _is_hidden(net: Net, node: Node) -> bool:
    """Whether an activation feeds further layers alone: no gate, no modulation and no output."""
    readers = list(next_steps(net, node, _is_between_layers))
    further = (Kind.AFFINE, Kind.RECURRENT, Kind.ATTENTION)
    return bool(readers) and all(reader.kind in further for reader in readers) and not net.returned(node)


def _is_between_layers(node: Node) -> bool:
    passing = (Kind.RESHAPE, Kind.IDENTITY, Kind.DROPOUT, Kind.POOL, Kind.NORM, Kind.JOIN, Kind.REDUCTION)
    return node.kind in passing or node.op == "cat"


def _next_activation(net: Net, node: Node) -> Node | None:
    readers = net.consumers(node)
    if len(readers) != 1:
        return None
    if readers[0].kind in (Kind.DROPOUT, Kind.NORM):
        return _next_activation(net, readers[0])
    return readers[0] if readers[0].kind is Kind.ACTIVATION else None
