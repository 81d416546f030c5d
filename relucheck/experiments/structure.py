"""Which activations and layers of a network are hidden, read off the net of a real pass.

A value is *hidden* if no output is reached from it without another layer with weights in between: the
last activation and the output layer are never changed, however the network is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.span import Span

_LAYERS = frozenset({Kind.AFFINE, Kind.RECURRENT, Kind.ATTENTION})
_PASSES = frozenset({Kind.NORM, Kind.DROPOUT, Kind.RESHAPE, Kind.IDENTITY, Kind.POOL})


@dataclass(frozen=True, slots=True)
class Site:
    """Where an activation is applied: the module that applies it, else the place of the function call."""

    op: str
    module: str = ""
    place: Span | None = None


@dataclass(frozen=True, slots=True)
class HiddenLayer:
    """A layer with weights that feeds hidden activations wherever it is applied.

    ``activation`` is the first one behind it, through normalisation, dropout and reshapes. ``site``:
    the activation that receives the layer's output itself. ``square``: input and output have one shape.
    ``calls`` counts its applications in one pass.
    """

    path: str
    op: str
    activation: str
    site: Site | None = None
    square: bool = False
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Structure:
    """The hidden parts of a network; ``kept`` are the sites that also act on its output or as gates."""

    activations: tuple[Site, ...]
    layers: tuple[HiddenLayer, ...]
    kept: frozenset[Site]

    def sites(self, ops: frozenset[str]) -> tuple[Site, ...]:
        """The hidden activations of some operations that can be changed without touching others."""
        return tuple(site for site in self.activations if site.op in ops and site not in self.kept)


def structure_of(net: Net) -> Structure:
    """The hidden activations and layers of a net, in order of execution."""
    hidden = frozenset(node.id for node in _hidden(net))
    sites = [(site_of(net, node), node.id in hidden) for node in net.of_kind(Kind.ACTIVATION)]
    return Structure(
        activations=tuple(dict.fromkeys(site for site, inside in sites if inside)),
        layers=tuple(_hidden_layers(net, hidden)),
        kept=frozenset(site for site, inside in sites if not inside),
    )


def site_of(net: Net, node: Node) -> Site:
    """The module or the call that applies a node."""
    layer = net.layer_of(node)
    return Site(node.op, layer.name) if layer is not None else Site(node.op, "", node.span)


def _hidden(net: Net) -> Iterator[Node]:
    """Elementwise activations inside the network, gates left out."""
    exposed = _exposed(net)
    for node in net.of_kind(Kind.ACTIVATION):
        if node.id not in exposed and node.info.elementwise and not _gate(net, node):
            yield node


def _exposed(net: Net) -> frozenset[int]:
    """The values that leave the network without passing a further layer with weights."""
    seen: set[int] = set()
    waiting = [output.node for output in net.outputs]
    while waiting:
        node = net.nodes[waiting.pop()]
        if node.id not in seen:
            seen.add(node.id)
            waiting += () if node.kind in _LAYERS else node.inputs
    return frozenset(seen)


def _gate(net: Net, node: Node) -> bool:
    """A squash that is multiplied with something: its range is what it is there for."""
    return node.info.squash and any(reader.op == "mul" for reader in net.consumers(node))


def _hidden_layers(net: Net, hidden: frozenset[int]) -> Iterator[HiddenLayer]:
    applied: dict[str, list[Node]] = {}
    for node in net.of_kind(Kind.AFFINE):
        layer = net.layer_of(node)
        if layer is not None:
            applied.setdefault(layer.name, []).append(node)
    for path, nodes in applied.items():
        fed = [_fed(net, node) for node in nodes]
        if all(end is not None and end.id in hidden for end in fed) and fed[0] is not None:
            square = all(_square(net, node) for node in nodes)
            yield HiddenLayer(path, nodes[0].op, fed[0].op, _site(net, nodes), square, len(nodes))


def _fed(net: Net, node: Node) -> Node | None:
    """The activation that a value reaches with nothing else reading it on the way."""
    while True:
        readers = net.consumers(node)
        if len(readers) != 1 or net.returned(node):
            return None
        node = readers[0]
        if node.kind is Kind.ACTIVATION:
            return node
        if node.kind not in _PASSES:
            return None


def _site(net: Net, nodes: list[Node]) -> Site | None:
    """The one site that receives a layer's output itself, in all its applications."""
    readers = [reader for node in nodes for reader in net.consumers(node)]
    sites = {site_of(net, reader) for reader in readers if reader.kind is Kind.ACTIVATION}
    return sites.pop() if len(sites) == 1 and all(r.kind is Kind.ACTIVATION for r in readers) else None


def _square(net: Net, node: Node) -> bool:
    """Whether an application changes no shape, so that its input can be added to its result."""
    (source, *_) = net.inputs(node)
    return node.shape is not None and node.shape == source.shape


def is_renamed(before: Net, after: Net, sites: frozenset[Site], op: str) -> bool:
    """Whether two nets are the same but for the operation at some sites, edge by edge."""
    expected = [(op if site_of(before, n) in sites else n.op, n.inputs) for n in before.nodes]
    return expected == [(node.op, node.inputs) for node in after.nodes]


def added(before: Net, after: Net, op: str) -> int:
    """How many more nodes of an operation the second net has."""
    return sum(node.op == op for node in after.nodes) - sum(node.op == op for node in before.nodes)
