"""A probe leaves nothing behind, whatever happens inside."""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from relucheck.live import probe
from relucheck.tape.batches import ProbeError


class Untidy(nn.Module):
    """Everything that a forward pass can change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 3)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
        self.register_buffer("seen", torch.zeros(()))
        self.calls = 0
        self.history: list[float] = [1.0]
        self.cache: Tensor | None = None
        self.fail: BaseException | None = None
        self.register_forward_hook(lambda *_: None)
        self.drop.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen += 1
        self.history.append(2.0)
        with torch.no_grad():
            self.head.weight.clamp_(-0.01, 0.01)
        h = F.relu(self.norm(self.conv(x)), inplace=True).mean((2, 3))
        self.cache = h
        h = (
            self.drop(self.spectral(self.frozen(h)))
            + torch.rand(())
            + random.random()
            + float(np.random.rand())
        )
        if self.fail is not None:
            self.train(not self.training)
            self.conv.requires_grad_(False)
            raise self.fail
        return self.head(h)


def snapshot(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for path, module in model.named_modules():
        state[f"{path}|training"] = module.training
        for name, value in module.__dict__.items():
            state[f"{path}|{name}"] = _frozen(value)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state[f"{name}|bits"] = tensor.detach().clone()
        state[f"{name}|id"] = id(tensor)
        state[f"{name}|requires_grad"] = tensor.requires_grad
        state[f"{name}|grad"] = None if tensor.grad is None else tensor.grad.clone()
    state["torch"] = torch.get_rng_state()
    state["numpy"] = str(np.random.get_state())
    state["python"] = random.getstate()
    state["hooks"] = (len(module_hooks._global_forward_hooks), len(module_hooks._global_forward_pre_hooks))
    state["fast path"] = torch.backends.mha.get_fastpath_enabled()
    state["grad mode"] = torch.is_grad_enabled()
    return state


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return (id(value), value.detach().clone())
    if isinstance(value, dict | OrderedDict):
        return [(key, id(item)) for key, item in value.items()]
    return list(value) if isinstance(value, list | set) else id(value)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [key for key in before.keys() | after.keys() if not same(before.get(key), after.get(key))]


@pytest.fixture(params=["train", "eval", "grads"])
def model(request: pytest.FixtureRequest) -> Untidy:
    model = Untidy()
    if request.param == "grads":
        model(torch.randn(4, 3, 8, 8)).sum().backward()
    return model.train(request.param != "eval")


def batches() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])) for _ in range(2)]


def test_everything_is_as_before(model: Untidy) -> None:
    data = batches()
    inputs = [x.clone() for x, _ in data]
    before = snapshot(model)
    probe(model, data, nn.CrossEntropyLoss())
    assert differences(before, snapshot(model)) == []
    assert all(torch.equal(a, b) for (a, _), b in zip(data, inputs, strict=True))


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), RuntimeError("size mismatch")])
def test_also_after_an_exception(model: Untidy, error: BaseException) -> None:
    data = batches()
    model.fail = error
    before = snapshot(model)
    with pytest.raises((ProbeError, KeyboardInterrupt)):
        probe(model, data, nn.CrossEntropyLoss())
    assert differences(before, snapshot(model)) == []


def test_also_when_the_loss_fails(model: Untidy) -> None:
    data = batches()
    before = snapshot(model)
    with pytest.raises(ProbeError, match="the loss function failed on batch 0"):
        probe(model, data, lambda y, t: y[:, :99].gather(1, t[:, None] + 7).sum())
    assert differences(before, snapshot(model)) == []


def test_an_in_place_first_layer_does_not_change_the_batch() -> None:
    x = torch.randn(40, 4)
    kept = x.clone()
    probe(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), [x])
    assert torch.equal(x, kept)


def test_training_goes_on_as_without_a_probe() -> None:
    def trained(with_probe: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = Untidy()
        optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
        for x, y in batches():
            optimiser.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if with_probe:
                probe(model, [(x, y)], F.cross_entropy)
            optimiser.step()
        return [p.detach() for p in model.parameters()]

    random.seed(0)
    np.random.seed(0)
    plain = trained(False)
    random.seed(0)
    np.random.seed(0)
    assert all(torch.equal(a, b) for a, b in zip(plain, trained(True), strict=True))
