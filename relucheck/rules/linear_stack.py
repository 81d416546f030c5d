"""Two affine layers stand next to each other with nothing non-linear between them.

## What it does

Finds Linear on Linear, Conv on Conv, ConvTranspose on ConvTranspose and Conv on Flatten on Linear, with nothing but
BatchNorm, Dropout, reshapes, padding or average pooling between them. The message says what the stack collapses to.

## Why is this bad?

A product of matrices is a matrix: the stack computes nothing that one layer could not, at several times the cost, and
the activation that was meant to be there is missing.

## Example

```python
from torch import nn

net = nn.Sequential(
    nn.Linear(10, 20),
    nn.Linear(20, 5),  # RLU201
)
y = net(x)
```

## Use instead

```python
from torch import nn

net = nn.Sequential(
    nn.Linear(10, 20),
    nn.ReLU(),
    nn.Linear(20, 5),
)
y = net(x)
```

## Fix

The unsafe fix puts a ReLU between every two, behind a normalisation where there is one.

## Silent on

A middle narrower than both ends (a deliberate low-rank factor), grouped, factorised and patch convolutions, layers of
a builder that is asked for no activation (`activation=None`), and those that are applied for the shape of the result:

```python
from torch import nn

low_rank = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 64))(x)
separable = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1))(x)
factorised = nn.Sequential(nn.Conv2d(8, 8, (1, 7)), nn.Conv2d(8, 8, (7, 1)))(x)
patches = nn.Sequential(nn.Conv2d(3, 96, 4, stride=4), nn.Conv2d(96, 96, 3))(x)
```

Layers that another path uses with something between them:

```python
from torch import nn


class Attention(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.query, self.out, self.attend = nn.Linear(64, 64), nn.Linear(64, 64), attend

    def forward(self, x, keys, values):
        if keys.shape[1] == 0:
            return self.out(self.query(x))
        return self.out(self.attend(self.query(x), keys, values))
```

Values that are used twice, layers in a list that is not run as a Sequential, normalisation over the features, and an
activation that may be there:

```python
import torch
from torch import nn


class Several(nn.Module):
    def __init__(self, act=None):
        super().__init__()
        self.inp, self.mid, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.heads = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.act = act

    def forward(self, x):
        h = self.inp(x)
        r = h + torch.tanh(self.mid(h))
        r = self.out(self.norm(self.mid(r * r)))
        if self.act is not None:
            r = self.act(r)
        return [head(r) for head in self.heads]
```

## References

- Of 147 naive hits in 20 published packages, 16 % were true; each exception above removed a part of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Insert, Rule, Safety, Severity, here
from relucheck.net import UNKNOWN, Arg, Layer, Net, Node, smaller
from relucheck.ops import Kind
from relucheck.rules._walk import call_text, next_steps, place, spans, subjects, width_in, width_out
from relucheck.span import Span

RULE = Rule("RLU201", "linear-stack", Severity.WARNING, Net, yields_to=("RLU204", "RLU205", "RLU404"))

STEPS = frozenset(
    [
        "batch_norm",
        "dropout",
        "feature_dropout",
        "identity",
        "cast",
        "clone",
        "flatten",
        "view",
        "squeeze",
        "unsqueeze",
        "pad",
        "avg_pool",
    ]
)
RESHAPES = frozenset({"view", "flatten", "unflatten", "squeeze", "unsqueeze"})
# Names of deliberately narrow layers and widths: a code, but not all that an encoder or decoder holds.
LOW_RANK = re.compile(
    r"rank|lora|bottleneck|latent|(?<!en)(?<!de)code|squeeze|reduc|compress|factor", re.IGNORECASE
)


# Names of networks that are linear by design: Saxe et al. 2014; Lusch, Kutz, Brunton 2018.
LINEAR = re.compile(r"deep_?linear|koopman", re.IGNORECASE)


def check(net: Net) -> Iterator[Finding]:
    """Report every chain of affine layers once, at its second layer."""
    before = _only_stacked(net, _stacked(net))
    for first in before.values():
        chain = _chain(net, first, before)
        if first.id not in before and not _shows_shape(net, chain):
            yield _finding(net, chain)


def _stacked(net: Net) -> dict[int, Node]:
    """The affine layer before each one that is stacked on another, by the second one's id."""
    firsts = ((node, _layer_before(net, node)) for node in net.of_kind(Kind.AFFINE))
    return {node.id: first for node, first in firsts if first is not None and _is_stack(net, first, node)}


def _only_stacked(net: Net, before: dict[int, Node]) -> dict[int, Node]:
    """The stacks of layers that are applied nowhere else: one that is has work of its own there."""
    stacked = {*before, *(first.id for first in before.values())}
    elsewhere = {node.layer for node in net.of_kind(Kind.AFFINE) if node.id not in stacked} - {None}
    shared = _shared_roles(net)
    return {
        second: first
        for second, first in before.items()
        if not {first.layer, net.nodes[second].layer} & elsewhere and _role(net, first) not in shared
    }


def _shared_roles(net: Net) -> set[tuple[Span, str]]:
    """The layers of a class whose value several others read, in one of the instances of that class.

    The last of several equal blocks may leave unused what each of them hands on to the next.
    """
    roles = (_role(net, node) for node in net.of_kind(Kind.AFFINE) if len(net.consumers(node)) > 1)
    return {role for role in roles if role is not None}


def _role(net: Net, node: Node) -> tuple[Span, str] | None:
    """What a layer is for its class: the place where it is made and its name."""
    layer = net.layer_of(node)
    return (layer.made, layer.name) if layer is not None and layer.made is not None and layer.name else None


def _chain(net: Net, first: Node, before: dict[int, Node]) -> list[Node]:
    chain = [first]
    after = {f.id: net.nodes[i] for i, f in before.items()}
    while chain[-1].id in after:
        chain.append(after[chain[-1].id])
    return chain


def _shows_shape(net: Net, chain: list[Node]) -> bool:
    """Whether layers that nothing keeps are applied for the shape of the result: nothing computes with its values."""
    nameless = [layer for node in chain if (layer := net.layer_of(node)) is not None and not layer.name]
    computed = (n.kind not in (Kind.RESHAPE, Kind.IDENTITY) for n in next_steps(net, chain[-1], _moves))
    return len(nameless) == len(chain) and not net.returned(chain[-1]) and not any(computed)


def _moves(node: Node) -> bool:
    return node.kind in (Kind.RESHAPE, Kind.IDENTITY)


def _layer_before(net: Net, node: Node) -> Node | None:
    """The affine layer that alone feeds another through affine steps, each read by nothing else."""
    current = net.nodes[node.inputs[0]] if node.inputs else None
    while current is not None:
        if len(net.consumers(current)) != 1 or net.returned(current):
            return None
        if current.kind is Kind.AFFINE:
            return current
        if current.op not in STEPS or not current.inputs:
            return None
        current = net.nodes[current.inputs[0]]
    return None


def _between(net: Net, first: Node, second: Node) -> list[Node]:
    steps: list[Node] = []
    current = net.nodes[second.inputs[0]]
    while current.id != first.id:
        steps.append(current)
        current = net.nodes[current.inputs[0]]
    return steps


def _is_stack(net: Net, first: Node, second: Node) -> bool:
    if len(first.inputs) > 1 or len(second.inputs) > 1:
        return False
    if first.layer is not None and first.layer == second.layer:
        return False  # one set of weights applied twice
    if _is_excused(net, first, second) or not _same_design(net, first, second):
        return False
    steps = _between(net, first, second)
    if (first.op, second.op) == ("conv", "linear"):
        return _is_flattened_stack(net, first, second, steps)
    if first.op != second.op:
        return False  # a learned resampling, or the map that a generator starts from
    if first.op == "linear":
        return _is_linear_stack(net, first, second, steps)
    return _is_conv_stack(net, first, second, steps)


def _is_excused(net: Net, first: Node, second: Node) -> bool:
    layers = (net.layer_of(first), net.layer_of(second))
    flags = ("tied_weight", "declined")  # a caller may ask for a builder's layers without activation
    told = any(layer is not None and layer.args.get(flag) is True for layer in layers for flag in flags)
    named = any(
        layer is not None and (LOW_RANK.search(layer.name) or LINEAR.search(layer.owner)) for layer in layers
    )
    meant = told or named or _reads_frozen(*layers) or _addresses_memory(net, second)
    return meant or _has_active_twin(net, *layers)


def _has_active_twin(net: Net, first: Layer | None, second: Layer | None) -> bool:
    """Whether the same two lines also make layers with an activation between them: the caller chooses it."""
    if first is None or second is None or first.made == second.made:
        return False
    twins = (n for n in net.of_kind(Kind.AFFINE) if _is_made_at(net, n, second) and n.layer != second.id)
    return any(_is_active_after(net, twin, first) for twin in twins)


def _is_active_after(net: Net, node: Node, first: Layer) -> bool:
    """Whether an activation stands between a node and a layer that the line of another makes."""
    active, current = False, net.nodes[node.inputs[0]]
    while current.inputs and (current.op in STEPS or current.kind in (Kind.ACTIVATION, Kind.NORM)):
        active = active or current.kind is Kind.ACTIVATION
        current = net.nodes[current.inputs[0]]
    return active and _is_made_at(net, current, first)


def _is_made_at(net: Net, node: Node, like: Layer) -> bool:
    layer = net.layer_of(node)
    return layer is not None and layer.made is not None and layer.made == like.made


def _reads_frozen(first: Layer | None, second: Layer | None) -> bool:
    """Whether a layer is trained on what one computes that is not: a probe, or a basis that was found before."""
    frozen = [layer is not None and layer.args.get("frozen") is True for layer in (first, second)]
    return frozen == [True, False]


def _addresses_memory(net: Net, product: Node) -> bool:
    """Whether a query is compared with learned keys: attention over a memory is no layer."""
    readers = net.consumers(product)
    while len(readers) == 1 and readers[0].op in ("div", "mul", "sub"):  # a temperature
        readers = net.consumers(readers[0])
    scores = product.op == "linear" and product.layer is None
    return scores and any(
        reader.op == "softmax" and any(n.spelling == "matmul" for n in net.consumers(reader))
        for reader in readers
    )


def _same_design(net: Net, first: Node, second: Node) -> bool:
    """Whether one class decided on both layers; across classes the boundary is a design of its own."""
    a, b = net.layer_of(first), net.layer_of(second)
    return a is None or b is None or a.owner == b.owner or first.scope == second.scope


# -- Linear -------------------------------------------------------------------------------------


def _is_linear_stack(net: Net, first: Node, second: Node, steps: list[Node]) -> bool:
    middle, start, end = width_out(net, first), width_in(net, first), width_out(net, second)
    if any(step.op in RESHAPES for step in steps) and not _keeps_width(middle, width_in(net, second)):
        return False
    narrower = (smaller(middle, start), smaller(middle, end))
    if False in narrower:
        return True
    if None in narrower and narrower != (None, None) and not _is_lazy(start):
        return False  # narrower than one end, and the other is not known
    in_container = all(node.args.get("in_container") is True for node in (first, second))
    side_by_side = in_container and first.scope == second.scope
    return narrower != (True, True) and side_by_side and _may_be_judged(middle)


def _keeps_width(out: Arg, into: Arg) -> bool:
    return isinstance(out, int) and out == into


def _is_lazy(width: Arg) -> bool:
    return width is None


def _may_be_judged(middle: Arg) -> bool:
    """Whether a width that does not compare is named like an ordinary one."""
    return middle is not None and middle is not UNKNOWN and not LOW_RANK.search(str(middle))


# -- Conv ---------------------------------------------------------------------------------------


def _is_conv_stack(net: Net, first: Node, second: Node, steps: list[Node]) -> bool:
    if any(step.op in ("flatten", "view") for step in steps) or len(_spatial(net, first)) != len(
        _spatial(net, second)
    ):
        return False
    if not (_is_plain(net, first) and _is_plain(net, second)):
        return False
    kernels = (_spatial(net, first), _spatial(net, second))
    if _is_factorised(*kernels):
        return False
    if _is_pointwise(kernels[0]) != _is_pointwise(kernels[1]) and not _lacks_activation(kernels[1], steps):
        return False  # a lateral or separable design
    middle, start, end = width_out(net, first), width_in(net, first), width_out(net, second)
    return False in (smaller(middle, start), smaller(middle, end))


def _lacks_activation(kernel: tuple[Arg, ...], steps: list[Node]) -> bool:
    """Whether a spatial convolution, a norm and a 1x1 convolution follow: after a norm, an activation is meant.

    The other order, a lateral 1x1 with its norm before a smoothing 3x3, is a published design (YOLOF).
    """
    return _is_pointwise(kernel) and any(step.kind is Kind.NORM for step in steps)


def _is_flattened_stack(net: Net, first: Node, second: Node, steps: list[Node]) -> bool:
    """Whether a dense convolution that does not reduce its channels is flattened into a Linear."""
    channels, width = width_out(net, first), width_in(net, second)
    flattens = any(step.op in ("flatten", "view") for step in steps)
    if not flattens or not isinstance(channels, int) or not isinstance(width, int):
        return False
    fits = width > channels and width % channels == 0  # of one position, it would be a global pooling
    return fits and _is_plain(net, first) and smaller(channels, width_in(net, first)) is False


def _spatial(net: Net, node: Node) -> tuple[Arg, ...]:
    """The kernel as a tuple, one size for each axis where they are written out."""
    kernel = net.args_of(node).get("kernel_size", UNKNOWN)
    return kernel if isinstance(kernel, tuple) else (kernel,)


def _is_plain(net: Net, node: Node) -> bool:
    """Whether a convolution is dense and overlapping: not grouped, dilated, or one of patches."""
    args = net.args_of(node)
    kernel, stride = args.get("kernel_size", UNKNOWN), args.get("stride", 1)
    if args.get("groups", 1) != 1 or args.get("dilation", 1) not in (1, (1, 1)):
        return False
    if kernel is UNKNOWN or stride is UNKNOWN:
        return False
    return not (kernel == stride and kernel not in (1, (1, 1)))


def _is_factorised(a: tuple[Arg, ...], b: tuple[Arg, ...]) -> bool:
    """Whether two kernels are 1xN and Nx1."""
    return any(len(k) > 1 and 1 in k and any(size != 1 for size in k) for k in (a, b))


def _is_pointwise(kernel: tuple[Arg, ...]) -> bool:
    return all(size == 1 for size in kernel)


# -- the finding --------------------------------------------------------------------------------


def _finding(net: Net, chain: list[Node]) -> Finding:
    names = " and ".join([", ".join(call_text(net, n) for n in chain[:-1]), call_text(net, chain[-1])])
    return RULE.at(
        place(net, chain[1]),
        f"{names} collapse to {_collapsed(net, chain)}: nothing non-linear stands between them",
        help="put an activation between them, or keep one layer",
        related=[here(place(net, node), f"{call_text(net, node)}") for node in chain if node is not chain[1]],
        subjects=subjects(net, *chain),
        fix=_fix(net, chain),
    )


def _collapsed(net: Net, chain: list[Node]) -> str:
    start, end = width_in(net, chain[0]), width_out(net, chain[-1])
    if chain[0].op == "linear" and isinstance(start, int) and isinstance(end, int):
        return f"one nn.Linear({start}, {end})"
    return "one convolution" if chain[-1].op != "linear" else "one affine layer"


def _fix(net: Net, chain: list[Node]) -> Fix | None:
    """A ReLU between every two: an element of a Sequential, or an application in a forward."""
    readers = [_activated(net, first) for first in chain[:-1]]
    stands = [place(net, reader) for reader in readers]
    if None in stands or len({place(net, node) for node in chain}) < len(chain):
        return None
    codes = ["nn.ReLU()" if reader.args.get("in_container") is True else "F.relu" for reader in readers]
    edits = tuple(Insert(span, code) for span, code in zip(spans(*stands), codes, strict=True))
    return Fix("Put a ReLU between them", Safety.UNSAFE, edits)


def _activated(net: Net, node: Node) -> Node:
    """The node whose input is to be activated: the first after an affine layer and its normalisation."""
    reader = net.consumers(node)[0]
    while reader.kind is Kind.NORM:
        reader = net.consumers(reader)[0]
    return reader
