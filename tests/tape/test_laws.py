"""Laws of random networks that the measurements must reproduce, within the spread of the sample.

Numbered as in the derivations that the rules rest on: O1 to O8 and O12 are exact at any width, O9, O10 and O14 are
limits of great width. O1: Lu, Shin, Su, Karniadakis, "Dying ReLU and Initialization" (arXiv 1903.06733) and Rister and
Rubin (arXiv 2007.06192). O2, O3: volumes of simplices. O4: Brownlowe et al. (arXiv 2412.06829). O5: He et al. 2015
(arXiv 1502.01852), equation 14. O6, O7: Hanin and Nica (arXiv 1812.05994). O8: the same sum over both paths of a
block. O9: Cho and Saul 2009, the arc-cosine kernel of degree 1; Hayou et al. 2019 (arXiv 1902.06853). O10: Yang et al.
2019 (arXiv 1902.08129). O12: the moments of a Wishart matrix; Gao et al. 2017. O14: Poole et al. 2016, Schoenholz et
al. 2017 (arXiv 1611.01232). O11 and O13 are D5 and D13 of test_oracles.py.

Many networks are one, side by side, so that one probe counts the units of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn

from relucheck.measurements import Activation, Measurements
from relucheck.rules._flow import slope
from relucheck.rules.exploding_gradient import BATCH_NORM_GROWTH
from relucheck.tape.likeness import participation_ratio
from relucheck.tape.probe import measure

F64 = torch.float64


def measured(model: nn.Module, x: Tensor, loss: object = None) -> Measurements:
    return measure(model, [x], loss).measurements  # type: ignore[arg-type]


def spread(p: float, n: int) -> float:
    """Four standard deviations of a share."""
    return 4 * math.sqrt(p * (1 - p) / n)


def grouped(widths: Sequence[int], nets: int) -> nn.Sequential:
    """``nets`` independent networks of these widths, ReLU behind each layer, default initialisation.

    The groups of a convolution of length 1 are independent Linear layers.
    """
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Conv1d(nets * before, nets * after, 1, groups=nets), nn.ReLU()]
    return nn.Sequential(*parts)


class Many(nn.Module):
    """Networks of very few units, thousands side by side: the units of all are the last axis of each activation.

    Weights and biases have nn.Linear's default distribution, uniform on +-1 / sqrt(fan_in).
    """

    def __init__(self, widths: Sequence[int], nets: int) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(widths):
            bound = 1 / math.sqrt(before)
            self.weights.append(torch.empty(nets, after, before, dtype=F64).uniform_(-bound, bound))
            self.biases.append(torch.empty(nets * after, dtype=F64).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` is (samples, networks, inputs)."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            z = (x.unsqueeze(2) * weight).sum(-1).flatten(1) + bias
            x = torch.relu(z).unflatten(1, (len(weight), -1))
        return x


def off_as_a_whole(sites: Sequence[Activation], nets: int) -> Tensor:
    """Which networks have a layer that is dead as a whole."""
    found = torch.zeros(nets, dtype=torch.bool)
    for site in sites:
        dead = torch.zeros(site.units, dtype=torch.bool)
        dead[list(site.dead_units)] = True
        found |= dead.view(nets, -1).all(1)
    return found


def same_input(width: int, nets: int, samples: int = 1) -> Tensor:
    return torch.randn(samples, width, 1).repeat(1, nets, 1)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ([3] * 9, 0.69934),
        ([5] * 9, 0.24854),
        ([10] * 9, 0.00875),
        ([4, 3, 6, 2, 5], 0.41330),
        ([5] * 49, 0.78896),
    ],
    ids=["9x3", "9x5", "9x10", "4-3-6-2-5", "49x5"],
)
def test_o1_born_dead_on_one_input(widths: list[int], expected: float) -> None:
    """P(some layer is off) = 1 - prod(1 - 2^-n) for one input and symmetric weights and biases."""
    nets = 2000
    assert expected == pytest.approx(1 - math.prod(1 - 2.0**-n for n in widths), abs=1e-5)
    x = torch.randn(1, 1, widths[0], dtype=F64).repeat(1, nets, 1)
    found = off_as_a_whole(measured(Many([widths[0], *widths], nets), x).activations, nets)
    assert float(found.double().mean()) == pytest.approx(expected, abs=spread(expected, nets))


def lower_bound(n: int, layers: int) -> float:
    """Lu et al. 2020: one input dimension, no bias, width n."""
    a1, a2 = 1 - 2.0**-n, 1 - 2.0 ** (1 - n) - (n - 1) * 4.0**-n
    factor = (1 - 2.0 ** (1 - n)) * (1 - 2.0**-n) / (1 + (n - 1) * 2.0**-n)
    return 1 - a1 ** (layers - 2) + factor * (a2 ** (layers - 2) - a1 ** (layers - 2))


@pytest.mark.parametrize(("width", "low", "high"), [(2, 0.870, 0.925), (3, 0.513, 0.699), (5, 0.064, 0.249)])
def test_o1_bounds_of_lu_et_al(width: int, low: float, high: float) -> None:
    """Ten layers on an interval round 0: born dead if neither the positive nor the negative side comes through."""
    assert lower_bound(2, 3) == 0.15625
    nets, layers = 2000, 10
    assert lower_bound(width, layers) == pytest.approx(low, abs=1e-3)
    assert 1 - (1 - 2.0**-width) ** (layers - 1) == pytest.approx(high, abs=1e-3)
    model = Many([1, *[width] * (layers - 1)], nets)
    for bias in model.biases:
        nn.init.zeros_(bias)
    one = torch.ones(1, nets, 1, dtype=F64)
    both = [off_as_a_whole(measured(model, sign * one).activations, nets) for sign in (1, -1)]
    share = float((both[0] & both[1]).double().mean())
    assert low - spread(low, nets) <= share <= high + spread(high, nets)


def corners(low: float, dimensions: int) -> Tensor:
    """An affine function is largest and smallest at a corner of a box."""
    return torch.tensor(list(product((low, 1.0), repeat=dimensions)), dtype=F64)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_o2_default_units_on_a_symmetric_box(dimensions: int) -> None:
    """Dead on [-1, 1]^d with probability 1 / (2 (d + 1)!), and always on with the same."""
    units, expected = 40_000, 1 / (2 * math.factorial(dimensions + 1))
    model = nn.Sequential(nn.Linear(dimensions, units, dtype=F64), nn.ReLU())
    (site,) = measured(model, corners(-1.0, dimensions)).activations
    for count in (site.dead, site.linear):
        assert count / units == pytest.approx(expected, abs=spread(expected, units))


@pytest.mark.parametrize(("dimensions", "share"), [(1, 0.375), (2, 0.27083), (4, 0.13047), (6, 0.05834)])
def test_o3_default_units_on_the_unit_box(dimensions: int, share: float) -> None:
    """On [0, 1]^d: 2^-d sum_k C(d, k) / (2 (k + 1)!)."""
    units = 40_000
    terms = [math.comb(dimensions, k) / (2 * math.factorial(k + 1)) for k in range(dimensions + 1)]
    assert share == pytest.approx(sum(terms) / 2**dimensions, abs=1e-5)
    model = nn.Sequential(nn.Linear(dimensions, units, dtype=F64), nn.ReLU())
    (site,) = measured(model, corners(0.0, dimensions)).activations
    assert site.dead / units == pytest.approx(share, abs=spread(share, units))


@pytest.mark.parametrize(("width", "share"), [(1, 1 / 4), (2, 3 / 16)])
def test_o4_second_layer_units_that_are_off_on_the_whole_line(width: int, share: float) -> None:
    """The unit's input is linear between the kinks of the first layer, so kinks and both ends decide."""
    nets = 10_000
    model = Many([1, width, 1], nets)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    kinks = (-model.biases[0] / model.weights[0].flatten()).detach().view(nets, width).t()
    ends = torch.tensor([-1e9, 1e9], dtype=F64)[:, None].expand(2, nets)
    second = measured(model, torch.cat([kinks, ends]).unsqueeze(-1)).activations[1]
    assert second.dead / nets == pytest.approx(share, abs=spread(share, nets))


def test_o4_the_signs_of_the_weights_prove_two_thirds_of_them() -> None:
    """Behind ReLU a unit is off everywhere if its weights and bias are all negative: 1/8 for width 2, of 3/16."""
    units = 40_000
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, units), nn.ReLU())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    second = measured(model, torch.linspace(-1e6, 1e6, 400)[:, None]).activations[1]
    assert second.certified / units == pytest.approx(1 / 8, abs=spread(1 / 8, units))
    assert second.certified <= second.dead


def projected(y: Tensor) -> Tensor:
    """A fixed direction with entries of size one: the gradient at y has mean square 1."""
    signs = torch.randint(0, 2, y.shape, generator=torch.Generator().manual_seed(0)).to(y) * 2 - 1
    return (y * signs).sum()


@pytest.mark.parametrize("he", [True, False])
def test_o5_the_mean_square_of_the_gradient(he: bool) -> None:
    """E|d_1|^2 / E|d_H|^2 = (sw2 / 2)^(H-1): 1 for He, 6^-9 = 9.92e-8 for torch's default over ten layers."""
    width, depth, nets = 64, 10, 150
    model = grouped([width] * (depth + 1), nets)
    for part in model:
        if he and isinstance(part, nn.Conv1d):
            nn.init.normal_(part.weight, std=math.sqrt(2 / width))
            nn.init.zeros_(part.bias)
    rms = [g.rms or 0.0 for g in measured(model, same_input(width, nets), projected).gradients]
    expected = 1.0 if he else 6.0 ** (1 - depth)
    fourth = (1 + 5 / width) ** (depth - 1) - 1  # O7: relative variance of one network's |d_1|^2
    assert rms[0] ** 2 / rms[-1] ** 2 == pytest.approx(expected, rel=4 * math.sqrt(fourth / nets))


def log_moments(n: int, sw2: float) -> tuple[float, float]:
    """Mean and standard deviation of the change of ln RMS over one layer (O6), by the sum over active units."""
    k = torch.arange(1, n + 1, dtype=F64)
    logs = torch.lgamma(torch.tensor(n + 1.0, dtype=F64)) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    weight = (logs - n * math.log(2)).exp()
    weight /= weight.sum()
    mean = float((weight * torch.digamma(k / 2)).sum())
    square = float((weight * (torch.digamma(k / 2) ** 2 + torch.polygamma(1, k / 2))).sum())
    return 0.5 * (math.log(2 * sw2 / n) + mean), 0.5 * math.sqrt(square - mean**2)


@pytest.mark.parametrize(("sw2", "slope"), [(2.0, -0.02005), (1 / 3, -0.91593)])
def test_o6_the_logarithm_of_the_gradient_of_single_networks(sw2: float, slope: float) -> None:
    """Mean and deviation in closed form; six networks of 20 layers, each within 4 deviations."""
    wider = {2.0: (-0.00491, 0.07039), 1 / 3: (-0.90079, 0.07039)}[sw2]
    assert log_moments(256, sw2) == pytest.approx(wider, abs=1e-5)
    assert log_moments(64, 1.0)[0] == pytest.approx(-0.36663, abs=1e-5)
    n, depth, nets = 64, 20, 6
    mean, deviation = log_moments(n, sw2)
    assert mean == pytest.approx(slope, abs=1e-5)
    assert deviation == pytest.approx(0.14405, abs=1e-5)
    ratios = []
    for _ in range(nets):
        parts: list[nn.Module] = []
        for _ in range(depth):
            parts += [nn.Linear(n, n, bias=False, dtype=F64), nn.ReLU()]
            nn.init.normal_(parts[-2].weight, std=math.sqrt(sw2 / n))
        rms = [g.rms or 0.0 for g in measured(nn.Sequential(*parts), torch.randn(1, n, dtype=F64)).gradients]
        ratios.append(math.log(rms[0] / rms[-1]))
    each = deviation * math.sqrt(depth - 1)
    assert all(abs(r - (depth - 1) * mean) < 4 * each for r in ratios)
    assert sum(ratios) / nets == pytest.approx((depth - 1) * mean, abs=4 * each / math.sqrt(nets))


@pytest.mark.parametrize(("sw2", "rise", "within"), [(2.0, 0.0, 0.084), (1 / 3, 0.913, 0.14)])
def test_o6_the_slope_against_depth(sw2: float, rise: float, within: float) -> None:
    """ln RMS of dL/dz over 20 layers of 64 units, a batch of 32: the fitted slope within 4 standard deviations."""
    parts: list[nn.Module] = []
    for _ in range(20):
        parts += [nn.Linear(64, 64, bias=False, dtype=F64), nn.ReLU()]
        nn.init.normal_(parts[-2].weight, std=math.sqrt(sw2 / 64))
    found = measured(nn.Sequential(*parts), torch.randn(32, 64, dtype=F64)).gradients
    assert slope([math.log(g.rms or 0.0) for g in found]) == pytest.approx(rise, abs=within)


class Side(nn.Module):
    """Networks side by side, each with a first layer whose output's gradient is told apart."""

    def __init__(self, nets: int, width: int, depth: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList()
        for _ in range(nets):
            parts: list[nn.Module] = [nn.Linear(width, width, bias=False, dtype=F64)]
            for _ in range(depth):
                linear = nn.Linear(width, width, bias=False, dtype=F64)
                nn.init.normal_(linear.weight, std=math.sqrt(2 / width))
                parts += [linear, nn.ReLU()]
            self.nets.append(nn.Sequential(*parts))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([net(x) for net in self.nets], 1)


def test_o7_the_fourth_moment_over_depth() -> None:
    """E|d|^4 / E[|d|^2]^2 = (1 + 5/n)^H for the gradient at the input of H layers of width n."""
    nets, width, depth = 150, 16, 2

    def isotropic(y: Tensor) -> Tensor:
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
        return (y * direction / direction.norm(dim=-1, keepdim=True)).sum()

    found = measured(Side(nets, width, depth), torch.randn(1, width, dtype=F64), isotropic).gradients
    squares = torch.tensor([(g.rms or 0.0) ** 2 for g in found if g.name.endswith(".0")], dtype=F64)
    assert len(squares) == nets
    ratio = float(squares.square().mean() / squares.mean() ** 2)
    assert ratio == pytest.approx((1 + 5 / width) ** depth, rel=0.2)


class Stream(nn.Module):
    """Blocks ``h + W2 relu(W1 h)`` of many networks at once."""

    def __init__(self, nets: int, width: int, blocks: int, s1: float, s2: float) -> None:
        super().__init__()
        self.start = self._layer(nets, width, 1.0)
        self.first = nn.ModuleList(self._layer(nets, width, s1) for _ in range(blocks))
        self.second = nn.ModuleList(self._layer(nets, width, s2) for _ in range(blocks))

    @staticmethod
    def _layer(nets: int, width: int, variance: float) -> nn.Module:
        layer = nn.Conv1d(nets * width, nets * width, 1, groups=nets, bias=False)
        nn.init.normal_(layer.weight, std=math.sqrt(variance / width))
        return layer

    def forward(self, x: Tensor) -> Tensor:
        h = self.start(x)
        for first, second in zip(self.first, self.second, strict=True):
            h = h + second(torch.relu(first(h)))
        return h


@pytest.mark.parametrize(("blocks", "s1", "s2", "expected"), [(8, 2.0, 1.0, 256.0), (16, 2.0, 1 / 16, 2.638)])
def test_o8_the_gradient_of_a_residual_stream(blocks: int, s1: float, s2: float, expected: float) -> None:
    """E|d_0|^2 / E|d_B|^2 = (1 + s1 s2 / 2)^B."""
    assert (1 + s1 * s2 / 2) ** blocks == pytest.approx(expected, rel=1e-3)
    nets, width = 60, 64
    found = measured(Stream(nets, width, blocks, s1, s2), same_input(width, nets), projected).gradients
    start = next(g for g in found if g.name == "start")
    assert (start.rms or 0.0) ** 2 == pytest.approx(expected, rel=0.1)


def arc_cosine(c: float) -> float:
    """The cosine after one layer of ReLU with He's initialisation: (sin t + (pi - t) cos t) / pi, where cos t = c."""
    angle = math.acos(c)
    return (math.sin(angle) + (math.pi - angle) * c) / math.pi


O9 = {1: 0.3183, 2: 0.4937, 3: 0.6048, 5: 0.7359, 10: 0.8715, 20: 0.9484}


def orthogonal_rows(samples: int, width: int) -> Tensor:
    """Samples at right angles to one another, of mean square 1."""
    return torch.linalg.qr(torch.randn(width, samples, dtype=F64)).Q.T * math.sqrt(width)


def test_o9_the_map_of_cosines() -> None:
    """From right angles, He-ReLU layers turn samples towards each other: 1 - c falls as 9 pi^2 / (2 l^2)."""
    cosines = [0.0]
    while len(cosines) <= 1000:
        cosines.append(arc_cosine(cosines[-1]))
    for layer, expected in O9.items():
        assert cosines[layer] == pytest.approx(expected, abs=5e-5)
    assert (1 - cosines[1000]) * 1000**2 == pytest.approx(9 * math.pi**2 / 2, rel=0.03)
    width, depth = 1024, 20
    parts: list[nn.Module] = []
    for _ in range(depth + 1):
        linear = nn.Linear(width, width, bias=False, dtype=F64)
        nn.init.normal_(linear.weight, std=math.sqrt(2 / width))
        parts += [linear, nn.ReLU()]
    found = [site.cosine for site in measured(nn.Sequential(*parts), orthogonal_rows(16, width)).activations]
    assert found == [pytest.approx(c, abs=0.05) for c in cosines[: depth + 1]]


def test_o10_batch_norm_lets_the_gradient_grow() -> None:
    """pi / (pi - 1) = 1.467 per layer of Linear, BatchNorm and ReLU in mean square, in training mode."""
    width, depth = 256, 12
    parts: list[nn.Module] = []
    for _ in range(depth):
        parts += [nn.Linear(width, width, dtype=F64), nn.BatchNorm1d(width, dtype=F64), nn.ReLU()]
    found = measured(nn.Sequential(*parts), torch.randn(256, width, dtype=F64)).gradients
    first, last = (g.rms or 0.0 for g in (found[1], found[-2]))
    growth = (first / last) ** (1 / (depth - 3))
    assert growth == pytest.approx(BATCH_NORM_GROWTH, rel=0.025)
    assert pytest.approx(math.pi / (math.pi - 1), rel=1e-12) == BATCH_NORM_GROWTH**2


@pytest.mark.parametrize(
    ("n", "d", "expected"), [(64, 64, 31.767), (256, 64, 51.047), (1000, 64, 60.096), (512, 100, 83.527)]
)
def test_o12_the_participation_ratio_of_noise(n: int, d: int, expected: float) -> None:
    """(d n + 2) / (n + d + 1) for n independent rows of d normal entries, the ratio of E tr(W)^2 and E tr(W^2).

    Taking off the mean of n + 1 samples leaves n independent rows.
    """
    assert (d * n + 2) / (n + d + 1) == pytest.approx(expected, abs=5e-4)
    found = [float(participation_ratio(torch.randn(n + 1, d, dtype=F64))) for _ in range(20)]
    assert sum(found) / 20 == pytest.approx(expected, rel=0.01)
    assert all(one == pytest.approx(expected, rel=0.05) for one in found)


@pytest.mark.parametrize("n", [64, 255])
def test_o12_of_what_an_activation_receives(n: int) -> None:
    d = 64
    model = nn.Sequential(nn.Linear(d, d, bias=False, dtype=F64), nn.ReLU())
    nn.init.orthogonal_(model[0].weight)
    (site,) = measured(model, torch.randn(n + 1, d, dtype=F64) + 3.0).activations
    assert site.dimension == pytest.approx((d * n + 2) / (n + d + 1), rel=0.05)


def mean_field(act: Callable[[Tensor], Tensor], sw2: float, depth: int) -> float:
    """RMS of dL/dz of the first over that of the last layer, for great width and inputs of variance 1."""
    z = torch.linspace(-10, 10, 20_001, dtype=F64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    q, ratio = sw2, 1.0
    for _ in range(depth - 1):
        x = (math.sqrt(q) * z).requires_grad_()
        value = act(x)
        (slope,) = torch.autograd.grad(value.sum(), x)
        ratio *= sw2 * float((density * slope.square()).sum())
        q = sw2 * float((density * value.detach().square()).sum())
    return math.sqrt(ratio)


@pytest.mark.parametrize(
    ("act", "sw2", "depth", "expected"),
    [
        (nn.Sigmoid(), 1 / 3, 10, 2.151e-8),
        (nn.Tanh(), 1 / 3, 10, 5.28e-3),
        (nn.GELU(), 1 / 3, 10, 1.807e-5),
        (nn.SELU(), 1.0, 20, 1.929),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_o14_mean_field(act: nn.Module, sw2: float, depth: int, expected: float) -> None:
    """Within 15 % per ten layers at width 512."""
    assert mean_field(act, sw2, depth) == pytest.approx(expected, rel=0.02)
    width, parts = 512, []
    for _ in range(depth):
        linear = nn.Linear(width, width, bias=False)
        nn.init.normal_(linear.weight, std=math.sqrt(sw2 / width))
        parts += [linear, act]
    rms = [g.rms or 0.0 for g in measured(nn.Sequential(*parts), torch.randn(32, width)).gradients]
    assert rms[0] / rms[-1] == pytest.approx(expected, rel=0.15 * depth / 10)


def erf_field(sw2: float, sb2: float, depth: int) -> float:
    """The same for erf and biases of variance sb2, where both Gaussian means have a closed form (Williams 1998)."""
    q, ratio = sw2 + sb2, 1.0
    for _ in range(depth - 1):
        ratio *= sw2 * 4 / (math.pi * math.sqrt(1 + 4 * q))
        q = sw2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) + sb2
    return math.sqrt(ratio)


class Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


def test_o14_mean_field_of_erf() -> None:
    """In the chaotic phase the gradient grows towards the input, here 1.546 times over ten layers."""
    width, depth, sw2, sb2 = 512, 10, 2.5, 0.3
    assert erf_field(sw2, sb2, depth) == pytest.approx(1.546, abs=5e-4)
    assert mean_field(torch.erf, sw2, depth) == pytest.approx(erf_field(sw2, 0.0, depth), rel=1e-6)
    parts: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(width, width)
        nn.init.normal_(linear.weight, std=math.sqrt(sw2 / width))
        nn.init.normal_(linear.bias, std=math.sqrt(sb2))
        parts += [linear, Erf()]
    rms = [g.rms or 0.0 for g in measured(nn.Sequential(*parts), torch.randn(32, width)).gradients]
    assert rms[0] / rms[-1] == pytest.approx(1.546, rel=0.15)
