"""Real forward and backward passes, measured: a net and its Measurements, and a model left as it was."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from relucheck.measurements import (
    Activation,
    Affine,
    Gradient,
    Measurements,
    NonFinite,
    OutputUnits,
    Phase,
    Verdict,
)
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.tape.affine import affine_path, judge_affine
from relucheck.tape.batches import (
    Batch,
    LossFunction,
    ProbeError,
    batches_of,
    loss_of,
    named_tensors_in,
    tensors_in,
)
from relucheck.tape.finite import Hunt, finite, is_mask, kind_of, located
from relucheck.tape.gradients import GradientWatch, Sum, norm, weight_gradients
from relucheck.tape.graph import net_of, trunk_of
from relucheck.tape.names import Names, owner_of
from relucheck.tape.recorder import Recorder, Step, recording
from relucheck.tape.state import no_trace, settle_modes
from relucheck.tape.units import Counts, Sites, between_samples

_HANDLERS = ("__torch_function__", "__torch_dispatch__", "_run", "loss_of")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclass(frozen=True, slots=True)
class Measured:
    """What a probe made of a model: the graph of the first pass, and the figures of all."""

    net: Net
    measurements: Measurements


@dataclass(slots=True)
class _Output:
    """One tensor that the network returns, over all passes."""

    step: int
    axis: int | None
    zero: Tensor


@dataclass(slots=True)
class _Session:
    """The figures of a probe while its batches run."""

    model: nn.Module
    names: Names
    loss_fn: LossFunction | None
    batch_axis: int
    sites: Sites = field(default_factory=Sites)
    watch: GradientWatch = field(default_factory=GradientWatch)
    sums: dict[str, Sum] = field(default_factory=dict)
    outputs: dict[str, _Output] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    net: Net | None = None
    first: Batch | None = None
    input_signal: float | None = None
    detached: bool = False
    non_finite: NonFinite | None = None
    samples: int = 0
    batches: int = 0


def measure(
    model: nn.Module,
    batches: Any,
    loss_fn: LossFunction | None = None,
    *,
    max_batches: int | None = None,
    batch_axis: int = 0,
    optimiser: object = None,
) -> Measured:
    """Runs the batches through the model and its loss, forward and backward, and measures them.

    ``batch_axis`` is the axis of the first input that counts samples (1 for recurrent networks
    with batch_first=False). ``optimiser`` is an optimiser or its class name; some verdicts depend
    on it. Raises ProbeError for batches, outputs and losses that cannot be used.
    """
    if not isinstance(model, nn.Module):
        raise ProbeError(f"model must be an nn.Module, not {type(model).__name__}")
    _refuse_lazy(model)
    others = (loss_fn,) if isinstance(loss_fn, nn.Module) else ()
    with no_trace(model, *others):
        training = model.training
        settle_modes(model)
        session = _Session(model, Names.of(model), loss_fn, batch_axis)
        for batch in batches_of(batches, loss_fn is not None, max_batches):
            _pass(session, batch.copied())
        if session.net is None:
            raise ProbeError("batches is empty: a probe needs at least one batch to run the model on")
        affine = _affine(session)
        return Measured(session.net, _measurements(session, affine, training, _kind_of_optimiser(optimiser)))


def _refuse_lazy(model: nn.Module) -> None:
    lazy = [name for name, p in model.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ProbeError(f"{lazy[0]} has no shape yet: run the model once on real data before probing it")


def _kind_of_optimiser(optimiser: object) -> str:
    if optimiser is None or isinstance(optimiser, str):
        return optimiser or ""
    return type(optimiser).__name__


# -- one pass --------------------------------------------------------------------------------------


def _pass(session: _Session, batch: Batch) -> None:
    """One batch forward and backward; the first one also gives the net and the source lines."""
    session.sites.samples = batch.samples(session.batch_axis)
    broken = _broken_input(session, batch)
    session.watch.steps.clear()
    recorder = _recorder(session, detailed=session.net is None)
    output, loss = _run(session, recorder, batch)
    _keep_outputs(session, recorder, output)
    if session.net is None:
        _first_pass(session, recorder, batch, output)
    gradients = _backward(session, loss)
    sound = _keep_gradients(session, gradients)
    session.sites.end_pass()
    session.samples += session.sites.samples
    session.batches += 1
    if session.non_finite is None:
        sound = sound and all(map(finite, (loss, *tensors_in(output))))
        session.non_finite = None if sound else broken or _hunted(session, batch, loss)


def _recorder(session: _Session, *, detailed: bool) -> Recorder:
    return Recorder(session.names, session.sites, session.watch, _run.__code__, detailed)


def _run(session: _Session, recorder: Recorder, batch: Batch) -> tuple[Any, Tensor]:
    """The model's output and the loss, recorded; the user's errors get the batch's shapes."""
    recorder.feed(batch)
    try:
        with recording(recorder):
            output = session.model(*batch.args, **batch.kwargs)
            recorder.reading_loss = True
            if session.loss_fn is not None:
                return output, loss_of(output, batch, session.loss_fn)
        return output, loss_of(output, batch, None)
    except ProbeError:
        raise
    except Exception as error:
        if _ours(error):
            raise
        where = "loss function" if recorder.reading_loss else "model"
        raise ProbeError(_complaint(where, session, batch, error)) from error


def _ours(error: BaseException) -> bool:
    """Whether an error was raised by this package's own code rather than by the user's.

    The modes call the user's operations, so an error that ends in their handlers is the user's.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace is not None else None
    return code is not None and code.co_filename.startswith(_PACKAGE) and code.co_name not in _HANDLERS


def _complaint(where: str, session: _Session, batch: Batch, error: Exception) -> str:
    said = str(error).strip().split("\n", 1)[0]
    hint = ""
    if where == "loss function" and batch.targets is None:
        hint = "; the batch has no targets: pass (inputs, targets)"
    return (
        f"the {where} failed on batch {session.batches} (inputs of shape {batch.shapes()}): "
        f"{type(error).__name__}: {said}{hint}"
    )


def _first_pass(session: _Session, recorder: Recorder, batch: Batch, output: Any) -> None:
    ends = [o.step for o in session.outputs.values() if o.step >= 0]
    session.steps = recorder.steps
    session.net = net_of(session.names, recorder.steps, ends)
    session.first = batch
    floating = [t for t in batch.tensors if t.is_floating_point()]
    if floating:
        session.input_signal = between_samples(floating[0].detach(), None, session.sites.samples)


def _backward(session: _Session, loss: Tensor) -> Mapping[str, Tensor | None]:
    """dL/dp by parameter name, for the parameters that want one."""
    trainable = {n: p for n, p in _parameters(session) if p.requires_grad}
    session.detached = bool(trainable) and not loss.requires_grad
    gradients = weight_gradients(loss, trainable.values())
    return dict(zip(trainable, gradients, strict=True))


def _parameters(session: _Session) -> Iterator[tuple[str, nn.Parameter]]:
    for parameter in session.model.parameters():
        yield session.names.parameters[id(parameter)], parameter


def _keep_gradients(session: _Session, gradients: Mapping[str, Tensor | None]) -> bool:
    """Adds a batch to the sums; whether all of it was finite."""
    sound = True
    for name, gradient in gradients.items():
        total = session.sums.setdefault(name, Sum())
        if gradient is not None:
            dense = gradient.coalesce().values() if gradient.is_sparse else gradient
            size = norm(dense)
            sound &= math.isfinite(size)
            total.squares += size**2
            total.count += 1
    return sound


def _keep_outputs(session: _Session, recorder: Recorder, output: Any) -> None:
    """Which units of each output have been exactly zero so far."""
    for name, tensor in named_tensors_in(output):
        if not tensor.is_floating_point() or tensor.ndim == 0:
            continue
        value = recorder.values.get(tensor)
        held = session.outputs.get(name)
        step, axis = (value.node, value.axis) if value is not None else (-1, None)
        zero = _zero_units(tensor.detach(), axis)
        if held is None or held.zero.shape != zero.shape:
            session.outputs[name] = _Output(step, axis, zero)
        else:
            held.zero &= zero


def _zero_units(tensor: Tensor, axis: int | None) -> Tensor:
    unit = tensor.ndim - 1 if axis is None else axis
    others = [d for d in range(tensor.ndim) if d != unit]
    return (tensor == 0).all(dim=others) if others else tensor == 0


def _broken_input(session: _Session, batch: Batch) -> NonFinite | None:
    """NaN or infinity that the network is given, in its input or its parameters."""
    for tensor in batch.tensors:
        if not finite(tensor) and not is_mask(tensor):
            return NonFinite(Phase.INPUT, kind_of([tensor]), "input", "", session.batches)
    if session.batches == 0:
        for name, parameter in _parameters(session):
            if not finite(parameter):
                return NonFinite(Phase.PARAMETER, kind_of([parameter]), name, owner_of(name), 0)
    return None


def _hunted(session: _Session, batch: Batch, loss: Tensor) -> NonFinite:
    """Runs a batch again and looks at every operation for the first that is not finite."""
    hunt = Hunt()
    probe = Recorder(
        session.names, Sites(session.sites.samples), GradientWatch(), _run.__code__, True, hunt=hunt
    )
    _, again = _run(session, probe, batch)
    _backward(session, again)
    suspect = hunt.first
    if suspect is None:
        phase = Phase.BACKWARD if finite(loss) else Phase.FORWARD
        return NonFinite(phase, kind_of([loss.detach()]), "loss", "", session.batches)
    return located(suspect, probe.steps, session.batches)


# -- the figures -----------------------------------------------------------------------------------


def _affine(session: _Session) -> Affine:
    assert session.net is not None  # a batch has run
    assert session.first is not None
    stuck = frozenset(
        c.node
        for c in session.sites.counts.values()
        if c.node is not None and len(c.dead_units) + len(c.linear_units) == c.units and c.plateau.identity
    )
    path = affine_path(session.net, stuck)
    if path is None:
        return Affine(Verdict.NOT_AFFINE)
    return judge_affine(session.model, session.first, path, session.net)


def _measurements(session: _Session, affine: Affine, training: bool, optimiser: str) -> Measurements:
    assert session.net is not None  # a batch has run
    last = _predictions(session)
    unreached = tuple(n for n, total in session.sums.items() if not total.count)
    return Measurements(
        name=type(session.model).__name__,
        samples=session.samples,
        batches=session.batches,
        training=training,
        activations=tuple(_activation(name, c, last) for name, c in session.sites.named()),
        gradients=_gradients(session),
        outputs=tuple(_outputs(session)),
        non_finite=session.non_finite,
        affine=affine,
        unreached=() if session.detached else unreached,
        detached=session.detached,
        optimiser=optimiser,
        input_signal=session.input_signal,
        path=session.net.path,
    )


_KEEPS = frozenset({Kind.RESHAPE, Kind.IDENTITY, Kind.DROPOUT})


def _predictions(session: _Session) -> frozenset[int]:
    """The activations whose value leaves the network as a prediction, not as a feature.

    A loss receives it, or it follows a Linear (a backbone ends in a convolution, an RNN in itself).
    """
    assert session.net is not None  # a batch has run
    net = session.net
    ends = [net.nodes[i] for i in _last_nodes(net) if net.nodes[i].kind is Kind.ACTIVATION]
    loss = session.loss_fn is not None
    return frozenset(n.id for n in ends if loss or any(i.op == "linear" for i in net.inputs(n)))


def _last_nodes(net: Net) -> frozenset[int]:
    """The nodes whose value leaves the network, through reshapes and dropout at most."""
    last: set[int] = set()
    waiting = [output.node for output in net.outputs]
    while waiting:
        node = net.nodes[waiting.pop()]
        last.add(node.id)
        if node.kind in _KEEPS:
            waiting.extend(node.inputs)
    return frozenset(last)


def _activation(name: str, counts: Counts, last: frozenset[int]) -> Activation:
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
        signal=counts.signal,
        calls=counts.calls,
        producer=counts.producer,
        node=counts.node,
        span=counts.span,
    )


def _gradients(session: _Session) -> tuple[Gradient, ...]:
    """One record a weight matrix or kernel, in the order in which the network applies them."""
    assert session.net is not None  # a batch has run
    places: dict[str, Node] = {}
    for node in session.net.nodes:
        layer = session.net.layer_of(node)
        if layer is not None:
            places.setdefault(layer.name, node)
    trunk = trunk_of(session.net)
    records = []
    for name, parameter in _parameters(session):
        if parameter.ndim < 2:
            continue
        records.append(_gradient(session, name, parameter, places, trunk))
    order = {layer: node.id for layer, node in places.items()}
    records.sort(key=lambda g: order.get(owner_of(g.parameter), len(session.net.nodes)))
    return _with_ratios(records)


def _gradient(
    session: _Session, name: str, parameter: Tensor, places: Mapping[str, Node], trunk: frozenset[int]
) -> Gradient:
    owner = owner_of(name)
    node = places.get(owner)
    total = session.sums.get(name)
    output = session.watch.outputs.get(owner)
    return Gradient(
        name=owner if name.endswith(".weight") else name,
        parameter=name,
        kind=_kind(session, owner, parameter),
        norm=total.rms if total is not None else None,
        weight_norm=norm(parameter),
        rms=output.rms if output is not None else None,
        frozen=not parameter.requires_grad,
        trunk=node is not None and node.id in trunk,
        steps=_steps(session, owner),
        node=node.id if node is not None else None,
        span=node.span if node is not None else None,
    )


def _kind(session: _Session, owner: str, parameter: Tensor) -> str:
    assert session.net is not None  # a batch has run
    layer = next((layer for layer in session.net.layers if layer.name == owner), None)
    return layer.op if layer is not None else "parameter"


def _steps(session: _Session, owner: str) -> tuple[float, ...]:
    """norm(dL/dh_t) of the recurrent activation that a layer feeds, in the last batch."""
    for (_, weights, _), norms in session.watch.steps.items():
        if len(norms) > 1 and any(owner_of(w) == owner for w in weights):
            return tuple(norms)
    return ()


def _with_ratios(records: Iterable[Gradient]) -> tuple[Gradient, ...]:
    from dataclasses import replace

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


def _outputs(session: _Session) -> Iterator[OutputUnits]:
    assert session.net is not None  # a batch has run
    last = _predictions(session)
    ends = [c for c in session.sites.counts.values() if c.node in last and c.plateau.dies]
    for name, held in session.outputs.items():
        end = next((c for c in ends if c.node is not None and c.node <= held.step), None)
        yield OutputUnits(
            name=name,
            units=held.zero.numel(),
            zero_units=tuple(held.zero.nonzero().flatten().tolist()) if end is not None else (),
            samples=session.samples,
            function=end.function if end is not None else "",
            node=held.step if held.step >= 0 else None,
            span=end.span if end is not None else None,
        )
