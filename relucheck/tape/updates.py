"""The update:weight ratio of an optimiser's step, from a sample of each weight's entries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from relucheck.tape.first_step import unstepped
from relucheck.tape.gradients import Sum, norms
from relucheck.tape.subject import Subject
from relucheck.tape.wrappers import is_dtensor

SAMPLED = 16_384
"""Entries of one weight that are compared; a ratio of root mean squares of so many is good to 1 %."""


@dataclass(frozen=True, slots=True)
class Before:
    """The weights of one network just before a step, as far as the optimiser owns them.

    ``fresh`` are those that it has not stepped before.
    """

    subject: Subject
    weights: Mapping[str, tuple[Tensor, Tensor]]
    fresh: frozenset[str]

    @classmethod
    def of(cls, subject: Subject, optimiser: torch.optim.Optimizer) -> Before:
        owned = {id(p) for group in optimiser.param_groups for p in group["params"]}
        if any(id(parameter) in owned for parameter in subject.model.parameters()):
            subject.optimiser = type(optimiser).__name__
        weights = {
            name: (parameter, _sample(parameter).clone())
            for name, parameter in subject.session.parameters()
            if id(parameter) in owned and parameter.ndim >= 2 and parameter.grad is not None
            if not is_dtensor(parameter)  # a shard's update says nothing about the weight's
        }
        if weights:
            subject.optimiser = type(optimiser).__name__
        fresh = {n for n, (p, _) in weights.items() if n not in subject.updated and unstepped(optimiser, p)}
        subject.updated.update(weights)
        return cls(subject, weights, frozenset(fresh))

    def compare(self) -> dict[str, float]:
        """norm(change) / norm(weight) by weight, added to the window's sums as well."""
        before = [sample for _, sample in self.weights.values()]
        changes = torch._foreach_sub([_sample(p) for p, _ in self.weights.values()], before) if before else ()
        sizes = norms([*before, *changes])
        moved = zip(self.weights, sizes, sizes[len(before) :], strict=False)
        ratios = {name: change / size for name, size, change in moved if size > 0}
        session = self.subject.session
        for name, ratio in ratios.items():
            total = session.updates.setdefault(name, Sum())
            total.squares += ratio**2
            total.count += 1
        session.first_updates.update({n: ratio for n, ratio in ratios.items() if n in self.fresh})
        return ratios


def _sample(parameter: Tensor) -> Tensor:
    """Every n-th entry, so that a step costs a copy of a few entries only."""
    flat = parameter.detach().reshape(-1)
    return flat[:: stride_over(flat.numel(), flat.numel() // max(1, parameter.shape[0]))]


def stride_over(entries: int, row: int) -> int:
    """The gap between the entries that are compared: one that meets every input of a row in turn.

    A gap that divides the row would look at the same few inputs of all units, such as the margins of images.
    """
    stride = max(1, -(-entries // SAMPLED))
    while stride > 1 and math.gcd(stride, row) > 1:
        stride += 1
    return stride
