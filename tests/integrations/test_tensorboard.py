"""``TensorBoardLogger`` in plain loops: what the event file holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorboard")

import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, EventAccumulator
from torch.utils.tensorboard import SummaryWriter

import relucheck
from relucheck.integrations.tensorboard import TensorBoardLogger
from tests.tape.test_watch import mlp


def trained(folder: Path, **options: Any) -> tuple[EventAccumulator, list[float]]:
    """The events of a training, and the gradient norms of its first layer."""
    model, norms = mlp(12), list[float]()
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    if options.pop("own_steps", False):
        options["step"] = lambda: 1000 + len(norms)
    with (
        SummaryWriter(str(folder)) as writer,
        relucheck.watch(model, every=1, on_step=TensorBoardLogger(writer, **options)),
    ):
        for _ in range(10):
            optimiser.zero_grad()
            F.cross_entropy(model(torch.randn(64, 8)), torch.randint(0, 3, (64,))).backward()
            norms.append(model[0].weight.grad.norm().item())  # type: ignore[union-attr, operator]
            optimiser.step()
    return EventAccumulator(str(folder), {HISTOGRAMS: 0}).Reload(), norms


def test_the_event_file_holds_the_figures(tmp_path: Path) -> None:
    events, norms = trained(tmp_path)
    assert set(events.Tags()["scalars"]) == {
        "relucheck/1/silent",
        *(f"relucheck/{layer}/{figure}" for layer in "02" for figure in ("gradient", "elasticity", "update")),
    }
    assert [(e.step, e.value) for e in events.Scalars("relucheck/0/gradient")] == list(
        enumerate(pytest.approx(norm, rel=1e-5) for norm in norms)
    )
    assert [(e.step, e.value) for e in events.Scalars("relucheck/1/silent")] == [
        (4, pytest.approx(0.6)),
        (9, pytest.approx(0.6)),
    ]


def test_the_histogram_counts_the_units_by_how_often_they_fire(tmp_path: Path) -> None:
    events, _ = trained(tmp_path)
    first, second = events.Histograms("relucheck/1/activity")
    assert (first.step, second.step) == (4, 9)
    value = first.histogram_value
    assert (value.num, value.min) == (20, 0.0)
    assert sum(n for n, edge in zip(value.bucket, value.bucket_limit, strict=True) if edge < 1e-9) == 12


def test_without_histograms_and_with_the_users_own_steps(tmp_path: Path) -> None:
    events, _ = trained(tmp_path, histograms=False, own_steps=True)
    assert events.Tags()["histograms"] == []
    assert [e.step for e in events.Scalars("relucheck/2/update")] == list(range(1001, 1011))


def test_a_writer_is_needed() -> None:
    with pytest.raises(TypeError, match=r"SummaryWriter .*\(pip install tensorboard\), not str"):
        TensorBoardLogger("runs")  # type: ignore[arg-type]


def test_the_core_imports_no_framework() -> None:
    code = (
        "import sys, relucheck\n"
        "relucheck.watch, relucheck.probe\n"
        "import relucheck.integrations.tensorboard\n"
        "print([n for n in ('lightning', 'pytorch_lightning', 'transformers', 'tensorboard') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "[]\n"
