"""One network with every spelling of ReLU, and other activations with stuck units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tape.truth.case import Case, he, kill, lift, made_by, normal, nothing

Function = Callable[[Tensor], Tensor]
KILLED, LIFTED = (1, 4, 5, 11), 7


class Spelled(nn.Module):
    """Two hidden layers with an activation written in some way; unit 7 of the first is always on."""

    def __init__(self, act: Function, killed: tuple[int, ...] = KILLED) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(8, 16), nn.Linear(16, 24), nn.Linear(24, 3)
        self.act = act
        for layer in (self.fc1, self.fc2, self.fc3):
            he(layer)
        kill(self.fc1, *killed)
        lift(self.fc1, LIFTED)
        with torch.no_grad():
            self.fc2.weight[:, LIFTED] = 0.0  # the second layer sees no constant of 25
        kill(self.fc2, *killed[:2])

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.act(self.fc2(self.act(self.fc1(x)))))


class OwnReLU(torch.autograd.Function):
    """A ReLU with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)


def _assigned(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0
    return x


RELUS: dict[str, Callable[[], Function]] = {
    "nn.ReLU shared": nn.ReLU,
    "nn.ReLU inplace": lambda: nn.ReLU(inplace=True),
    "F.relu": lambda: F.relu,
    "torch.relu": lambda: torch.relu,
    "x.relu()": lambda: lambda x: x.relu(),
    "x.relu_()": lambda: lambda x: x.relu_(),
    "clamp(min=0)": lambda: lambda x: x.clamp(min=0),
    "clip": lambda: lambda x: torch.clip(x, 0),
    "maximum": lambda: lambda x: torch.maximum(x, torch.zeros_like(x)),
    "fmax": lambda: lambda x: torch.fmax(x, torch.zeros(())),
    "where": lambda: lambda x: torch.where(x > 0, x, 0.0),
    "x*(x>0)": lambda: lambda x: x * (x > 0),
    "masked_fill": lambda: lambda x: x.masked_fill(x < 0, 0.0),
    "masked assignment": lambda: _assigned,
    "nn.Threshold": lambda: nn.Threshold(0.0, 0.0),
    "(x+abs(x))/2": lambda: lambda x: (x + x.abs()) / 2,
    "leaky_relu(0)": lambda: lambda x: F.leaky_relu(x, 0.0),
    "hardtanh(0, inf)": lambda: lambda x: F.hardtanh(x, 0.0, float("inf")),
    "autograd.Function": lambda: OwnReLU.apply,
    "script": lambda: torch.jit.script(_scripted),
}


def _scripted(x: Tensor) -> Tensor:
    return torch.relu(x)


def _spelled(name: str) -> Case:
    return Case(
        f"spelling {name}",
        "spelling",
        lambda: Spelled(RELUS[name]()),
        normal(8),
        made_by("fc1", "fc2"),
        nn.CrossEntropyLoss(),
    )


def _stuck(name: str, act: Callable[[], Function], stuck: tuple[tuple[int, ...], ...], **more: Any) -> Case:
    return Case(
        f"stuck {name}",
        "stuck",
        lambda: Spelled(act()),
        normal(8),
        loss=nn.CrossEntropyLoss(),
        stuck=stuck,
        **{"inputs": nothing, **more},
    )


_FLAT = ((*KILLED[:3], LIFTED, KILLED[3]), KILLED[:2])
_OFF = (KILLED, KILLED[:2])

CASES = (
    *(_spelled(name) for name in RELUS),
    _stuck("relu6", lambda: F.relu6, ((LIFTED,), ()), inputs=made_by("fc1", "fc2"), high=6.0),
    _stuck("hardtanh", nn.Hardtanh, _FLAT),
    _stuck("sigmoid", lambda: torch.sigmoid, _FLAT),
    _stuck("tanh", lambda: torch.tanh, _FLAT),
    _stuck("gelu", nn.GELU, _OFF),
    _stuck("silu", lambda: F.silu, _OFF),
)
