"""Walking a net: where a value comes from, who reads it, and where a finding about it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from relucheck.finding import Related, here
from relucheck.net import Arg, Net, Node
from relucheck.ops import LOSS_EXPECTATION, Kind
from relucheck.span import Span

MAX_STEPS = 400

Test = Callable[[Node], bool]


def is_transparent(node: Node) -> bool:
    """Whether a node moves or renames entries and computes nothing: reshapes, casts, parts of a tuple."""
    return (node.kind in (Kind.RESHAPE, Kind.IDENTITY) and node.op != "pad") or node.op == "parts"


def is_dropout(node: Node) -> bool:
    """Whether a node is a dropout, which keeps the sign of what it lets through."""
    return node.kind is Kind.DROPOUT


def is_bound(node: Node) -> bool:
    """Whether a node keeps probabilities away from 0 and 1, or drops some: they are probabilities still."""
    return node.op == "clip" or is_dropout(node)


def origins(net: Net, node: Node, through: Test | None = None) -> tuple[Node, ...]:
    """The nodes that compute what a value may be: through reshapes, and through all sides of a branch.

    Of a loop with an unknown number of rounds, the value after a round is followed; of a
    concatenation, every part. A rule that must hold on every path must hold for all origins.
    Nodes that pass ``through`` are followed to their first input as well.
    """
    found: dict[int, Node] = {}
    todo, seen = [node], {node.id}
    while todo and len(seen) < MAX_STEPS:
        current = todo.pop()
        skipped = through is not None and bool(current.inputs) and through(current)
        before = net.inputs(current)[:1] if skipped else _behind(net, current)
        if before is None:
            found[current.id] = current
            continue
        todo.extend(n for n in before if n.id not in seen)
        seen.update(n.id for n in before)
    return tuple(found[i] for i in sorted(found))


def _behind(net: Net, node: Node) -> tuple[Node, ...] | None:
    """What a node only passes on, or None where it computes something itself."""
    if not node.inputs:
        return None
    if node.op in ("branch", "cat", "stack", "parts"):
        return net.inputs(node)
    if node.op == "loop":
        return net.inputs(node)[-1:]
    return net.inputs(node)[:1] if is_transparent(node) else None


def input_origins(net: Net, node: Node, through: Test | None = None) -> tuple[Node, ...]:
    """The origins of the first input of a node."""
    return origins(net, net.nodes[node.inputs[0]], through) if node.inputs else ()


def all_are(nodes: tuple[Node, ...], test: Test) -> bool:
    """Whether there are nodes and each passes the test."""
    return bool(nodes) and all(test(node) for node in nodes)


def next_steps(net: Net, node: Node, skip: Test) -> Iterator[Node]:
    """The nodes that read a value, through those that ``skip`` accepts."""
    todo, seen = [node], {node.id}
    while todo and len(seen) < MAX_STEPS:
        for reader in net.consumers(todo.pop()):
            if reader.id in seen:
                continue
            seen.add(reader.id)
            if skip(reader):
                todo.append(reader)
            else:
                yield reader


def place(net: Net, node: Node) -> Span | None:
    """Where a finding about a node stands: the element of a Sequential, else the application."""
    layer = net.layer_of(node)
    if layer is not None and node.args.get("in_container") is True and layer.made is not None:
        return layer.made
    return node.span


def evidence(net: Net, node: Node) -> list[Related | None]:
    """The places where a node's layer is made and applied, without the one where the finding stands."""
    layer = net.layer_of(node)
    stands = place(net, node)
    made = layer.made if layer is not None else None
    what = net.label(node)
    return [
        here(made, f"{what} is made here") if made != stands else None,
        here(node.span, f"{what} is applied here") if node.span != stands else None,
    ]


def returned_at(net: Net, node: Node) -> Related | None:
    """The place where code outside the network receives a value."""
    output = next((o for o in net.outputs if o.node == node.id), None)
    return here(output.span, f"{output.owner} returns it here") if output is not None else None


def loss_name(net: Net, loss: Node) -> str:
    """How messages call a loss: nn.CrossEntropyLoss, F.cross_entropy."""
    layer = net.layer_of(loss)
    return layer.spelling if layer is not None else f"F.{loss.spelling}"


def at_loss(net: Net, loss: Node) -> list[Related | None]:
    """The places of a loss: where it is made and where it receives the value."""
    layer = net.layer_of(loss)
    name = loss_name(net, loss)
    return [
        here(loss.span, f"{name} receives it here"),
        here(layer.made, f"{name} is made here") if layer is not None else None,
    ]


def expectation(net: Net, loss: Node) -> str:
    """What a loss does with its input: ``nn.CrossEntropyLoss applies log-softmax itself and ...``."""
    return f"{loss_name(net, loss)} {LOSS_EXPECTATION.get(loss.op, 'expects unbounded predictions')}"


def spans(*places: Span | None) -> tuple[Span, ...]:
    """The places that are known."""
    return tuple(p for p in places if p is not None)


def subjects(net: Net, *nodes: Node) -> tuple[Span, ...]:
    """All places of some nodes and of their layers."""
    layers = [net.layer_of(node) for node in nodes]
    return spans(*(node.span for node in nodes), *(layer.made for layer in layers if layer is not None))


def call_text(net: Net, node: Node) -> str:
    """How messages call an activation: its attribute and kind, or its spelling."""
    layer = net.layer_of(node)
    if layer is None:
        return node.spelling or node.op
    return f"{layer.name} ({layer.spelling})" if layer.name and "?" not in layer.name else layer.spelling


def width_in(net: Net, node: Node) -> Arg:
    """The input width of an affine node."""
    args = net.args_of(node)
    return args.get("in_features", args.get("in_channels"))


def width_out(net: Net, node: Node) -> Arg:
    """The output width of an affine node."""
    args = net.args_of(node)
    return args.get("out_features", args.get("out_channels"))


def depends_on_data(net: Net, node: Node) -> bool:
    """Whether a value depends on the network's input, and not on parameters and constants alone."""
    todo, seen = [node], {node.id}
    while todo and len(seen) < MAX_STEPS:
        current = todo.pop()
        if not current.inputs and current.op not in ("parameter", "constant", "buffer"):
            return True
        if current.layer is not None and current.kind in (Kind.AFFINE, Kind.RECURRENT, Kind.EMBEDDING):
            return True
        for source in net.inputs(current):
            if source.id not in seen:
                seen.add(source.id)
                todo.append(source)
    return len(seen) >= MAX_STEPS


def is_never_negative(node: Node) -> bool:
    """Whether a value cannot be below zero, as a ReLU's, a square, a norm or numbers from [0, 1) cannot."""
    if node.op == "pow":
        exponent = node.args.get("other", node.args.get("exponent"))
        return node.spelling == "square" or (
            node.args.get("reversed") is not True and isinstance(exponent, int) and exponent % 2 == 0
        )
    if node.op == "constant":
        value = node.args.get("value")
        return isinstance(value, int | float) and value >= 0
    if node.op in ("random", "reduce"):
        return node.spelling in ("rand", "rand_like", "norm")
    return node.one_sided or node.info.low >= 0 or node.kind is Kind.COMPARISON


def is_of_no_network(net: Net, node: Node) -> bool:
    """Whether a value is made of random numbers and constants alone: what is computed from it is an example."""
    found = origins(net, node)
    return all_are(found, lambda n: n.op in ("random", "constant"))


def asked_for(node: Node) -> tuple[str, ...]:
    """The names in the tests that a node stands under: ``if self.training:``."""
    under = node.args.get("under", ())
    return tuple(name for name in under if isinstance(name, str)) if isinstance(under, tuple) else ()


def losses(net: Net) -> Iterator[Node]:
    """The loss nodes of a net."""
    return net.of_kind(Kind.LOSS)
