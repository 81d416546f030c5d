"""Unit counts of random networks, in random spellings, equal those of brute force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from relucheck.tape.probe import measure
from tests.tape.truth.spellings import RELUS


@dataclass(frozen=True, slots=True)
class Stage:
    """A layer of some width with a ReLU in some spelling, and what happens around it."""

    width: int
    spelling: str
    norm: bool
    residual: bool
    strided: bool


@dataclass(frozen=True, slots=True)
class Plan:
    kind: str
    width: int
    stages: tuple[Stage, ...]
    batches: tuple[int, ...]
    seed: int


SPELLINGS = [name for name in RELUS if name != "script"]  # compiling takes seconds
STAGES = st.builds(
    Stage, st.integers(1, 10), st.sampled_from(SPELLINGS), st.booleans(), st.booleans(), st.booleans()
)
PLANS = st.builds(
    Plan,
    st.sampled_from(["linear", "sequence", "conv1d", "conv2d"]),
    st.integers(1, 8),
    st.lists(STAGES, min_size=1, max_size=4).map(tuple),
    st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple),
    st.integers(0, 2**16),
)


class Random(nn.Module):
    """The planned network; ``forward`` takes the activations as an argument, so that brute force shares the rest."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, self.layers, self.norms = plan, nn.ModuleList(), nn.ModuleList()
        self.spelled = [RELUS[stage.spelling]() for stage in plan.stages]
        width = plan.width
        for stage in plan.stages:
            layer = _layer(plan.kind, width, stage.width)
            nn.init.normal_(layer.bias, std=2.0)
            self.layers.append(layer)
            norm = nn.GroupNorm(1, stage.width) if plan.kind.startswith("conv") else nn.LayerNorm(stage.width)
            nn.init.normal_(norm.bias, std=2.0)
            self.norms.append(norm if stage.norm else nn.Identity())
            width = stage.width
        self.double()

    def forward(self, x: Tensor, acts: list[Callable[[Tensor], Tensor]] | None = None) -> Tensor:
        stages = zip(self.plan.stages, self.layers, self.norms, acts or self.spelled, strict=True)
        for stage, layer, norm, act in stages:
            z = norm(layer(x))
            if stage.strided and self.plan.kind.startswith("conv"):
                z = z.transpose(1, -1).contiguous().transpose(1, -1)
            y = act(z)
            x = x + y if stage.residual and x.shape == y.shape else y
        return x


def _layer(kind: str, before: int, after: int) -> nn.Module:
    if kind == "conv1d":
        return nn.Conv1d(before, after, 3, padding=1)
    if kind == "conv2d":
        return nn.Conv2d(before, after, 3, padding=1)
    return nn.Linear(before, after)


def _shape(plan: Plan) -> tuple[int, ...]:
    inner = {"linear": (plan.width,), "sequence": (5, plan.width)}
    return inner.get(plan.kind) or ((plan.width, 5) if plan.kind == "conv1d" else (plan.width, 5, 4))


Counted = tuple[tuple[int, ...], tuple[int, ...], list[float]]


def brute_force(model: Random, batches: list[Tensor]) -> list[Counted]:
    """Dead units, always-on units and the share of samples in which each fires, stage by stage."""
    unit = 1 if model.plan.kind.startswith("conv") else -1
    fired: list[list[Tensor]] = [[] for _ in model.plan.stages]
    on: list[list[Tensor]] = [[] for _ in model.plan.stages]

    def seeing(index: int) -> Callable[[Tensor], Tensor]:
        def act(z: Tensor) -> Tensor:
            rows = z.movedim(unit, -1).reshape(len(z), -1, z.shape[unit])
            fired[index].append((rows > 0).any(1))
            on[index].append((rows > 0).all(1))
            return z.clamp(min=0)

        return act

    with torch.no_grad():
        for batch in batches:
            model(batch, [seeing(i) for i in range(len(fired))])
    return [_counted(torch.cat(f), torch.cat(o)) for f, o in zip(fired, on, strict=True)]


def _counted(fired: Tensor, on: Tensor) -> Counted:
    dead, always = (~fired).all(0), on.all(0)
    return (
        tuple(dead.nonzero().flatten().tolist()),
        tuple(always.nonzero().flatten().tolist()),
        fired.double().mean(0).tolist(),
    )


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(PLANS)
def test_counts_equal_brute_force(plan: Plan) -> None:
    torch.manual_seed(plan.seed)
    model = Random(plan)
    batches = [torch.randn(n, *_shape(plan), dtype=torch.float64) for n in plan.batches]
    found = measure(model, batches).measurements.activations
    assert [(a.dead_units, a.linear_units, list(a.activity)) for a in found] == brute_force(model, batches)
    assert [(a.units, a.samples) for a in found] == [(s.width, sum(plan.batches)) for s in plan.stages]
