"""One batch through the model and its loss, forward and backward, with everything kept that it shows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from relucheck.measurements import NonFinite, Phase
from relucheck.tape.batches import Batch, ProbeError, loss_of, named_tensors_in, tensors_in
from relucheck.tape.finite import Hunt, finite, is_mask, kind_of, located
from relucheck.tape.gradients import GradientWatch, Sum, entries_of, is_reentrant, norms, weight_gradients
from relucheck.tape.graph import net_of
from relucheck.tape.modes import following, recording
from relucheck.tape.names import owner_of
from relucheck.tape.recorder import Recorder
from relucheck.tape.replay import Replay, Tracer
from relucheck.tape.session import Session
from relucheck.tape.tally import KeptOutput
from relucheck.tape.units import Sites, between_samples
from relucheck.tape.values import Value
from relucheck.tape.wrappers import is_dtensor

_HANDLERS = ("__torch_function__", "__torch_dispatch__", "run_recorded", "loss_of")
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def run_pass(session: Session, batch: Batch) -> None:
    """One batch forward and backward; the first one also gives the net and the source lines."""
    _refuse(session, batch)
    session.sites.samples = session.samples_of(batch)
    if session.sites.samples == 0:
        raise ProbeError(f"batch {session.batches} holds no sample (inputs of shape {batch.shapes()})")
    given = _sizes(batch)
    output, loss, recorder = _replayed(session, batch) or _recorded(session, batch)
    with Explained(session, recorder, batch, "backward pass"):
        gradients = backward_of(session, loss)
    sound = _keep_gradients(session, gradients, (loss, *tensors_in(output)))
    session.sites.end_pass()
    if session.non_finite is None and not sound:
        session.non_finite = _broken(session, given) or _hunted(session, batch, loss)
    session.samples += session.sites.samples
    session.batches += 1


def _refuse(session: Session, batch: Batch) -> None:
    """Refuses tensors that cannot be measured."""
    for tensor in batch.tensors:
        if tensor.is_meta:
            raise ProbeError(f"batch {session.batches} is on the meta device and holds no numbers")
        if tensor.is_nested:
            raise ProbeError(
                f"batch {session.batches} holds a nested tensor, whose samples have no common shape: "
                "pad it (torch.nested.to_padded_tensor)"
            )


def _recorded(session: Session, batch: Batch) -> tuple[Any, Tensor, Recorder]:
    """Output and loss of a pass that is read in full; the first one leaves the net and a trace."""
    first = session.read is None
    recorder = Recorder(
        session.names,
        session.sites,
        session.watch,
        run_recorded.__code__,
        first,
        batch_axis=session.batch_axis,
        tracer=Tracer.of(session.model) if first else None,
    )
    output, loss = run_recorded(session, recorder, batch)
    keep_outputs(session, recorder.values.get, output)
    if first:
        keep_net(session, recorder, batch)
    return output, loss, recorder


def _replayed(session: Session, batch: Batch) -> tuple[Any, Tensor, Replay] | None:
    """Output and loss of a pass that did what the trace says; otherwise nothing of it counts."""
    if session.trace is None:
        return None
    replay = Replay.of(session.trace, session.sites)
    output, loss = run_recorded(session, replay, batch)
    if replay.done and keep_known_outputs(session, output):
        return output, loss, replay
    session.trace = None
    session.sites.abandon()
    return None


def run_recorded(session: Session, recorder: Recorder | Replay, batch: Batch) -> tuple[Any, Tensor]:
    """The model's output and the loss, recorded; the user's errors get the batch's shapes."""
    __tracebackhide__ = True  # pytest prints arguments, here whole batches
    recorder.feed(batch)
    with Explained(session, recorder, batch):
        with following(recorder) if isinstance(recorder, Replay) else recording(recorder):
            output = session.model(*batch.args, **batch.kwargs)
            recorder.reading_loss = True
            loss = loss_of(output, batch, session.loss_fn) if session.loss_fn is not None else None
        return output, loss if loss is not None else loss_of(output, batch, None)


@dataclass(frozen=True, slots=True)
class Explained:
    """Lets an error of the user's code out as a ProbeError that says which batch it came from.

    Faults of this package and Ctrl-C pass as they are.
    """

    session: Session
    recorder: Recorder | Replay
    batch: Batch
    where: str = ""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, ProbeError) and not ours(trace):
            where = self.where or ("loss function" if self.recorder.reading_loss else "model")
            raise ProbeError(_complaint(where, self.session, self.batch, error)) from error


def ours(trace: TracebackType | None) -> bool:
    """Whether an error was raised by this package's own code rather than by the user's.

    The modes call the user's operations, so an error that ends in their handlers is the user's.
    """
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace is not None else None
    return code is not None and code.co_filename.startswith(_PACKAGE) and code.co_name not in _HANDLERS


def _complaint(where: str, session: Session, batch: Batch, error: Exception) -> str:
    said = str(error).strip().split("\n", 1)[0]
    hint = ""
    if where == "loss function" and batch.targets is None:
        hint = "; the batch has no targets: pass (inputs, targets)"
    if where == "model" and isinstance(error, TypeError) and batch.targets is not None and "missing" in said:
        hint = "; a batch of two parts is (inputs, targets): pass ((first, second), None) for two inputs"
    return (
        f"the {where} failed on batch {session.batches} (inputs of shape {batch.shapes()}): "
        f"{type(error).__name__}: {said}{hint}"
    )


def keep_net(session: Session, recorder: Recorder, batch: Batch) -> None:
    """The net that a detailed pass showed, and what is wanted of its batch later."""
    ends = [o.step for o in session.outputs.values() if o.step >= 0]
    session.read = net_of(session.names, recorder.steps, ends)
    session.first_batch = batch
    session.trace = recorder.tracer.trace if recorder.tracer is not None else None
    if recorder.unbatched and len(batch.tensors) == 1:  # of several inputs another one may count samples
        session.unbatched, session.sites.samples = True, 1
    floating = [t for t in batch.tensors if t.is_floating_point()]
    if floating:
        session.input_signal = between_samples(floating[0].detach(), None, session.sites.samples)


def backward_of(session: Session, loss: Tensor) -> Mapping[str, Tensor | None]:
    """dL/dp by parameter name, for the parameters that want one."""
    trainable = {n: p for n, p in session.parameters() if p.requires_grad}
    session.detached = bool(trainable) and not loss.requires_grad
    if session.reentrant is None or session.trace is None:
        session.reentrant = is_reentrant(loss)
    gradients = weight_gradients(loss, trainable.values(), reentrant=session.reentrant)
    return dict(zip(trainable, gradients, strict=True))


def _keep_gradients(
    session: Session, gradients: Mapping[str, Tensor | None], others: Iterable[Tensor]
) -> bool:
    """Adds a batch to the sums; whether all of it, and of the others, was finite."""
    given = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    looked_at = [t for t in others if t.is_floating_point() and t.numel() > 0]
    sizes = norms([*given.values(), *looked_at])
    for name in gradients:
        session.sums.setdefault(name, Sum())
    for name, size in zip(given, sizes, strict=False):  # the sizes of the others come after
        session.sums[name].squares += (size / session.loss_scale) ** 2
        session.sums[name].count += 1
    if session.batches == 0:
        session.moving.update({name: int(torch.count_nonzero(entries_of(g))) for name, g in given.items()})
    return all(map(math.isfinite, sizes))


def keep_outputs(session: Session, made: Callable[[Tensor], Value | None], output: Any) -> None:
    """Keeps which units of each output have been exactly zero so far; ``made`` tells where an output comes from."""
    for name, tensor in _numeric(output):
        value = made(tensor)
        held = session.outputs.get(name)
        step, axis = (value.node, _axis_of(value, tensor)) if value is not None else (-1, None)
        zero = _zero_units(tensor, axis)
        if held is None or held.zero.shape != zero.shape:
            session.outputs[name] = KeptOutput(step, axis, zero)
        else:
            held.zero &= zero


def keep_known_outputs(session: Session, output: Any) -> bool:
    """Keeps the same of the outputs that earlier passes had; False, and nothing is kept, where there are others."""
    found = dict(_numeric(output))
    if found.keys() != session.outputs.keys():
        return False
    zeros = {name: _zero_units(tensor, session.outputs[name].axis) for name, tensor in found.items()}
    if any(session.outputs[name].zero.shape != zero.shape for name, zero in zeros.items()):
        return False
    for name, zero in zeros.items():
        session.outputs[name].zero &= zero
    return True


def _numeric(output: Any) -> Iterator[tuple[str, Tensor]]:
    """The floating-point tensors of an output that have units."""
    for name, tensor in named_tensors_in(output):
        if tensor.is_floating_point() and tensor.ndim > 0 and not is_dtensor(tensor):
            yield name, tensor.detach()


def _axis_of(value: Value, tensor: Tensor) -> int | None:
    """The axis that counts units, one behind the last for an output that is one unit."""
    return tensor.ndim if value.alone else value.axis


def _zero_units(tensor: Tensor, axis: int | None) -> Tensor:
    tensor = tensor.unsqueeze(-1) if axis == tensor.ndim else tensor
    unit = tensor.ndim - 1 if axis is None else axis
    others = [d for d in range(tensor.ndim) if d != unit]
    if not others or tensor.numel() == 0:
        return (tensor == 0).all(dim=others) if others else tensor == 0
    return (tensor.amax(others) == 0) & (tensor.amin(others) == 0)  # several times faster than all()


def _sizes(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """The inputs with their norms before the model can change them, which are not waited for."""
    floating = [t.detach() for t in batch.tensors if t.is_floating_point() and t.numel() > 0]
    return [(tensor, torch.linalg.vector_norm(entries_of(tensor))) for tensor in floating]


def _broken(session: Session, given: Iterable[tuple[Tensor, Tensor]]) -> NonFinite | None:
    """NaN or infinity that the network was given, in its input or its parameters."""
    for tensor, size in given:
        if not math.isfinite(float(size)) and not finite(tensor) and not is_mask(tensor):
            return NonFinite(Phase.INPUT, kind_of([tensor]), "input", "", session.batches)
    if session.batches == 0:
        for name, parameter in session.parameters():
            if not finite(parameter):
                return NonFinite(Phase.PARAMETER, kind_of([parameter]), name, owner_of(name), 0)
    return None


def _hunted(session: Session, batch: Batch, loss: Tensor) -> NonFinite:
    """Runs a batch again and looks at every operation for the first that is not finite."""
    hunt = Hunt()
    probe = Recorder(
        session.names, Sites(session.sites.samples), GradientWatch(), run_recorded.__code__, True, hunt=hunt
    )
    _, again = run_recorded(session, probe, batch)
    backward_of(session, again)
    suspect = hunt.first
    if suspect is None:
        phase = Phase.BACKWARD if finite(loss) else Phase.FORWARD
        return NonFinite(phase, kind_of([loss.detach()]), "loss", "", session.batches)
    return located(suspect, probe.steps, session.batches)
