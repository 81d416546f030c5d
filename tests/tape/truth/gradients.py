"""Networks whose gradient vanishes, explodes, is not finite or does not arrive."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.tape.truth.case import BATCHES, SAMPLES, Case, Input, he, made_by, normal, nothing
from tests.tape.truth.layers import CE
from tests.tape.truth.traps import mlp


def deep(act: type[nn.Module], depth: int, width: int = 32, gain: float | None = None) -> nn.Sequential:
    """Equal layers, with torch's default initialisation or weights of variance gain^2 / width."""
    parts: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        if gain is not None:
            nn.init.normal_(linear.weight, std=gain / width**0.5)
            nn.init.zeros_(linear.bias)
        parts += [linear, act()]
    return nn.Sequential(*parts, nn.Linear(width, 3))


class Exploding(nn.Module):
    """A recurrence with spectral radius 1.5 over 30 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(4, 8, nonlinearity="relu", batch_first=True, bias=False), nn.Linear(8, 3)
        with torch.no_grad():
            self.rnn.weight_hh_l0.copy_(1.5 * torch.eye(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def _of_exploding(model: Any, batch: Any) -> list[Input]:
    h, seen = batch[0].new_zeros(len(batch[0]), 8), []
    for step in batch[0].unbind(1):
        z = step @ model.rnn.weight_ih_l0.t() + h @ model.rnn.weight_hh_l0.t()
        seen.append(z)
        h = z.clamp(min=0)
    return [Input(tuple(seen), -1)]


class Root(nn.Module):
    """The derivative of a square root at 0 is infinite, times 0 is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = he(nn.Linear(8, 16)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(
            torch.relu(self.fc1(x)).square().sum(1, keepdim=True).mul(torch.zeros(())).sqrt()
            + torch.relu(self.fc1(x))
        )


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.spare = mlp(), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Cut(nn.Module):
    """Features are detached, so that the first layers never learn."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = he(nn.Linear(8, 16)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)).detach())


def _huge() -> list[Any]:
    return [(torch.randn(SAMPLES, 32) * 1e3, torch.randint(0, 3, (SAMPLES,))) for _ in range(BATCHES)]


def _names(depth: int) -> tuple[str, ...]:
    return tuple(str(2 * i) for i in range(depth))


def _fault(name: str, fault: str, make: Any, data: Any, inputs: Any, **more: Any) -> Case:
    return Case(f"{fault} {name}", "gradient", make, data, inputs, fault=fault, **{"loss": CE, **more})


CASES = (
    _fault("20 sigmoid layers", "vanishing", lambda: deep(nn.Sigmoid, 20), normal(32), nothing),
    _fault(
        "20 tanh layers of default initialisation",
        "vanishing",
        lambda: deep(nn.Tanh, 20),
        normal(32),
        nothing,
    ),
    _fault(
        "20 tanh layers of gain 0.3", "vanishing", lambda: deep(nn.Tanh, 20, gain=0.3), normal(32), nothing
    ),
    _fault(
        "50 layers of default initialisation",
        "vanishing",
        lambda: deep(nn.ReLU, 50),
        normal(32),
        made_by(*_names(50)),
    ),
    _fault("20 GELU layers", "vanishing", lambda: deep(nn.GELU, 20), normal(32), nothing),
    _fault("recurrence of radius 1.5", "exploding", Exploding, normal(30, 4), _of_exploding),
    _fault("20 tanh layers of gain 4", "exploding", lambda: deep(nn.Tanh, 20, gain=4.0), normal(32), nothing),
    _fault("square root at 0", "not finite", Root, normal(8), made_by("fc1")),
    _fault("unused layer", "missing", Unused, normal(8), made_by("net.0", "net.2")),
    _fault("detached features", "missing", Cut, normal(8), made_by("first")),
)
