"""A net as rows of a lane graph: one node a row in order of execution, one lane for each value still needed.

A value keeps its lane until its last reader, so a shortcut runs straight down while the branch that
leaves it bulges to the side, and a join is where lanes meet. Rows never overlap, whatever the net.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relucheck.measurements import Activation, Gradient, Measurements
from relucheck.net import Net, Node, Unknown
from relucheck.ops import Kind

_THROUGH = frozenset({Kind.RESHAPE, Kind.IDENTITY})


@dataclass(frozen=True, slots=True)
class Row:
    """One node: its ``lane``, the lanes that ``arrive`` at it and those that ``pass_by``; ``goes_on``: it is read."""

    node: Node
    name: str
    lane: int
    arrive: tuple[int, ...]
    pass_by: tuple[int, ...]
    goes_on: bool
    sites: tuple[Activation, ...] = ()
    gradient: Gradient | None = None

    @property
    def above(self) -> tuple[int, ...]:
        """The lanes that enter the row from the one before."""
        return tuple(sorted({*self.arrive, *self.pass_by}))

    @property
    def size(self) -> str:
        """The shape of its value without the batch: ``64 × 56 × 56``."""
        sizes = self.node.shape or ()
        return " × ".join(str(size) for size in sizes if not isinstance(size, Unknown))


def rows(net: Net, m: Measurements) -> tuple[Row, ...]:
    """The rows of a net with the sites and gradients that were measured at its nodes."""
    sites: dict[int, list[Activation]] = {}
    for site in m.activations:
        if site.node is not None:
            sites.setdefault(site.node, []).append(site)
    gradients: dict[int, Gradient] = {}
    for gradient in m.gradients:
        if gradient.node is not None:
            gradients.setdefault(gradient.node, gradient)
    beyond = _beyond(net)
    shown = [node for node in net.nodes if _shown(node) and node.id not in beyond]
    return _placed(net, shown, _inputs(net, shown), sites, gradients)


def _shown(node: Node) -> bool:
    return node.op == "input" or node.kind not in _THROUGH | {Kind.SOURCE}


def _beyond(net: Net) -> frozenset[int]:
    """What a training script computes of the outputs beside the loss: metrics, which are no part of the network."""
    needed = {output.node for output in net.outputs} | {node.id for node in net.of_kind(Kind.LOSS)}
    after: set[int] = set()
    ends = {output.node for output in net.outputs}
    for node in net.nodes:
        if node.id not in ends and any(i in ends or i in after for i in node.inputs):
            after.add(node.id)
    for node in reversed(net.nodes):
        if node.id in needed:
            needed.update(node.inputs)
    return frozenset(after - needed)


def _inputs(net: Net, shown: Sequence[Node]) -> Mapping[int, tuple[int, ...]]:
    """For each shown node the shown ones whose values it reads, directly or through reshapes."""
    ends: dict[int, tuple[int, ...]] = {}
    kept = {node.id for node in shown}
    for node in net.nodes:
        before = (i for source in node.inputs for i in ends[source])
        ends[node.id] = (node.id,) if node.id in kept else tuple(dict.fromkeys(before))
    return {
        node.id: tuple(dict.fromkeys(i for source in node.inputs for i in ends[source])) for node in shown
    }


def _placed(
    net: Net,
    shown: Sequence[Node],
    inputs: Mapping[int, tuple[int, ...]],
    sites: Mapping[int, Sequence[Activation]],
    gradients: Mapping[int, Gradient],
) -> tuple[Row, ...]:
    waiting = dict.fromkeys(inputs, 0)  # how many readers each value still waits for
    for read in inputs.values():
        for i in read:
            waiting[i] += 1
    lanes: list[int | None] = []
    placed = []
    for node in shown:
        read = inputs[node.id]
        arrive = tuple(sorted(lanes.index(i) for i in read))
        for i in read:
            waiting[i] -= 1
        for lane in [lanes.index(i) for i in read if not waiting[i]]:
            lanes[lane] = None
        pass_by = tuple(lane for lane, value in enumerate(lanes) if value is not None)
        lane = _free(lanes)
        lanes[lane] = node.id if waiting[node.id] else None
        own = tuple(sites.get(node.id, ()))
        name = _name(net, node, own)
        goes_on = bool(waiting[node.id])
        placed.append(Row(node, name, lane, arrive, pass_by, goes_on, own, gradients.get(node.id)))
    return tuple(placed)


def _free(lanes: list[int | None]) -> int:
    """The first lane that no value needs, a new one where there is none."""
    if None not in lanes:
        lanes.append(None)
    return lanes.index(None)


def _name(net: Net, node: Node, sites: Sequence[Activation]) -> str:
    layer = net.layer_of(node)
    if len(sites) == 1:
        return sites[0].name
    return layer.name if layer is not None else node.scope
