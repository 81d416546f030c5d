"""What a probe keeps while its batches run: sums and booleans, never a tensor of activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from torch import nn

from relucheck.tape.batches import Batch, LossFunction
from relucheck.tape.gradients import norm
from relucheck.tape.names import Names
from relucheck.tape.replay import Trace
from relucheck.tape.tally import Tally, Weight
from relucheck.tape.wrappers import class_name, is_dtensor, is_flat, without_prefixes


@dataclass(slots=True)
class Session(Tally):
    """The figures of a model while its batches run.

    ``gathered`` are the whole weights that were seen of a model whose parameters are in shards.
    ``moving`` counts the weights of each parameter with a gradient other than 0 in the first batch.
    ``unbatched``: the inputs have no axis of samples, each is one. ``trace`` is what the passes do, as long as
    they all do the same; ``reentrant``: they checkpoint so.
    """

    model: nn.Module
    names: Names
    loss_fn: LossFunction | None
    batch_axis: int
    gathered: dict[str, Weight] = field(default_factory=dict)
    moving: dict[str, int] = field(default_factory=dict)
    first_batch: Batch | None = None
    trace: Trace | None = None
    reentrant: bool | None = None
    unbatched: bool = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        names: Names,
        loss_fn: LossFunction | None = None,
        batch_axis: int = 0,
        *,
        has_loss: bool,
    ) -> Session:
        return cls(model, names, loss_fn, batch_axis, name=class_name(model), has_loss=has_loss)

    def samples_of(self, batch: Batch) -> int:
        """The number of independent examples of a batch."""
        return 1 if self.unbatched else batch.samples(self.batch_axis)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's parameters, shared ones once, with their names; no flat one, which is many."""
        if self.trace is not None:  # they are those of the first pass, or the pass is no replay
            yield from self.trace.parameters(self.names.parameters)
            return
        for name, parameter in self.model.named_parameters():
            if not is_flat(parameter):
                yield without_prefixes(name), parameter

    def trained(self) -> tuple[str, ...]:
        """The names of the parameters that a gradient should reach."""
        own = [name for name, parameter in self.parameters() if parameter.requires_grad]
        whole = [name for name, weight in self.gathered.items() if not weight.frozen]
        return tuple(dict.fromkeys([*own, *whole]))

    def weights_now(self) -> dict[str, Weight]:
        """Every parameter that is known as a whole; a shard says nothing about its norm."""
        known = {
            name: Weight(p.ndim, norm(p), not p.requires_grad)
            for name, p in self.parameters()
            if name not in self.gathered and not is_dtensor(p)
        }
        return {**known, **self.gathered}

    def sealed(self, training: bool, optimiser: str) -> Tally:
        """The figures alone, once the last batch has run; the session is not used any more."""
        kept: Mapping[str, object] = {f.name: getattr(self, f.name) for f in fields(Tally)}
        outputs = {name: replace(held, zero=held.zero.cpu()) for name, held in self.outputs.items()}
        for counts in self.sites.counts.values():
            counts.settle()
        tally = Tally(**kept)  # type: ignore[arg-type]
        return replace(
            tally, outputs=outputs, weights=self.weights_now(), training=training, optimiser=optimiser
        )
