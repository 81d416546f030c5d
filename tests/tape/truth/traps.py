"""Healthy networks that look ill to somebody: whatever is said of their units or gradients is a false alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tape.truth.case import BATCHES, SAMPLES, Case, Input, he, made_by, normal, nothing
from tests.tape.truth.layers import CE, RNN, ResNet, conv_net

Act = Callable[[], nn.Module]


def mlp(act: Act = nn.ReLU, width: int = 32, inputs: int = 8) -> nn.Sequential:
    """Two hidden layers, each with the bias that keeps its units alive."""
    return nn.Sequential(
        he(nn.Linear(inputs, width)), act(), he(nn.Linear(width, width)), act(), nn.Linear(width, 3)
    )


# -- samples that are not alike ---------------------------------------------------------------------


def _one_hot_units(units: int) -> nn.Sequential:
    """Unit k fires where feature k is above 1/2."""
    model = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(units))
        model[0].bias.fill_(-0.5)
    return model


def _sorted_by_class() -> list[Any]:
    """Each batch holds one class, whose features alone are on: 4 of 5 units are silent in every batch."""
    batches = []
    for index in range(BATCHES):
        x = torch.zeros(SAMPLES, 20)
        x[:, 4 * index : 4 * index + 4] = 1.0 + torch.rand(SAMPLES, 4)
        batches.append((x, torch.full((SAMPLES,), index % 3)))
    return batches


def _rare() -> list[Any]:
    """Unit k fires on one sample of all 320."""
    batches = [(torch.zeros(SAMPLES, 16), torch.randint(0, 3, (SAMPLES,))) for _ in range(BATCHES)]
    for unit in range(16):
        x, _ = batches[unit % BATCHES]
        x[unit, unit] = 1.0
    return batches


def _sparse() -> list[Any]:
    """Bags of words: 4 % of the features are on."""
    return [
        ((torch.rand(SAMPLES, 64) < 0.04).float() * 3, torch.randint(0, 3, (SAMPLES,)))
        for _ in range(BATCHES)
    ]


def _unseen() -> nn.Module:
    """Units that fire on one input of 6,000; whether one was among the data is what counts here."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8))
        model[0].bias.fill_(-3.6)
    return model


class Padded(nn.Module):
    """A padding token with an embedding of zero, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.out = (
            nn.Embedding(20, 16, padding_idx=0),
            he(nn.Linear(16, 24)),
            nn.Linear(24, 3),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        h = F.relu(self.fc(self.embed(tokens)))
        mask = (tokens != 0).unsqueeze(-1)
        return self.out((h * mask).sum(1) / mask.sum(1).clamp(min=1))


def _padded() -> list[Any]:
    batches = []
    for _ in range(BATCHES):
        tokens = torch.randint(1, 20, (SAMPLES, 9))
        lengths = torch.randint(1, 10, (SAMPLES, 1))
        batches.append((tokens * (torch.arange(9) < lengths), torch.randint(0, 3, (SAMPLES,))))
    return batches


def _pixels() -> list[Any]:
    """Images between 0 and 1 whose border is always 0."""
    batches = []
    for _ in range(BATCHES):
        x = torch.zeros(SAMPLES, 10, 10)
        x[:, 2:8, 2:8] = torch.rand(SAMPLES, 6, 6)
        batches.append((x.flatten(1), torch.randint(0, 3, (SAMPLES,))))
    return batches


# -- parameters that are meant to be so -----------------------------------------------------------------


def _zero_head() -> nn.Module:
    model = mlp()
    nn.init.zeros_(model[4].weight)
    nn.init.zeros_(model[4].bias)
    return model


def _zero_branch() -> nn.Module:
    """Each residual branch starts at zero (Goyal et al. 2017): conv2 has no gradient before the first step."""
    model = ResNet()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.zeros_(part.bias)
    for block in (model.layer1, model.layer2):
        nn.init.zeros_(block.bn2.weight)
    return model


def _of_zero_branch(model: Any, batch: Any) -> list[Input]:
    z = model.bn1(model.conv1(batch[0]))
    found = [z]
    for block in (model.layer1, model.layer2):
        x = z.clamp(min=0)
        inner = block.bn1(block.conv1(x))
        z = block.bn2(block.conv2(inner.clamp(min=0))) + x
        found += [inner, z]
    return [Input((one,), 1) for one in found]


def _frozen() -> nn.Module:
    model = mlp()
    model[0].requires_grad_(False)
    return model


class LoRA(nn.Module):
    """A frozen layer with a low-rank addition whose second factor starts at zero (Hu et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.base = he(nn.Linear(8, 32)).requires_grad_(False)
        self.a, self.b = nn.Linear(8, 2, bias=False), nn.Linear(2, 32, bias=False)
        self.out = nn.Linear(32, 3)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.base(x) + self.b(self.a(x))))


def _conv_bias_before_norm() -> nn.Module:
    """The norm takes the bias away, so its gradient is zero but for rounding."""
    return conv_net(nn.Conv2d(3, 12, 3), 12, norm=nn.BatchNorm2d(12))


def _always_on() -> nn.Module:
    """Units that are on for all samples: identities, not dead ones."""
    model = mlp()
    with torch.no_grad():
        model[0].bias[:20] = 25.0
        model[2].weight[:, :20] = 0.0
    return model


def _negative_logits() -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[4].bias.fill_(-30.0)
    return model


def _dropped() -> nn.Module:
    return nn.Sequential(
        he(nn.Linear(8, 32)),
        nn.ReLU(),
        nn.Dropout(0.5),
        he(nn.Linear(32, 32)),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(32, 3),
    )


def _pooled() -> nn.Module:
    return nn.Sequential(
        he(nn.Conv2d(1, 8, 3, padding=1)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        he(nn.Conv2d(8, 16, 3, padding=1)),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


# -- deep networks whose gradient arrives -------------------------------------------------------------------


def _deep_he() -> nn.Module:
    parts: list[nn.Module] = []
    for _ in range(20):
        parts += [he(nn.Linear(64, 64)), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(64, 3))


def _deep_bias_free() -> nn.Module:
    """dL/dz falls to 3.5e-8 over its depth while the elasticity stays (Euler's identity)."""
    parts: list[nn.Module] = []
    for _ in range(20):
        parts += [nn.Linear(64, 64, bias=False), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(64, 3, bias=False))


def _deep_norm() -> nn.Module:
    parts: list[nn.Module] = []
    for _ in range(10):
        parts += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(64, 3))


class DeepResidual(nn.Module):
    """Pre-norm blocks, with GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
            for _ in range(12)
        )
        self.start, self.out = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        for block in self.blocks:
            x = x + block(x)
        return self.out(x)


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.rnn, self.out = cell(4, 16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def _irnn() -> nn.Module:
    """Identity recurrence (Le, Jaitly, Hinton 2015)."""
    model = RNN()
    with torch.no_grad():
        model.rnn.bias_ih_l0.zero_()
        model.rnn.bias_hh_l0.zero_()
        model.rnn.weight_ih_l0.mul_(0.1)
    return model


def _of_irnn(model: Any, batch: Any) -> list[Input]:
    rnn, x = model.rnn, batch[0]
    h, seen = x.new_zeros(len(x), 10), []
    for step in x.unbind(1):
        z = step @ rnn.weight_ih_l0.t() + h
        seen.append(z)
        h = z.clamp(min=0)
    return [Input(tuple(seen), -1)]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class Squeeze(nn.Module):
    """Squeeze and excitation: a small ReLU layer and a sigmoid on pooled channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up, self.out = (
            he(nn.Conv2d(3, 16, 3)),
            he(nn.Linear(16, 8)),
            nn.Linear(8, 16),
            nn.Linear(16, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv(x))
        scale = torch.sigmoid(self.up(F.relu(self.down(h.mean((2, 3))))))
        return self.out((h * scale[..., None, None]).mean((2, 3)))


def _of_squeeze(model: Any, batch: Any) -> list[Input]:
    z = model.conv(batch[0])
    return [Input((z,), 1), Input((model.down(z.clamp(min=0).mean((2, 3))),), -1)]


def _deep_names(depth: int, step: int, offset: int = 0) -> tuple[str, ...]:
    return tuple(str(step * i + offset) for i in range(depth))


def _trap(
    name: str, make: Callable[[], nn.Module], data: Callable[[], list[Any]], inputs: Any, **more: Any
) -> Case:
    return Case(f"trap {name}", "trap", make, data, inputs, **{"loss": CE, **more})


CASES = (
    _trap("plain MLP", mlp, normal(8), made_by("0", "2")),
    _trap("LeakyReLU", lambda: mlp(nn.LeakyReLU), normal(8), nothing),
    _trap("GELU", lambda: mlp(nn.GELU), normal(8), nothing),
    _trap("SiLU", lambda: mlp(nn.SiLU), normal(8), nothing),
    _trap("ELU", lambda: mlp(nn.ELU), normal(8), nothing),
    _trap("tanh", lambda: mlp(nn.Tanh), normal(8), nothing),
    _trap("PReLU", lambda: mlp(nn.PReLU), normal(8), nothing),
    _trap("class-sorted batches", lambda: _one_hot_units(20), _sorted_by_class, made_by("0")),
    _trap("rare units", lambda: _one_hot_units(16), _rare, made_by("0")),
    _trap("sparse input", lambda: mlp(inputs=64, width=64), _sparse, made_by("0", "2")),
    Case("rare and unseen", "unseen", _unseen, normal(8), made_by("0"), CE),
    _trap("padding", Padded, _padded, made_by("fc")),
    _trap("raw pixels", lambda: mlp(inputs=100), _pixels, made_by("0", "2")),
    _trap("zero-initialised head", _zero_head, normal(8), made_by("0", "2")),
    _trap("zero-initialised branches", _zero_branch, normal(3, 8, 8), _of_zero_branch),
    _trap("frozen layer", _frozen, normal(8), made_by("0", "2")),
    _trap("LoRA", LoRA, normal(8), lambda m, b: [Input((m.base(b[0]) + m.b(m.a(b[0])),), -1)]),
    _trap("bias before BatchNorm", _conv_bias_before_norm, normal(3, 8, 8), made_by("1", axis=1)),
    _trap("units always on", _always_on, normal(8), made_by("0", "2")),
    _trap("negative logits", _negative_logits, normal(8), made_by("0", "2")),
    _trap("dropout", _dropped, normal(8), made_by("0", "3")),
    _trap("max pooling", _pooled, normal(1, 8, 8), made_by("0", "3", axis=1)),
    _trap("20 layers, He", _deep_he, normal(64), made_by(*_deep_names(20, 2))),
    _trap("20 layers, no bias", _deep_bias_free, normal(64), made_by(*_deep_names(20, 2))),
    _trap("10 layers, BatchNorm", _deep_norm, normal(64), made_by(*_deep_names(10, 3, 1))),
    _trap("12 residual blocks", DeepResidual, normal(8), nothing),
    _trap("LSTM", lambda: Recurrent(nn.LSTM), normal(12, 4), nothing),
    _trap("GRU", lambda: Recurrent(nn.GRU), normal(12, 4), nothing),
    _trap("identity RNN", _irnn, normal(12, 4), _of_irnn),
    _trap("attention", Attention, normal(6, 16), nothing),
    _trap("squeeze and excitation", Squeeze, normal(3, 8, 8), _of_squeeze),
)
