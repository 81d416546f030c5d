"""What a pass asks its device for: figures stay there, and a pass that is followed waits for it once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import relucheck
from relucheck.tape.batches import Batch
from relucheck.tape.names import Names
from relucheck.tape.passes import run_pass
from relucheck.tape.session import Session

WAITS = ("cpu", "item", "tolist", "numpy", "__float__", "__bool__", "__int__")
"""Methods of a tensor that copy it from its device, for which the program has to wait."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of the methods was called."""
    counted: Counter[str] = Counter()

    def counting(name: str) -> None:
        original = getattr(Tensor, name)

        def method(tensor: Tensor, *args: object, **kwargs: object) -> object:
            counted[name] += 1
            return original(tensor, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, method)

    for name in WAITS:
        counting(name)
    return counted


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 12),
        nn.Tanh(),
        nn.Linear(12, 4),
    )


def test_a_pass_that_is_followed_waits_for_its_device_once(waits: Counter[str]) -> None:
    model = network()
    session = Session.of(model, Names.of(model), nn.functional.cross_entropy, has_loss=True)
    batch = Batch((torch.randn(16, 3, 8, 8),), {}, torch.arange(16) % 4)
    run_pass(session, batch)
    waits.clear()
    run_pass(session, batch)
    assert dict(waits) == {"tolist": 1}  # the norms of all gradients, the loss and the output, together


def test_a_step_of_a_training_that_is_followed_waits_for_norms_loss_and_updates(waits: Counter[str]) -> None:
    model, x = network(), torch.randn(16, 3, 8, 8)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(16) % 4).backward()
        optimiser.step()

    with relucheck.watch(every=1, window=10**9):
        step()
        waits.clear()
        step()
        assert dict(waits) == {"tolist": 2, "__float__": 1}
        waits.clear()
    assert sum(waits.values()) > 0  # what was counted is brought over at the end
