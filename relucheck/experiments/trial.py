"""One variant trained for the cached batches and measured on held-out data: the loop a user would write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from relucheck.comparison import Trial
from relucheck.experiments.experiment import ExperimentError
from relucheck.experiments.preparing import Explained, Ready, Start, shapes
from relucheck.tape.batches import Batch, LossFunction, loss_of, own_loss
from relucheck.tape.gradients import GradientWatch
from relucheck.tape.modes import recording
from relucheck.tape.names import Names
from relucheck.tape.recorder import Recorder
from relucheck.tape.state import kept_randomness
from relucheck.tape.units import Sites


def trial_of(start: Start, ready: Ready, steps: int, tick: Callable[[], None]) -> Trial:
    """Trains a variant for some of the cached batches, then measures it; the generators are put back.

    ``tick`` is called after each step.
    """
    began = time.perf_counter()
    with kept_randomness():
        finite = _train(ready, start.training[: steps * ready.accumulate], tick)
        if not finite:
            return Trial(start.seed, math.inf, seconds=time.perf_counter() - began)
        loss, metric, silent = _measured(ready, start.held_out)
    sound = math.isfinite(loss)
    return Trial(
        seed=start.seed,
        loss=loss if sound else math.inf,
        metric=metric,
        silent=silent if sound and (steps or not _untouched_norms(ready.model)) else None,
        seconds=time.perf_counter() - began,
    )


def _train(ready: Ready, batches: Sequence[Batch], tick: Callable[[], None]) -> bool:
    """One update for so many batches as are accumulated; False as soon as a loss is not finite."""
    scaler = ready.scaler()
    for index, batch in enumerate(batches):
        own, share = batch.copied(), index % ready.accumulate
        with Explained(f"the model or its loss failed on training batch {index} {shapes(batch)}"):
            if share == 0:
                for optimiser in ready.optimisers:
                    optimiser.zero_grad()
            with ready.calls():  # also while checkpointed blocks run again in backward
                with ready.precision():
                    loss = _loss(ready.model(*own.args, **own.kwargs), own, ready.loss_fn)
                torch.autograd.backward(scaler.scale(loss / ready.accumulate))
            if share == ready.accumulate - 1:
                _update(ready, scaler)
        if not math.isfinite(loss.item()):
            return False
        if share == ready.accumulate - 1:
            tick()
    return True


def _update(ready: Ready, scaler: torch.amp.GradScaler) -> None:
    """One step of all optimisers; none where the gradients have overflowed in half precision."""
    if ready.clip is not None:
        for optimiser in ready.optimisers:
            scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(ready.model.parameters(), ready.clip)
    for optimiser in ready.optimisers:
        scaler.step(optimiser)
    scaler.update()


def _loss(output: object, batch: Batch, loss_fn: LossFunction | None) -> Tensor:
    if loss_fn is None and own_loss(output) is None:
        raise ExperimentError(
            f"Experiment.loss_fn is None, and the model's output ({type(output).__name__}) has no loss"
        )
    return loss_of(output, batch, loss_fn)


@torch.no_grad()
def _measured(ready: Ready, batches: Sequence[Batch]) -> tuple[float, float | None, float | None]:
    """Held-out loss, metric and silent share in eval mode, means over samples and over sites."""
    ready.model.eval()
    names, sites = Names.of(ready.model), Sites()
    loss, metric, samples = 0.0, 0.0, 0
    for index, batch in enumerate(batches):
        own, size = batch.copied(), batch.samples(0)
        what = f"the model or its loss failed on held-out batch {index} {shapes(batch)}"
        with Explained(what), ready.precision():
            output = _counted(ready, own, names, sites)
            loss += size * float(_loss(output, own, ready.loss_fn))
        if ready.metric is not None:
            with Explained(
                f"Experiment.metric failed on held-out batch {index} {shapes(batch)}", theirs=True
            ):
                metric += size * float(ready.metric(output, own.targets))
        samples += size
    samples = max(1, samples)
    return loss / samples, None if ready.metric is None else metric / samples, _silent(sites)


def _counted(ready: Ready, batch: Batch, names: Names, sites: Sites) -> object:
    """The model's output, with the units of its activations counted as a probe counts them."""
    sites.samples = batch.samples(0)
    recorder = Recorder(names, sites, GradientWatch(), _counted.__code__, False)
    recorder.feed(batch)
    with recording(recorder), ready.calls():
        output: object = ready.model(*batch.args, **batch.kwargs)
    sites.end_pass()
    return output


def _silent(sites: Sites) -> float | None:
    """The mean silent share over the sites that can be silent."""
    shares = [len(c.dead_units) / c.units for c in sites.counts.values() if c.plateau.dies and c.units]
    return sum(shares) / len(shares) if shares else None


def _untouched_norms(model: nn.Module) -> bool:
    """Whether a BatchNorm never saw a batch, which makes figures in eval mode false (theory, section 2)."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    return any(m.num_batches_tracked is not None and int(m.num_batches_tracked) == 0 for m in norms)
