"""Closed forms that the measurements must reproduce.

The numbers D1 to D15 are derived there: D1-D5 from the definitions of silent and always-on units and
Clopper and Pearson 1934; D6 from affinity; D7 is Euler's identity for homogeneous functions; D8 the
rescaling symmetry of ReLU networks; D9 He et al. 2015, section 2.2; D10 and D11 Pascanu et al. 2013; D12 the
Cauchy-Schwarz inequality on the sphere that LayerNorm maps onto; D13 Kingma and Ba 2015; D14 IEEE 754;
D15 the limits of the functions themselves. Laws of random networks (O1 to O14) are in test_laws.py.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relucheck.measurements import Measurements, Verdict, never_seen_bound
from relucheck.tape.affine import judge_affine
from relucheck.tape.batches import Batch
from relucheck.tape.probe import measure

F64 = torch.float64


def measured(model: nn.Module, *batches: object, loss: object = None) -> Measurements:
    return measure(model, list(batches), loss).measurements  # type: ignore[arg-type]


def test_d1_constant_units_are_silent_or_always_on() -> None:
    model = nn.Sequential(nn.Linear(4, 6, dtype=F64), nn.ReLU())
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0, -1, -1, 1, 1, 1]))
    (site,) = measured(model, torch.randn(16, 4, dtype=F64)).activations
    assert (site.dead_units, site.linear_units, site.collapsed_share) == ((0, 1, 2), (3, 4, 5), 1.0)
    assert site.certified_units == (0, 1, 2)


def test_d2_each_unit_fires_on_one_sample() -> None:
    n = 20
    model = nn.Sequential(nn.Linear(n, n, dtype=F64), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(n))
        model[0].bias.fill_(-0.5)
    x = torch.eye(n, dtype=F64)
    (site,) = measured(model, x).activations
    assert (site.dead, site.activity) == (0, (1 / n,) * n)
    (half,) = measured(model, x[: n // 2]).activations
    assert (half.dead, half.undetermined) == (n // 2, True)


def test_d3_symmetric_data_fires_half_the_time() -> None:
    model = nn.Sequential(nn.Linear(5, 9, bias=False, dtype=F64), nn.ReLU())
    x = torch.randn(32, 5, dtype=F64)
    (site,) = measured(model, torch.cat([x, -x])).activations
    assert (site.activity, site.dead, site.linear) == ((0.5,) * 9, 0, 0)


def test_d4_one_position_of_one_image_is_one_sample() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1, dtype=F64), nn.ReLU())
    nn.init.constant_(model[0].weight, 1.0)
    nn.init.constant_(model[0].bias, -0.5)
    x = torch.zeros(10, 1, 8, 8, dtype=F64)
    x[3, 0, 2, 5] = 1.0
    (site,) = measured(model, x).activations
    assert (site.dead, site.activity) == (0, (0.1,))


def test_d5_the_bound_of_clopper_and_pearson() -> None:
    assert never_seen_bound(1000) == pytest.approx(0.0029912, abs=1e-6)
    assert never_seen_bound(299) <= 0.01 < never_seen_bound(298)
    assert never_seen_bound(2995) <= 0.001 < never_seen_bound(2994)
    assert never_seen_bound(64) == pytest.approx(0.0457, abs=1e-4)


def _stack(depth: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(depth)))


AFFINE: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "two": (_stack(2), (8,)),
    "hundred": (_stack(100), (8,)),
    "conv and pooling": (
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4)),
        (1, 8, 8),
    ),
    "norm": (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)), (8,)),
    "PReLU of slope 1": (nn.Sequential(nn.Linear(8, 8), nn.PReLU(init=1.0), nn.Linear(8, 2)), (8,)),
    "LeakyReLU(True)": (nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(True), nn.Linear(8, 2)), (8,)),
    "certified": (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), (8,)),
}


@pytest.mark.parametrize("name", AFFINE)
def test_d6_affine_networks_have_a_constant_product(name: str) -> None:
    model, shape = AFFINE[name]
    if name == "certified":
        with torch.no_grad():
            model[0].weight.zero_()
            model[0].bias.copy_(torch.tensor([1.0, -1] * 4))
    affine = measured(model.eval(), torch.randn(64, *shape)).affine
    expected = Verdict.CONSTANT if name == "certified" else Verdict.AFFINE
    assert (affine.verdict, affine.spread) == (expected, pytest.approx(0.0, abs=1e-12))


BENT: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.99),
    "maxpool": nn.MaxPool1d(2),
    "hardtanh": nn.Hardtanh(),
    "gelu": nn.GELU(),
    "layer_norm": nn.LayerNorm(8),
}


@pytest.mark.parametrize("name", BENT)
def test_d6n_other_networks_are_not_affine(name: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), BENT[name], nn.LazyLinear(3))
    model(torch.randn(4, 8))
    found = measure(model, [torch.randn(64, 8)])
    assert found.measurements.affine.verdict is Verdict.NOT_AFFINE
    bent = judge_affine(
        model, Batch((torch.randn(64, 8),), {}), (), found.net
    )  # without a look at the operations
    assert bent.verdict is Verdict.NOT_AFFINE
    assert bent.spread is not None
    assert bent.spread > 1e-3


def test_a_relu_that_the_data_never_bends_is_found_at_larger_scales() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    nn.init.constant_(model[0].bias, 25.0)
    affine = measured(model, torch.randn(64, 8)).affine
    assert affine.verdict is Verdict.NOT_AFFINE
    assert affine.spread is not None
    assert affine.spread > 1e-3


def _relu_net(depth: int, width: int = 16) -> nn.Sequential:
    parts: list[nn.Module] = []
    for _ in range(depth):
        parts += [nn.Linear(width, width, bias=False, dtype=F64), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, 1, bias=False, dtype=F64))


def test_d7_euler_identity_of_bias_free_relu_networks() -> None:
    model, x = _relu_net(6), torch.randn(1, 16, dtype=F64)
    value = float(model(x).detach())
    weights = [m.weight for m in model if isinstance(m, nn.Linear)]
    for gradient, weight in zip(torch.autograd.grad(model(x).sum(), weights), weights, strict=True):
        assert float((gradient * weight).sum().detach()) == pytest.approx(value, rel=1e-12)
    gradients = measured(model, x, loss=lambda y: y.sum()).gradients
    assert all(g.elasticity is not None and g.elasticity >= abs(value) * (1 - 1e-12) for g in gradients)


def test_d8_elasticity_does_not_see_rescaling() -> None:
    model, x = _relu_net(4), torch.randn(8, 16, dtype=F64)
    before = measured(model, x, loss=lambda y: y.sum()).gradients
    scales = (4.0, 0.125, 8.0, 0.5, 0.5)
    with torch.no_grad():
        for layer, scale in zip((m for m in model if isinstance(m, nn.Linear)), scales, strict=True):
            layer.weight.mul_(scale)
    after = measured(model, x, loss=lambda y: y.sum()).gradients
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        assert b.elasticity == pytest.approx(a.elasticity, rel=1e-12)
        assert a.rms is not None
        assert b.rms == pytest.approx(a.rms * math.prod(scales[i + 1 :]), rel=1e-12)


def _vgg(widths: tuple[int, ...], std: float | None) -> nn.Sequential:
    parts: list[nn.Module] = []
    width = 3
    for out in widths:
        conv = nn.Conv2d(width, out, 3, padding=1, bias=False, dtype=F64)
        fan_out = math.sqrt(2 / (9 * out))
        nn.init.normal_(conv.weight, std=1.0)
        with torch.no_grad():
            conv.weight.mul_(std if std is not None else fan_out)
        parts += [conv, nn.ReLU()]
        width = out
    return nn.Sequential(*parts)


def test_d9_the_published_factor_of_he_et_al() -> None:
    """VGG-B's ten layers: 1/(1.7e4) in the paper, the product of their rounded factors; here 1/1.673e4."""
    widths = (64, 64, 128, 128, 256, 256, 512, 512, 512, 512)
    small = tuple(w // 16 for w in widths)  # the quotient depends on the scales alone
    x, ratios = torch.randn(1, 3, 6, 6, dtype=F64), []
    for std in (0.01, None):
        torch.manual_seed(3)
        found = measured(_vgg(small, std), x, loss=lambda y: y.sum()).gradients
        ratios.append((found[0].rms or 0.0) / (found[-1].rms or 1.0))
    expected = math.prod(0.01 / math.sqrt(2 / (9 * w)) for w in small[1:])
    assert ratios[0] / ratios[1] == pytest.approx(expected, rel=1e-10)
    published = math.prod(0.01 / math.sqrt(2 / (9 * w)) for w in widths[1:])
    assert published == pytest.approx(5.9777e-5, rel=1e-4)


@pytest.mark.parametrize("rho", [0.9, 1.0, 1.1])
@pytest.mark.parametrize("steps", [10, 50, 100])
def test_d10_recurrent_gradients_are_powers(rho: float, steps: int) -> None:
    model = nn.RNN(6, 6, nonlinearity="relu", batch_first=True, bias=False, dtype=F64)
    with torch.no_grad():
        model.weight_hh_l0.copy_(rho * torch.eye(6, dtype=F64))
        model.weight_ih_l0.copy_(torch.eye(6))
    x = torch.rand(3, steps + 1, 6, dtype=F64) + 0.1
    found = measured(model, x, loss=lambda out: out[0][:, -1].sum())
    (norms,) = {g.steps for g in found.gradients if g.steps}
    assert len(norms) == steps + 1
    assert norms[0] / norms[-1] == pytest.approx(rho**steps, rel=1e-10)


def test_d10_tanh_with_orthogonal_weights() -> None:
    model = nn.RNN(6, 6, batch_first=True, bias=False, dtype=F64)
    nn.init.orthogonal_(model.weight_hh_l0)
    with torch.no_grad():
        model.weight_hh_l0.mul_(0.9)
    found = measured(model, torch.zeros(3, 31, 6, dtype=F64), loss=lambda out: out[0][:, -1].sum())
    (norms,) = {g.steps for g in found.gradients if g.steps}
    assert norms[0] / norms[-1] == pytest.approx(0.9**30, rel=1e-10)


class SigmoidRecurrence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.state = nn.Linear(4, 6, dtype=F64), nn.Linear(6, 6, dtype=F64)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 6)
        for step in x.unbind(1):
            h = torch.sigmoid(self.inner(step) + self.state(h))
        return h


@pytest.mark.parametrize("gain", [0.5, 2.0, 4.0])
def test_d11_the_gradient_of_a_sigmoid_recurrence_is_bounded(gain: float) -> None:
    """norm(dL/dh_0) : norm(dL/dh_T) <= (smax / 4)^T, where smax is the largest singular value of U."""
    model, steps = SigmoidRecurrence(), 10
    nn.init.orthogonal_(model.state.weight, gain)
    found = measured(model, torch.randn(5, steps + 1, 4, dtype=F64), loss=lambda out: out.sum())
    (norms,) = {g.steps for g in found.gradients if g.steps}
    assert len(norms) == steps + 1
    assert 0 < norms[0] / norms[-1] <= (gain / 4) ** steps


@pytest.mark.parametrize("excess", [-1e-3, 1e-3])
def test_d12_certificates_after_layer_norm(excess: float) -> None:
    n = 12
    norm, linear = nn.LayerNorm(n, dtype=F64), nn.Linear(n, 1, dtype=F64)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        scaled = linear.weight[0] * norm.weight
        top = math.sqrt(n) * (scaled - scaled.mean()).norm() + linear.weight[0] @ norm.bias
        linear.bias.copy_(-top + excess)
    model = nn.Sequential(norm, linear, nn.ReLU())
    (site,) = measured(model, torch.randn(300, n, dtype=F64)).activations
    assert site.certified == (1 if excess < 0 else 0)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "Adagrad", "RMSprop"])
def test_d13_the_first_step_of_adam(name: str) -> None:
    """lr * sqrt(3 fan_in) under the default initialisation (Kingma and Ba 2015: each entry moves by lr).

    RMSprop divides by the root of (1 - alpha) g^2 without correction, so its first step is ten times that.
    """
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = getattr(torch.optim, name)(model.parameters(), lr=1e-3)
    batch = (torch.randn(64, 784), torch.randint(0, 10, (64,)))
    found = measure(model, [batch], F.cross_entropy, optimiser=optimiser).measurements.gradients[0]
    factor = 10 if name == "RMSprop" else 1
    assert found.first_update == pytest.approx(factor * 1e-3 * math.sqrt(3 * 784), rel=0.025)
    before = model[0].weight.detach().clone()
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    optimiser.step()
    stepped = float((model[0].weight.detach() - before).norm() / before.norm())
    assert found.first_update == pytest.approx(stepped, rel=2e-3)
    again = measure(model, [batch], F.cross_entropy, optimiser=optimiser).measurements.gradients[0]
    assert again.first_update is None


def test_d13_inputs_that_are_always_zero_move_nothing() -> None:
    model = nn.Sequential(nn.Linear(100, 64, dtype=F64), nn.ReLU(), nn.Linear(64, 10, dtype=F64))
    x = torch.randn(64, 100, dtype=F64)
    x[:, 75:] = 0.0
    batch = (x, torch.randint(0, 10, (64,)))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    found = measure(model, [batch], F.cross_entropy, optimiser=optimiser).measurements.gradients[0]
    size = float(model[0].weight.detach().norm())
    assert found.first_update == pytest.approx(1e-2 * math.sqrt(64 * 75) / size, rel=1e-12)


@pytest.mark.parametrize("half", ["autocast", "weights"])
@pytest.mark.parametrize(
    ("exponent", "scale", "share"), [(-25, 1.0, 1.0), (-24, 1.0, 0.0), (-25, 2.0, 0.0), (-26, 2.0, 1.0)]
)
def test_d14_the_smallest_number_of_half_precision(
    half: str, exponent: int, scale: float, share: float
) -> None:
    """2^-25 lies halfway between 0 and the smallest subnormal 2^-24 and rounds to even, 0 (IEEE 754)."""
    model = nn.Linear(3, 5, bias=False)
    x = torch.ones(4, 3)
    if half == "weights":
        model, x = model.half(), x.half()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    with torch.autocast("cpu", torch.float16, enabled=half == "autocast"):
        found = measure(model, [x], lambda y: scaler.scale(y.float().sum() * 2.0**exponent)).measurements
    assert (found.gradients[0].underflow, found.loss_scale) == (share, scale)
    assert model.weight.dtype is (torch.float16 if half == "weights" else torch.float32)


def test_the_loss_scale_is_taken_out_of_a_probes_gradients() -> None:
    model, x = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(8, 3)
    plain = measured(model, x, loss=lambda y: y.square().sum()).gradients
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    scaled = measured(model, x, x, loss=lambda y: scaler.scale(y.square().sum())).gradients
    for one, other in zip(scaled, plain, strict=True):
        assert (one.norm, one.rms) == (pytest.approx(other.norm), pytest.approx(other.rms))


def test_d14_a_scale_cures_what_does_not_vanish() -> None:
    """Over 12 layers at a scale of 65,536 the first one loses nothing with ReLU and all with sigmoid."""
    for activation, width, first in ((nn.ReLU, 64, 0.0), (nn.Sigmoid, 256, 1.0)):
        parts: list[nn.Module] = []
        for _ in range(12):
            parts += [nn.Linear(width, width), activation()]
        model = nn.Sequential(*parts, nn.Linear(width, 10))
        batch = (torch.randn(32, width), torch.randint(0, 10, (32,)))
        with torch.autocast("cpu", torch.float16):
            found = measure(model, [batch], lambda y, t: 65536 * F.cross_entropy(y, t)).measurements
        assert found.gradients[0].underflow == pytest.approx(first, abs=1e-3)


def test_single_precision_and_bfloat16_lose_nothing() -> None:
    model = nn.Linear(3, 5)
    assert measured(model, torch.randn(4, 3)).gradients[0].underflow is None
    with torch.autocast("cpu", torch.bfloat16):
        assert measured(model, torch.randn(4, 3)).gradients[0].underflow is None


class Formula(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x)
        zero = torch.relu(h) * 0
        if self.kind == "sqrt":
            return zero.sqrt()
        if self.kind == "log":
            return zero.log()
        if self.kind == "div":
            return zero / zero
        if self.kind == "where":
            return torch.where(h > 1e9, (h - h).sqrt(), h)
        return h


FAULTS = {"sqrt": ("backward", "sqrt"), "log": ("forward", "log"), "div": ("forward", "div")}
FAULTS["where"] = ("backward", "sqrt")


@pytest.mark.parametrize("kind", FAULTS)
def test_d15_the_first_operation_that_is_not_finite(kind: str) -> None:
    found = measured(Formula(kind), torch.randn(8, 4)).non_finite
    assert found is not None
    assert (found.phase.value, found.operation) == FAULTS[kind]
    assert found.span is not None
    assert found.span.path == __file__


def test_d15_overflow_in_half_precision() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).half()
    nn.init.constant_(model[0].weight, 1.0)
    nn.init.constant_(model[1].weight, 30000.0)
    found = measured(model, torch.ones(8, 4, dtype=torch.half)).non_finite
    assert found is not None
    assert (found.value, found.operation, found.layer) == ("Inf", "linear", "1")


def test_a_mask_of_minus_infinity_is_no_fault() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    found = measured(model, {"src": torch.randn(4, 5, 8), "src_mask": mask})
    assert found.non_finite is None


def test_nan_in_the_input_is_the_inputs_fault() -> None:
    x = torch.randn(8, 4)
    x[2, 1] = float("nan")
    found = measured(Formula("none"), x).non_finite
    assert found is not None
    assert found.phase.value == "input"


@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_brute_force(seed: int) -> None:
    torch.manual_seed(seed)
    widths = [int(w) for w in torch.randint(2, 24, (5,))]
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        linear = nn.Linear(a, b)
        nn.init.normal_(linear.bias, std=1.5)
        parts += [linear, nn.ReLU(inplace=bool(seed % 2))]
    model = nn.Sequential(*parts)
    batches = [torch.randn(int(n), widths[0]) for n in torch.randint(1, 40, (4,))]
    found = measured(model, *batches).activations
    h = torch.cat(batches)
    for site, linear in zip(found, (m for m in model if isinstance(m, nn.Linear)), strict=True):
        z = linear(h)
        h = F.relu(z)
        on = z > 0
        assert site.dead_units == tuple((~on).all(0).nonzero().flatten().tolist())
        assert site.linear_units == tuple(on.all(0).nonzero().flatten().tolist())
        assert site.activity == pytest.approx(on.double().mean(0).tolist())
