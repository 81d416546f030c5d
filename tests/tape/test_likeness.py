"""How alike samples are: the mean cosine (Poole et al. 2016) and the participation ratio (Gao et al. 2017)."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import relucheck
from relucheck.tape.likeness import COMPARED, likeness, mean_cosine, participation_ratio


@pytest.mark.parametrize("shape", [(50, 7), (7, 50)])
def test_both_are_what_their_definitions_say(shape: tuple[int, int]) -> None:
    rows = torch.randn(shape, dtype=torch.float64) + 1
    pairs = F.cosine_similarity(rows[:, None], rows[None], dim=-1)
    n = len(rows)
    assert float(mean_cosine(rows)) == pytest.approx(float((pairs.sum() - n) / (n * (n - 1))), rel=1e-12)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(rows.T))
    expected = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    assert float(participation_ratio(rows)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e37])
def test_neither_depends_on_the_scale(scale: float) -> None:
    """Squares of single precision underflow below 1e-23, which the signal of a deep network reaches."""
    rows = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 2]])
    assert float(mean_cosine(rows * scale)) == pytest.approx(0.5**0.5 / 3, rel=1e-4)
    assert float(participation_ratio(rows * scale)) == pytest.approx(
        float(participation_ratio(rows)), rel=1e-4
    )


def test_the_ends() -> None:
    same, opposite = torch.ones(4, 3), torch.tensor([[1.0, 2], [-1, -2]])
    assert likeness(same, None, 4) == (pytest.approx(1.0), 0.0)
    assert likeness(opposite, None, 2) == (pytest.approx(-1.0), pytest.approx(1.0))
    assert likeness(torch.eye(9), None, 9) == (pytest.approx(0.0, abs=1e-12), pytest.approx(8.0))
    assert likeness(torch.zeros(4, 3), None, 4) == (0.0, 0.0)


def test_what_cannot_be_compared() -> None:
    broken = torch.ones(4, 3)
    broken[0, 0] = float("nan")
    for z, samples in ((torch.ones(1, 3), 1), (torch.ones(5, 3), 4), (broken, 4)):
        assert likeness(z, None, samples) == (None, None)


def test_all_positions_of_a_sample_are_one_vector() -> None:
    images = torch.randn(6, 3, 5, 5, dtype=torch.float64)
    assert likeness(images, 1, 6) == pytest.approx(likeness(images.flatten(1), None, 6), abs=1e-6)


def test_an_even_choice_of_a_large_batch_is_compared() -> None:
    rows = torch.randn(4 * COMPARED, 5)
    assert likeness(rows, None, len(rows)) == likeness(rows[::4], None, COMPARED)


def test_a_report_has_both_for_each_activation() -> None:
    """Behind a large bias all samples look alike, and with a weight of rank 1 they differ in one direction."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    with torch.no_grad():
        model[0].bias.fill_(1000.0)
        model[2].weight.copy_(torch.randn(16, 1) @ torch.randn(1, 16))
    report = relucheck.probe(model, [torch.randn(64, 8)])
    first, second = report.activations
    assert first.cosine == pytest.approx(1.0, abs=1e-4)
    assert first.dimension is not None
    assert 3 < first.dimension < 8
    assert second.dimension == pytest.approx(1.0, abs=1e-3)
    saved = json.loads(report.to_json())["activations"]
    assert [(one["cosine"], one["dimension"]) for one in saved] == [
        (one.cosine, one.dimension) for one in report.activations
    ]
    assert ">1.0<" in report.to_html()
