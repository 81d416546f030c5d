"""The Lightning callback in real fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
# an installed torchvision that does not fit torch raises RuntimeError
pytest.importorskip("lightning.pytorch", exc_type=(ImportError, RuntimeError))

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from relucheck.integrations.lightning import ReluCheck
from relucheck.paths import shown

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning, about workers and loggers


class Classifier(LightningModule):
    """A network with ten silent units, that notes itself what fires and what a step changes."""

    def __init__(self, call: str = "self", lr: float = 0.05) -> None:
        super().__init__()
        self.call, self.lr = call, lr
        self.net = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Dropout(0.1), nn.Linear(20, 3))
        self.fired: list[Tensor] = []
        self.updates: list[float] = []
        with torch.no_grad():
            self.net[0].bias[:10] = -25.0
            self.net[0].bias[10:16] = torch.linspace(-1.4, -2.0, 6)  # these fire now and then

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        with torch.no_grad():
            self.fired.append((self.net[0](x) > 0).sum(0))
        loss = F.cross_entropy(self(x) if self.call == "self" else self.net(x), y)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.log("validation", self(batch[0]).sum())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        before = self.net[0].weight.detach().clone()
        super().optimizer_step(*args, **kwargs)
        self.updates.append(float((self.net[0].weight.detach() - before).norm() / before.norm()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)

    def silent(self, first: int, last: int) -> float:
        """The share of units that did not fire from one step to another."""
        return (torch.stack(self.fired[first : last + 1]).sum(0) == 0).double().mean().item()


class Memory(DummyLogger):
    """A logger that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((step, metrics))

    def of(self, name: str) -> dict[int | None, float]:
        return {step: metrics[name] for step, metrics in self.logged if name in metrics}


def loader(count: int = 640, batch: int = 64) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 8, generator=generator)
    return DataLoader(TensorDataset(x, torch.randint(0, 3, (count,), generator=generator)), batch)


def trainer(*callbacks: Callback, **options: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "max_epochs": 1,
    }
    return Trainer(callbacks=list(callbacks), **{**quiet, **options})


def fitted(model: LightningModule, *callbacks: Callback, **options: Any) -> Trainer:
    run = trainer(*callbacks, **options)
    run.fit(model, loader(), loader(128))
    return run


@pytest.mark.parametrize("call", ["self", "net"])
@pytest.mark.parametrize(
    "options", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 3}], ids=str
)
def test_silent_units_are_exactly_those_that_did_not_fire(call: str, options: dict[str, Any]) -> None:
    model, check, memory = Classifier(call), ReluCheck(every=1, show=False), Memory()
    fitted(model, check, logger=memory, max_epochs=2, **options)
    (network,) = check.report.networks
    (site,) = check.report.activations
    expected = [model.silent(first, first + 4) for first in (0, 5, 10, 15)]
    assert [m.silent[site.name] for m in network.moments] == pytest.approx(expected)
    assert (site.units, site.samples, check.report.steps) == (20, 320, 20)
    assert list(memory.of("relucheck/net.1/silent").values()) == pytest.approx(expected)
    assert site.activity == tuple(count / 320 for count in torch.stack(model.fired[-5:]).sum(0).tolist())


def test_figures_have_the_steps_of_the_trainers_own_curves() -> None:
    model, memory = Classifier(), Memory()
    fitted(model, ReluCheck(every=2, first=3, show=False), logger=memory, log_every_n_steps=1)
    updates = memory.of("relucheck/net.0/update")
    assert updates == pytest.approx({i: model.updates[i] for i in (0, 1, 2, 5, 7)}, rel=1e-4)
    assert set(updates) < set(memory.of("loss"))


class Noting(Callback):
    """Notes norm(dL/dW) of the first layer before the optimiser uses it, when a scaler has taken its scale out."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.norms.append(float(pl_module.net[0].weight.grad.norm()))


def test_gradients_of_16_mixed_are_told_without_the_loss_scale() -> None:
    """On the CPU Lightning takes "16-mixed" as a plugin only."""
    noting, memory = Noting(), Memory()
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**12))
    check = ReluCheck(every=1, show=False)
    fitted(Classifier(), check, noting, plugins=precision, logger=memory)
    told = list(memory.of("relucheck/net.0/gradient").values())
    assert told == pytest.approx(noting.norms, rel=1e-3)
    assert all(0.001 < norm < 1 for norm in told)
    assert check.report.crashes == ()


def test_accumulated_batches_share_one_update() -> None:
    model, memory = Classifier(), Memory()
    fitted(model, ReluCheck(every=1, show=False), logger=memory, accumulate_grad_batches=5)
    assert memory.of("relucheck/net.0/update") == pytest.approx(dict(enumerate(model.updates)), rel=1e-4)
    assert len(model.updates) == 2


def test_figures_are_metrics_to_other_callbacks() -> None:
    stop = EarlyStopping("relucheck/net.1/silent", patience=1, min_delta=0.5)
    run = fitted(Classifier(lr=0.0), ReluCheck(show=False, first=99), stop, max_epochs=9)
    assert run.current_epoch == 2
    assert 0.4 <= float(run.callback_metrics["relucheck/net.1/silent"]) <= 0.61


def test_a_compiled_module_runs_as_written_where_it_is_inspected() -> None:
    check = ReluCheck(every=3, first=2, show=False)

    class Silent(Classifier):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

    trainer(check).fit(torch.compile(Silent(), backend="eager"), loader())
    (site,) = check.report.activations
    assert (check.report.inspected, site.name, site.dead_units[:10]) == (4, "net.1", tuple(range(10)))


class Gan(LightningModule):
    """Two networks, two optimisers, two backward passes a batch, of which the first makes samples with dropout."""

    def __init__(self, toggle: bool) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.toggle = toggle
        self.maker = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        self.judge = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1))
        self.fired: list[Tensor] = []
        with torch.no_grad():
            self.maker[0].bias[:5] = -25.0
            self.maker[0].bias[5:8] = -3.5
            self.judge[0].bias[:7] = -25.0

    def training_step(self, batch: list[Tensor], index: int) -> None:
        for optimiser, own in zip(self.optimizers(), (self.judge, self.maker), strict=True):
            if self.toggle:
                self.toggle_optimizer(optimiser)
            noise = torch.randn(len(batch[0]), 4)
            made = self.maker(noise)
            if own is self.judge:
                loss = F.softplus(-self.judge(batch[0])).mean() + F.softplus(self.judge(made.detach())).mean()
            else:
                self.fired.append((noise @ self.maker[0].weight.T + self.maker[0].bias > 0).any(0))
                loss = F.softplus(-self.judge(made)).mean()
            optimiser.zero_grad()
            self.manual_backward(loss)
            optimiser.step()
            if self.toggle:
                self.untoggle_optimizer(optimiser)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(part.parameters(), 1e-3) for part in (self.judge, self.maker)]


@pytest.mark.parametrize("toggle", [False, True])
def test_both_networks_of_a_gan(toggle: bool) -> None:
    model, check, memory = Gan(toggle), ReluCheck(every=1, show=False), Memory()
    trainer(check, logger=memory, max_epochs=2).fit(model, loader())
    networks = {network.name: network for network in check.report.networks}
    assert set(networks) == {"judge (Sequential)", "maker (Sequential)"}
    judge, maker = networks["judge (Sequential)"].last, networks["maker (Sequential)"].last
    assert check.report.crashes == ()
    assert (judge.activations[0].dead_units[:7], maker.activations[0].dead_units[:5]) == (
        tuple(range(7)),
        tuple(range(5)),
    )
    silent = ~torch.stack(model.fired[-5:]).any(0)
    assert maker.activations[0].dead_units == tuple(silent.nonzero().flatten().tolist())
    assert maker.samples == 320
    assert all(g.update is not None for m in (judge, maker) for g in m.gradients)
    assert len(memory.of("relucheck/maker.0/update")) == len(memory.of("relucheck/judge.0/update")) == 20


def parameters(*callbacks: Callback, **options: Any) -> list[Tensor]:
    torch.manual_seed(3)
    model = Classifier()
    fitted(model, *callbacks, **options)
    return [*model.state_dict().values(), torch.get_rng_state()]


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}], ids=str)
def test_the_result_is_bit_for_bit_that_of_a_fit_without_it(options: dict[str, Any]) -> None:
    plain, watched = parameters(**options), parameters(ReluCheck(every=2, show=False), **options)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


class Failing(Callback):
    def __init__(self, error: BaseException, hook: str) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        setattr(self, hook, fail)


@pytest.mark.parametrize(
    "hook", ["on_fit_start", "on_train_batch_start", "on_before_backward", "on_train_end"]
)
@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_nothing_is_left_after_an_exception(hook: str, error: BaseException) -> None:
    model, check = Classifier(), ReluCheck(every=1, show=False)
    with pytest.raises(SystemExit if isinstance(error, KeyboardInterrupt) else ValueError):
        fitted(model, check, Failing(error, hook))
    assert check.report.steps == (10 if hook == "on_train_end" else 0)
    assert all(p._backward_hooks is None for p in model.parameters())


def test_an_exception_inside_the_training_step(capsys: pytest.CaptureFixture[str]) -> None:
    class Late(Classifier):
        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            loss = super().training_step(batch, index)
            if index == 6:
                raise ValueError("the seventh")
            return loss

    model, check = Late(), ReluCheck(every=1)
    with pytest.raises(ValueError, match="the seventh"):
        fitted(model, check)
    assert [(site.dead_share, site.samples) for site in check.report.activations] == [
        (pytest.approx(model.silent(0, 4)), 320)
    ]
    assert capsys.readouterr().out.startswith("\nrelucheck: 6 steps (backward passes), 6 inspected\n")


def test_the_report_is_printed_and_the_place_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    check = ReluCheck(every=1)
    fitted(Classifier(), check)
    printed = capsys.readouterr().out
    assert printed.startswith(
        "\nrelucheck: 10 steps (backward passes), 10 inspected\n\nClassifier: 640 samples"
    )
    assert f"{shown(__file__)}:" in printed
    assert [f.code for f in check.report.findings] == ["RLU601"]


def test_findings_fail_the_fit_where_that_is_asked_for() -> None:
    with pytest.raises(AssertionError, match=r"the training is not healthy: 1 finding\n"):
        fitted(Classifier(), ReluCheck(every=1, show=False, fail_on="warning"))
    fitted(Classifier(), ReluCheck(every=1, show=False, fail_on="error"))
    fitted(Classifier(), ReluCheck(every=1, show=False, fail_on="warning", ignore="RLU601"))
    check = ReluCheck(every=1, show=False, select=["RLU1", "RLU2"])
    fitted(Classifier(), check)
    assert check.report.findings == ()


def test_a_callback_is_used_again() -> None:
    check = ReluCheck(every=1, show=False)
    fitted(Classifier(), check)
    first = check.report
    fitted(Classifier(), check, max_epochs=2)
    assert (first.steps, check.report.steps) == (10, 20)
    trainer(check).validate(Classifier(), loader(), verbose=False)
    assert check.report.steps == 20


def test_a_checkpoint_is_resumed(tmp_path: Path) -> None:
    run = fitted(Classifier(), ReluCheck(show=False), enable_checkpointing=True, default_root_dir=tmp_path)
    check, memory = ReluCheck(every=1, show=False), Memory()
    again = trainer(check, max_epochs=2, logger=memory)
    again.fit(Classifier(), loader(), ckpt_path=run.checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    assert check.report.steps == 10
    assert set(memory.of("relucheck/net.0/gradient")) == set(range(10, 20))


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model, logger = Classifier(), TensorBoardLogger(tmp_path)
    fitted(model, ReluCheck(every=1, show=False), logger=logger)
    events = accumulator.EventAccumulator(logger.log_dir).Reload()
    assert [(e.step, e.value) for e in events.Scalars("relucheck/net.1/silent")] == [
        (4, pytest.approx(model.silent(0, 4))),
        (9, pytest.approx(model.silent(5, 9))),
    ]
    assert [e.value for e in events.Scalars("relucheck/net.0/update")] == pytest.approx(
        model.updates, rel=1e-4
    )


def test_without_logging() -> None:
    memory = Memory()
    run = fitted(Classifier(), ReluCheck(every=1, show=False, log=False), logger=memory)
    assert not any(name.startswith("relucheck") for _, metrics in memory.logged for name in metrics)
    assert set(run.callback_metrics) == {"loss", "validation"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"first": -1}, "first at least 0"),
        ({"fail_on": "warn"}, "fail_on is one of error, warning, advice, never, not 'warn'"),
        ({"select": "RLU9"}, "select: .*RLU9"),
        ({"ignore": ["dead-unit"]}, "ignore: .*dead-units"),
    ],
)
def test_options_that_cannot_be_followed(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReluCheck(**options)


def test_no_report_before_the_first_fit() -> None:
    with pytest.raises(RuntimeError, match="no training has run with this callback"):
        _ = ReluCheck().report


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_callback_is_of_the_package_that_the_user_imported() -> None:
    pytest.importorskip("pytorch_lightning")
    said = run(
        "import pytorch_lightning, sys\n"
        "from relucheck.integrations.lightning import ReluCheck\n"
        "print(isinstance(ReluCheck(), pytorch_lightning.Callback), 'lightning.pytorch' in sys.modules)"
    )
    assert said == "True False\n"


def test_a_missing_lightning_is_said() -> None:
    said = run(
        "import sys\n"
        "sys.modules.update({'lightning': None, 'pytorch_lightning': None})\n"
        "try:\n    import relucheck.integrations.lightning\nexcept ImportError as error:\n    print(error)"
    )
    assert said == "relucheck.integrations.lightning needs Lightning: pip install lightning\n"
