"""What users hand over: every kind of batch and output, and clear words for what cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relucheck.live import probe
from relucheck.tape.batches import ProbeError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


X, Y = torch.randn(40, 4), torch.randint(0, 3, (40,))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        return F.relu(self.a(x)) + F.relu(self.b(y)) * scale


@pytest.mark.parametrize(
    ("model", "batches", "loss"),
    [
        (net(), [X], None),
        (net(), X, None),
        (net(), [(X, Y)], None),
        (net(), [[X, Y]], F.cross_entropy),
        (net(), (X, Y), F.cross_entropy),
        (net(), [(X,)], None),
        (net(), iter([X, X]), None),
        (net(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 20), F.cross_entropy),
        (net(), [{"input": X}], None),
        (net(), {"input": X}, None),
        (Two(), [((X, X), Y)], F.cross_entropy),
        (Two(), [(X, X, Y)], F.cross_entropy),
        (Two(), [({"x": X, "y": X, "scale": 2.0}, Y)], F.cross_entropy),
        (Two(), [{"x": X, "y": X}], None),
        (Two(), [(X, X, 2.0)], None),
    ],
)
def test_kinds_of_batches(model: nn.Module, batches: Any, loss: Any) -> None:
    report = probe(model, batches, loss)
    assert report.activations
    assert all(site.samples in (40, 80) for site in report.activations)
    assert all(g.norm for g in report.gradients)


@dataclass
class Answer:
    logits: Tensor
    note: str = "no tensor"
    loss: Tensor | None = None


class Returning(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net, self.kind = net(), kind

    def forward(self, x: Tensor) -> Any:
        y = self.net(x)
        return {
            "dict": {"logits": y, "length": 3},
            "tuple": (y, None, [y.exp()]),
            "dataclass": Answer(y),
            "loss": Answer(y, loss=y.square().mean()),
            "dict with loss": {"loss": y.mean(), "logits": y},
            "numbers": 3.0,
            "integers": y.argmax(1),
        }[self.kind]


@pytest.mark.parametrize("kind", ["dict", "tuple", "dataclass", "loss", "dict with loss"])
def test_kinds_of_outputs(kind: str) -> None:
    report = probe(Returning(kind), [X])
    assert report.activations[0].name == "net.1"
    assert all(g.norm for g in report.gradients)


def refused(model: Any, batches: Any, loss: Any = None) -> str:
    with pytest.raises(ProbeError) as error:
        probe(model, batches, loss)
    return str(error.value)


def test_what_cannot_be_used_is_said() -> None:
    assert refused(net(), []) == "batches is empty: a probe needs at least one batch to run the model on"
    assert "not an nn.Module" in refused(3, [X]) or "must be an nn.Module" in refused(3, [X])
    assert "batch 0 holds no sample" in refused(net(), [torch.randn(0, 4)])
    assert "must be an iterable of batches" in refused(net(), 3)
    assert "a batch must be" in refused(net(), ["x"])
    assert "an empty tuple" in refused(net(), [()])
    said = refused(net(), [torch.randn(5, 7)])
    assert "the model failed on batch 0 (inputs of shape (5, 7))" in said
    assert "mat1 and mat2" in said
    assert "pass (inputs, targets)" in refused(net(), [X], F.cross_entropy)
    assert "without a floating-point tensor" in refused(Returning("integers"), [X])
    assert "without a floating-point tensor" in refused(Returning("numbers"), [X])
    assert "must return a tensor" in refused(net(), [(X, Y)], lambda y, t: 3.0)
    assert "has no shape yet" in refused(nn.Sequential(nn.LazyLinear(3)), [X])


def test_a_model_without_parameters() -> None:
    report = probe(nn.ReLU(), [X])
    assert (report.gradients, report.activations[0].units) == ((), 4)
    assert report.findings == ()


def test_a_model_without_activations() -> None:
    report = probe(nn.Linear(4, 3), [X])
    assert (report.activations, report.findings) == ((), ())
    assert "no activation" in report.table()


def test_under_no_grad_and_in_eval_mode() -> None:
    model = net().eval()
    with torch.no_grad():
        report = probe(model, [X])
        assert not torch.is_grad_enabled()
    assert all(g.norm for g in report.gradients)
    assert not model.training


def test_under_inference_mode() -> None:
    model = net()
    with torch.inference_mode():
        report = probe(model, [torch.randn(40, 4)])
    assert report.activations[0].samples == 40


def test_all_frozen() -> None:
    report = probe(net().requires_grad_(False), [X])
    assert all(g.frozen for g in report.gradients)
    assert report.findings == ()


def test_a_detached_loss_is_an_error() -> None:
    report = probe(net(), [X], lambda y: y.detach().sum())
    assert [f.code for f in report.findings] == ["RLU613"]


def test_nan_in_the_input() -> None:
    x = X.clone()
    x[0, 0] = float("nan")
    report = probe(net(), [x])
    assert [f.code for f in report.findings] == ["RLU614"]
    assert "the input of the network holds NaN on batch 0" in report.findings[0].message


def test_max_batches_stops_an_endless_loader() -> None:
    def endless() -> Any:
        while True:
            yield X

    assert probe(net(), endless(), max_batches=3).measurements.batches == 3


def test_integer_inputs() -> None:
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 6), nn.ReLU(), nn.Flatten(), nn.Linear(30, 2))
    report = probe(model, [torch.randint(0, 10, (40, 5))])
    assert (report.activations[0].units, report.activations[0].samples) == (6, 40)


def test_unbatched_input() -> None:
    report = probe(net(), [torch.randn(4)])
    assert report.activations[0].units == 8


def test_the_report_reads_well() -> None:
    model = net()
    nn.init.constant_(model[0].bias, -25.0)
    report = probe(model, [(X, Y)], F.cross_entropy)
    with pytest.raises(AssertionError, match="Sequential is not healthy"):
        report.raise_if_unhealthy()
    report.raise_if_unhealthy("never")
    assert "8 (100%)" in report.table()
    assert '"dead": 8' in report.to_json()
