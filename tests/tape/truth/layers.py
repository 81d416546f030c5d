"""Convolutions, sequences, shared modules and blocks: which axis counts units, and which call is a site."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.tape.truth.case import BATCHES, SAMPLES, Case, Input, he, kill, made_by, normal, plain


def conv_net(conv: nn.Module, width: int, *, norm: nn.Module | None = None) -> nn.Module:
    """Convolution, perhaps a norm, ReLU, pooling, classifier."""
    flat = nn.Flatten(2)
    pooled = nn.AdaptiveAvgPool1d(1)
    return nn.Sequential(
        conv, norm or nn.Identity(), nn.ReLU(), flat, pooled, nn.Flatten(), nn.Linear(width, 3)
    )


def _conv2d() -> nn.Module:
    model = conv_net(he(nn.Conv2d(3, 12, 3)), 12)
    kill(model[0], 0, 5, 6)
    return model


def _conv1d() -> nn.Module:
    model = conv_net(he(nn.Conv1d(4, 10, 3)), 10)
    kill(model[0], 2, 9)
    return model


def _grouped() -> nn.Module:
    model = conv_net(he(nn.Conv2d(4, 12, 3, groups=2)), 12)
    kill(model[0], 1, 7)
    return model


def _depthwise() -> nn.Module:
    model = conv_net(he(nn.Conv2d(6, 6, 3, groups=6, padding=1)), 6)
    kill(model[0], 3)
    return model


def _transposed() -> nn.Module:
    model = conv_net(he(nn.ConvTranspose2d(3, 9, 2, stride=2)), 9)
    kill(model[0], 4, 8)
    return model


def _conv3d() -> nn.Module:
    model = conv_net(he(nn.Conv3d(2, 8, 2)), 8)
    kill(model[0], 0, 1)
    return model


def _conv_norm() -> nn.Module:
    model = conv_net(nn.Conv2d(3, 12, 3, bias=False), 12, norm=nn.BatchNorm2d(12))
    kill(model[1], 2, 3, 10)
    return model


def _group_norm() -> nn.Module:
    model = conv_net(nn.Conv2d(3, 12, 3), 12, norm=nn.GroupNorm(3, 12))
    kill(model[1], 6)
    return model


def _channels_last() -> nn.Module:
    return _conv2d().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class FunctionalConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = he(nn.Conv2d(3, 8, 3)), he(nn.Conv2d(8, 16, 3))
        self.fc = nn.Linear(16, 3)
        kill(self.conv1, 1)
        kill(self.conv2, 3, 15)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.fc(F.relu(self.conv2(x)).mean((2, 3)))


class Sequence(nn.Module):
    """(batch, time, features): the last axis counts units, whatever torch's convolutions do."""

    def __init__(self, act: Any = F.relu) -> None:
        super().__init__()
        self.fc1, self.fc2, self.act = he(nn.Linear(8, 16)), nn.Linear(16, 3), act
        kill(self.fc1, 0, 3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)).mean(1))


class Patches(nn.Module):
    """Image to patches: channels become features, and a Linear follows."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.out = he(nn.Conv2d(3, 12, 4, 4)), he(nn.Linear(12, 20)), nn.Linear(20, 3)
        kill(self.embed, 5)
        kill(self.fc, 0, 19)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.embed(x).flatten(2).transpose(1, 2))
        return self.out(F.relu(self.fc(x)).mean(1))


class SharedWidths(nn.Module):
    """One nn.ReLU behind layers of two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.relu = (
            he(nn.Linear(6, 8)),
            he(nn.Linear(8, 20)),
            nn.Linear(20, 3),
            nn.ReLU(),
        )
        kill(self.fc1, 0)
        kill(self.fc2, 1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


class SharedBlock(nn.Module):
    """One block, weights and all, applied twice: its units are dead if both uses leave them silent."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.block, self.out = (
            nn.Linear(6, 10),
            nn.Sequential(he(nn.Linear(10, 10)), nn.ReLU()),
            nn.Linear(10, 3),
        )
        kill(self.block[0], 2, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(self.block(self.inner(x))))


def _of_shared_block(model: Any, batch: Any) -> list[Input]:
    first = model.block[0](model.inner(batch[0]))
    return [Input((first, model.block[0](first.clamp(min=0))), -1)]


class Encoder(nn.Module):
    def __init__(self, norm_first: bool, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, "relu", batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(16, 3)
        for index, part in enumerate(self.encoder.layers):
            kill(part.linear1, *range(index, 13 + index))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.encoder(x).mean(1))


class Residual(nn.Module):
    """The last activation reads a sum, so that a unit is dead only where both terms leave it negative."""

    def __init__(self) -> None:
        super().__init__()
        self.start = he(nn.Linear(8, 12))
        self.a, self.b, self.out = he(nn.Linear(12, 12)), he(nn.Linear(12, 12)), nn.Linear(12, 3)
        kill(self.start, 1, 2)
        kill(self.a, 4)
        kill(self.b, 2, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.start(x))
        return self.out(F.relu(h + self.b(F.relu(self.a(h)))))


def _of_residual(model: Any, batch: Any) -> list[Input]:
    start = model.start(batch[0])
    h = start.clamp(min=0)
    a = model.a(h)
    return [Input((z,), -1) for z in (start, a, h + model.b(a.clamp(min=0)))]


class BasicBlock(nn.Module):
    """torchvision's basic block with its in-place ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = (
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
        )
        self.layer1, self.layer2 = BasicBlock(8), BasicBlock(8)
        self.fc = nn.Linear(8, 3)
        kill(self.bn1, 0)
        kill(self.layer1.bn1, 1, 2)
        kill(self.layer1.bn2, 0)
        kill(self.layer2.bn1, 7)
        kill(self.layer2.bn2, 0, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _of_resnet(model: Any, batch: Any) -> list[Input]:
    z = model.bn1(model.conv1(batch[0]))
    found = [z]
    for block in (model.layer1, model.layer2):
        x = z.clamp(min=0)
        inner = block.bn1(block.conv1(x))
        z = block.bn2(block.conv2(inner.clamp(min=0))) + x
        found += [inner, z]
    return [Input((one,), 1) for one in found]


class DenseBlock(nn.Module):
    """Concatenated features: the second layer's activation reads its own units only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = (
            he(nn.Conv2d(3, 6, 3, padding=1)),
            he(nn.Conv2d(9, 5, 3, padding=1)),
            nn.Linear(14, 3),
        )
        kill(self.a, 0, 1)
        kill(self.b, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, F.relu(self.a(x))], 1)
        x = torch.cat([x, F.relu(self.b(x))], 1)
        return self.out(x.mean((2, 3)))


class GatedReLU(nn.Module):
    """ReGLU: the product of a ReLU and a linear branch (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = he(nn.Linear(8, 16)), nn.Linear(8, 16), nn.Linear(16, 3)
        kill(self.gate, 0, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.gate(x)) * self.up(x))


class ChunkedGLU(nn.Module):
    """The same from one layer, cut in halves: units are those of the half."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = he(nn.Linear(8, 32)), nn.Linear(16, 3)
        kill(self.both, 2, 3, 20)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.both(x).chunk(2, -1)
        return self.down(F.relu(gate) * up)


class Functional(nn.Module):
    """Weights that are no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(16, 8) / 2), nn.Parameter(torch.zeros(16))
        self.w2 = nn.Parameter(torch.randn(16, 3) / 4)
        with torch.no_grad():
            self.b1[[3, 6]] = -25.0

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(F.linear(x, self.w1, self.b1)) @ self.w2


class HandCell(nn.Module):
    """A recurrence written as a loop: a unit is dead if it is silent at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u, self.out = nn.Linear(4, 10), nn.Linear(10, 10, bias=False), nn.Linear(10, 3)
        nn.init.eye_(self.u.weight)
        kill(self.w, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 10)
        for step in x.unbind(1):
            h = torch.relu(self.w(step) + self.u(h))
        return self.out(h)


def _of_cell(model: Any, batch: Any) -> list[Input]:
    h, seen = batch[0].new_zeros(len(batch[0]), 10), []
    for step in batch[0].unbind(1):
        z = model.w(step) + model.u(h)
        seen.append(z)
        h = z.clamp(min=0)
    return [Input(tuple(seen), -1)]


class RNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.RNN(4, 10, nonlinearity="relu", batch_first=True), nn.Linear(10, 3)
        nn.init.eye_(self.rnn.weight_hh_l0)
        with torch.no_grad():
            self.rnn.bias_ih_l0[[2, 5]] = -25.0

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def _of_rnn(model: Any, batch: Any) -> list[Input]:
    rnn, x = model.rnn, batch[0]
    h, seen = x.new_zeros(len(x), 10), []
    for step in x.unbind(1):
        z = step @ rnn.weight_ih_l0.t() + rnn.bias_ih_l0 + h @ rnn.weight_hh_l0.t() + rnn.bias_hh_l0
        seen.append(z)
        h = z.clamp(min=0)
    return [Input(tuple(seen), -1)]


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.start = he(nn.Linear(8, 12))
        self.block = nn.Sequential(he(nn.Linear(12, 16)), nn.ReLU(), he(nn.Linear(16, 12)), nn.ReLU())
        self.out, self.reentrant = nn.Linear(12, 3), reentrant
        kill(self.block[0], 1, 2)
        kill(self.block[2], 11)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(checkpoint(self.block, self.start(x), use_reentrant=self.reentrant))


class Control(nn.Module):
    """A branch that depends on the data, and a loop whose length does."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.inner, self.out = he(nn.Linear(8, 12)), he(nn.Linear(12, 12)), nn.Linear(12, 3)
        kill(self.start, 3)
        kill(self.inner, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.start(x)) if float(x.abs().mean()) > 0 else self.start(x)
        for _ in range(1 + (len(x) > 1)):
            h = torch.relu(self.inner(h))
        return self.out(h)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = he(nn.Linear(8, 10)), he(nn.Linear(5, 14)), nn.Linear(24, 3)
        kill(self.a, 9)
        kill(self.b, 0, 13)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.out(torch.cat([F.relu(self.a(x)), F.relu(self.b(y))], 1))


class Outputs(nn.Module):
    """Returns a dict or a tuple instead of a tensor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net, self.kind = nn.Sequential(he(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 3)), kind
        kill(self.net[0], 4, 12)

    def forward(self, x: Tensor) -> Any:
        y = self.net(x)
        return {"logits": y, "length": 3} if self.kind == "dict" else (y, None, [y * 2])


def _positional() -> list[Any]:
    return [
        ((torch.randn(SAMPLES, 8), torch.randn(SAMPLES, 5)), torch.randint(0, 3, (SAMPLES,)))
        for _ in range(BATCHES)
    ]


def _keywords() -> list[Any]:
    return [({"x": x, "y": y}, t) for (x, y), t in _positional()]


def _embedded() -> nn.Module:
    model = nn.Sequential(
        nn.Embedding(20, 8), he(nn.Linear(8, 16)), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 6, 3)
    )
    kill(model[1], 0, 15)
    return model


def _tokens() -> list[Any]:
    return [(torch.randint(0, 20, (SAMPLES, 6)), torch.randint(0, 3, (SAMPLES,))) for _ in range(BATCHES)]


def _mlp(killed: int = 14, width: int = 48) -> nn.Module:
    model = nn.Sequential(
        he(nn.Linear(8, width)), nn.ReLU(), he(nn.Linear(width, width)), nn.ReLU(), nn.Linear(width, 3)
    )
    kill(model[0], *range(killed))
    kill(model[2], *range(0, killed, 2))
    return model


def _in(dtype: torch.dtype) -> Any:
    return lambda: [torch.randn(SAMPLES, 8).to(dtype) for _ in range(BATCHES)]


def _weight_normed() -> nn.Module:
    model = _mlp()
    nn.utils.parametrizations.weight_norm(model[0])
    return model


CE = nn.CrossEntropyLoss()


def _of_control(model: Any, batch: Any) -> list[Input]:
    start = model.start(batch[0])
    first = model.inner(start.clamp(min=0))
    return [Input((start,), -1), Input((first, model.inner(first.clamp(min=0))), -1)]


def _transformer(norm_first: bool, layers: int, training: bool) -> Case:
    kind = ("pre" if norm_first else "post") + ("" if training else " eval")
    names = [f"encoder.layers.{i}.linear1" for i in range(layers)]
    return Case(
        f"transformer {kind}-norm",
        "axes",
        lambda: Encoder(norm_first, layers),
        normal(7, 16),
        made_by(*names),
        CE,
        training=training,
    )


CASES = (
    Case("mlp", "plain", _mlp, normal(8), made_by("0", "2"), CE),
    Case("mlp in eval mode", "plain", _mlp, normal(8), made_by("0", "2"), CE, training=False),
    Case("mlp fp16", "plain", lambda: _mlp().half(), _in(torch.float16), made_by("0", "2")),
    Case("mlp bf16", "plain", lambda: _mlp().bfloat16(), _in(torch.bfloat16), made_by("0", "2")),
    Case("mlp double", "plain", lambda: _mlp().double(), _in(torch.float64), made_by("0", "2")),
    Case("weight norm", "plain", _weight_normed, normal(8), made_by("0", "2"), CE),
    Case("conv2d", "axes", _conv2d, normal(3, 8, 8), made_by("0", axis=1), CE),
    Case("conv2d channels last", "axes", _channels_last, normal(3, 8, 8), made_by("0", axis=1), CE),
    Case("conv1d", "axes", _conv1d, normal(4, 12), made_by("0", axis=1), CE),
    Case("conv3d", "axes", _conv3d, normal(2, 4, 4, 4), made_by("0", axis=1), CE),
    Case("grouped conv", "axes", _grouped, normal(4, 8, 8), made_by("0", axis=1), CE),
    Case("depthwise conv", "axes", _depthwise, normal(6, 8, 8), made_by("0", axis=1), CE),
    Case("transposed conv", "axes", _transposed, normal(3, 5, 5), made_by("0", axis=1), CE),
    Case("conv and BatchNorm", "axes", _conv_norm, normal(3, 8, 8), made_by("1", axis=1), CE),
    Case("conv and GroupNorm", "axes", _group_norm, normal(3, 8, 8), made_by("1", axis=1), CE),
    Case(
        "functional convs", "axes", FunctionalConv, normal(3, 10, 10), made_by("conv1", "conv2", axis=1), CE
    ),
    Case("sequence F.relu", "axes", Sequence, normal(12, 8), made_by("fc1"), CE),
    Case("sequence nn.ReLU", "axes", lambda: Sequence(nn.ReLU()), normal(12, 8), made_by("fc1"), CE),
    Case("sequence as long as wide", "axes", Sequence, normal(16, 8), made_by("fc1"), CE),
    Case(
        "patches",
        "axes",
        Patches,
        normal(3, 16, 16),
        lambda m, b: [
            Input((m.embed(b[0]),), 1),
            Input((m.fc(m.embed(b[0]).clamp(min=0).flatten(2).transpose(1, 2)),), -1),
        ],
        CE,
    ),
    Case("embedding", "axes", _embedded, _tokens, made_by("1"), CE),
    _transformer(False, 2, True),
    _transformer(True, 2, True),
    _transformer(False, 2, False),
    Case("shared ReLU of two widths", "structure", SharedWidths, normal(6), made_by("fc1", "fc2"), CE),
    Case("shared block", "structure", SharedBlock, normal(6), _of_shared_block, CE),
    Case("residual", "structure", Residual, normal(8), _of_residual, CE),
    Case("resnet in place", "structure", ResNet, normal(3, 8, 8), _of_resnet, CE),
    Case("dense block", "structure", DenseBlock, normal(3, 8, 8), made_by("a", "b", axis=1), CE),
    Case("ReGLU", "structure", GatedReLU, normal(8), made_by("gate"), CE),
    Case(
        "chunked ReGLU",
        "structure",
        ChunkedGLU,
        normal(8),
        lambda m, b: [Input((m.both(b[0])[:, :16],), -1)],
        CE,
    ),
    Case(
        "functional weights",
        "structure",
        Functional,
        normal(8),
        lambda m, b: [Input((b[0] @ m.w1.t() + m.b1,), -1)],
        CE,
    ),
    Case("recurrent loop", "structure", HandCell, normal(9, 4), _of_cell, CE),
    Case("nn.RNN", "structure", RNN, normal(9, 4), _of_rnn, CE),
    Case(
        "checkpoint", "structure", lambda: Checkpointed(False), normal(8), made_by("block.0", "block.2"), CE
    ),
    Case(
        "reentrant checkpoint",
        "structure",
        lambda: Checkpointed(True),
        normal(8),
        made_by("block.0", "block.2"),
        CE,
    ),
    Case("control flow", "structure", Control, normal(8), _of_control, CE),
    Case("two inputs", "structure", TwoInputs, _positional, made_by("a", "b"), CE),
    Case("keyword inputs", "structure", TwoInputs, _keywords, made_by("a", "b"), CE),
    Case("dict output", "structure", lambda: Outputs("dict"), plain(8), made_by("net.0")),
    Case("tuple output", "structure", lambda: Outputs("tuple"), plain(8), made_by("net.0")),
)
