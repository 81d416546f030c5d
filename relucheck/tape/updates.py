"""The update:weight ratio of an optimiser's step, from a sample of each weight's entries.

Where a process holds a shard of a weight only (FSDP), the squares of its shard's change and of its shard are
kept: over all processes they add up to those of the whole weight, and no process has to ask another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relucheck.tape.first_step import unstepped
from relucheck.tape.gradients import Sum, norms
from relucheck.tape.sampling import sampled
from relucheck.tape.session import Session
from relucheck.tape.subject import Subject
from relucheck.tape.wrappers import is_dtensor, is_flat, part_of, shards_of, without_prefixes

SAMPLED = 16_384
"""Entries of one weight that are compared; a ratio of root mean squares of so many is good to 1 %."""


@dataclass(frozen=True, slots=True)
class Held:
    """What this process has of one weight: all of it, or a shard.

    The shard is what a parameter holds here, or ``size`` entries of that from ``start`` on.
    """

    parameter: nn.Parameter
    whole: bool = True
    start: int = 0
    size: int | None = None

    def sampled(self) -> Tensor:
        """Every n-th entry, so that a step costs a copy of a few entries only."""
        end = None if self.size is None else self.start + self.size
        flat = part_of(self.parameter).detach().reshape(-1)[self.start : end]
        return sampled(flat, SAMPLED)

    def entries(self) -> int:
        """How many entries of the weight are here."""
        return part_of(self.parameter).numel() if self.size is None else self.size


@dataclass(frozen=True, slots=True)
class Before:
    """The weights of one network just before a step, as far as the optimiser owns them.

    ``fresh`` are those that it has not stepped before.
    """

    subject: Subject
    weights: Mapping[str, tuple[Held, Tensor]]
    fresh: frozenset[str]

    @classmethod
    def of(cls, subject: Subject, optimiser: torch.optim.Optimizer) -> Before:
        owned = {id(p) for group in optimiser.param_groups for p in group["params"]}
        if any(id(parameter) in owned for parameter in subject.model.parameters()):
            subject.optimiser = type(optimiser).__name__
        weights = {
            name: (held, held.sampled().clone())
            for name, held in _weights(subject.session)
            if id(held.parameter) in owned and held.parameter.grad is not None
        }
        if weights:
            subject.optimiser = type(optimiser).__name__
        fresh = {
            name
            for name, (held, _) in weights.items()
            if name not in subject.updated and unstepped(optimiser, held.parameter)
        }
        subject.updated.update(weights)
        return cls(subject, weights, frozenset(fresh))

    def compare(self) -> dict[str, float]:
        """norm(change) / norm(weight) by weight, of this process's shard where it has no more.

        It is added to the window's sums as well.
        """
        before = [sample for _, sample in self.weights.values()]
        now = [held.sampled() for held, _ in self.weights.values()]
        sizes = norms([*before, *(torch._foreach_sub(now, before) if now else ())])
        session, ratios = self.subject.session, {}
        for index, (name, (held, sample)) in enumerate(self.weights.items()):
            size, change = sizes[index], sizes[len(now) + index]
            if size > 0:
                ratios[name] = change / size
                one = _ratio(held, change, size, len(sample))
                session.updates[name] = Sum.over([session.updates.get(name, Sum()), one])
                if name in self.fresh:
                    session.first_updates[name] = one
        return ratios


def _ratio(held: Held, change: float, size: float, sampled: int) -> Sum:
    """A ratio as a sum whose root mean square it is; of a shard one to which those of other shards can be added."""
    if held.whole:
        return Sum((change / size) ** 2, 1)
    each = held.entries() / sampled
    return Sum(each * change**2, each * size**2)


def _weights(session: Session) -> Iterator[tuple[str, Held]]:
    """The weight matrices and kernels, by name: of two axes or more as a whole."""
    for name, parameter in session.parameters():
        known = session.gathered.get(name)
        if (parameter.ndim if known is None else known.ndim) >= 2:
            yield name, Held(parameter, whole=known is None and not is_dtensor(parameter))
    for path, parameter in session.model.named_parameters() if session.gathered else ():
        if is_flat(parameter):
            for name, start, size in shards_of(without_prefixes(path), parameter):
                known = session.gathered.get(name)
                if known is not None and known.ndim >= 2:
                    yield name, Held(parameter, False, start, size)
