"""Every spelling of an activation gives the same counts and the same net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relucheck.net import Net
from relucheck.tape.probe import measure

KILLED = (1, 4, 5)
UNITS = 12


def without_places(net: Net) -> Net:
    """The same net with places left out, for comparing what two spellings compute."""
    nodes = tuple(
        replace(n, span=None, callers=(), spelling="", args={}, explicit=frozenset()) for n in net.nodes
    )
    return replace(net, nodes=nodes, path="")


class Spelled(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, UNITS)
        self.fc2 = nn.Linear(UNITS, 3)
        self.act = act
        with torch.no_grad():
            self.fc1.bias[list(KILLED)] = -25.0
            self.fc1.bias[7] = 25.0

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def _masked_assignment(x: Tensor) -> Tensor:
    x = x.clone()
    x[x < 0] = 0
    return x


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU inplace": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu inplace": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "x.relu()": lambda x: x.relu(),
    "x.relu_()": lambda x: x.relu_(),
    "clamp(min=0)": lambda x: x.clamp(min=0),
    "clamp(0)": lambda x: x.clamp(0),
    "clamp_(min=0)": lambda x: x.clamp_(min=0),
    "clamp_min": lambda x: x.clamp_min(0),
    "torch.clip": lambda x: torch.clip(x, 0, None),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum scalar": lambda x: torch.maximum(torch.tensor(0.0), x),
    "torch.max": lambda x: torch.max(x, torch.zeros(())),
    "x*(x>0)": lambda x: x * (x > 0),
    "(x>0)*x": lambda x: (x > 0) * x,
    "x*(x>0).float()": lambda x: x * (x > 0).float(),
    "x*(x>=0)": lambda x: x * (x >= 0),
    "x*(0<x)": lambda x: x * (0 < x),  # noqa: SIM300 - the spelling under test
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "where zeros": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "where negative": lambda x: torch.where(x < 0, 0.0, x),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
    "masked assignment": _masked_assignment,
}


@pytest.fixture
def batches() -> list[Tensor]:
    return [torch.randn(50, 6) for _ in range(2)]


@pytest.mark.parametrize("name", RELUS)
def test_every_relu_has_the_same_counts(name: str, batches: list[Tensor]) -> None:
    measured = measure(Spelled(RELUS[name]), batches)
    (site,) = measured.measurements.activations
    assert (site.function, site.units, site.samples) == ("relu", UNITS, 100)
    assert site.dead_units == KILLED
    assert site.linear_units == (7,)
    assert site.name in ("act", "fc1:relu")


NETS = [n for n in RELUS if n not in ("masked assignment",)]


@pytest.mark.parametrize("name", NETS)
def test_every_relu_has_the_same_net(name: str, batches: list[Tensor]) -> None:
    net = without_places(measure(Spelled(RELUS[name]), batches).net)
    relu = next(node for node in net.nodes if node.op == "relu")
    assert [n.op for n in net.inputs(relu)][:1] == ["linear"] or "linear" in [n.op for n in net.inputs(relu)]
    assert [n.op for n in net.consumers(relu)] == ["linear"]
    assert [layer.name for layer in net.layers if layer.op == "linear"] == ["fc1", "fc2"]


OTHERS: dict[str, tuple[Callable[[Tensor], Tensor], str, int, int]] = {
    # name: (function, canonical name, dead, saturated)
    "relu6": (F.relu6, "relu6", 3, 1),
    "ReLU6": (nn.ReLU6(), "relu6", 3, 1),
    "clamp(0, 6)": (lambda x: x.clamp(0, 6), "relu6", 3, 1),
    "hardtanh": (F.hardtanh, "clip", 0, 4),
    "threshold": (lambda x: F.threshold(x, 0.0, 0.0), "threshold", 3, 0),
    "sigmoid": (torch.sigmoid, "sigmoid", 0, 4),
    "nn.Sigmoid": (nn.Sigmoid(), "sigmoid", 0, 4),
    "tanh": (lambda x: x.tanh(), "tanh", 0, 4),
    "softsign": (F.softsign, "softsign", 0, 4),
    "gelu": (F.gelu, "gelu", 0, 3),
    "silu": (F.silu, "silu", 0, 3),
    "mish": (F.mish, "mish", 0, 3),
    "hardswish": (F.hardswish, "hardswish", 0, 3),
    "elu": (F.elu, "elu", 0, 3),
    "selu": (F.selu, "selu", 0, 3),
    "softplus": (F.softplus, "softplus", 0, 3),
    "leaky_relu": (F.leaky_relu, "leaky_relu", 0, 0),
    "prelu": (nn.PReLU(), "prelu", 0, 0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_stuck_units_of_other_activations(name: str, batches: list[Tensor]) -> None:
    function, canonical, dead, saturated = OTHERS[name]
    (site,) = measure(Spelled(function), batches).measurements.activations
    assert (site.function, site.dead, site.saturated) == (canonical, dead, saturated)


def test_guards_are_no_activations(batches: list[Tensor]) -> None:
    measured = measure(Spelled(lambda x: x.clamp(min=1e-6).log()), batches)
    assert measured.measurements.activations == ()


def test_maximum_of_two_branches_is_no_relu(batches: list[Tensor]) -> None:
    measured = measure(Spelled(lambda x: torch.maximum(x, 0.1 * x)), batches)
    assert measured.measurements.activations == ()


def test_the_mask_of_another_value_is_no_relu(batches: list[Tensor]) -> None:
    measured = measure(Spelled(lambda x: x * (x.roll(1, 0) > 0)), batches)
    assert measured.measurements.activations == ()
