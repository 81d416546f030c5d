"""Ordinary networks as they are initialised, of several seeds, on data that leaves no unit of theirs silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.tape.truth.case import Case, nothing
from tests.tape.truth.layers import CE, ResNet

BATCHES, SAMPLES = 8, 128


class Encoder(nn.Module):
    """Two post-norm layers as torch makes them."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, "relu", batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(x).mean(1))


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3))


def _cnn() -> nn.Module:
    parts: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32)):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32 * 4, 3))


def _resnet() -> nn.Module:
    model = ResNet()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.bias)
    return model


@dataclass(frozen=True, slots=True)
class Ordinary(Case):
    """A case with a seed of its own."""

    seed: int = 0

    def model(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return self.make()

    def batches(self) -> list[Any]:
        torch.manual_seed(1000 + self.seed)
        return self.data()


def _data(*shape: int) -> Callable[[], list[Any]]:
    return lambda: [(torch.randn(SAMPLES, *shape), torch.randint(0, 3, (SAMPLES,))) for _ in range(BATCHES)]


_KINDS: dict[str, Ordinary] = {
    name: Ordinary(name, "healthy", make, _data(*shape), nothing, CE, samples=BATCHES * SAMPLES)
    for name, make, shape in (
        ("MLP 2x128", _mlp, (20,)),
        ("CNN and BatchNorm", _cnn, (3, 8, 8)),
        ("ResNet in place", _resnet, (3, 8, 8)),
        ("post-norm transformer", Encoder, (6, 32)),
    )
}
ORDINARY = tuple(_KINDS)


def ordinary(kind: str, seed: int) -> Ordinary:
    """An ordinary network of some seed."""
    return replace(_KINDS[kind], seed=seed)
