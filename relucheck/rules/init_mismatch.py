"""The scale of an initialisation does not fit the activation that follows.

## What it does

Finds explicit initialisations whose gain belongs to another activation: Xavier without a gain before ReLU in a network
with at least four affine layers and no normalisation, Kaiming with the `nonlinearity` of another activation, and the
gain of ReLU before tanh or sigmoid.

## Why is this bad?

The variance of the signal then shrinks or grows by a constant factor per layer. With ReLU and Xavier it halves at
every layer.

## Example

```python
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.fc2 = nn.Linear(64, 64)
        nn.init.kaiming_normal_(self.fc1.weight, nonlinearity="relu")  # RLU401
        nn.init.xavier_normal_(self.fc2.weight)

    def forward(self, x):
        return self.fc2(self.fc1(x).tanh())
```

## Use instead

```python
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.fc2 = nn.Linear(64, 64)
        nn.init.xavier_normal_(self.fc1.weight, gain=nn.init.calculate_gain("tanh"))
        nn.init.xavier_normal_(self.fc2.weight)

    def forward(self, x):
        return self.fc2(self.fc1(x).tanh())
```

## Fix

The unsafe fix calls the initialisation of the activation that follows, uniform or normal as the old one was. A call
that also sets layers before another activation is left alone.

## Silent on

Last layers, and networks that normalise:

```python
from torch import nn


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            *[nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()) for _ in range(5)], nn.Linear(8, 1)
        )
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)

    def forward(self, x):
        return self.net(x)
```

## References

- He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015, section 2.2: n Var[w] = 2 for ReLU.
- Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Severity, here
from relucheck.net import Init, Net, Node
from relucheck.ops import Kind
from relucheck.rules._init import fitting

RULE = Rule("RLU401", "init-mismatch", Severity.ADVICE, Net)

DEEP = 4  # from this many affine layers on, a factor of 1/2 a layer matters (He et al. 2015, section 2.2)
RELU_GAIN = 2**0.5


def check(net: Net) -> Iterator[Finding]:
    """Report every initialisation whose gain belongs to another activation."""
    followers = _activations_after(net)
    for init in net.inits:
        after = followers.get(init.layer)
        if init.tensor != "weight" or init.maybe or after is None:
            continue
        problem = _problem(net, init, after)
        if problem is not None:
            layer = net.layers[init.layer]
            yield RULE.at(
                init.span,
                f"{init.function} of {layer.name or layer.spelling}: {problem}",
                help=_HELP.get(after.op, "use the gain of the activation that follows"),
                related=[here(layer.made, "the layer"), here(after.span, f"the {after.op} that follows")],
                layer=layer.name,
                fix=_fix(net, init, after, followers),
            )


def _fix(net: Net, init: Init, after: Node, followers: dict[int, Node]) -> Fix | None:
    """The initialisation of the activation that follows, where the same call sets no layer before another."""
    alike = [other.layer for other in net.inits if other.span == init.span]
    others = {followers[layer].op for layer in alike if layer in followers}
    return fitting(net, init, after.op) if others == {after.op} else None


_HELP = {
    "relu": 'use kaiming_normal_(weight, nonlinearity="relu")',
    "tanh": 'use xavier_normal_(weight, gain=calculate_gain("tanh"))',
    "sigmoid": "use xavier_normal_(weight)",
}


def _activations_after(net: Net) -> dict[int, Node]:
    """The one activation directly behind each layer, for layers always followed by the same."""
    found: dict[int, Node] = {}
    unclear: set[int] = set()
    for node in net.of_kind(Kind.AFFINE):
        if node.layer is None:
            continue
        readers = net.consumers(node)
        after = readers[0] if len(readers) == 1 and readers[0].kind is Kind.ACTIVATION else None
        known = found.get(node.layer)
        if after is None or (known is not None and known.op != after.op):
            unclear.add(node.layer)
        else:
            found[node.layer] = after
    return {layer: node for layer, node in found.items() if layer not in unclear}


def _problem(net: Net, init: Init, after: Node) -> str | None:
    if init.function.startswith("kaiming"):
        return _kaiming(net, init, after)
    if init.function.startswith("xavier"):
        return _xavier(net, init, after)
    return None


def _kaiming(net: Net, init: Init, after: Node) -> str | None:
    named = init.args.get("nonlinearity")
    if init.args.get("a") == 1 and "a" in init.explicit and named == "leaky_relu" and after.op == "relu":
        return (
            "a=1 is the gain of a linear layer, but relu follows" if _is_deep_and_plain(net, init) else None
        )
    if "nonlinearity" not in init.explicit or not isinstance(named, str):
        return None
    if named in ("relu", "leaky_relu") and after.op in ("tanh", "sigmoid"):
        return f"nonlinearity={named!r}, but {after.op} follows"
    if named in ("tanh", "sigmoid") and after.one_sided:
        return f"nonlinearity={named!r}, but {after.op} follows"
    return None


def _xavier(net: Net, init: Init, after: Node) -> str | None:
    gain = init.args.get("gain")
    if after.op in ("tanh", "sigmoid") and isinstance(gain, float) and abs(gain - RELU_GAIN) < 1e-6:
        return f"the gain of relu, but {after.op} follows"
    default = "gain" not in init.explicit or gain == 1
    if after.op == "relu" and default and _is_deep_and_plain(net, init):
        return "Xavier without the gain of ReLU halves the variance at every layer"
    return None


def _is_deep_and_plain(net: Net, init: Init) -> bool:
    """Whether the layer stands in a network of some depth without normalisation or shortcuts."""
    owner = net.layers[init.layer].owner
    mine = [layer for layer in net.layers if layer.owner == owner]
    affine = [layer for layer in mine if layer.info.kind is Kind.AFFINE]
    return len(affine) >= DEEP and not any(layer.info.kind is Kind.NORM for layer in mine)
