"""A ReLU on the output of the network zeroes its negative predictions for ever.

## What it does

Finds one-sided activations (ReLU, ReLU6, clamp(min=0), however spelled) that are the last operation on a value that a
loss receives as its prediction, or that a root network returns from its final Linear.

## Why is this bad?

Where a score is negative for all samples, ReLU makes it zero and passes no gradient: that class can never be learned
again. Measured on ten classes with Adam: accuracy .99 falls to .80, and 9 of 10 seeds lose at least one class.

## Example

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        return F.relu(self.fc2(x))  # RLU101


loss = F.cross_entropy(Net()(torch.randn(4, 8)), torch.zeros(4).long())
```

## Use instead

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        return self.fc2(x)


loss = F.cross_entropy(Net()(torch.randn(4, 8)), torch.zeros(4).long())
```

## Fix

The unsafe fix removes the rectifier. One that the same line makes for every layer, in a loop or a builder, is left
alone.

## Silent on

Encoders and blocks that another module holds, rates of a Poisson loss, values that go on into further layers or into
products with others, and a last width of features: one that is named so, or a power of two from 128 on:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 64)
        self.fc2 = nn.Linear(64, 16)

    def forward(self, x):
        return F.relu(self.fc2(F.relu(self.fc1(x))))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.compare = nn.Linear(16, 1)

    def forward(self, a, b):
        return self.compare(torch.abs(self.encoder(a) - self.encoder(b)))


rates = F.relu(nn.Linear(8, 4)(torch.randn(2, 8)))
loss = nn.PoissonNLLLoss(log_input=False)(rates, torch.ones(2, 4))
```

## References

- Harm measured on 10 Gaussian classes, 32-64-64-10, 10 epochs, 10 seeds, SGD and Adam.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relucheck.finding import Finding, Related, Rule, Severity
from relucheck.net import Arg, Net, Node, Output, Symbol, smaller
from relucheck.ops import Domain, Kind
from relucheck.rules._fix import removal
from relucheck.rules._walk import (
    all_are,
    asked_for,
    at_loss,
    call_text,
    evidence,
    expectation,
    input_origins,
    is_dropout,
    is_never_negative,
    losses,
    next_steps,
    origins,
    place,
    returned_at,
    subjects,
    width_in,
    width_out,
)
from relucheck.span import Span

RULE = Rule("RLU101", "relu-output", Severity.ERROR, Net, yields_to=("RLU106", "RLU205"))

SCORES = (Domain.LOGITS, Domain.BINARY_LOGITS)
FEATURES = 128  # from this width on, a power of two is a number of features
_LAYERS = (Kind.AFFINE, Kind.NORM, Kind.RECURRENT, Kind.ATTENTION)
REGRESSION = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})

# Names excuse: such modules return features or non-negative quantities on purpose ...
_FEATURES = re.compile(
    r"backbone|encoder|decoder|extractor|trunk|block|embed|feature|attention|fusion|project|adapter|expert|"
    r"density|positive|nonneg|bottleneck",
    re.IGNORECASE,
)
_FEATURE_WIDTH = re.compile(r"features?_?dim|feat(?:ure)?s?_?size|embed|latent|hidden", re.IGNORECASE)
# ... and so do those that have one of these among the words of their name, or as the last one:
# a DownSample or a RateNet, and a DoubleConv, but no ConvNet and no TwoLayerNet.
_PARTS = frozenset({"res", "down", "up", "downsample", "upsample", "mixer", "rate", "count", "depth", "mask"})
_LAST_PARTS = frozenset(
    [
        "stem",
        "neck",
        "layer",
        "cell",
        "unit",
        "stage",
        "conv",
        "norm",
        "pool",
        "branch",
        "module",
        "gate",
        "base",
        "body",
        "tower",
    ]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


# An option by such a name says that the targets are not negative.
_NON_NEGATIVE = re.compile(r"non_?neg|positive|rectif", re.IGNORECASE)


def check(net: Net) -> Iterator[Finding]:
    """Report rectified predictions: first those that a loss receives, then those that a root network returns."""
    judged: set[Span | None] = set()
    for loss in losses(net):
        sources = origins(net, net.inputs(loss)[0], is_dropout)
        if _is_prediction(net, loss, sources):
            judged.update(place(net, source) for source in sources)
            yield from (_at_loss(net, loss, source) for source in sources)
    for output in net.outputs:
        yield from _at_root(net, output, judged)


# -- with a loss --------------------------------------------------------------------------------


def _is_prediction(net: Net, loss: Node, sources: tuple[Node, ...]) -> bool:
    if loss.info.domain in SCORES:
        return all_are(sources, lambda n: _rectifies_layer(net, n, (Kind.AFFINE, Kind.NORM, Kind.ARITHMETIC)))
    if loss.op not in REGRESSION or not all_are(sources, lambda n: _rectifies_linear(net, n)):
        return False
    return not (_has_rectified_target(net, loss) or _is_metric(net, loss, sources))


def _is_metric(net: Net, loss: Node, sources: tuple[Node, ...]) -> bool:
    """Whether predictions are only clamped for a figure, where no gradient is computed and outside the network."""
    return loss.args.get("no_grad") is True and not any(node.in_forward for node in sources)


def _rectifies_layer(net: Net, node: Node, kinds: tuple[Kind, ...]) -> bool:
    return (
        node.one_sided
        and not any(_NON_NEGATIVE.search(name) for name in asked_for(node))
        and all_are(input_origins(net, node), lambda n: n.kind in kinds)
        and not _goes_on(net, node)
    )


def _rectifies_linear(net: Net, node: Node) -> bool:
    """For regression only a final Linear counts: images and depth maps are non-negative by nature."""
    return _rectifies_layer(net, node, (Kind.AFFINE,)) and all(
        n.op == "linear" for n in input_origins(net, node)
    )


def _goes_on(net: Net, node: Node) -> bool:
    """Whether a value also feeds further layers, and is no output alone."""
    return any(reader.kind in _LAYERS for reader in net.consumers(node))


def _has_rectified_target(net: Net, loss: Node) -> bool:
    """Whether the target is never negative either: features are compared, or targets are made so on purpose."""
    targets = origins(net, net.inputs(loss)[1]) if len(loss.inputs) > 1 else ()
    return any(is_never_negative(target) for target in targets)


def _at_loss(net: Net, loss: Node, source: Node) -> Finding:
    scores = loss.info.domain in SCORES
    effect = (
        f"negative scores become 0 and get no gradient, {expectation(net, loss)}"
        if scores
        else "predictions can never be negative, and get no gradient where they would be"
    )
    return _finding(net, source, effect, Severity.ERROR if scores else Severity.WARNING, at_loss(net, loss))


# -- without a loss -----------------------------------------------------------------------------


def _at_root(net: Net, output: Output, judged: set[Span | None]) -> Iterator[Finding]:
    if (
        output.method != "forward"
        or output.contained
        or output.owner == "Sequential"
        or _is_part(output.owner)
    ):
        return
    if sum(1 for other in net.outputs if other.span == output.span and other.owner == output.owner) > 1:
        return  # one of several results: a density, a mask, a feature
    sources = origins(net, net.nodes[output.node], is_dropout)
    if any(place(net, source) in judged for source in sources) or not all_are(
        sources, lambda n: _ends_network(net, n) and not _is_option_of_part(net, n, output)
    ):
        return
    for source in sources:
        effect = "negative predictions become 0 and get no gradient, so they cannot be learned"
        yield _finding(net, source, effect, Severity.WARNING, [])


def _is_part(name: str) -> bool:
    """Whether a class is named like a part of a network, or like a quantity that is never negative."""
    words = [word.lower() for word in _WORD.findall(re.sub(r"\d+d?$", "", name))]
    said = {*words, *(word.rstrip("s") for word in words)}
    return bool(_FEATURES.search(name) or _PARTS & said or _LAST_PARTS.intersection(words[-1:]))


def _ends_network(net: Net, node: Node) -> bool:
    """Whether a rectifier is the very end of a network of several layers, and nothing reads it."""
    return (
        _rectifies_linear(net, node)
        and not node.maybe
        and not _is_read(net, node)
        and _has_hidden_layer(net, node)
        and not _returns_features(net, node)
        and not _goes_on_elsewhere(net, node)
    )


def _returns_features(net: Net, node: Node) -> bool:
    """Whether the last width is one of features: 128, 256, 512, or named so; classes come in other numbers."""
    return all_are(input_origins(net, node), lambda n: _is_of_features(width_out(net, n)))


def _is_of_features(width: Arg) -> bool:
    if isinstance(width, Symbol):
        return bool(_FEATURE_WIDTH.search(width.base))
    return isinstance(width, int) and width >= FEATURES and width & (width - 1) == 0


def _goes_on_elsewhere(net: Net, node: Node) -> bool:
    """Whether another method of the network computes with what forward returns: ``self(x) @ items.T``."""
    layers = {n.layer for n in input_origins(net, node)} - {None}
    again = [n for n in net.nodes if n.id != node.id and n.one_sided and n.span == node.span]
    same = [n for n in again if layers and {o.layer for o in input_origins(net, n)} == layers]
    return any(_uses(step) for n in same for step in next_steps(net, n, _only_looks))


def _uses(node: Node) -> bool:
    return node.kind in _LAYERS or node.op in ("mul", "matmul")


def _is_option_of_part(net: Net, node: Node, output: Output) -> bool:
    """Whether another class made the rectifier because an option asks for it: a head for general use."""
    layer = net.layer_of(node)
    return layer is not None and layer.owner not in ("", output.owner) and bool(asked_for(node))


def _is_read(net: Net, node: Node) -> bool:
    """Whether anything computes with a value; to look at its entries or to compare it is no use."""
    return any(next_steps(net, node, _only_looks))


def _only_looks(node: Node) -> bool:
    return node.kind in (Kind.RESHAPE, Kind.IDENTITY, Kind.COMPARISON) or node.op == "argmax"


def _has_hidden_layer(net: Net, node: Node) -> bool:
    """Whether the final Linear follows an activation and does not widen: else it is a block, or its features."""
    last = input_origins(net, node)
    follows = any(
        n.kind in (Kind.ACTIVATION, Kind.DROPOUT) for final in last for n in input_origins(net, final)
    )
    return follows and not any(smaller(width_out(net, n), width_in(net, n)) is False for n in last)


# -- the finding --------------------------------------------------------------------------------


def _finding(net: Net, source: Node, effect: str, severity: Severity, more: list[Related | None]) -> Finding:
    stands = place(net, source)
    return RULE.at(
        stands,
        f"{call_text(net, source)} is the last operation on the network's output: {effect}",
        severity=severity,
        help="return the output of the last layer as it is",
        related=[*evidence(net, source), returned_at(net, source), *more],
        subjects=subjects(net, source),
        fix=removal(net, source),
    )
