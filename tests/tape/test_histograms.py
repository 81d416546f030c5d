"""Histograms of pre-activations: exact counts, bounded work, and nothing of a tensor kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from relucheck import probe
from relucheck.tape.histograms import A_CALL, A_SITE, BINS, Bins, sample_of


def test_counts_are_those_of_torch() -> None:
    z = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)) * 3 + 1
    bins = Bins()
    bins.add(z)
    counted = bins.histogram()
    assert counted is not None
    expected = torch.histc(z, BINS, counted.low, counted.high).to(torch.int64).tolist()
    assert list(counted.counts) == expected
    assert counted.below == int((z < counted.low).sum())
    assert counted.above == int((z >= counted.high).sum())
    assert counted.total == 2000


def test_zero_is_an_edge_between_bins() -> None:
    bins = Bins()
    bins.add(torch.tensor([-3.0, -1.0, 0.5, 2.0, 7.0]))
    counted = bins.histogram()
    assert counted is not None
    width = (counted.high - counted.low) / BINS
    edge = -counted.low / width
    assert edge == pytest.approx(round(edge), abs=1e-6)
    assert sum(counted.counts[: round(edge)]) == 2


def test_outliers_are_counted_outside() -> None:
    bins = Bins()
    bins.add(torch.cat([torch.linspace(-1, 1, 999), torch.tensor([1e6])]))
    counted = bins.histogram()
    assert counted is not None
    assert counted.above == 1
    assert counted.high < 1e6


def test_later_batches_are_counted_in_the_same_bins() -> None:
    bins = Bins()
    bins.add(torch.linspace(-1, 1, 100))
    first = bins.histogram()
    bins.add(torch.full((30,), -5.0))
    second = bins.histogram()
    assert first is not None
    assert second is not None
    assert (second.low, second.high, second.counts) == (first.low, first.high, first.counts)
    assert second.below == first.below + 30


@pytest.mark.parametrize("value", [0.0, 2.5, -1e-20])
def test_constant_inputs_have_a_range(value: float) -> None:
    bins = Bins()
    bins.add(torch.full((10,), value))
    counted = bins.histogram()
    assert counted is not None
    assert counted.total == 10
    assert math.isfinite(counted.high - counted.low)
    assert counted.high > counted.low


def test_nan_is_not_counted_and_infinities_are_outside() -> None:
    bins = Bins()
    bins.add(torch.tensor([float("nan"), float("inf"), float("-inf"), 1.0, -1.0]))
    counted = bins.histogram()
    assert counted is not None
    assert (counted.below, sum(counted.counts), counted.above) == (1, 2, 1)
    every = Bins()
    every.add(torch.full((3,), float("nan")))
    assert every.histogram() is not None
    assert every.histogram().total == 0  # type: ignore[union-attr]


def test_a_large_tensor_is_sampled_from_all_units_and_samples() -> None:
    z = torch.arange(64).view(1, 64, 1, 1).expand(32, 64, 28, 28)
    seen = sample_of(z)
    assert A_CALL // 2 < len(seen) <= A_CALL
    assert seen.unique().tolist() == list(range(64))
    per_unit = torch.bincount(seen.long(), minlength=64)
    assert per_unit.max() - per_unit.min() <= 3


def test_a_site_is_counted_up_to_a_bound() -> None:
    bins = Bins()
    for _ in range(40):
        bins.add(torch.randn(64, 64))
    counted = bins.histogram()
    assert counted is not None
    assert counted.total == A_SITE


def test_sites_of_a_probe_have_one_of_the_first_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 2))
    x = torch.randn(100, 4)
    (site,) = probe(model, [x, x]).activations
    assert site.histogram is not None
    assert site.histogram.total == 600
    z = model[0](x)
    width = (site.histogram.high - site.histogram.low) / BINS
    negative = sum(site.histogram.counts[: round(-site.histogram.low / width)]) + site.histogram.below
    assert negative == int((z < 0).sum())
