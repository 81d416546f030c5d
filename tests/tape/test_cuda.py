"""On a CUDA device: the same counts as on the CPU, no waiting for it but one, and the kernels that only it has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import relucheck
from relucheck.tape.batches import Batch
from relucheck.tape.names import Names
from relucheck.tape.passes import run_pass
from relucheck.tape.session import Session

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICE = torch.device("cuda")


def convolutional() -> nn.Sequential:
    """Three of eight channels and five of twelve units are dead by their bias."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 12), nn.ReLU(), nn.Linear(12, 4)
    )
    with torch.no_grad():
        model[0].bias[:3] = -1e3
        model[3].bias[:5] = -1e3
    return model


def images() -> tuple[Tensor, Tensor]:
    return torch.randn(64, 3, 8, 8), torch.arange(64) % 4


def test_counts_are_those_of_the_cpu() -> None:
    x, y = images()
    here = relucheck.probe(convolutional(), [(x, y)] * 3, functional.cross_entropy)
    there = relucheck.probe(
        convolutional().to(DEVICE), [(x.to(DEVICE), y.to(DEVICE))] * 3, functional.cross_entropy
    )
    assert [(a.name, a.dead, a.samples) for a in there.activations] == [("1", 3, 192), ("4", 5, 192)]
    assert [a.dead_units for a in here.activations] == [a.dead_units for a in there.activations]


def test_a_training_on_the_device_is_left_bit_for_bit_as_it_is() -> None:
    def trained(watched: bool) -> list[Tensor]:
        model = nn.Sequential(convolutional(), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 4)).to(DEVICE)
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        x, y = (t.to(DEVICE) for t in images())
        torch.manual_seed(1)
        with relucheck.watch(every=2 if watched else 10**9, first=0):
            for _ in range(6):
                optimiser.zero_grad()
                functional.cross_entropy(model(x), y).backward()
                optimiser.step()
        return [p.detach().cpu() for p in model.parameters()]

    for plain, watched in zip(trained(False), trained(True), strict=True):
        assert torch.equal(plain, watched)


def waits(step: Callable[[], object]) -> int:
    """How often the host waits for the device, or copies from it, in one step."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        step()
    names = [event.name for event in profile.events()]
    return sum("Memcpy DtoH" in name for name in names)


def test_a_followed_pass_waits_for_the_device_once() -> None:
    model, (x, y) = convolutional().to(DEVICE), (t.to(DEVICE) for t in images())
    session = Session.of(model, Names.of(model), functional.cross_entropy, has_loss=True)
    batch, parameters = Batch((x,), {}, y), list(model.parameters())
    plain = waits(lambda: torch.autograd.grad(functional.cross_entropy(model(x), y), parameters))
    for _ in range(2):
        run_pass(session, batch)
    assert waits(lambda: run_pass(session, batch)) <= plain + 1


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_fused_recurrence_is_measured_by_its_gradients(kind: type[nn.RNNBase]) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = kind(6, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])  # type: ignore[no-any-return]

    x, y = torch.randn(64, 9, 6, device=DEVICE), torch.arange(64, device=DEVICE) % 3
    report = relucheck.probe(Last().to(DEVICE), [(x, y)], functional.cross_entropy)
    assert report.crashes == ()
    assert {g.parameter for g in report.gradients} >= {"rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"}
    assert all(g.norm and g.norm > 0 for g in report.gradients)


def test_flash_attention_is_attention() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(8, 128, 3, 4, 16).permute(2, 0, 3, 1, 4)
            with nn.attention.sdpa_kernel(nn.attention.SDPBackend.FLASH_ATTENTION):
                y = functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).flatten(2)).relu()  # type: ignore[no-any-return]

    model = Attends().to(DEVICE, torch.bfloat16)
    report = relucheck.probe(model, [torch.randn(8, 128, 64, device=DEVICE, dtype=torch.bfloat16)])
    assert [a.units for a in report.activations] == [64]
    assert report.crashes == ()


def test_gradients_under_a_scaler_are_told_without_its_scale() -> None:
    model, (x, y) = convolutional().to(DEVICE), (t.to(DEVICE) for t in images())
    optimiser, scaler = torch.optim.SGD(model.parameters(), 0.0), torch.amp.GradScaler("cuda")
    with relucheck.watch(every=1) as scaled:
        with torch.autocast("cuda", dtype=torch.float16):
            loss = functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
    plain = relucheck.probe(model, [(x, y)], functional.cross_entropy)
    for one, other in zip(scaled.report.gradients, plain.gradients, strict=True):
        assert one.norm == pytest.approx(other.norm, rel=0.05)


def test_a_compiled_network_is_counted_as_it_is_written() -> None:
    model, (x, y) = convolutional().to(DEVICE), (t.to(DEVICE) for t in images())
    compiled = torch.compile(model)
    with relucheck.watch(every=2, first=1) as watch:
        for _ in range(4):
            functional.cross_entropy(compiled(x), y).backward()
    assert [a.dead for a in watch.report.activations] == [3, 5]
