"""Fixes that several rules make: a step taken out, with what nothing reads then."""

from __future__ import annotations

from collections.abc import Iterable

from relucheck.finding import Drop, Edit, Exchange, Fix, Forget, Safety
from relucheck.net import Layer, Net, Node
from relucheck.rules._walk import place, spans


def removal(net: Net, node: Node, safety: Safety = Safety.UNSAFE) -> Fix | None:
    """The removal of one step, or None where its text stands for others too."""
    return removals(net, (node,), f"Remove the {node.op}", safety)


def removals(net: Net, nodes: Iterable[Node], message: str, safety: Safety) -> Fix | None:
    """The removal of some steps, or None where the text of one stands for others too."""
    nodes = tuple(nodes)
    stands = [place(net, node) for node in nodes]
    if None in stands or any(is_shared(net, node) for node in nodes):
        return None
    tidy = tuple(edit for node in nodes for edit in _unread(net, node))
    return Fix(message, safety, tuple(Drop(span) for span in spans(*dict.fromkeys(stands))), tidy)


def exchange(net: Net, first: Node, second: Node, message: str) -> Fix | None:
    """The other order of two steps, both elements of a container or both applications."""
    one, other = place(net, first), place(net, second)
    inside = {node.args.get("in_container") is True for node in (first, second)}
    if one is None or other is None or len(inside) > 1 or one.path != other.path:
        return None
    return Fix(message, Safety.UNSAFE, (Exchange(one, other),))


def written_as(net: Net, node: Node) -> tuple[Node, ...]:
    """The nodes that a change of a node's text changes: all uses of its layer, or of its call.

    What stands at the place of a call and has no inputs is an argument of it that is not known.
    """
    if node.layer is None:
        return tuple(n for n in net.nodes if n.layer is None and n.span == node.span and n.inputs)
    return tuple(other for other in net.nodes if other.layer == node.layer)


def is_shared(net: Net, node: Node) -> bool:
    """Whether one place in the text makes several steps of one network, as a loop does."""
    layer = net.layer_of(node)
    if layer is not None and place(net, node) == layer.made:
        return any(_is_sibling(layer, other) for other in net.layers)
    return any(
        other.span == node.span and other.callers == node.callers and other.scope == node.scope
        for other in net.nodes
        if other.id != node.id
    )


def _is_sibling(layer: Layer, other: Layer) -> bool:
    """Whether two layers of one network come from one call; a copy of a whole network is no sibling."""
    if other.made != layer.made or other.callers != layer.callers or other.name == layer.name:
        return False
    (root, last), (other_root, other_last) = _ends(layer.name), _ends(other.name)
    return root == other_root or last != other_last


def _ends(name: str) -> tuple[str, str]:
    """The first and the last part of an attribute path."""
    return name.partition(".")[0], name.rpartition(".")[2]


def _unread(net: Net, node: Node) -> tuple[Edit, ...]:
    """The attribute that holds a layer which is applied nowhere else."""
    layer = net.layer_of(node)
    if layer is None or layer.made is None or node.args.get("in_container") is True:
        return ()
    here = node.span is not None and node.span.path == layer.made.path
    alone = all(other.span == node.span for other in net.nodes if other.layer == layer.id)
    return (Forget(layer.made),) if here and alone else ()
