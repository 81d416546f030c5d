"""Published models: every activation site is named, with the right number of units."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from relucheck.live import Report, probe

pytestmark = pytest.mark.corpus


@pytest.fixture(scope="module")
def torchvision() -> Iterator[Any]:
    """torchvision, with the operators of its binary half declared where only its sources are there."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(50):
        try:
            yield pytest.importorskip("torchvision")
            return
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library.define(f"{missing.group(1)}() -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]


def units(report: Report, function: str) -> list[int]:
    return [site.units for site in report.activations if site.function == function]


def healthy(report: Report) -> bool:
    return report.crashes == () and report.failing() == ()


def test_resnet18(torchvision: Any) -> None:
    batch = (torch.randn(4, 3, 96, 96), torch.tensor([1, 2, 3, 4]))
    report = probe(torchvision.models.resnet18(), [batch], torch.nn.CrossEntropyLoss())
    assert units(report, "relu") == [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    assert [site.name for site in report.activations][:3] == ["relu", "layer1.0.relu#1", "layer1.0.relu#2"]
    assert len([g for g in report.gradients if g.kind == "conv"]) == 20
    assert healthy(report)


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("vgg11", [64, 128, 256, 256, 512, 512, 512, 512, 4096, 4096]),
        ("alexnet", [64, 192, 384, 256, 256, 4096, 4096]),
    ],
)
def test_plain_networks(torchvision: Any, name: str, sites: list[int]) -> None:
    report = probe(getattr(torchvision.models, name)(), [torch.randn(2, 3, 64, 64)])
    assert units(report, "relu") == sites
    assert report.crashes == ()


def test_vit_tiny() -> None:
    timm = pytest.importorskip("timm")
    report = probe(timm.create_model("vit_tiny_patch16_224"), [torch.randn(2, 3, 224, 224)])
    assert units(report, "gelu") == [768] * 12
    assert [site.name for site in report.activations] == [f"blocks.{i}.mlp.act" for i in range(12)]
    assert healthy(report)


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("mobilenetv3_small_100", 96, 42),
        ("convnext_atto", 96, 12),
        ("efficientnet_b0", 96, 65),
        ("swin_tiny_patch4_window7_224", 224, 12),
        ("mixer_s32_224", 224, 16),
        ("resmlp_12_224", 224, 12),
        ("densenet121", 96, 121),
        ("regnetx_002", 96, 40),
    ],
)
def test_other_families(name: str, size: int, count: int) -> None:
    timm = pytest.importorskip("timm")
    report = probe(timm.create_model(name), [torch.randn(4, 3, size, size)])
    assert len(report.activations) == count
    assert len({site.name for site in report.activations}) == count
    assert healthy(report), report.table()
