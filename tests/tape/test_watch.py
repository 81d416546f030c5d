"""``relucheck.watch`` in training loops of many kinds."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils.checkpoint import checkpoint

import relucheck


def mlp(dead: int = 0) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].bias[:dead] = -25.0
    return model


def train(model: nn.Module, steps: int, lr: float = 1e-3, **options: Any) -> Any:
    optimiser = torch.optim.Adam(model.parameters(), lr)
    with relucheck.watch(**options) as watch:
        for _ in range(steps):
            optimiser.zero_grad()
            F.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 3, (32,))).backward()
            optimiser.step()
    return watch.report


def traces() -> tuple[Any, ...]:
    """Everything global that a watch touches."""
    optimisers = importlib.import_module("torch.optim.optimizer")
    return (
        nn.Module.__call__,
        torch.Tensor.backward,
        torch.autograd.backward,
        len(module_hooks._global_forward_hooks),
        len(module_hooks._global_forward_pre_hooks),
        len(optimisers._global_optimizer_pre_hooks),
        len(optimisers._global_optimizer_post_hooks),
        len(_get_current_function_mode_stack()),
        len(_get_current_dispatch_mode_stack()),
        torch.amp.GradScaler.scale,
    )


@pytest.fixture(autouse=True)
def _no_trace() -> Any:
    before = traces()
    yield
    assert traces() == before


def test_silent_units_are_counted() -> None:
    report = train(mlp(12), 20, every=1)
    (site,) = report.activations
    assert (site.name, site.dead, site.units, site.samples) == ("1", 12, 20, 320)
    assert [f.code for f in report.findings] == ["RLU601"]
    assert report.findings[0].span is not None
    assert report.findings[0].span.path == __file__
    assert (report.steps, report.inspected) == (20, 20)


def test_units_that_die_during_the_training_are_found() -> None:
    model = mlp()
    optimiser = torch.optim.SGD(model.parameters(), 1e-5)
    with relucheck.watch(every=1) as watch:
        for step in range(30):
            if step == 10:
                with torch.no_grad():
                    model[0].bias[:15] = -25.0
            model.zero_grad()
            model(torch.randn(32, 8)).sum().backward()
            optimiser.step()
    (network,) = watch.report.networks
    assert [moment.silent["1"] for moment in network.moments] == [0.0, 0.75, 0.75]
    assert network.first.activations[0].dead == 0
    assert [f.code for f in watch.findings] == ["RLU601"]


def test_only_sampled_steps_are_inspected() -> None:
    assert train(mlp(), 120, every=50, first=5).inspected == 7
    assert train(mlp(), 120, every=50, first=0).inspected == 3


def test_between_sampled_steps_no_call_is_listened_to() -> None:
    plain, model, seen = nn.Module.__call__, mlp(), []
    with relucheck.watch(every=10, first=1):
        for _ in range(11):
            seen.append(nn.Module.__call__ is plain)
            model(torch.randn(4, 8)).sum().backward()
    assert seen == [False, *[True] * 9, False]


def test_the_gradients_are_those_of_the_plain_loop() -> None:
    def trained(watched: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(8, 20), nn.BatchNorm1d(20), nn.ReLU(inplace=True), nn.Dropout(), mlp()[2]
        )
        optimiser = torch.optim.Adam(model.parameters(), 0.01)
        with relucheck.watch(every=2 if watched else 10**9, first=2 if watched else 0):
            for _ in range(10):
                optimiser.zero_grad()
                F.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 3, (32,))).backward()
                optimiser.step()
        return [*model.parameters(), *model.buffers()]

    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["model", "loss", "hook"])
def test_exceptions_leave_nothing_behind(error: BaseException, place: str) -> None:
    class Failing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if place == "model":
                raise error
            return super().forward(x)

    def fail(_: Tensor) -> None:
        raise error

    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Failing(8, 3))
    watch = relucheck.watch(every=1)

    def step() -> None:
        with watch:
            loss = model(torch.randn(4, 8)).sum()
            if place == "loss":
                raise error
            loss.register_hook(fail)
            loss.backward()

    with pytest.raises(type(error)):
        step()
    assert watch.report.networks == ()
    assert all(p._backward_hooks is None for p in model.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_model_called_with_keywords() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp(12)

        def forward(self, *, x: Tensor) -> dict[str, Tensor]:
            return {"loss": self.inner(x).sum()}

    model = Net()
    with relucheck.watch(every=1) as watch:
        for _ in range(10):
            model(x=torch.randn(32, 8))["loss"].backward()
    (site,) = watch.report.activations
    assert (site.name, site.dead, site.samples) == ("inner.1", 12, 320)


def test_two_networks_and_two_losses() -> None:
    """Both networks of a GAN are seen, and the frozen one of each step is not called untrained."""
    torch.manual_seed(0)
    maker, judge = mlp(), nn.Sequential(nn.Linear(3, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    first, second = (torch.optim.Adam(m.parameters(), 1e-3) for m in (judge, maker))
    with relucheck.watch(every=4, first=0) as watch:
        for _ in range(40):
            first.zero_grad()
            made = maker(torch.randn(16, 8))
            loss = F.softplus(-judge(torch.randn(16, 3))).mean() + F.softplus(judge(made.detach())).mean()
            loss.backward()
            first.step()
            second.zero_grad()
            F.softplus(-judge(maker(torch.randn(16, 8)))).mean().backward()
            second.step()
    names = {network.net.layers[0].name: network for network in watch.report.networks}
    assert len(watch.report.networks) == 2
    assert names
    assert [f.code for f in watch.findings] == []
    assert all(g.update for network in watch.report.networks for g in network.last.gradients)


class Maker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("made_first", [True, False])
def test_a_generator_that_is_called_before_its_discriminator_s_passes(made_first: bool) -> None:
    """As in the tutorial on DCGAN: one call of the generator serves three backward passes, the last of them its own."""
    torch.manual_seed(0)
    maker, judge = Maker(), nn.Sequential(nn.Linear(3, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
    first, second = (torch.optim.Adam(m.parameters(), 1e-3) for m in (judge, maker))
    with relucheck.watch(every=4, first=0) as watch:
        for _ in range(40):
            first.zero_grad()
            made = maker(torch.randn(64, 8)) if made_first else None
            F.softplus(-judge(torch.randn(64, 3))).mean().backward()
            made = maker(torch.randn(64, 8)) if made is None else made
            F.softplus(judge(made.detach())).mean().backward()
            first.step()
            second.zero_grad()
            F.softplus(-judge(made)).mean().backward()
            second.step()
    reports = {network.name: network for network in watch.report.networks}
    assert set(reports) == {"Maker", "Sequential"}
    (site,) = reports["Maker"].last.activations
    assert (site.name, site.dead) == ("net.1", 12)
    assert all(g.norm is not None and g.update is not None for g in reports["Maker"].last.gradients)
    assert all(p._backward_hooks is None for p in maker.parameters())


def test_a_call_that_raises_is_no_pass_of_its_network() -> None:
    model = mlp(12)
    with relucheck.watch(every=1) as watch:
        for _ in range(10):
            with pytest.raises(RuntimeError):
                model(torch.randn(4, 9))
            model(torch.randn(32, 8)).square().mean().backward()
    assert watch.report.crashes == ()
    (site,) = watch.report.activations
    assert (site.dead, site.samples, watch.report.steps) == (12, 320, 10)


@pytest.mark.filterwarnings("error")
def test_a_network_behind_another_one_brings_no_warning() -> None:
    first, second = mlp(), nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    with relucheck.watch() as watch:
        second(first(torch.randn(32, 8))).square().mean().backward()
    assert [f.code for f in watch.findings] == ["RLU621"]


def test_networks_of_one_class_have_names_of_their_own() -> None:
    one, other = mlp(), mlp()
    with relucheck.watch() as watch:
        (one(torch.randn(9, 8)) + other(torch.randn(9, 8))).sum().backward()
    assert [network.name for network in watch.report.networks] == ["Sequential", "Sequential#2"]


def test_a_call_whose_gradients_never_come_is_let_go() -> None:
    target, model = mlp(), mlp(12)
    with relucheck.watch(every=100, first=1) as watch:
        target(torch.randn(32, 8))
        for _ in range(10):
            model(torch.randn(32, 8)).sum().backward()
        assert all(p._backward_hooks is None for p in target.parameters())
    assert len(watch.report.networks) == 1


def test_gradient_accumulation() -> None:
    model = mlp(12)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with relucheck.watch(every=1) as watch:
        for _ in range(5):
            optimiser.zero_grad()
            for _ in range(4):
                model(torch.randn(16, 8)).square().mean().backward()
            optimiser.step()
    (site,) = watch.report.activations
    assert (site.dead, site.samples) == (12, 304)  # a window ends with enough samples
    assert all(g.update is not None for g in watch.report.gradients)


def test_a_loop_over_time_is_one_pass() -> None:
    cell, head = nn.RNNCell(4, 6, nonlinearity="relu"), nn.Linear(6, 2)
    with relucheck.watch(model=cell, every=1) as watch:
        for _ in range(3):
            h = torch.zeros(10, 6)
            for _ in range(5):
                h = cell(torch.randn(10, 4), h)
            head(h).sum().backward()
    (site,) = watch.report.activations
    assert (site.samples, site.calls) == (30, 5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.start = mlp(12), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, self.start(x), use_reentrant=reentrant)

    report = train(Net(), 4, every=1)
    (site,) = report.activations
    assert (site.dead, site.samples) == (12, 128)
    assert not [f for f in report.findings if f.code == "RLU613"]


def test_evaluation_and_frozen_networks_are_left_out() -> None:
    teacher, model = mlp(12).requires_grad_(False), mlp()
    with relucheck.watch(every=1) as watch:
        for _ in range(3):
            x = torch.randn(32, 8)
            F.mse_loss(model(x), teacher(x)).backward()
            with torch.no_grad():
                model(torch.randn(500, 8))
    (site,) = watch.report.activations
    assert site.samples == 96


def test_no_backward_pass_at_all() -> None:
    model = mlp()
    with relucheck.watch() as watch:
        for _ in range(1100):
            model(torch.randn(2, 8))
        assert not _get_current_function_mode_stack()  # given up
    assert "backward() was not called" in watch.report.table()


def test_backward_passes_of_another_thread_are_said_to_be_unwatched() -> None:
    with relucheck.watch() as watch:
        other = threading.Thread(target=lambda: mlp()(torch.randn(2, 8)).sum().backward())
        other.start()
        other.join()
    assert (watch.report.steps, watch.report.elsewhere) == (0, True)
    assert "enter relucheck.watch() in the thread that trains" in watch.report.table()


def test_it_is_said_why_silent_units_of_few_samples_are_no_finding() -> None:
    few, enough = train(mlp(12), 5), train(mlp(12), 10, every=1)
    assert few.findings == ()
    assert "silent units of 160 samples are not judged one by one: watch until there are 299" in few.table()
    assert [f.code for f in enough.findings] == ["RLU601"]
    assert "not judged" not in enough.table()
    assert "not judged" not in train(mlp(), 5).table()


def test_a_loss_that_is_nan_outside_the_network_is_not_blamed_on_it() -> None:
    model = mlp()
    with relucheck.watch() as watch:
        torch.log(-model(torch.randn(32, 8)).abs()).mean().backward()
    (finding,) = watch.findings
    assert finding.message == "the loss is NaN on batch 0, while all that the network computes is finite"


def test_a_network_called_with_other_parameters_than_its_own() -> None:
    model = mlp(12)
    given = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    with relucheck.watch(every=1) as watch:
        for _ in range(10):
            torch.func.functional_call(model, given, (torch.randn(32, 8),)).square().mean().backward()
    (site,) = watch.report.activations
    assert (site.dead, site.samples, watch.report.inspected) == (12, 320, 10)


class Functions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [Functions, Operations, lambda: torch.device("cpu")])
def test_modes_of_the_user_that_end_before_backward(mode: Callable[[], Any]) -> None:
    model = mlp(12)
    with relucheck.watch(every=1) as watch:
        for _ in range(3):
            with mode():
                out = model(torch.randn(32, 8))
            with mode():
                loss = out.sum()
                loss.backward()
    assert watch.report.crashes == ()
    assert [site.dead for site in watch.report.activations] == [12]


def test_backward_by_function_and_create_graph() -> None:
    model = mlp(12)
    with relucheck.watch(every=1) as watch:
        for _ in range(3):
            x = torch.randn(32, 8, requires_grad=True)
            out = model(x)
            (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
            torch.autograd.backward(out.sum() + (slope.norm(dim=1) - 1).square().mean())
    assert watch.report.crashes == ()
    assert [site.dead for site in watch.report.activations] == [12]


@pytest.mark.parametrize("kind", ["retained", "two losses", "not a scalar", "of a gradient"])
def test_kinds_of_backward(kind: str) -> None:
    """Each call counts as a step; the figures are those of the first one after the network ran."""
    model = mlp(12)

    def step() -> int:
        out = model(torch.randn(32, 8))
        if kind == "retained":
            out.sum().backward(retain_graph=True)
            out.sum().backward()
        elif kind == "two losses":
            out.sum().backward(retain_graph=True)
            out.square().sum().backward()
        elif kind == "not a scalar":
            out.backward(torch.ones_like(out))
        else:
            slopes = torch.autograd.grad(out.square().sum(), list(model.parameters()), create_graph=True)
            sum(s.square().sum() for s in slopes).backward()
        return 2 if kind in ("retained", "two losses") else 1

    with relucheck.watch(every=1) as watch:
        steps = sum(step() for _ in range(3))
    assert watch.report.crashes == ()
    assert watch.report.steps == steps
    assert [(site.dead, site.samples) for site in watch.report.activations] == [(12, 96)]
    assert all(g.norm for g in watch.report.gradients)


def test_models_without_memory_are_left_out() -> None:
    model = mlp().to("meta")
    with relucheck.watch(every=1) as watch:
        for _ in range(2):
            model(torch.randn(32, 8, device="meta")).sum().backward()
    assert (watch.report.networks, watch.report.crashes, watch.report.steps) == ((), (), 2)


def test_the_loss_is_part_of_the_net() -> None:
    model = nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1))
    report = train(model, 3, every=1)
    assert "RLU102" in [f.code for f in report.findings]


def test_the_first_operation_that_is_not_finite() -> None:
    class Log(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.log(F.relu(self.fc(x)))

    model = Log()
    report = train(model, 3, every=1)
    assert [(f.code, "log" in f.message) for f in report.findings if f.code == "RLU614"] == [("RLU614", True)]


def test_the_update_to_weight_ratio_of_adam() -> None:
    """Adam's first step: lr * sqrt(3 fan_in) under the default initialisation (theory, D13)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    with relucheck.watch(every=1) as watch:
        F.cross_entropy(model(torch.randn(64, 784)), torch.randint(0, 10, (64,))).backward()
        optimiser.step()
    assert watch.report.gradients[0].update == pytest.approx(1e-3 * (3 * 784) ** 0.5, rel=0.025)


def test_compiled_models_run_as_written() -> None:
    model = mlp(12)
    compiled = torch.compile(model, backend="eager")
    with relucheck.watch(every=1) as watch:
        for _ in range(3):
            compiled(torch.randn(32, 8)).sum().backward()
    assert [(site.name, site.dead) for site in watch.report.activations] == [("1", 12)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_a_gradient_scaler(dtype: torch.dtype) -> None:
    model = mlp(12)
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)  # the first steps overflow, and are skipped
    with relucheck.watch(every=1) as watch:
        for _ in range(10):
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype):
                loss = F.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 3, (32,)))
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
    assert watch.report.crashes == ()
    assert [site.dead for site in watch.report.activations] == [12]
    if dtype is torch.float16:
        assert "RLU614" not in [f.code for f in watch.findings]


def scaled(scale: float, *, how: str = "scaler", seen: Any = None) -> Any:
    """A training in single precision whose loss a GradScaler multiplies; a power of two changes no digit."""
    torch.manual_seed(0)
    model = mlp()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1)
    with relucheck.watch(every=1, on_step=seen) as watch:
        for _ in range(4):
            optimiser.zero_grad()
            loss = F.cross_entropy(model(torch.randn(32, 8)), torch.randint(0, 3, (32,)))
            if how == "halves":  # as gradient accumulation does it
                loss = scaler.scale(loss) / 2
            else:
                loss = scaler.scale(loss / 2)
            loss.backward()
            scaler.step(optimiser)
            scaler.update()
    return watch.report


def numbers(report: Any) -> list[tuple[Any, ...]]:
    return [(g.norm, g.elasticity, g.rms, g.update) for g in report.gradients]


@pytest.mark.parametrize("how", ["scaler", "halves"])
def test_gradients_are_told_without_the_loss_scale(how: str) -> None:
    plain: list[Any] = []
    told: list[Any] = []
    expected = numbers(scaled(1.0, seen=plain.append))
    assert numbers(scaled(2.0**16, how=how, seen=told.append)) == [
        pytest.approx(e, rel=1e-6) for e in expected
    ]
    for one, other in zip(told, plain, strict=True):
        assert one.figures == pytest.approx(other.figures, rel=1e-6)


Scaled = Callable[[torch.amp.GradScaler, nn.Module, nn.Module], Iterable[Tensor]]


def one_of_two(scaler: torch.amp.GradScaler, first: nn.Module, second: nn.Module) -> Iterable[Tensor]:
    """Of two networks one is trained with a scaler, and its backward pass runs before the other is called."""
    x = torch.randn(32, 8)
    yield scaler.scale(first(x).sum())
    yield second(x).sum()


def both(scaler: torch.amp.GradScaler, first: nn.Module, second: nn.Module) -> Iterable[Tensor]:
    """Both losses are scaled before the first backward pass."""
    return [scaler.scale(model(torch.randn(32, 8)).sum()) for model in (first, second)]


@pytest.mark.parametrize("losses", [one_of_two, both])
def test_the_scale_of_each_of_two_losses_is_known(losses: Scaled) -> None:
    def norms(scale: float) -> list[float | None]:
        torch.manual_seed(0)
        first, second = mlp(), mlp()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale != 1)
        with relucheck.watch(every=1) as watch:
            for _ in range(3):
                for loss in losses(scaler, first, second):
                    loss.backward()
        return [g.norm for g in watch.report.gradients]

    assert None not in norms(1.0)
    assert norms(1024.0) == pytest.approx(norms(1.0), rel=1e-6)


def test_a_step_that_overflows_under_a_loss_scale_has_no_gradient_to_tell() -> None:
    """The scaler skips it and halves its scale: norms are of the steps that count, if there is one."""
    (network,) = half(2, 2.0**40, depth=2).networks
    assert [g.norm for g in network.last.gradients] == [float("inf")] * 3
    heard: list[Any] = []
    (network,) = half(40, 2.0**40, depth=2, on_step=heard.append).networks
    first = next(one.step for one in heard if one.figures.get("relucheck/Sequential.0/gradient"))
    assert 10 < first < 30
    assert all(value < 10 for one in heard for value in one.figures.values())
    assert all(0 < (g.norm or 0) < 10 and 0 < (g.rms or 0) < 1 for g in network.last.gradients)


def half(steps: int, scale: float, depth: int = 12, on_step: Any = None) -> Any:
    parts: list[nn.Module] = []
    for _ in range(depth):
        parts += [nn.Linear(64, 64), nn.ReLU(inplace=True)]
    model = nn.Sequential(*parts, nn.Linear(64, 10))
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
    with relucheck.watch(every=1, on_step=on_step) as watch:
        for _ in range(steps):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
    assert watch.report.crashes == ()
    return watch.report


def test_gradients_that_half_precision_loses() -> None:
    torch.manual_seed(0)
    (network,) = half(3, 1.0).networks
    shares = [g.underflow for g in network.last.gradients]
    assert shares[0] == pytest.approx(0.4, abs=0.15)
    assert shares[-1] == 0.0
    (scaled,) = half(3, 65536.0).networks
    assert (scaled.last.loss_scale, scaled.last.gradients[0].underflow) == (65536.0, 0.0)


def test_underflow_is_measured_on_the_first_step_that_does_not_overflow() -> None:
    report = half(40, 2.0**40, depth=2)
    (network,) = report.networks
    assert network.last.loss_scale < 2.0**40
    assert network.last.gradients[0].underflow == 0.0


def test_the_update_of_a_large_weight_is_sampled_over_all_of_its_inputs() -> None:
    """Images of 32x32 in a row, with an empty left half: half of each unit's weights do not move."""
    layer = nn.Linear(1024, 1024, bias=False)
    x = torch.randn(16, 32, 32)
    x[:, :, :16] = 0
    before = layer.weight.detach().clone()
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    with relucheck.watch() as watch:
        layer(x.flatten(1)).relu().square().mean().backward()
        optimiser.step()
    moved = float((layer.weight.detach() - before).norm() / before.norm())
    assert watch.report.gradients[0].update == pytest.approx(moved, rel=0.03)


def test_the_first_update_is_that_of_the_first_step() -> None:
    report = train(mlp(), 20, lr=0.1, every=1)
    (network,) = report.networks
    assert network.first.gradients[0].first_update == pytest.approx(0.1 * 24**0.5, rel=0.15)
    assert network.last.gradients[0].first_update is None
    assert [f.severity.value for f in report.findings if f.code == "RLU617"] == ["warning"]


def test_an_affine_network() -> None:
    report = train(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)), 3, every=1)
    assert "RLU621" in [f.code for f in report.findings]


def test_bad_arguments_are_said() -> None:
    with pytest.raises(TypeError, match="not int"):
        relucheck.watch(3)
    with pytest.raises(ValueError, match="every must be at least 1"):
        relucheck.watch(every=0)
    with pytest.raises(RuntimeError, match="when its with-block has ended"):
        _ = relucheck.watch().report
