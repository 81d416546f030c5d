"""The callback of Hugging Face transformers in real trainings of tiny random models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
# an installed torchvision that does not fit torch raises RuntimeError
pytest.importorskip("transformers.models.bert.modeling_bert", exc_type=(ImportError, RuntimeError))
pytest.importorskip("accelerate")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

import relucheck
from relucheck.integrations.transformers import ReluCheckCallback
from tests.tape.test_watch import mlp, traces

pytestmark = pytest.mark.filterwarnings("ignore")

ACTIVATION = "bert.encoder.layer.0.intermediate.intermediate_act_fn"
DENSE = "bert.encoder.layer.0.intermediate.dense"


def bert(**options: Any) -> BertForSequenceClassification:
    set_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=16,
            hidden_act="relu",
            num_labels=3,
            **options,
        )
    )
    with torch.no_grad():
        dense = model.bert.encoder.layer[0].intermediate.dense
        dense.bias[:10] = -50.0
        dense.bias[10:16] = torch.linspace(-0.15, -0.3, 6)  # these fire now and then
    return model


def data(count: int = 320) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 50, (count, 8), generator=generator)
    return [{"input_ids": row, "labels": int(row[0]) % 3} for row in tokens]


class Noting(TrainerCallback):
    """Notes what reporters are told, and how much a step changes a weight."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.updates: list[float] = []
        self.before = torch.empty(0)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.before = model.get_submodule(DENSE).weight.detach().clone()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        change = model.get_submodule(DENSE).weight.detach() - self.before
        self.updates.append(float(change.norm() / self.before.norm()))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.logged.append((state.global_step, dict(logs)))

    def of(self, name: str) -> list[tuple[int, float]]:
        return [(step, logs[name]) for step, logs in self.logged if name in logs]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    quiet = {
        "max_steps": 10,
        "per_device_train_batch_size": 32,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1000,
        "learning_rate": 1e-3,
        "seed": 0,
    }
    return TrainingArguments(str(folder), **{**quiet, **options})


def trainer(
    folder: Path, *callbacks: TrainerCallback, model: nn.Module | None = None, **options: Any
) -> Trainer:
    return Trainer(
        model if model is not None else bert(),
        arguments(folder, **options),
        train_dataset=data(),
        eval_dataset=data(64),
        callbacks=list(callbacks),
    )


class Counting:
    """Counts how often each unit fires, by a hook of its own."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.fired = model, list[Tensor]()
        self.handle = model.get_submodule(ACTIVATION).register_forward_hook(self.count)

    def count(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self.model.training:
            self.fired.append((output > 0).any(1).sum(0))

    def silent(self, first: int, last: int) -> float:
        return (torch.stack(self.fired[first:last]).sum(0) == 0).double().mean().item()


@pytest.mark.parametrize(
    "options", [{}, {"bf16": True}, {"gradient_accumulation_steps": 2, "max_steps": 5}], ids=str
)
def test_silent_units_are_exactly_those_that_did_not_fire(tmp_path: Path, options: dict[str, Any]) -> None:
    model, check, noting = bert(), ReluCheckCallback(every=1, show=False), Noting()
    counting = Counting(model)
    # ten batches of 32 samples, the window is complete after all of them
    trainer(tmp_path, check, noting, model=model, **options).train()
    (network,), site = check.report.networks, check.report.activations[0]
    assert (site.name, site.units, site.samples, check.report.steps) == (ACTIVATION, 24, 320, 10)
    assert site.activity == tuple(count / 320 for count in torch.stack(counting.fired).sum(0).tolist())
    assert [m.silent[ACTIVATION] for m in network.moments] == [pytest.approx(counting.silent(0, 10))]
    assert 10 / 24 < site.dead_share < 16 / 24  # neither none nor all of those that fire now and then
    assert [value for _, value in noting.of(f"relucheck/{ACTIVATION}/silent")] == [site.dead_share]


class Scaled(TrainerCallback):
    """Notes norm(dL/dW) with the loss scale in it, before the optimiser takes it out."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.norms.append(float(model.get_submodule(DENSE).weight.grad.norm()))


def test_gradients_are_told_without_the_loss_scale(tmp_path: Path) -> None:
    """accelerate uses a scaler on accelerators only; here it is given one."""
    noting, check, heard = Scaled(), ReluCheckCallback(every=1, show=False), Noting()
    run = trainer(tmp_path, check, noting, heard, max_grad_norm=0.0)
    run.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    run.train()
    told = [value for _, value in heard.of(f"relucheck/{DENSE}/gradient")]
    assert told == pytest.approx([norm / 2.0**16 for norm in noting.norms], rel=1e-5)
    assert max(told) < 0.01
    assert check.report.crashes == ()


def test_every_reporter_hears_the_figures_once_and_so_does_the_history(tmp_path: Path) -> None:
    noting, last = Noting(), Noting()
    run = trainer(tmp_path, noting, ReluCheckCallback(every=4, first=3, show=False), last, max_steps=10)
    run.train()
    name = f"relucheck/{DENSE}/update"
    expected = [(step, pytest.approx(noting.updates[step - 1], rel=1e-4)) for step in (1, 2, 3, 7)]
    assert noting.of(name) == last.of(name) == expected
    assert [(h["step"], h[name]) for h in run.state.log_history if name in h] == expected
    assert set(run.state.log_history[0]) >= {name, "epoch", "step"}


def test_the_last_window_is_told_before_the_reporters_close(tmp_path: Path) -> None:
    class Reporter(TrainerCallback):
        heard: list[str] = []  # noqa: RUF012

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            self.heard += logs

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.heard.append("end")

    trainer(tmp_path, Reporter(), ReluCheckCallback(show=False), max_steps=2).train()
    assert f"relucheck/{ACTIVATION}/silent" in Reporter.heard
    assert Reporter.heard[-1] == "end"


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    noting = Noting()
    trainer(tmp_path, noting, ReluCheckCallback(every=1, show=False), report_to=["tensorboard"]).train()
    (file,) = tmp_path.rglob("events.out.*")
    events = accumulator.EventAccumulator(str(file)).Reload()
    assert [(e.step, e.value) for e in events.Scalars(f"train/relucheck/{DENSE}/update")] == [
        (step, pytest.approx(update, rel=1e-4)) for step, update in enumerate(noting.updates, 1)
    ]
    assert len(events.Scalars(f"train/relucheck/{ACTIVATION}/silent")) == 1


def test_what_prints_every_log_is_spared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, ReluCheckCallback(every=1), max_steps=2).train()
    printed = capsys.readouterr().out
    assert "relucheck/" not in printed
    assert "\nrelucheck: 2 steps (backward passes), 2 inspected\n\nBertForSequence" in printed
    assert f"{ACTIVATION[-24:]}" in printed


def test_an_early_stop_and_evaluation(tmp_path: Path) -> None:
    model, check = bert(), ReluCheckCallback(every=1, show=False)
    run = trainer(
        tmp_path, check, EarlyStoppingCallback(1, early_stopping_threshold=1e9),
        model=model, max_steps=100, eval_strategy="steps", eval_steps=5, save_strategy="steps", save_steps=5,
        load_best_model_at_end=True, metric_for_best_model="loss", greater_is_better=False,
    )  # fmt: skip
    run.train()
    assert (run.state.global_step, check.report.steps) == (10, 10)
    assert check.report.activations[0].samples == 320  # of the training, none of the evaluation


def test_a_training_is_resumed(tmp_path: Path) -> None:
    trainer(tmp_path, ReluCheckCallback(show=False), save_strategy="steps", save_steps=6).train()
    plain = trainer(tmp_path)
    plain.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    check, noting = ReluCheckCallback(every=1, show=False), Noting()
    watched = trainer(tmp_path, check, noting)
    watched.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert check.report.steps == 4
    assert [step for step, _ in noting.of(f"relucheck/{DENSE}/update")] == [7, 8, 9, 10]
    assert same(plain, watched)


def same(one: Trainer, other: Trainer) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"gradient_accumulation_steps": 3}], ids=str)
def test_the_result_is_bit_for_bit_that_of_a_training_without_it(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    plain = trainer(tmp_path, **options)
    plain.train()
    state = torch.get_rng_state()
    watched = trainer(tmp_path, ReluCheckCallback(every=2, show=False), **options)
    watched.train()
    assert torch.equal(state, torch.get_rng_state())
    assert same(plain, watched)
    losses = [
        [h["train_loss"] for h in run.state.log_history if "train_loss" in h] for run in (plain, watched)
    ]
    assert losses[0] == losses[1]


def test_a_language_model_with_gelu(tmp_path: Path) -> None:
    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2))
    texts = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in data(64)]
    check, noting = ReluCheckCallback(every=1, show=False), Noting()
    Trainer(model, arguments(tmp_path, max_steps=2), train_dataset=texts, callbacks=[check]).train()
    assert check.report.crashes == ()
    assert {g.name for g in check.report.gradients} >= {"transformer.h.0.mlp.c_fc", "transformer.wte"}
    assert noting.updates == []


class Failing(TrainerCallback):
    def __init__(self, event: str, error: BaseException) -> None:
        def fail(args: Any, state: Any, *_: Any, **__: Any) -> None:
            if state.global_step == 2 or event in ("on_train_begin", "on_train_end"):
                raise error

        setattr(self, event, fail)


class Broken(Trainer):
    def __init__(self, stop: BaseException, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stop = stop

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        if self.state.global_step == 2:
            raise self.stop
        return loss


@pytest.mark.parametrize("stop", [ValueError("mine"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_nothing_is_left_after_an_exception_in_a_training_step(
    tmp_path: Path, stop: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    before, model, check = traces(), bert(), ReluCheckCallback(every=1)
    run = Broken(stop, model, arguments(tmp_path), train_dataset=data(), callbacks=[check])
    with pytest.raises(type(stop)):
        run.train()
    assert traces() == before
    assert check.report.steps == 2
    assert "training_step" not in vars(run)
    assert all(p._backward_hooks is None for p in model.parameters())
    assert "relucheck: 2 steps (backward passes), 2 inspected" in capsys.readouterr().out


def test_a_training_step_of_the_users_own_stays(tmp_path: Path) -> None:
    run, seen = trainer(tmp_path, ReluCheckCallback(show=False), max_steps=3), []
    plain = run.training_step

    def own(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(plain(*args, **kwargs))
        return seen[-1]

    run.training_step = own
    run.train()
    assert (len(seen), run.training_step) == (3, own)


EVENTS = pytest.mark.parametrize(
    "event", ["on_train_begin", "on_step_begin", "on_pre_optimizer_step", "on_train_end"]
)


def failing(folder: Path, event: str, check: ReluCheckCallback, model: nn.Module) -> None:
    """A training in which another callback fails."""
    trainer(folder, check, Failing(event, ValueError("mine")), model=model, max_steps=3).train()


@EVENTS
def test_as_a_with_block_it_leaves_nothing_after_an_exception_elsewhere(tmp_path: Path, event: str) -> None:
    before, model = traces(), bert()
    with pytest.raises(ValueError, match="mine"), ReluCheckCallback(every=1, show=False) as check:
        failing(tmp_path, event, check, model)
    assert traces() == before
    assert check.report.steps == {"on_train_begin": 0, "on_step_begin": 2}.get(event, 3)
    assert all(p._backward_hooks is None for p in model.parameters())


@EVENTS
def test_without_one_it_ends_at_the_next_call_of_a_network(tmp_path: Path, event: str) -> None:
    before, model, check = traces(), bert(), ReluCheckCallback(every=1, show=False)
    with pytest.raises(ValueError, match="mine"):
        failing(tmp_path, event, check, model)
    model(input_ids=torch.zeros(1, 4, dtype=torch.int64))
    assert traces() == before
    assert all(p._backward_hooks is None for p in model.parameters())


@EVENTS
def test_or_when_its_report_is_read(tmp_path: Path, event: str) -> None:
    before, check = traces(), ReluCheckCallback(every=1, show=False)
    with pytest.raises(ValueError, match="mine"):
        failing(tmp_path, event, check, bert())
    assert check.report.steps == {"on_train_begin": 0, "on_step_begin": 2}.get(event, 3)
    assert traces() == before


def test_or_when_the_next_training_begins(tmp_path: Path) -> None:
    check = ReluCheckCallback(every=1, show=False)
    with pytest.raises(ValueError, match="mine"):
        failing(tmp_path, "on_step_begin", check, bert())
    trainer(tmp_path, check, max_steps=3).train()
    assert check.report.steps == 3


def test_what_was_abandoned_does_not_disturb_another_watch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"):
        failing(tmp_path, "on_pre_optimizer_step", ReluCheckCallback(every=1), bert())
    model = mlp(12)
    with relucheck.watch(every=1) as watch:
        F.mse_loss(model(torch.randn(40, 8)), torch.zeros(40, 3)).backward()
    assert [(site.dead, site.samples) for site in watch.report.activations] == [(12, 40)]
    model(torch.randn(2, 8))  # here what was left goes


def test_findings_fail_the_training_where_that_is_asked_for(tmp_path: Path) -> None:
    class Shallow(nn.Module):
        """A model of the user's own, with its loss in the output."""

        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(12)

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    rows = [{"x": torch.randn(8), "labels": i % 3} for i in range(320)]

    def train(**options: Any) -> ReluCheckCallback:
        check = ReluCheckCallback(every=1, show=False, **options)
        Trainer(Shallow(), arguments(tmp_path), train_dataset=rows, callbacks=[check]).train()
        return check

    with pytest.raises(AssertionError, match="12 of 20 units"):
        train(fail_on="warning")
    assert [f.code for f in train(fail_on="error").report.findings] == ["RLU601"]
    assert train(fail_on="warning", ignore="RLU6").report.findings == ()


def test_without_logging(tmp_path: Path) -> None:
    run = trainer(tmp_path, ReluCheckCallback(every=1, show=False, log=False), max_steps=2)
    run.train()
    assert not any(name.startswith("relucheck") for logs in run.state.log_history for name in logs)


def test_options_that_cannot_be_followed() -> None:
    with pytest.raises(ValueError, match="every must be at least 1"):
        ReluCheckCallback(every=0)
    with pytest.raises(ValueError, match=r"ignore: .*RLU777"):
        ReluCheckCallback(ignore="RLU777")
    with pytest.raises(RuntimeError, match="no training has run"):
        _ = ReluCheckCallback().report


def test_a_missing_transformers_is_said() -> None:
    code = (
        "import sys\nsys.modules['transformers'] = None\n"
        "try:\n    import relucheck.integrations.transformers\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == (
        'relucheck.integrations.transformers needs transformers: pip install "transformers[torch]"\n'
    )
