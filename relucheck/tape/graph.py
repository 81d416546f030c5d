"""The steps of one recorded pass as a net, the same kind of graph that the source reader makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from relucheck.net import UNKNOWN, Layer, Net, Node, Output, Shape
from relucheck.ops import op_named
from relucheck.tape.names import Names, layers_of
from relucheck.tape.steps import Step
from relucheck.tape.wrappers import class_name


def net_of(names: Names, steps: Sequence[Step], outputs: Iterable[int]) -> Net:
    """The net of a pass; its node ids are the positions of the steps."""
    layers = layers_of(names)
    by_name = {layer.name: layer for layer in layers}
    owner = class_name(names.model)
    nodes = tuple(_node(i, step, by_name) for i, step in enumerate(steps))
    return Net(
        name=owner,
        path=_path(steps),
        layers=layers,
        nodes=nodes,
        outputs=tuple(Output(i, owner, "forward", nodes[i].span) for i in dict.fromkeys(outputs)),
    )


def _node(index: int, step: Step, layers: dict[str, Layer]) -> Node:
    layer = layers.get(step.layer)
    applied = layer is not None and (layer.op == step.op or op_named(step.op).kind is layer.info.kind)
    return Node(
        id=index,
        op=step.op,
        inputs=step.inputs,
        layer=layer.id if layer is not None and applied else None,
        args=step.args,
        explicit=step.explicit,
        span=step.places[-1] if step.places else None,
        callers=step.places[:-1],
        scope=step.scope,
        spelling=step.spelling,
        in_forward=True,
        shape=_shape(step),
        batch_first=step.batch == 0,
    )


def _shape(step: Step) -> Shape | None:
    """The shape with the batch left open: another batch may have another size."""
    if step.shape is None:
        return None
    return tuple(UNKNOWN if axis == step.batch else size for axis, size in enumerate(step.shape))


def _path(steps: Sequence[Step]) -> str:
    """The file of the first step that has one."""
    return next((step.places[-1].path for step in steps if step.places), "")


def trunk_of(net: Net) -> frozenset[int]:
    """The nodes that every path from an input to an output passes: no edge leads around them."""
    ahead = _reached(net, [n.id for n in net.nodes if n.op == "input"], forwards=True)
    behind = _reached(net, [output.node for output in net.outputs], forwards=False)
    on_path = sorted(ahead & behind)
    furthest, trunk = -1, set()
    for index in on_path:
        if index >= furthest:
            trunk.add(index)
        readers = [c.id for c in net.consumers(net.nodes[index]) if c.id in behind]
        furthest = max(furthest, *readers, index)
    return frozenset(trunk)


def _reached(net: Net, start: list[int], *, forwards: bool) -> frozenset[int]:
    seen, waiting = set(start), list(start)
    while waiting:
        node = net.nodes[waiting.pop()]
        for other in net.consumers(node) if forwards else net.inputs(node):
            if other.id not in seen:
                seen.add(other.id)
                waiting.append(other.id)
    return frozenset(seen)
