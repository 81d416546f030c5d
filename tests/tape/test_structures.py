"""Units and samples in convolutions, sequences, shared modules, transformers, recurrence, checkpoints."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from relucheck.measurements import Activation
from relucheck.tape.probe import measure


def sites(model: nn.Module, *batches: object) -> dict[str, Activation]:
    return {a.name: a for a in measure(model, list(batches)).measurements.activations}


def kill(layer: nn.Module, *units: int) -> None:
    with torch.no_grad():
        layer.bias[list(units)] = -25.0  # type: ignore[operator,index]


@pytest.mark.parametrize("inplace", [False, True])
def test_channels_are_the_units_of_a_convolution(inplace: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace), nn.Flatten(), nn.Linear(8 * 36, 4))
    kill(model[0], 2, 3)
    site = sites(model, torch.randn(5, 3, 8, 8))["1"]
    assert (site.units, site.dead_units, site.samples) == (8, (2, 3), 5)


def test_conv_and_norm_are_one_unit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    kill(model[1], 0)
    found = sites(model, torch.randn(5, 3, 8, 8))
    assert [(a.name, a.units, a.dead_units) for a in found.values()] == [("2", 8, (0,))]


def test_a_linear_keeps_the_last_axis_whatever_the_number_of_axes() -> None:
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 2))
    kill(model[0], 9)
    for shape in ((7, 6), (7, 5, 6), (7, 2, 5, 6), (7, 10, 6), (7, 10, 10, 6)):
        site = sites(model, torch.randn(*shape))["1"]
        assert (site.units, site.dead_units, site.samples) == (10, (9,), 7)


def test_conv1d_and_sequences_look_alike_and_are_told_apart() -> None:
    conv = nn.Sequential(nn.Conv1d(4, 6, 1), nn.ReLU())
    kill(conv[0], 1)
    assert sites(conv, torch.randn(3, 4, 6))["1"].dead_units == (1,)
    linear = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    kill(linear[0], 1)
    assert sites(linear, torch.randn(3, 6, 4))["1"].dead_units == (1,)


class Moved(nn.Module):
    """The unit axis moves between the layer and the activation."""

    def __init__(self, move: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.move = move
        kill(self.conv, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.move == "patches":
            x = x.flatten(2).transpose(1, 2)
        elif self.move == "last":
            x = x.permute(0, 2, 3, 1)
        elif self.move == "rows":
            x = x.permute(0, 2, 3, 1).reshape(-1, 8)
        elif self.move == "pooled":
            x = x.mean((2, 3))
        return F.relu(x)


@pytest.mark.parametrize("move", ["patches", "last", "rows", "pooled", "none"])
def test_units_are_followed_through_moves(move: str) -> None:
    (site,) = sites(Moved(move), torch.randn(64, 3, 8, 8)).values()
    assert (site.name, site.units, site.dead_units, site.samples) == ("conv:relu", 8, (5,), 64)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 8), nn.Linear(8, 16), nn.Linear(16, 2)
        self.relu = nn.ReLU()
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        kill(self.fc1, 0)
        kill(self.fc2, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


def test_a_shared_relu_is_one_site_a_use() -> None:
    found = sites(Shared(), torch.randn(99, 4))
    assert {n: (a.units, a.dead) for n, a in found.items()} == {"relu#1": (8, 1), "relu#2": (16, 2)}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["relu", F.relu, nn.ReLU()])
@pytest.mark.parametrize("norm_first", [True, False])
def test_inside_a_transformer_layer(training: bool, activation: object, norm_first: bool) -> None:
    model = nn.TransformerEncoderLayer(
        8, 2, 32, batch_first=True, activation=activation, norm_first=norm_first
    ).train(training)
    kill(model.linear1, 3, 4, 5)
    (site,) = sites(model, torch.randn(6, 5, 8)).values()
    assert (site.function, site.units, site.dead_units, site.samples) == ("relu", 32, (3, 4, 5), 6)


def test_a_frozen_transformer_layer_takes_no_fast_path() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True).eval().requires_grad_(False)
    kill(model.linear1, 3)
    with torch.no_grad():
        (site,) = sites(model, torch.randn(6, 5, 8)).values()
    assert site.dead_units == (3,)


def test_rnn_units_are_dead_if_silent_at_every_step() -> None:
    model = nn.RNN(3, 8, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        model.bias_ih_l0[2] = -25.0
    (site,) = sites(model, torch.randn(40, 6, 3)).values()
    assert (site.units, site.dead_units, site.samples, site.calls) == (8, (2,), 40, 6)


class Cell(nn.Module):
    """A recurrence written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(3, 8), nn.Linear(8, 8, bias=False)
        kill(self.w, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h = torch.relu(self.w(x[:, t]) + self.u(h))
        return h


def test_a_loop_over_time_is_one_site() -> None:
    (site,) = sites(Cell(), torch.randn(40, 6, 3)).values()
    assert (site.units, site.dead_units, site.calls) == (8, (6,), 6)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.b = nn.Linear(8, 2)
        self.reentrant = reentrant
        kill(self.a[0], 0)

    def forward(self, x: Tensor) -> Tensor:
        x = x.requires_grad_() if self.reentrant else x
        return self.b(checkpoint(self.a, x, use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_block_is_counted_once(reentrant: bool) -> None:
    model = Checkpointed(reentrant)
    measured = measure(model, [torch.randn(9, 4)])
    found = {a.name: a for a in measured.measurements.activations}
    assert {n: (a.units, a.dead, a.samples, a.calls) for n, a in found.items() if n == "a.1"} == {
        "a.1": (8, 1, 9, 1)
    }
    assert list(found) == ["a.1", "a.3"]
    assert all(g.norm is not None and g.norm > 0 for g in measured.measurements.gradients)
    assert all(p.grad is None for p in model.parameters())


def test_zero_initialised_heads_and_dead_layers_behind_hide_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    kill(model[0], 1)
    nn.init.constant_(model[2].bias, -25.0)
    nn.init.zeros_(model[4].weight)
    found = sites(model, torch.randn(40, 4))
    assert (found["1"].dead_units, found["3"].dead) == ((1,), 8)


def test_frozen_layers_are_counted_and_called_frozen() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    kill(model[0], 1)
    measured = measure(model, [torch.randn(40, 4)]).measurements
    assert measured.activations[0].dead_units == (1,)
    assert [(g.name, g.frozen, g.no_gradient) for g in measured.gradients] == [
        ("0", True, False),
        ("2", False, False),
    ]


class Parameters(nn.Module):
    """Weights that are no layer of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(4, 8))
        self.w2 = nn.Parameter(torch.randn(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.w1 - 25.0 * torch.eye(8)[3]) @ self.w2


def test_raw_parameters_make_units_too() -> None:
    (site,) = sites(Parameters(), torch.randn(40, 4)).values()
    assert (site.units, site.dead_units) == (8, (3,))


def test_weight_normalised_layers_keep_their_name() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 2))
    measured = measure(model, [torch.randn(40, 4)])
    assert measured.measurements.activations[0].producer == "0"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(dtype)
    kill(model[0], 5)
    assert sites(model, torch.randn(99, 4, dtype=dtype))["1"].dead_units == (5,)


class BasicBlock(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or width != out:
            self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """ResNet-18 as torchvision writes it, with narrower layers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.ModuleList(
            nn.Sequential(BasicBlock(a, b, 1 if i == 0 else 2), BasicBlock(b, b, 1))
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.fc = nn.Linear(8 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in self.layers:
            x = layer(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def test_resnet_18_has_17_sites_with_their_channels() -> None:
    measured = measure(ResNet(), [torch.randn(4, 3, 64, 64)])
    found = measured.measurements.activations
    assert [a.units for a in found] == [8] * 5 + [16] * 4 + [32] * 4 + [64] * 4
    assert all(a.samples == 4 and a.calls == 1 for a in found)
    assert [a.name for a in found][:3] == ["relu", "layers.0.0.relu#1", "layers.0.0.relu#2"]
    assert [n.op for n in measured.net.nodes].count("conv") == 20
