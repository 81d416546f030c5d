"""``relucheck.compare``: controlled trainings, what each change does, and the verdicts."""

from __future__ import annotations

import copy
import importlib
import json
import math
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import relucheck  # noqa: E402
from relucheck import Experiment, ExperimentError, compare  # noqa: E402
from relucheck.cli_compare import Line, chosen, state_of  # noqa: E402
from relucheck.cli_compare import compare as command  # noqa: E402
from relucheck.comparison import Arm, Comparison, Outcome, Trial, judged  # noqa: E402
from relucheck.experiments.changes import CHANGES, NotApplicableError  # noqa: E402
from relucheck.experiments.experiment import of_seed  # noqa: E402
from relucheck.experiments.preparing import Ready, prepared, start_of  # noqa: E402
from relucheck.experiments.running import Progress  # noqa: E402
from relucheck.experiments.trial import trial_of  # noqa: E402
from relucheck.problems import UsageProblem  # noqa: E402

DOCUMENT = Path(__file__).parent.parent / "docs" / "compare.md"
STEPS = 5

SGD = partial(torch.optim.SGD, lr=0.1)
ADAM = partial(torch.optim.Adam, lr=0.01)


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


def batches(count: int = 8, size: int = 16, shape: tuple[int, ...] = (8,)) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.randn(size, *shape, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


def mlp(activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(8, 8), activation(), nn.Linear(8, 20), activation(), nn.Linear(20, 20), activation(),
        nn.Linear(20, 3),
    )  # fmt: skip


class Functional(nn.Module):
    """The same in functions, with a ReLU on its output that must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = torch.relu(self.second(x))
        return self.last(x).relu()


def experiment(model: nn.Module, optimiser: Any = SGD, **given: Any) -> Experiment:
    data = batches()
    parts = {"training": data[:6], "held_out": data[6:], **given}
    return Experiment(model, nn.CrossEntropyLoss(), optimiser, **parts)


def simple(seed: int) -> Experiment:
    return experiment(mlp())


def ready(made: Experiment, change: str | None, seed: int = 0) -> Ready:
    return prepared(start_of(made, seed, STEPS), CHANGES[change] if change else None)


def called(variant: Ready, x: Tensor) -> Tensor:
    with variant.calls():
        return variant.model(x)


# -- controlled trainings ---------------------------------------------------------------------------


def plain_loss(make: Callable[[int], Experiment], seed: int, steps: int) -> float:
    """The held-out loss of the loop that a user would write."""
    torch.manual_seed(seed)
    made = make(seed)
    model, data = made.model, list(made.training)
    optimiser = made.optimiser
    if not isinstance(optimiser, torch.optim.Optimizer):
        optimiser = optimiser(model.parameters())
    model.train()
    for step in range(steps):
        x, y = data[step % len(data)]
        optimiser.zero_grad()
        made.loss_fn(model(x), y).backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        losses = [made.loss_fn(model(x), y).item() for x, y in made.held_out]
    return sum(losses) / len(losses)


def noisy(seed: int) -> Experiment:
    """Dropout and BatchNorm: the random numbers and the buffers count."""
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    return experiment(model, torch.optim.Adam(model.parameters(), lr=0.01))


@pytest.mark.parametrize("make", [simple, noisy])
def test_the_baseline_is_a_plain_loop_bit_for_bit(make: Callable[[int], Experiment]) -> None:
    result = compare(make, steps=20, seeds=[3, 4], changes=["lr/10"])
    assert result.baseline.losses == (plain_loss(make, 3, 20), plain_loss(make, 4, 20))


def parted(model: nn.Sequential) -> list[torch.optim.Optimizer]:
    """One optimiser for weights, one for biases."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    return [torch.optim.Adam(weights, lr=0.01), torch.optim.SGD(biases, lr=0.1)]


def loop(
    made: Experiment, optimisers: list[torch.optim.Optimizer], steps: int, clip: float | None = None
) -> float:
    """The held-out loss of a user's loop with accumulation, mixed precision and several optimisers."""
    model, data, half = made.model, list(made.training), made.autocast
    scaler = torch.amp.GradScaler("cpu", enabled=half is torch.float16)
    for step in range(steps):
        for optimiser in optimisers:
            optimiser.zero_grad()
        for part in range(made.accumulate):
            x, y = data[(step * made.accumulate + part) % len(data)]
            with torch.autocast("cpu", half, enabled=half is not None):
                loss = made.loss_fn(model(x), y) / made.accumulate  # type: ignore[misc]
            scaler.scale(loss).backward()
        if clip is not None:
            for optimiser in optimisers:
                scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimiser in optimisers:
            scaler.step(optimiser)
        scaler.update()
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", half, enabled=half is not None):
        losses = [made.loss_fn(model(x), y).item() for x, y in made.held_out]  # type: ignore[misc]
    return sum(losses) / len(losses)


OTHER_LOOPS: dict[str, dict[str, Any]] = {
    "accumulation": {"accumulate": 3},
    "bfloat16": {"autocast": torch.bfloat16},
    "float16": {"autocast": torch.float16},
    "all": {"accumulate": 2, "autocast": torch.float16},
}


@pytest.mark.parametrize("clip", [None, 1.0], ids=["", "clip"])
@pytest.mark.parametrize("given", OTHER_LOOPS.values(), ids=OTHER_LOOPS)
def test_other_loops_are_a_plain_one_bit_for_bit(given: dict[str, Any], clip: float | None) -> None:
    """Two optimisers in all of them, handed in as they are, or made by a function of the parameters."""

    def made(seed: int) -> Experiment:
        model = mlp()
        return experiment(model, parted(model), **given)

    torch.manual_seed(3)
    expected = made(3)
    loss = loop(expected, expected.optimiser, 12, clip)  # type: ignore[arg-type]
    result = compare(made, steps=12, seeds=[3], changes=["clip"])
    assert (result.arm("clip") if clip else result.baseline).losses == (loss,)
    assert result.steps == 12


def test_a_function_may_make_several_optimisers() -> None:
    def several(parameters: Any) -> tuple[torch.optim.Optimizer, ...]:
        weights, biases = ([p for p in parameters if (p.ndim > 1) is matrix] for matrix in (True, False))
        return torch.optim.Adam(weights, lr=0.01), torch.optim.SGD(biases, lr=0.1)

    def given(seed: int) -> Experiment:
        model = mlp()
        return experiment(model, parted(model))

    result = compare(lambda seed: experiment(mlp(), several), steps=5, seeds=[3], changes=["lr/10"])
    assert result.baseline.losses == compare(given, steps=5, seeds=[3], changes=["lr/10"]).baseline.losses


def test_a_change_of_the_optimiser_is_made_in_all_of_them() -> None:
    model = mlp()
    made = experiment(model, parted(model))
    slower = ready(made, "lr/10").optimisers
    assert [group["lr"] for one in slower for group in one.param_groups] == pytest.approx([0.001, 0.01])
    plain = ready(made, "sgd").optimisers  # the one for biases is SGD already
    assert [(type(one), one.param_groups[0]["lr"]) for one in plain] == [
        (torch.optim.SGD, 0.01),
        (torch.optim.SGD, 0.1),
    ]
    normed = ready(made, "layer-norm").optimisers
    assert [len(one.param_groups) for one in normed] == [2, 1]


def test_half_precision_is_not_single_precision() -> None:
    losses = {
        half: compare(
            lambda seed, half=half: experiment(mlp(), autocast=half), steps=5, seeds=[0], changes=["clip"]
        )
        for half in (None, torch.bfloat16, torch.float16)
    }
    found = {half: result.baseline.losses[0] for half, result in losses.items()}
    assert len(set(found.values())) == 3
    assert max(found.values()) - min(found.values()) < 0.02


def test_a_change_trains_as_a_plain_loop_with_that_change() -> None:
    result = compare(simple, steps=20, seeds=[3], changes=["lr/10"])
    slower = partial(torch.optim.SGD, lr=0.1 * 0.1)
    assert result.arm("lr/10").losses == (plain_loss(lambda seed: experiment(mlp(), slower), 3, 20),)


def figures(result: Comparison) -> list[Any]:
    arms = [result.untrained, result.baseline, *result.arms]
    return [(a.change, a.reason, [(t.loss, t.metric, t.silent) for t in a.trials]) for a in arms]


def test_two_runs_are_the_same() -> None:
    first, second = (compare(noisy, steps=4, seeds=2) for _ in range(2))
    assert figures(first) == figures(second)
    assert len({arm.losses for arm in first.arms if arm.trials}) > 5


def test_an_arm_does_not_depend_on_the_others() -> None:
    alone = compare(noisy, steps=4, seeds=2, changes=["gelu"])
    among = compare(noisy, steps=4, seeds=2)
    assert alone.arm("gelu").losses == among.arm("gelu").losses


def test_nothing_of_the_users_is_changed() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    kept = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    compare(lambda: experiment(model, optimiser), steps=3, seeds=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not optimiser.state
    assert torch.equal(torch.get_rng_state(), kept[0])
    assert random.getstate() == kept[1]
    assert (np.random.get_state()[1] == kept[2]).all()


def test_a_loader_is_begun_again_and_a_generator_repeated() -> None:
    data = batches()

    def make(training: Any) -> Experiment:
        return experiment(mlp(), training=training)

    listed = start_of(make(data[:2]), 0, 5).training
    generated = start_of(make(iter(data[:2])), 0, 5).training
    expected = [data[i % 2][0] for i in range(5)]
    for cached in (listed, generated):
        assert all(torch.equal(batch.args[0], x) for batch, x in zip(cached, expected, strict=True))


def test_the_metric_is_a_mean_over_samples() -> None:
    data = batches()
    uneven = [data[6], (data[7][0][:4], data[7][1][:4])]

    def make(seed: int) -> Experiment:
        return experiment(mlp(), held_out=uneven, metric=lambda output, y: float(len(y)))

    result = compare(make, steps=1, seeds=2, changes=["clip"])
    assert result.baseline.metric == pytest.approx((16 * 16 + 4 * 4) / 20)
    assert result.held_out == 20


def test_the_silent_share_is_the_mean_over_sites() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].bias[:2] = -100.0
        model[2].bias[:5] = -100.0
    x = torch.cat([inputs for inputs, _ in batches()[6:]])
    shares = []
    for index in (0, 2, 4):
        silent = (model[: index + 1](x) <= 0).all(0)
        shares.append(float(silent.float().mean()))
    assert (shares[0] >= 2 / 8, shares[1] >= 5 / 20) == (True, True)
    still = partial(torch.optim.SGD, lr=0.0)
    result = compare(lambda: experiment(model, still), steps=1, seeds=1, changes=["leaky-relu", "clip"])
    assert result.baseline.silent == pytest.approx(sum(shares) / 3)
    assert result.arm("clip").silent == result.untrained.silent == result.baseline.silent
    assert result.arm("leaky-relu").silent is None


def test_progress_reaches_the_end() -> None:
    heard: list[Progress] = []
    compare(simple, steps=2, seeds=2, changes=["lr/10", "xavier-init"], told=heard.append)
    assert [p.done for p in heard] == sorted(p.done for p in heard)
    assert (heard[0].done, heard[-1].done, heard[-1].total) == (1, 12, 12)


# -- the changes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "rate"), [("lr/100", 0.001), ("lr/10", 0.01), ("lr-x10", 1.0)])
def test_learning_rates(change: str, rate: float) -> None:
    assert ready(simple(0), change).optimisers[0].param_groups[0]["lr"] == pytest.approx(rate)


def test_sgd_keeps_rates_and_decay_of_each_group() -> None:
    model = mlp()
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[2].parameters()}]
    made = experiment(model, torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3))
    (optimiser,) = ready(made, "sgd").optimisers
    assert type(optimiser) is torch.optim.SGD
    assert [(g["lr"], g["weight_decay"]) for g in optimiser.param_groups] == [(0.5, 0.3), (0.01, 0.3)]
    with pytest.raises(NotApplicableError, match="the optimiser is SGD"):
        ready(simple(0), "sgd")


def test_clipping_bounds_the_first_update() -> None:
    def make(seed: int) -> Experiment:
        return experiment(mlp(), SGD, metric=None)

    made = make(0)
    made.model[6].weight.data *= 1000
    variant = ready(made, "clip")
    assert variant.clip == 1.0
    before = [p.detach().clone() for p in variant.model.parameters()]
    trial_of(start_of(made, 0, 1), variant, 1, lambda: None)
    moved = sum(
        ((p.detach() - b) ** 2).sum() for p, b in zip(variant.model.parameters(), before, strict=True)
    )
    assert float(moved) ** 0.5 == pytest.approx(0.1 * 1.0, rel=1e-3)


def test_he_initialisation_of_hidden_layers_only() -> None:
    model = nn.Sequential(nn.Linear(8, 200), nn.ReLU(), nn.Linear(200, 200), nn.GELU(), nn.Linear(200, 3))
    changed = ready(experiment(model), "he-init").model.requires_grad_(False)
    assert float(changed[0].weight.std()) == pytest.approx((2 / 8) ** 0.5, rel=0.05)
    assert float(changed[2].weight.std()) == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert not changed[0].bias.any()
    assert not changed[2].bias.any()
    assert torch.equal(changed[4].weight, model[4].weight)
    assert torch.equal(changed[4].bias, model[4].bias)


def test_xavier_initialisation_is_for_sigmoid_and_tanh() -> None:
    model = nn.Sequential(nn.Linear(300, 200), nn.Tanh(), nn.Linear(200, 50), nn.ReLU(), nn.Linear(50, 3))
    made = experiment(model, training=batches(shape=(300,)))
    changed = ready(made, "xavier-init").model.requires_grad_(False)
    assert float(changed[0].weight.std()) == pytest.approx((2 / 500) ** 0.5, rel=0.02)
    assert torch.equal(changed[2].weight, model[2].weight)
    with pytest.raises(NotApplicableError, match="no hidden layer feeds sigmoid or tanh"):
        ready(simple(0), "xavier-init")


def test_initialisation_goes_through_normalisation_and_skips_parametrised_weights() -> None:
    model = nn.Sequential(nn.Conv2d(1, 50, 3), nn.BatchNorm2d(50), nn.ReLU(), nn.Flatten(), nn.Linear(200, 3))
    made = experiment(model, training=batches(shape=(1, 4, 4)))
    assert float(ready(made, "he-init").model[0].weight.detach().std()) == pytest.approx(
        (2 / 9) ** 0.5, rel=0.1
    )
    model = mlp()
    for index in (0, 2, 4):
        nn.utils.parametrizations.weight_norm(model[index])
    with pytest.raises(NotApplicableError, match="frozen or parametrised"):
        ready(experiment(model), "he-init")


@pytest.mark.parametrize(
    ("change", "function"),
    [("leaky-relu", F.leaky_relu), ("gelu", F.gelu), ("elu", F.elu), ("silu", F.silu)],
)
def test_modules_are_replaced(change: str, function: Callable[[Tensor], Tensor]) -> None:
    made = simple(0)
    x, _ = made.training[0]
    h = x
    for layer in made.model[:-1:2]:
        h = function(layer(h))
    assert torch.equal(called(ready(made, change), x), made.model[-1](h))


@pytest.mark.parametrize(("change", "function"), [("leaky-relu", F.leaky_relu), ("gelu", F.gelu)])
def test_functions_are_replaced_and_the_output_stays(
    change: str, function: Callable[[Tensor], Tensor]
) -> None:
    made = experiment(Functional())
    model, (x, _) = made.model, made.training[0]
    expected = model.last(function(model.second(function(model.first(x))))).relu()
    assert torch.equal(called(ready(made, change), x), expected)


def test_a_module_that_is_shared_with_the_output_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.act = nn.Linear(8, 8), nn.Linear(8, 3), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.last(self.act(self.first(x))))

    with pytest.raises(NotApplicableError, match="no hidden activation is ReLU"):
        ready(experiment(Shared()), "gelu")


def test_what_cannot_be_replaced_is_said() -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).clamp(min=0))

    for change in ("gelu", "residual"):
        with pytest.raises(NotApplicableError, match=r"test_compare\.py:\d+:\d+\) cannot be changed"):
            ready(experiment(Clamped()), change)


def test_relu_instead_of_squashes_but_not_of_gates() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.tanh(self.first(x)) + x * torch.sigmoid(self.gate(x)))

    made = experiment(Gated())
    model, (x, _) = made.model, made.training[0]
    expected = model.last(F.relu(model.first(x)) + x * torch.sigmoid(model.gate(x)))
    assert torch.equal(called(ready(made, "relu"), x), expected)


def test_batch_norm_stands_between_layer_and_activation() -> None:
    made = simple(0)
    variant = ready(made, "batch-norm")
    model, (x, _) = made.model, made.training[0]
    h = x
    for layer in model[:-1:2]:
        z = layer(h)
        h = F.relu((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt())
    assert torch.allclose(called(variant, x), model[-1](h), atol=1e-5)
    own = {id(p) for group in variant.optimisers[0].param_groups for p in group["params"]}
    assert own == {id(p) for p in variant.model.parameters()}
    assert len(own) == 8 + 6
    assert [name for name, m in variant.model.named_modules() if isinstance(m, nn.BatchNorm1d)] == [
        f"{i}.relucheck_norm" for i in (0, 2, 4)
    ]


def test_norm_parameters_join_an_optimiser_that_is_given() -> None:
    model = mlp()
    variant = ready(experiment(model, torch.optim.AdamW(model.parameters(), lr=0.02)), "layer-norm")
    (first, added) = variant.optimisers[0].param_groups
    assert (added["lr"], len(added["params"]), len(first["params"])) == (0.02, 6, 8)


def test_layer_norm_of_features_and_of_channels() -> None:
    made = simple(0)
    x, _ = made.training[0]
    h = x
    for layer in made.model[:-1:2]:
        h = F.relu(F.layer_norm(layer(h), (layer.out_features,)))
    assert torch.allclose(called(ready(made, "layer-norm"), x), made.model[-1](h), atol=1e-6)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    made = experiment(model, training=batches(shape=(1, 4, 4)))
    x, _ = made.training[0]
    expected = model[1:](F.group_norm(model[0](x), 1))
    assert torch.allclose(called(ready(made, "layer-norm"), x), expected, atol=1e-6)


def test_batch_norm_of_features_counts_positions_as_rows() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Flatten(), nn.Linear(30, 3))
    made = experiment(model, training=batches(shape=(5, 8)))
    x, _ = made.training[0]
    z = model[0](x)
    normed = (z - z.mean((0, 1))) / (z.var((0, 1), correction=0) + 1e-5).sqrt()
    assert torch.allclose(called(ready(made, "batch-norm"), x), model[1:](normed), atol=1e-5)


def test_layers_that_are_normalised_already_stay() -> None:
    with pytest.raises(NotApplicableError, match="no hidden layer feeds an activation without"):
        ready(noisy(0), "batch-norm")


@pytest.mark.parametrize("model", [mlp, Functional])
def test_shortcuts_around_layers_of_equal_width(model: Callable[[], nn.Module]) -> None:
    made = experiment(model())
    own, (x, _) = made.model, made.training[0]
    if isinstance(own, Functional):
        h = F.relu(own.first(x)) + x
        expected = own.last(F.relu(own.second(h)) + h).relu()
    else:
        h = F.relu(own[2](F.relu(own[0](x)) + x))
        expected = own[6](F.relu(own[4](h)) + h)
    assert torch.equal(called(ready(made, "residual"), x), expected)


def test_a_shortcut_is_not_fooled_by_an_activation_in_place() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    made = experiment(model)
    x, _ = made.training[0]
    expected = model[2](F.relu(model[0](x)) + x)
    assert torch.equal(called(ready(made, "residual"), x), expected)


def test_a_change_that_fails_later_is_not_applicable() -> None:
    """BatchNorm cannot train on a batch of one sample, which comes second here."""
    data = batches()

    def make(seed: int) -> Experiment:
        return experiment(mlp(), training=[data[0], (data[1][0][:1], data[1][1][:1])])

    result = compare(make, steps=2, seeds=2, changes=["batch-norm", "layer-norm"])
    assert result.outcome(result.arm("batch-norm")) is Outcome.NOT_APPLICABLE
    assert "training batch 1 (inputs of shape (1, 8))" in result.arm("batch-norm").reason
    assert len(result.arm("layer-norm").trials) == 2


# -- verdicts ---------------------------------------------------------------------------------------

INF = math.inf


def arm(*losses: float) -> Arm:
    return Arm("x", "", tuple(Trial(seed, loss) for seed, loss in enumerate(losses)))


@pytest.mark.parametrize(
    ("without", "with_", "outcome"),
    [
        ((0.50, 0.60, 0.90), (0.30, 0.40, 0.49), Outcome.HELPS),
        ((0.50, 0.60, 0.90), (0.30, 0.40, 0.51), Outcome.UNCLEAR),  # better in each seed, within the spread
        ((0.50, 0.60, 0.90), (0.91, 1.00, 1.10), Outcome.HURTS),
        ((0.50, 0.60, 0.90), (0.40, 0.45, 0.95), Outcome.UNCLEAR),  # the seeds do not agree
        ((2.3, 15.0, 90.0), (0.28, 0.30, 0.32), Outcome.HELPS),  # an unstable baseline hides nothing
        ((0.50, 0.60, 0.90), (0.30, INF, 0.40), Outcome.DIVERGED),
        ((0.50, INF, 0.90), (0.30, 0.35, 0.40), Outcome.HELPS),
        ((INF, INF, INF), (0.30, 0.35, 0.40), Outcome.HELPS),
        ((INF, INF, INF), (INF, INF, INF), Outcome.DIVERGED),
        ((2.30590, 2.30586, 2.30588), (2.3050, 2.3045, 2.3049), Outcome.UNCLEAR),  # 0.05 %: nothing learned
        ((2.30590, 2.30586, 2.30588), (2.3093, 2.3090, 2.3091), Outcome.UNCLEAR),
        ((-1.0, -1.1, -1.2), (-1.3, -1.4, -1.5), Outcome.HELPS),  # a likelihood may be negative
        ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1), Outcome.NOT_JUDGED),  # the seeds made no difference
        ((0.5,), (0.1,), Outcome.NOT_JUDGED),
        ((0.5, 0.6), (), Outcome.NOT_APPLICABLE),
    ],
)
def test_verdicts(without: tuple[float, ...], with_: tuple[float, ...], outcome: Outcome) -> None:
    assert judged(arm(*without), arm(*with_)) is outcome


def test_a_diverging_training_is_said() -> None:
    def make(seed: int) -> Experiment:
        return experiment(mlp(), partial(torch.optim.SGD, lr=1e6))

    result = compare(make, steps=20, seeds=2, changes=["lr/100", "clip"])
    assert result.outcome(result.arm("lr/100")) is Outcome.DIVERGED
    assert "not finite in 2 of 2" in result.table()
    loss = json.loads(result.to_json())["baseline"]["loss"]
    assert loss is None


def test_seeds_that_make_no_difference_are_noticed() -> None:
    model = mlp()
    result = compare(lambda: experiment(model), steps=2, seeds=2, changes=["lr-x10"])
    assert result.outcome(result.arm("lr-x10")) is Outcome.NOT_JUDGED
    assert "does make_experiment use its seed?" in result.table()
    assert "Nothing can be judged." in result.table()


def test_a_schedule_is_left_out_and_said() -> None:
    def make(seed: int) -> Experiment:
        model = mlp()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        torch.optim.lr_scheduler.StepLR(optimiser, 1)
        return experiment(model, optimiser)

    result = compare(make, steps=3, seeds=2, changes=["lr/10"])
    assert "The learning-rate schedule is left out: the rate stays at 0.1." in result.table()
    assert result.baseline.losses == tuple(plain_loss(simple, seed, 3) for seed in (0, 1))


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="needs the repository")
def test_the_documents_experiment_and_table_of_changes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "train.py", "exec"), names)
    result = compare(names["make_experiment"], steps=2, seeds=2, changes=["relu", "gelu"])
    assert result.arm("gelu").reason == "no hidden activation is ReLU"
    assert len(result.arm("relu").trials) == 2
    rows = re.findall(r"^\| (`.*?`) \|", text.partition("## The changes")[2], re.MULTILINE)
    assert re.findall(r"`([^`]+)`", " ".join(rows)) == list(CHANGES)


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (lambda seed: seed, 5),
        (lambda number: number, 5),
        (lambda width=64, seed=1: (width, seed), (64, 5)),
        (lambda width=64: width, 64),
        (lambda *, seed: seed, 5),
        (lambda: None, None),
    ],
)
def test_where_the_seed_goes(make: Callable[..., Any], received: Any) -> None:
    assert of_seed(make)(5) == received


# -- what cannot be run -----------------------------------------------------------------------------


class Broken(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.zeros(5, 3)


def with_penalty(seed: int) -> Experiment:
    made = simple(seed)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target) + made.model[0].weight.square().sum()

    return Experiment(made.model, loss, SGD, made.training, made.held_out)


def failing_loader() -> Any:
    yield batches()[0]
    raise OSError("disk")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nn.Identity, "returned an Identity, not a relucheck.Experiment"),
        (lambda a, b: simple(0), "make_experiment needs a, b"),
        (lambda: experiment("net"), "model must be an nn.Module, not a str"),
        (lambda: experiment(nn.ReLU()), "no trainable parameter"),
        (lambda: experiment(nn.LazyLinear(3)), "weight has no shape yet"),
        (lambda: experiment(mlp(), 0.1), "optimiser must be an optimiser, several, or a function"),
        (lambda: experiment(mlp(), SGD(mlp().parameters())), "holds no parameter of the model"),
        (lambda: experiment(mlp(), lambda p: SGD(mlp().parameters())), "holds no parameter of the model"),
        (lambda: experiment(mlp(), lambda p: 3), "optimiser returned an int"),
        (lambda: experiment(mlp(), torch.optim.LBFGS), "LBFGS"),
        (lambda: experiment(mlp(), []), "optimiser is empty"),
        (lambda: experiment(mlp(), lambda p: [SGD(p), 3]), "optimiser returned an int"),
        (lambda: experiment(mlp(), "sgd"), "a function of parameters, not a str"),
        (lambda: experiment(mlp(), accumulate=0), "accumulate is a number of batches, not 0"),
        (
            lambda: experiment(mlp(), autocast=torch.float32),
            "autocast is torch.float16, torch.bfloat16 or None",
        ),
        (lambda: experiment(mlp(), training=[]), "training yields no batch"),
        (lambda: experiment(mlp(), held_out=[]), "held_out yields no batch"),
        (lambda: experiment(mlp(), training=3), "batches must be an iterable of batches, not int"),
        (lambda: experiment(mlp(), training=failing_loader()), "training failed on batch 1: OSError: disk"),
        (lambda: experiment(mlp(), metric=3), "metric must be a function, not an int"),
        (lambda: experiment(Broken(8, 3)), r"training batch 0 \(inputs of shape \(16, 8\)\): RuntimeError: "),
        (lambda: experiment(mlp(), held_out=[torch.zeros(2, 9)]), "held-out batch 0"),
        (lambda: Experiment(mlp(), None, SGD, batches(), batches()), r"output \(Tensor\) has no loss"),
        (
            lambda: experiment(mlp(), partial(torch.optim.SGD, rate=1)),
            "optimiser failed: TypeError: .*'rate'",
        ),
        (
            lambda: experiment(mlp(), metric=lambda o, y: o),
            "metric failed on held-out batch 0 .*: (Value|Runtime)Error: ",
        ),
        (lambda: experiment(mlp(), metric=len), "metric failed on held-out batch 0 .*TypeError"),
        (with_penalty, "reaches the parameters of the model itself"),
    ],
)
def test_bad_experiments(make: Callable[..., Any], words: str) -> None:
    with pytest.raises(ExperimentError, match=words):
        compare(make, steps=2, seeds=1, changes=["lr/10"])


def test_bad_arguments() -> None:
    with pytest.raises(ExperimentError, match="no change 'dropout'; there are: lr/100, "):
        compare(simple, changes=["dropout"])
    with pytest.raises(ExperimentError, match="steps is 0"):
        compare(simple, steps=0)
    with pytest.raises(ExperimentError, match="at least one"):
        compare(simple, seeds=0)


# -- the command ------------------------------------------------------------------------------------

TRAIN = """
import relucheck, torch
from torch import nn

def make_experiment(seed):
    data = [(torch.randn(300, 4), torch.randint(2, (300,))) for _ in range(3)]
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return relucheck.Experiment(model, nn.CrossEntropyLoss(), optimiser, data, data[2:])

def fails(seed):
    raise KeyError("width")

class Net(nn.Linear):
    def forward(self, x):
        return super().forward(x.T)

def wrong():
    model = Net(4, 2)
    data = [(torch.randn(3, 4), torch.randint(2, (3,)))]
    return relucheck.Experiment(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters()), data, data)

number = 7
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project")
    (path / "train_of_compare.py").write_text(TRAIN)
    return path


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(command, args, standalone_mode=False)


@pytest.mark.parametrize("module", ["train_of_compare.py", "train_of_compare"])
def test_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    args = (
        f"{module}:make_experiment",
        "--steps",
        "2",
        "--seeds",
        "2",
        "--only",
        "lr/10,gelu",
        "--only",
        "sgd",
    )
    result = run(folder, monkeypatch, *args)
    assert result.return_value == 0, result.exception
    lines = result.stdout.splitlines()
    assert lines[0] == "Sequential: one change at a time, after 2 steps, 2 seeds, 300 held-out samples"
    assert [line.split("  ")[0] for line in lines[1:4]] == ["change", "(untrained)", "(no change)"]
    assert {line.split()[0] for line in lines[4:6]} == {"lr/10", "gelu"}
    assert "  sgd: the optimiser is SGD" in lines
    assert "LeakyReLU, GELU and ELU lower it by definition, so it decides nothing." in result.stdout
    assert "This is what 2 steps show" in result.stdout
    assert result.stderr == ""


def test_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = ("train_of_compare:make_experiment", "--steps", "1", "--seeds", "2", "--output-format", "json")
    content = json.loads(run(folder, monkeypatch, *args, "--only", "gelu,relu").stdout)
    assert (content["steps"], content["seeds"], content["held_out"]) == (1, [0, 1], 300)
    gelu, relu = content["changes"]
    assert len(gelu["trials"]) == 2
    base = [trial["loss"] for trial in content["baseline"]["trials"]]
    lower = [b - t["loss"] for b, t in zip(base, gelu["trials"], strict=True)]
    assert gelu["improvement"] == pytest.approx(sum(lower) / 2)
    assert (relu["verdict"], relu["reason"]) == ("not applicable", "no hidden activation is sigmoid or tanh")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train_of_compare",), "name the module and the factory, as in train.py:make_experiment"),
        (("missing.py:f",), "missing.py: there is no such file"),
        (("no_such_module:f",), "importing no_such_module failed: ModuleNotFoundError"),
        (("train_of_compare.py:f",), "has no attribute 'f'; it has: make_experiment, fails, Net, wrong"),
        (("train_of_compare:number",), "is an int, not a function that returns an Experiment"),
        (("train_of_compare:fails",), "fails (seed 0) failed: KeyError: 'width' (train_of_compare.py:12)"),
        (("train_of_compare:wrong",), "(inputs of shape (3, 4)): RuntimeError: mat1 and mat2 shapes"),
        (("train_of_compare:wrong",), "(train_of_compare.py:16)"),
        (("train_of_compare:make_experiment", "--only", "x"), "--only x: there is no such change"),
        (("train_of_compare:make_experiment", "--only", "sgd", "--skip", "sgd"), "leave no change to try"),
    ],
)
def test_bad_input(folder: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: str) -> None:
    error = run(folder, monkeypatch, *args).exception
    assert isinstance(error, UsageProblem)
    assert words in str(error)


def test_only_and_skip() -> None:
    assert chosen(("a", "b", "c"), (), ("b",)) == ("a", "c")
    assert chosen(("a", "b", "c"), ("c, a",), ()) == ("a", "c")


def test_help_names_every_change() -> None:
    text = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert all(name in text for name in CHANGES)


def test_the_live_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert state_of(Progress(25, 100, 1, "gelu"), 30.0) == "relucheck: 25%, seed 1, gelu, about 90 s left"
    assert state_of(Progress(10, 100, 1, "gelu"), 60.0).endswith("about 9 min left")
    times = iter([0.0, 0.1, 0.2, 0.7])
    line = Line(clock=lambda: next(times))
    for done in (1, 2, 3):
        line.told(Progress(done, 4, 0, "elu"))
    line.clear()
    assert [part.split(",")[0] for part in capsys.readouterr().err.split("\r") if "%" in part] == [
        "relucheck: 25%",
        "relucheck: 75%",
    ]


# -- known answers (theory, section 5) --------------------------------------------------------------


def digits() -> tuple[Tensor, Tensor]:
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0).clamp(min=1e-3), torch.tensor(labels)


def on_digits(model: nn.Module, rate: float, seed: int) -> Experiment:
    x, y = digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train = order[:1400].split(50)
    held_out = [(x[order[1400:]], y[order[1400:]])]
    data = [(x[rows], y[rows]) for rows in train]
    return Experiment(model, nn.CrossEntropyLoss(), partial(torch.optim.Adam, lr=rate), data, held_out)


def too_fast(seed: int) -> Experiment:
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    return on_digits(model, 0.1, seed)


def outcomes(result: Comparison) -> dict[str, Outcome]:
    return {arm.change: result.outcome(arm) for arm in result.arms}


def test_a_deep_network_of_default_initialisation_wants_he_or_shortcuts(monkeypatch: Any) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(DOCUMENT.parent.parent / "examples"))
    result = importlib.import_module("compare_digits").main(steps=40)
    assert outcomes(result) == {
        "lr/10": Outcome.UNCLEAR,
        "he-init": Outcome.HELPS,
        "leaky-relu": Outcome.UNCLEAR,
        "gelu": Outcome.UNCLEAR,
        "batch-norm": Outcome.HELPS,
        "residual": Outcome.HELPS,
    }
    assert result.helping[0].change == "residual"
    assert result.baseline.silent > 0.3


def test_too_high_a_rate_wants_a_lower_one_and_not_another_activation() -> None:
    result = compare(too_fast, steps=150, changes=["lr/100", "leaky-relu"])
    found = outcomes(result)
    assert found["lr/100"] is Outcome.HELPS
    assert found["leaky-relu"] is not Outcome.HELPS
    assert result.arm("leaky-relu").silent is None
    assert result.baseline.silent > result.arm("lr/100").silent
    assert relucheck.Comparison is type(result)
