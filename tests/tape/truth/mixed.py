"""Units that move, split, join or meet: how networks beyond the plain chain treat the axis of their units."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tape.truth.case import BATCHES, SAMPLES, Case, Input, he, kill, made_by, normal
from tests.tape.truth.layers import CE


class Mixer(nn.Module):
    """MLP-Mixer: the first Linear runs over tokens, so its units are hidden tokens, not channels."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.back = he(nn.Linear(6, 10)), nn.Linear(10, 6)
        self.channels, self.out = he(nn.Linear(8, 12)), nn.Linear(12, 3)
        kill(self.tokens, 0, 4)
        kill(self.channels, 11)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.tokens(x.transpose(1, 2)))
        x = x + self.back(y).transpose(1, 2)
        return self.out(F.relu(self.channels(x)).mean(1))


class ConvNeXt(nn.Module):
    """A depthwise convolution, then a Linear over channels moved last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.LayerNorm(6)
        self.up, self.down, self.out = he(nn.Linear(6, 24)), nn.Linear(24, 6), nn.Linear(6, 3)
        kill(self.up, 1, 2, 22)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        y = self.down(F.relu(self.up(y))).permute(0, 3, 1, 2)
        return self.out((x + y).mean((2, 3)))


class Inception(nn.Module):
    """Two branches joined along channels before one activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = he(nn.Conv2d(3, 5, 1)), he(nn.Conv2d(3, 7, 3, padding=1)), nn.Linear(12, 3)
        kill(self.a, 2)
        kill(self.b, 0, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(torch.cat([self.a(x), self.b(x)], 1)).mean((2, 3)))


def _of_inception(model: Any, batch: Any) -> list[Input]:
    return [Input((torch.cat([model.a(batch[0]), model.b(batch[0])], 1),), 1)]


class Shuffled(nn.Module):
    """ShuffleNet's channel shuffle between a convolution and its activation permutes the units."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = he(nn.Conv2d(4, 12, 1, groups=2)), nn.Linear(12, 3)
        kill(self.conv, 1, 9)

    def shuffled(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.shuffled(self.conv(x))).mean((2, 3)))


class Heads(nn.Module):
    """A layer whose features are cut into heads before the activation: each feature is still a unit."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = he(nn.Linear(8, 12)), nn.Linear(12, 3)
        kill(self.fc, 1, 5, 6)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        heads = F.relu(self.fc(x).view(n, t, 3, 4).transpose(1, 2))
        return self.out(heads.transpose(1, 2).reshape(n, t, 12).mean(1))


class ChunkedChannels(nn.Module):
    """A convolution cut in halves along its channels, one of which gates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = he(nn.Conv2d(3, 16, 3)), nn.Linear(8, 3)
        kill(self.conv, 0, 5, 12)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.conv(x).chunk(2, 1)
        return self.out((F.relu(gate) * up).mean((2, 3)))


class Upscaled(nn.Module):
    """Pixel shuffle turns four channels into one of four times the size; behind it there are three units."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shuffle, self.out = he(nn.Conv2d(3, 12, 3)), nn.PixelShuffle(2), nn.Linear(3, 3)
        kill(self.conv, 4, 5, 6, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.shuffle(self.conv(x))).mean((2, 3)))


class PaddedChannels(nn.Module):
    """The shortcut of ResNet's option A: more channels by zeros, which a sum then fills."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = (
            he(nn.Conv2d(3, 6, 3, padding=1)),
            he(nn.Conv2d(6, 10, 3, padding=1)),
            nn.Linear(10, 3),
        )
        kill(self.a, 1)
        kill(self.b, 7, 9)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        return self.out(F.relu(F.pad(a, (0, 0, 0, 0, 2, 2)) + self.b(a)).mean((2, 3)))


def _of_padded_channels(model: Any, batch: Any) -> list[Input]:
    z = model.a(batch[0])
    a = z.clamp(min=0)
    return [Input((z,), 1), Input((F.pad(a, (0, 0, 0, 0, 2, 2)) + model.b(a),), 1)]


class Summed(nn.Module):
    """Two layers added in front of one activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = he(nn.Linear(8, 14)), he(nn.Linear(5, 14)), nn.Linear(14, 3)
        kill(self.a, 3, 4)
        kill(self.b, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.a(x) + self.b(x[:, :5])))


class Siamese(nn.Module):
    """One encoder for two inputs: a unit is dead if both leave it silent."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(he(nn.Linear(4, 16)), nn.ReLU(), nn.Linear(16, 8))
        self.out = nn.Linear(8, 3)
        kill(self.encoder[0], 5, 6)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return self.out((self.encoder(a) - self.encoder(b)).abs())


def _of_siamese(model: Any, batch: Any) -> list[Input]:
    return [Input(tuple(model.encoder[0](half) for half in batch[0].chunk(2, 1)), -1)]


class Experts(nn.Module):
    """Each sample goes to one of two experts."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(he(nn.Linear(8, 10)) for _ in range(2))
        self.out = nn.Linear(10, 3)
        kill(self.experts[0], 0)
        kill(self.experts[1], 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, first = x.new_zeros(len(x), 10), x[:, 0] > 0
        y[first] = F.relu(self.experts[0](x[first]))
        y[~first] = F.relu(self.experts[1](x[~first]))
        return self.out(y)


def _of_experts(model: Any, batch: Any) -> list[Input]:
    first = batch[0][:, 0] > 0
    return [Input((model.experts[0](batch[0][first]),), -1), Input((model.experts[1](batch[0][~first]),), -1)]


class Einsum(nn.Module):
    """A layer written as an Einstein sum."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(16, 8) / 2), nn.Parameter(torch.zeros(16))
        self.out = nn.Linear(16, 3)
        with torch.no_grad():
            self.b[[0, 7]] = -25.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(torch.einsum("btd,hd->bth", x, self.w) + self.b).mean(1))


class Scaled(nn.Module):
    """A scale and a shift of each feature between the layer and the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = he(nn.Linear(8, 12)), nn.Linear(12, 3)
        self.scale, self.shift = nn.Parameter(torch.ones(12)), nn.Parameter(torch.zeros(12))
        with torch.no_grad():
            self.shift[[2, 10]] = -25.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.fc(x) * self.scale + self.shift))


class TimeDistributed(nn.Module):
    """Batch and time folded into one axis for a layer and unfolded after it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.out = nn.Linear(8, 12), nn.BatchNorm1d(12), nn.Linear(12, 3)
        kill(self.norm, 0, 8)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        y = F.relu(self.norm(self.fc(x.reshape(n * t, d))))
        return self.out(y.view(n, t, -1).mean(1))


class UNet(nn.Module):
    """Down, up, and a shortcut that is concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = he(nn.Conv2d(3, 6, 3, padding=1)), he(nn.Conv2d(6, 8, 3, padding=1))
        self.up, self.c = nn.ConvTranspose2d(8, 6, 2, 2), he(nn.Conv2d(12, 6, 3, padding=1))
        self.out = nn.Conv2d(6, 3, 1)
        kill(self.a, 0)
        kill(self.b, 3, 5)
        kill(self.c, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x), inplace=True)
        b = F.relu(self.b(F.max_pool2d(a, 2)))
        c = F.relu_(self.c(torch.cat([a, self.up(b)], 1)))
        return self.out(c).mean((2, 3))


def _flattened() -> nn.Module:
    model = nn.Sequential(
        he(nn.Conv2d(3, 6, 3)),
        nn.ReLU(),
        nn.Flatten(),
        he(nn.Linear(6 * 36, 20)),
        nn.ReLU(),
        nn.Linear(20, 3),
    )
    kill(model[0], 2)
    kill(model[3], 0, 19)
    return model


def _activation_after_flatten() -> nn.Module:
    """Behind the flattening each position of each channel is an entry of its own, and channels are still units."""
    model = nn.Sequential(he(nn.Conv2d(3, 6, 3)), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3))
    kill(model[0], 2)
    return model


def _bilinear() -> list[Any]:
    return [
        ((torch.randn(SAMPLES, 4), torch.randn(SAMPLES, 5)), torch.randint(0, 3, (SAMPLES,)))
        for _ in range(BATCHES)
    ]


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.out = nn.Bilinear(4, 5, 12), nn.Linear(12, 3)
        kill(self.pair, 0, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(F.relu(self.pair(x, y)))


CASES = (
    Case("mixer", "structure", Mixer, normal(6, 8), made_by("tokens", "channels"), CE),
    Case("ConvNeXt block", "structure", ConvNeXt, normal(6, 8, 8), made_by("up"), CE),
    Case("inception", "structure", Inception, normal(3, 6, 6), _of_inception, CE),
    Case(
        "channel shuffle",
        "structure",
        Shuffled,
        normal(4, 6, 6),
        lambda m, b: [Input((m.shuffled(m.conv(b[0])),), 1)],
        CE,
    ),
    Case(
        "sum of two layers",
        "structure",
        Summed,
        normal(8),
        lambda m, b: [Input((m.a(b[0]) + m.b(b[0][:, :5]),), -1)],
        CE,
    ),
    Case("siamese", "structure", Siamese, normal(8), _of_siamese, CE),
    Case("experts", "structure", Experts, normal(8), _of_experts, CE),
    Case("einsum", "structure", Einsum, normal(6, 8), lambda m, b: [Input((b[0] @ m.w.t() + m.b,), -1)], CE),
    Case(
        "scale and shift",
        "structure",
        Scaled,
        normal(8),
        lambda m, b: [Input((m.fc(b[0]) * m.scale + m.shift,), -1)],
        CE,
    ),
    Case("time in the batch", "structure", TimeDistributed, normal(6, 8), made_by("norm"), CE),
    Case("U-Net", "structure", UNet, normal(3, 8, 8), made_by("a", "b", "c", axis=1), CE),
    Case(
        "conv, flatten, linear",
        "structure",
        _flattened,
        normal(3, 8, 8),
        lambda m, b: [Input((m[0](b[0]),), 1), Input((m[3](m[0](b[0]).clamp(min=0).flatten(1)),), -1)],
        CE,
    ),
    Case(
        "activation after pooling",
        "structure",
        _activation_after_flatten,
        normal(3, 8, 8),
        made_by("1", axis=1),
        CE,
    ),
    Case("bilinear", "structure", Bilinear, _bilinear, made_by("pair"), CE),
)
