"""What a session kept, as the plain numbers of ``relucheck.measurements``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from relucheck.measurements import Activation, Affine, Gradient, Measurements, OutputUnits, Verdict
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.tape.affine import affine_path, identities, judge_affine
from relucheck.tape.graph import trunk_of
from relucheck.tape.names import layer_of, owner_of
from relucheck.tape.session import Session
from relucheck.tape.tally import Tally, Weight
from relucheck.tape.units import Counts


def affine_of(session: Session) -> Affine:
    assert session.first_batch is not None  # a batch has run
    stuck = frozenset(
        c.node
        for c in session.sites.counts.values()
        if c.node is not None and len(c.dead_units) + len(c.linear_units) == c.units and c.plateau.identity
    )
    path = affine_path(session.net, stuck | identities(session.net, session.model))
    if path is None:
        return Affine(Verdict.NOT_AFFINE)
    return judge_affine(session.model, session.first_batch, path, session.net)


def measurements_of(session: Tally) -> Measurements:
    last, trunk = _predictions(session), trunk_of(session.net)
    unreached = tuple(n for n, total in session.sums.items() if not total.count)
    return Measurements(
        name=session.name,
        samples=session.samples,
        batches=session.batches,
        training=session.training,
        activations=tuple(_activation(name, c, last, trunk) for name, c in session.sites.named()),
        gradients=_gradients(session),
        outputs=tuple(_outputs(session)),
        non_finite=session.non_finite,
        affine=session.affine,
        unreached=() if session.detached else unreached,
        detached=session.detached,
        batch_norms=sum(node.op == "batch_norm" for node in session.net.nodes),
        optimiser=session.optimiser,
        input_signal=session.input_signal,
        loss_scale=session.loss_scale,
        path=session.net.path,
    )


_KEEPS = frozenset({Kind.RESHAPE, Kind.IDENTITY, Kind.DROPOUT})
_LAYERS = frozenset({Kind.AFFINE, Kind.NORM, Kind.RECURRENT, Kind.ATTENTION})


def _predictions(session: Tally) -> frozenset[int]:
    """The activations whose value leaves the network as a prediction, not as a feature.

    A loss receives it, or it follows a Linear (a backbone ends in a convolution, an RNN in itself), and no
    further layer reads it: features that are returned beside the predictions are none.
    """
    net = session.net
    ends = [net.nodes[i] for i in _last_nodes(net) if net.nodes[i].kind is Kind.ACTIVATION]
    ends = [node for node in ends if not _goes_on(net, node)]
    return frozenset(n.id for n in ends if session.has_loss or any(i.op == "linear" for i in net.inputs(n)))


def _last_nodes(net: Net) -> frozenset[int]:
    """The nodes whose value leaves the network, through reshapes and dropout at most."""
    return _behind(net, [output.node for output in net.outputs])


def _behind(net: Net, ends: Iterable[int]) -> frozenset[int]:
    """Nodes, and those whose value they hold through reshapes and dropout at most."""
    found: set[int] = set()
    waiting = list(ends)
    while waiting:
        node = net.nodes[waiting.pop()]
        found.add(node.id)
        if node.kind in _KEEPS:
            waiting.extend(node.inputs)
    return frozenset(found)


def _goes_on(net: Net, node: Node) -> bool:
    """Whether a layer reads a value, through reshapes and dropout at most."""
    waiting = list(net.consumers(node))
    while waiting:
        reader = waiting.pop()
        if reader.kind in _LAYERS:
            return True
        if reader.kind in _KEEPS:
            waiting.extend(net.consumers(reader))
    return False


def _activation(name: str, counts: Counts, last: frozenset[int], trunk: frozenset[int]) -> Activation:
    dies = counts.plateau.dies
    return Activation(
        name=name,
        function=counts.function,
        units=counts.units,
        samples=counts.samples,
        dead_units=counts.dead_units,
        linear_units=counts.linear_units,
        saturated_units=counts.saturated_units,
        certified_units=tuple(sorted(set(counts.certified) & set(counts.dead_units))),
        activity=counts.activity,
        one_sided=dies,
        permanent=counts.raw,
        last=counts.node in last,
        trunk=counts.node in trunk,
        signal=counts.signal,
        cosine=counts.cosine,
        dimension=counts.dimension,
        histogram=counts.bins.histogram(),
        calls=counts.calls,
        producer=counts.producer,
        node=counts.node,
        span=counts.span,
    )


def _gradients(session: Tally) -> tuple[Gradient, ...]:
    """One record a weight matrix or kernel, in the order in which the network applies them."""
    places: dict[str, Node] = {}
    for node in session.net.nodes:
        layer = session.net.layer_of(node)
        if layer is not None:
            places.setdefault(layer.name, node)
    trunk = trunk_of(session.net)
    records = []
    for name, weight in session.weights.items():
        if weight.ndim >= 2:
            records.append(_gradient(session, name, weight, places, trunk))
    end = len(session.net.nodes)
    records.sort(key=lambda g: next((places[p].id for p in _enclosing(g.parameter) if p in places), end))
    return _with_ratios(records)


def _enclosing(parameter: str) -> Iterator[str]:
    """The layer of a parameter and the modules around it, inside out: a folded module is one node."""
    path = owner_of(parameter)
    while path:
        yield path
        path = path.rpartition(".")[0]


def _gradient(
    session: Tally, name: str, weight: Weight, places: Mapping[str, Node], trunk: frozenset[int]
) -> Gradient:
    owner = owner_of(name)
    node = places.get(owner)
    total, update = session.sums.get(name), session.updates.get(name)
    output = session.watch.outputs.get(owner)
    first = session.first_updates.get(name)
    lost = [session.lost[key].share for key in (owner, name) if key in session.lost]
    return Gradient(
        name=layer_of(name),
        parameter=name,
        kind=_kind(session, owner),
        norm=total.rms if total is not None else None,
        weight_norm=weight.norm,
        rms=output.rms if output is not None else None,
        update=update.rms if update is not None else None,
        first_update=first.rms if first is not None else None,
        rectified=node is not None and any(reader.one_sided for reader in session.net.consumers(node)),
        underflow=max(lost, default=None),
        frozen=weight.frozen,
        trunk=node is not None and node.id in trunk,
        steps=_steps(session, owner),
        node=node.id if node is not None else None,
        span=node.span if node is not None else None,
    )


def _kind(session: Tally, owner: str) -> str:
    layer = next((layer for layer in session.net.layers if layer.name == owner), None)
    return layer.op if layer is not None else "parameter"


def _steps(session: Tally, owner: str) -> tuple[float, ...]:
    """norm(dL/dh_t) of the recurrent activation that a layer feeds, in the first batch."""
    for site, norms in session.watch.steps.items():
        if len(norms) > 1 and any(owner_of(w) == owner for w in site.weights):
            return tuple(norms)
    return ()


def _with_ratios(records: Iterable[Gradient]) -> tuple[Gradient, ...]:
    records = tuple(records)
    largest: dict[str, float] = {}
    for record in records:
        largest[record.kind] = max(largest.get(record.kind, 0.0), record.elasticity or 0.0)
    return tuple(
        replace(r, ratio=r.elasticity / largest[r.kind])
        if r.elasticity is not None and largest[r.kind] > 0
        else r
        for r in records
    )


def _outputs(session: Tally) -> Iterator[OutputUnits]:
    last = _predictions(session)
    ends = [c for c in session.sites.counts.values() if c.node in last and c.plateau.dies]
    for name, held in session.outputs.items():
        behind = _behind(session.net, [held.step]) if held.step >= 0 else frozenset()
        end = next((c for c in ends if c.node in behind), None)
        yield OutputUnits(
            name=name,
            units=held.zero.numel(),
            zero_units=tuple(held.zero.nonzero().flatten().tolist()) if end is not None else (),
            samples=session.samples,
            function=end.function if end is not None else "",
            node=held.step if held.step >= 0 else None,
            span=end.span if end is not None else None,
        )
