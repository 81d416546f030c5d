"""Units of values that are slices of a layer's result, one unit of it, or memory that is written piece by piece."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import relucheck
from relucheck.measurements import Activation
from relucheck.tape.probe import measure

Forward = Callable[["Written", Tensor], Tensor]


class Written(nn.Module):
    """One layer with dead units 1, 4 and 10 and a forward of its own."""

    def __init__(self, layer: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.layer = layer
        self.written = forward
        with torch.no_grad():
            layer.bias[[1, 4, 10]] = -50.0  # type: ignore[index,operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.written(self, x)


def found(layer: nn.Module, forward: Forward, *shape: int) -> list[tuple[int, tuple[int, ...], int]]:
    sites = measure(Written(layer, forward), [torch.randn(*shape)]).measurements.activations
    return [(a.units, a.dead_units, a.samples) for a in sites]


def linear() -> nn.Linear:
    return nn.Linear(6, 12)


def _two_chunks(m: Written, x: Tensor) -> Tensor:
    a, b = m.layer(x).chunk(2, -1)
    return F.relu(a) - F.relu(b)


def _two_slices(m: Written, x: Tensor) -> Tensor:
    y = m.layer(x)
    return torch.cat([F.relu(y[..., :6]), F.relu(y[..., 6:])], -1)


def _three_of_a_view(m: Written, x: Tensor) -> Tensor:
    q, k, v = m.layer(x).view(len(x), 3, 4).unbind(1)
    return F.relu(q) * F.relu(k) * F.relu(v)


def _three_by_heads(m: Written, x: Tensor) -> Tensor:
    q, k, v = m.layer(x).view(len(x), -1, 3, 2, 2).permute(2, 0, 3, 1, 4)
    return F.relu(q) * F.relu(k) * F.relu(v)


THIRDS = [(4, (1,), 50), (4, (0,), 50), (4, (2,), 50)]
HALVES = [(6, (1, 4), 50), (6, (4,), 50)]


@pytest.mark.parametrize(
    ("forward", "shape", "sites"),
    [
        (_two_chunks, (50, 6), HALVES),
        (_two_chunks, (50, 5, 6), HALVES),
        (_two_slices, (50, 6), HALVES),
        (_three_of_a_view, (50, 6), THIRDS),
        (_three_by_heads, (50, 5, 6), THIRDS),
    ],
)
def test_each_slice_of_the_units_is_a_site(
    forward: Forward, shape: tuple[int, ...], sites: list[object]
) -> None:
    assert found(linear(), forward, *shape) == sites


def test_slices_of_channels_whatever_the_size_of_the_picture() -> None:
    def forward(m: Written, x: Tensor) -> Tensor:
        a, b = m.layer(x).split([6, 6], 1)
        return (F.relu(a) - F.relu(b)).mean((2, 3))

    model = Written(nn.Conv2d(3, 12, 3), forward)
    pictures = [torch.randn(10, 3, size, size) for size in (6, 9)]
    sites = measure(model, pictures).measurements.activations
    assert [(a.units, a.dead_units, a.samples) for a in sites] == [(6, (1, 4), 20), (6, (4,), 20)]


def test_slices_of_other_axes_are_the_same_units() -> None:
    def forward(m: Written, x: Tensor) -> Tensor:
        y = m.layer(x)
        return F.relu(y[:, 1:]) - F.relu(y[:, :-1])

    assert found(linear(), forward, 50, 5, 6) == [(12, (1, 4, 10), 50)]


@pytest.mark.parametrize("unit", [3, 4])
def test_one_feature_selected_is_one_unit(unit: int) -> None:
    dead = (0,) if unit == 4 else ()

    def density(m: Written, x: Tensor) -> Tensor:  # as in a radiance field: y[..., 3] at every position
        y = m.layer(x)
        return F.relu(y[..., unit]) * y[..., 0]

    assert found(linear(), density, 50, 6) == [(1, dead, 50)]
    assert found(linear(), density, 50, 16, 6) == [(1, dead, 50)]


def test_a_sum_over_units_is_one_unit() -> None:
    def score(m: Written, x: Tensor) -> Tensor:
        y = m.layer(x)
        return F.relu((y * y.roll(1, 0)).sum(-1)) + y[:, 0]

    assert found(linear(), score, 50, 6) == [(1, (), 50)]


def test_every_pass_counts_one_selected_feature() -> None:
    model = Written(linear(), lambda m, x: F.relu(m.layer(x)[:, 4]) + m.layer(x)[:, 0])
    (site,) = measure(model, [torch.randn(50, 6) for _ in range(3)]).measurements.activations
    assert (site.units, site.dead_units, site.samples) == (1, (0,), 150)


def _step_by_step(m: Written, x: Tensor) -> Tensor:
    out = x.new_zeros(len(x), x.shape[1], 12)
    for t in range(x.shape[1]):
        out[:, t] = m.layer(x[:, t])
    return F.relu(out)


def _one_unit_written(m: Written, x: Tensor) -> Tensor:
    y = m.layer(x).clone()
    y[..., 7] = y[..., 7] * 1.0
    return F.relu(y)


@pytest.mark.parametrize("forward", [_step_by_step, _one_unit_written])
def test_units_of_memory_that_is_written_in_pieces(forward: Forward) -> None:
    assert found(linear(), forward, 50, 12, 6) == [(12, (1, 4, 10), 50)]


def test_one_channel_written_leaves_channels_the_units() -> None:
    def forward(m: Written, x: Tensor) -> Tensor:
        y = m.layer(x)
        y[:, 7] = y[:, 7] * 1.0
        return F.relu(y).mean((2, 3))

    assert found(nn.Conv2d(3, 12, 3), forward, 50, 3, 6, 6) == [(12, (1, 4, 10), 50)]


def test_a_relu_on_a_copy_of_what_is_compared() -> None:
    def forward(m: Written, x: Tensor) -> Tensor:
        z = m.layer(x)
        y = z.clone()
        y[z < 0] = 0
        return y

    assert found(linear(), forward, 50, 6) == [(12, (1, 4, 10), 50)]


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(8, affine=True), nn.InstanceNorm2d(8)])
def test_instance_norm_keeps_channels_apart_from_samples(norm: nn.InstanceNorm2d) -> None:
    if norm.affine:
        nn.init.constant_(norm.bias, 0.0)
        with torch.no_grad():
            norm.bias[2] = -25.0
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU())
    (site,) = measure(model, [torch.randn(5, 3, 8, 8) for _ in range(2)]).measurements.activations
    assert (site.units, site.dead_units, site.samples) == (8, (2,) if norm.affine else (), 10)


class Pooled(nn.Module):
    """Features of a recurrent net, which learns, in front of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 8)
        nn.init.constant_(self.fc.bias, -25.0)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(self.rnn(x)[0][:, -1]))


class Placed(nn.Module):
    """Data with a trained offset in front of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(6))
        self.fc = nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(x + self.offset))


@pytest.mark.parametrize(("model", "shape"), [(Pooled(), (9, 5, 4)), (Placed(), (9, 6))])
def test_units_behind_what_learns_are_not_called_permanent(model: nn.Module, shape: tuple[int, ...]) -> None:
    site: Activation = measure(model, [torch.randn(*shape)]).measurements.activations[-1]
    assert not site.permanent


LONE = [
    (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), (6,)),
    (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (3, 6, 6)),
]


@pytest.mark.parametrize(("model", "shape"), LONE)
def test_an_input_without_an_axis_of_samples_is_one_sample(model: nn.Module, shape: tuple[int, ...]) -> None:
    measurements = measure(model, [torch.randn(shape) for _ in range(4)]).measurements
    assert measurements.samples == 4
    assert [(a.units, a.samples) for a in measurements.activations] == [(8, 4)]


class Graph(nn.Module):
    """A convolution on one graph, whose nodes are the samples, with a fixed adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.register_buffer("adjacency", torch.rand(40, 40))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(self.adjacency @ x))


def test_the_nodes_of_a_graph_stay_its_samples() -> None:
    (site,) = measure(Graph(), [torch.randn(40, 6)]).measurements.activations
    assert (site.units, site.samples) == (8, 40)


def test_training_on_one_sample_after_the_other() -> None:
    model = nn.Sequential(nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 2))
    with relucheck.watch(every=1) as watch:
        for _ in range(5):
            model(torch.randn(100)).sum().backward()
    assert [a.samples for a in watch.report.activations] == [5]
