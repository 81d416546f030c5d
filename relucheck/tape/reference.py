"""A pass in single precision beside one in half precision, to count what the latter's gradients lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from relucheck.tape.batches import Batch, ProbeError, tensors_in
from relucheck.tape.modes import recording
from relucheck.tape.names import owner_of
from relucheck.tape.passes import Explained, backward_of, run_recorded
from relucheck.tape.recorder import Recorder
from relucheck.tape.session import Session
from relucheck.tape.underflow import LossWatch, single_precision, weights_lost, widened
from relucheck.tape.units import Sites

Run = Callable[[Recorder, Batch], Tensor]
"""The model's forward on a batch, recorded; what it returns is differentiated."""


def keep_lost(session: Session, batch: Batch, run: Run) -> None:
    """Counts, for the layers that ran in half precision, the gradients that it rounds to 0.

    Nothing is counted where the model asks for half precision itself, so that it does not run without.
    """
    layers = frozenset(session.watch.half)
    if not layers or session.non_finite is not None:
        return
    watch = LossWatch(layers=layers)
    sites = Sites(max(1, batch.samples(session.batch_axis)))
    recorder = Recorder(session.names, sites, watch, run_recorded.__code__, True)
    with single_precision(session.model):
        try:
            loss = run(recorder, widened(batch))
        except ProbeError:
            return
        gradients = backward_of(session, loss)
        weights = weights_lost({n: g for n, g in gradients.items() if owner_of(n) in layers})
        session.lost = {**watch.lost, **dict(weights)}


def keep_lost_of_probe(session: Session) -> None:
    """The same for a probe, on its first batch and with its loss."""
    if session.first_batch is not None:
        keep_lost(session, session.first_batch, lambda recorder, b: run_recorded(session, recorder, b)[1])


def keep_lost_of_step(session: Session, batch: Batch, received: Sequence[Tensor | None]) -> None:
    """The same for a training step, whose outputs received these gradients (the loss is the user's own)."""

    def run(recorder: Recorder, inputs: Batch) -> Tensor:
        recorder.feed(inputs)
        with Explained(session, recorder, inputs), recording(recorder):
            output = session.model(*inputs.args, **inputs.kwargs)
        outputs = [t for t in tensors_in(output) if t.requires_grad]
        parts = [(o * g.to(o.dtype)).sum() for o, g in zip(outputs, received, strict=True) if g is not None]
        return sum(parts[1:], parts[0])

    keep_lost(session, batch, run)
