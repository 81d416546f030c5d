"""The callbacks in trainings of two processes: each measures, the report is that of both, the main one prints it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from torch import distributed

from tests.tape import ranks

if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("needs torch.distributed with gloo", allow_module_level=True)

NETWORK = """
import os, torch
from torch import nn

RANK = int(os.environ["RANK"])

def network():
    \"\"\"Units 0-5 are dead; 6-37 are alive where the first feature is positive, which it is on rank 1 only.\"\"\"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    with torch.no_grad():
        net[0].bias[:6] = -25.0
        net[0].weight[6:38] = 0.0
        net[0].weight[6:38, 0] = 1.0
        net[0].bias[6:38] = -0.001
    return net

def told(check, figures):
    seen = [(a.name, a.dead, a.samples) for a in check.report.activations]
    print(f"rank {RANK}: {check.report.ranks} {seen} {len(check.report.crashes)} {figures}", flush=True)
"""

LIGHTNING = """
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset
from relucheck.integrations.lightning import ReluCheck

class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = network()

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)

x = torch.randn(320, 8)
x[:, 0] = x[:, 0].abs() * (1 if RANK == 1 else -1)
check = ReluCheck(every=1)
trainer = Trainer(
    max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", callbacks=[check], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
)
trainer.fit(Model(), DataLoader(TensorDataset(x, torch.randint(0, 3, (320,))), 64))
told(check, "relucheck/net.0/gradient" in trainer.callback_metrics)
"""

TRANSFORMERS = """
from transformers import Trainer, TrainingArguments
from relucheck.integrations.transformers import ReluCheckCallback

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels):
        return {"loss": nn.functional.cross_entropy(self.net(x), labels)}

def data():
    made = torch.Generator().manual_seed(0)
    for i in range(640):  # batches go to the processes in turn
        x = torch.randn(8, generator=made)
        x[0] = x[0].abs() * (1 if i // 64 % 2 else -1)
        yield {"x": x, "labels": i % 3}

class Data(torch.utils.data.IterableDataset):
    def __iter__(self):
        return data()

check = ReluCheckCallback(every=1)
arguments = TrainingArguments(
    "out", max_steps=5, per_device_train_batch_size=64, learning_rate=0.0, use_cpu=True, report_to=[],
    save_strategy="no", disable_tqdm=True, accelerator_config={"dispatch_batches": False, "split_batches": False},
)
trainer = Trainer(Model(), arguments, train_dataset=Data(), callbacks=[check])
trainer.train()
told(check, any("relucheck/net.0/gradient" in logs for logs in trainer.state.log_history))
"""


def run(folder: Path, script: str) -> str:
    """What both processes print."""
    (folder / "train.py").write_text(NETWORK + script)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "train.py"],
        cwd=folder,
        env=ranks.environment(),
        capture_output=True,
        text=True,
        timeout=ranks.LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(said: str, *, figures_of_rank_1: bool) -> None:
    """Six units are dead on both ranks; the main process alone would have said 38."""
    for rank in (0, 1):
        figures = True if rank == 0 else figures_of_rank_1
        assert f"rank {rank}: (0, 1) [('net.1', 6, 384)] 0 {figures}\n" in said
    assert said.count("relucheck: 5 steps (backward passes), 5 inspected on each of 2 ranks") == 1


def test_lightning(tmp_path: Path) -> None:
    """Metrics are there on all ranks, since callbacks such as EarlyStopping look for them on all."""
    pytest.importorskip("lightning.pytorch", exc_type=(ImportError, RuntimeError))
    check(run(tmp_path, LIGHTNING), figures_of_rank_1=True)


def test_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers", exc_type=(ImportError, RuntimeError))
    check(run(tmp_path, TRANSFORMERS), figures_of_rank_1=False)
