"""Nodes and layers while they are being read, and how they become a frozen Net."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from relucheck.net import Arg, Attribute, Init, Layer, Net, Node, Optimiser, Output, Rewrap, Shape
from relucheck.ops import Op, op_named
from relucheck.span import Span


@dataclass(eq=False, slots=True)
class LayerDraft:
    """A layer that was made; see ``relucheck.net.Layer``.

    ``inside`` is the place of the Sequential that was made around it in a forward.
    """

    op: str
    spelling: str
    args: dict[str, Arg]
    explicit: dict[str, int | None]
    made: Span | None
    callers: tuple[Span, ...]
    owner: str = ""
    name: str = ""
    in_forward: bool = False
    stored: bool = False
    inside: Span | None = None
    applied: bool = False

    @property
    def info(self) -> Op:
        return op_named(self.op)


@dataclass(eq=False, slots=True)
class NodeDraft:
    """A node that was applied; see ``relucheck.net.Node``. ``order`` is the time it ran."""

    op: str
    inputs: tuple[NodeDraft, ...]
    layer: LayerDraft | None = None
    args: dict[str, Arg] = field(default_factory=dict)
    explicit: frozenset[str] = frozenset()
    span: Span | None = None
    callers: tuple[Span, ...] = ()
    scope: str = ""
    spelling: str = ""
    discarded: bool = False
    misused: bool = False
    maybe: bool = False
    in_forward: bool = False
    shape: Shape | None = None
    batch_first: bool = False
    order: int = 0

    @property
    def info(self) -> Op:
        return op_named(self.op)


@dataclass(eq=False, slots=True)
class OptimiserDraft:
    """An optimiser that was made."""

    kind: str
    args: dict[str, Arg]
    explicit: frozenset[str]
    layers: tuple[LayerDraft, ...]
    all_parameters: bool
    span: Span | None
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Repeated:
    """A container that holds layers several times; ``by_name``: not by ``[layer] * n`` but one by one."""

    place: Attribute
    layers: tuple[LayerDraft, ...]
    by_name: bool


@dataclass(eq=False, slots=True)
class OutputDraft:
    """A value that a network returned to code outside any network."""

    node: NodeDraft
    owner: str
    method: str
    span: Span | None
    contained: bool
    bases: tuple[str, ...]


@dataclass(eq=False, slots=True)
class InitDraft:
    """An initialisation of one tensor of a layer."""

    layer: LayerDraft
    tensor: str
    function: str
    args: dict[str, Arg]
    explicit: frozenset[str]
    span: Span | None
    maybe: bool
    replaced: bool = False


@dataclass(eq=False, slots=True)
class Tape:
    """Everything that the code of one file made, in order."""

    nodes: list[NodeDraft] = field(default_factory=list)
    layers: list[LayerDraft] = field(default_factory=list)
    outputs: list[OutputDraft] = field(default_factory=list)
    inits: list[InitDraft] = field(default_factory=list)
    optimisers: list[OptimiserDraft] = field(default_factory=list)
    rewraps: list[Rewrap] = field(default_factory=list)

    def marks(self) -> tuple[int, ...]:
        """How much is recorded so far."""
        return tuple(len(row) for row in self._rows())

    def cut(self, marks: tuple[int, ...]) -> None:
        """Forget what was recorded after ``marks``; layers stay, since values refer to them."""
        for row, mark in zip(self._rows(), marks, strict=True):
            del row[mark:]

    def forget(self, nodes: list[NodeDraft]) -> None:
        """Leave out nodes that turned out to be the parts of one hand-written operation."""
        recent = self.nodes[-8:]
        self.nodes[-8:] = [n for n in recent if not any(n is part for part in nodes)]

    def _rows(self) -> tuple[list[Any], ...]:
        return (self.nodes, self.outputs, self.inits, self.optimisers, self.rewraps)

    def freeze(self, name: str, path: str) -> Net:
        """The Net of all that was recorded, with what it refers to in other files."""
        layers = _with_foreign(self.layers, self._mentioned_layers())
        layer_ids = {id(layer): i for i, layer in enumerate(layers)}
        nodes = sorted(_closure(self.nodes, self.outputs), key=lambda node: node.order)
        node_ids = {id(node): i for i, node in enumerate(nodes)}
        return Net(
            name=name,
            path=path,
            layers=tuple(_layer(i, layer) for i, layer in enumerate(layers)),
            nodes=tuple(_node(node, node_ids, layer_ids) for node in nodes),
            outputs=tuple(_output(output, node_ids) for output in self.outputs),
            inits=tuple(_init(init, layer_ids) for init in self.inits),
            optimisers=tuple(_optimiser(o, layer_ids) for o in self.optimisers),
            rewraps=tuple(self.rewraps),
        )

    def _mentioned_layers(self) -> Iterable[LayerDraft]:
        for node in self.nodes:
            if node.layer is not None:
                yield node.layer
        for init in self.inits:
            yield init.layer
        for optimiser in self.optimisers:
            yield from optimiser.layers


def _with_foreign(own: list[LayerDraft], mentioned: Iterable[LayerDraft]) -> list[LayerDraft]:
    known = {id(layer): layer for layer in own}
    for layer in mentioned:
        known.setdefault(id(layer), layer)
    return list(known.values())


def _closure(nodes: list[NodeDraft], outputs: list[OutputDraft]) -> list[NodeDraft]:
    found = {id(node): node for node in nodes}
    todo = [*nodes, *(output.node for output in outputs)]
    while todo:
        node = todo.pop()
        found.setdefault(id(node), node)
        todo.extend(n for n in node.inputs if id(n) not in found)
        found.update((id(n), n) for n in node.inputs)
    return list(found.values())


def _layer(number: int, draft: LayerDraft) -> Layer:
    return Layer(
        id=number,
        op=draft.op,
        name=draft.name,
        owner=draft.owner,
        args=draft.args,
        explicit=draft.explicit,
        made=draft.made,
        callers=draft.callers,
        spelling=draft.spelling,
    )


def _node(draft: NodeDraft, node_ids: dict[int, int], layer_ids: dict[int, int]) -> Node:
    layer = None if draft.layer is None else layer_ids.get(id(draft.layer))
    return Node(
        id=node_ids[id(draft)],
        op=draft.op,
        inputs=tuple(node_ids[id(n)] for n in draft.inputs),
        layer=layer,
        args=draft.args,
        explicit=draft.explicit,
        span=draft.span,
        callers=draft.callers,
        scope=draft.scope,
        spelling=draft.spelling,
        discarded=draft.discarded,
        misused=draft.misused,
        maybe=draft.maybe,
        in_forward=draft.in_forward,
        shape=draft.shape,
        batch_first=draft.batch_first,
    )


def _output(draft: OutputDraft, node_ids: dict[int, int]) -> Output:
    return Output(
        node_ids[id(draft.node)], draft.owner, draft.method, draft.span, draft.contained, draft.bases
    )


def _init(draft: InitDraft, layer_ids: dict[int, int]) -> Init:
    return Init(
        layer_ids[id(draft.layer)],
        draft.tensor,
        draft.function,
        draft.args,
        draft.explicit,
        draft.span,
        draft.maybe,
        draft.replaced,
    )


def _optimiser(draft: OptimiserDraft, layer_ids: dict[int, int]) -> Optimiser:
    return Optimiser(
        draft.kind,
        draft.args,
        draft.explicit,
        tuple(layer_ids[id(layer)] for layer in draft.layers),
        draft.all_parameters,
        draft.span,
        draft.scheduled,
    )
