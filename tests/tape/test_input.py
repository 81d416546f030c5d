"""What users hand over: every kind of batch and output, and clear words for what cannot be used."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

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


META = net().to("meta")


class Stops(nn.Module):
    """A forward that breaks after half of it has run."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        self.net(x)
        raise KeyError("half way")


class Parts(nn.Module):
    """A model whose second half has no memory."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)).to("meta"))


def raising(*_: object) -> None:
    raise ValueError("a hook of the user's")


def hooked(kind: str) -> nn.Module:
    model = net()
    if kind == "forward":
        model[1].register_forward_hook(raising)
    elif kind == "module backward":
        model[1].register_full_backward_hook(raising)
    else:
        model[0].weight.register_hook(raising)
    return model


@pytest.mark.parametrize(
    ("model", "batches", "loss", "words"),
    [
        (META, [X.to("meta")], None, "0.weight is on the meta device and holds no numbers"),
        (Parts(), [X], None, "b.weight is on the meta device"),
        (net(), [X.to("meta")], None, "batch 0 is on the meta device"),
        (net(), [X], lambda y: y.to("meta").sum(), "the loss is on the meta device"),
        (Stops(), [X], None, "the model failed on batch 0 (inputs of shape (40, 4)): KeyError: 'half way'"),
        (
            hooked("forward"),
            [X],
            None,
            "the model failed on batch 0 (inputs of shape (40, 4)): ValueError: a hook",
        ),
        (hooked("module backward"), [X], None, "the backward pass failed on batch 0"),
        (hooked("tensor"), [X], None, "the backward pass failed on batch 0"),
        (
            net(),
            [X],
            lambda y: y.sum() * 1j,
            "the loss function returned torch.complex64: a loss must be real",
        ),
        (net(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X[:0])), None, "batches is empty"),
        (nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), [X[:1]], None, "more than 1 value per channel"),
    ],
)
def test_what_fails_half_way_is_said_and_leaves_nothing_behind(
    model: nn.Module, batches: Any, loss: Any, words: str
) -> None:
    before = {name: (p.grad, p._version) for name, p in model.named_parameters()}
    hooks = [dict(part._forward_hooks) for part in model.modules()]
    state = torch.get_rng_state()
    assert words in refused(model, batches, loss)
    assert {name: (p.grad, p._version) for name, p in model.named_parameters()} == before
    assert [dict(part._forward_hooks) for part in model.modules()] == hooks
    assert not _get_current_dispatch_mode_stack()
    assert not _get_current_function_mode_stack()
    assert torch.equal(torch.get_rng_state(), state)


def test_nested_tensors_are_refused() -> None:
    with pytest.warns(UserWarning, match="nested"):
        batch = torch.nested.nested_tensor([X[:3], X[:5]])
    assert "pad it" in refused(net(), [batch])


def test_parameters_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = net()
    assert "Inference tensors cannot be saved for backward" in refused(model, [X])


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_inputs(layout: torch.layout) -> None:
    model = net()
    nn.init.constant_(model[0].bias, 0.0)
    with torch.no_grad():
        model[0].bias[5] = -25.0
    x = X * (X > 0)
    (dense,) = probe(model, [x]).activations
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its CSR layout a beta
        (site,) = probe(model, [x.to_sparse(layout=layout)]).activations
    assert (site.units, site.samples, site.dead_units) == (8, 40, (5,))
    assert site.activity == dense.activity


def test_complex_layers() -> None:
    class Modulus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(4, 8, dtype=torch.complex64), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(F.relu(self.fc(x).abs() - 25.0 * torch.eye(8)[2]))

    report = probe(Modulus(), [torch.randn(40, 4, dtype=torch.complex64)])
    assert [(a.units, a.dead_units, a.linear) for a in report.activations] == [(8, (2,), 7)]
    assert all(g.norm for g in report.gradients)


def test_quantised_models() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated, and its models are still about
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        nn.init.constant_(model[0].bias, -25.0)
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
        report = probe(quantised, [X])
    assert [(a.units, a.dead) for a in report.activations] == [(8, 8)]
    assert report.gradients == ()


class Partly(nn.Module):
    """A first half without gradients."""

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.net, self.head, self.mode = net(), nn.Linear(3, 3), mode
        with torch.no_grad():
            self.net[0].bias.copy_(-25.0 * torch.eye(8)[6])

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            y = self.net(x)
        return self.head(y.clone())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_part_without_gradients_is_counted_and_said(mode: Any) -> None:
    report = probe(Partly(mode), [X, X])
    assert [(a.name, a.dead_units, a.samples) for a in report.activations] == [("net.1", (6,), 80)]
    assert [f.layer for f in report.findings if f.code == "RLU613"] == ["net.0", "net.2"]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(reduction="none"), lambda y, t: y])
def test_a_loss_that_is_no_scalar_is_averaged(loss: Any) -> None:
    report = probe(net(), [(X, Y)], loss)
    assert all(g.norm for g in report.gradients)
    assert report.crashes == ()


@pytest.mark.parametrize("loss", [lambda y, t: (y.argmax(1) != t).sum(), lambda y, t: y > 0])
def test_a_count_is_no_loss(loss: Any) -> None:
    assert [f.code for f in probe(net(), [(X, Y)], loss).findings] == ["RLU613"]


def test_one_sample_decides_nothing() -> None:
    report = probe(net(), [X[:1]])
    (site,) = report.activations
    assert (site.samples, site.undetermined) == (1, True)
    assert report.findings == ()


def test_a_gradient_inside_the_forward() -> None:
    """A gradient penalty: autograd runs while the pass is recorded, and once more through itself."""

    class Penalty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone().requires_grad_()
            y = self.net(x)
            (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            return y.sum(1) + slope.norm(dim=1)

    report = probe(Penalty(), [X])
    assert [(a.name, a.units, a.samples) for a in report.activations] == [("net.1", 8, 40)]
    assert report.crashes == ()


def test_a_batch_of_nan_among_others() -> None:
    report = probe(net(), [X, torch.full_like(X, float("nan")), X])
    assert [f.code for f in report.findings] == ["RLU614"]
    assert "on batch 1" in report.findings[0].message


def test_the_batch_of_an_operation_that_breaks_counts_from_0() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)
            nn.init.eye_(self.fc.weight)
            nn.init.zeros_(self.fc.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x).sqrt()

    (finding,) = probe(Root(), [X.abs() + 1, X.abs() + 1, -X.abs() - 1]).findings
    assert finding.message == "NaN appears first in the output of sqrt in 'fc' on batch 2"


def test_a_row_that_is_masked_as_a_whole_breaks_softmax() -> None:
    class Attention(nn.Module):
        def __init__(self, masked: int) -> None:
            super().__init__()
            self.q, self.o, self.masked = nn.Linear(4, 4), nn.Linear(4, 2), masked

        def forward(self, x: Tensor) -> Tensor:
            q = self.q(x)
            mask = torch.zeros(len(x), len(x), dtype=torch.bool)
            mask[0, : self.masked] = True
            return self.o((q @ q.t()).masked_fill(mask, float("-inf")).softmax(-1) @ q)

    assert probe(Attention(len(X) - 1), [X]).measurements.non_finite is None
    (finding,) = probe(Attention(len(X)), [X]).findings
    assert finding.message == "NaN appears first in the output of softmax in 'q' on batch 0"


def test_the_report_reads_well() -> None:
    model = net()
    nn.init.constant_(model[0].bias, -25.0)
    report = probe(model, [(X, Y)], F.cross_entropy)
    with pytest.raises(AssertionError, match="Sequential is not healthy"):
        report.raise_if_unhealthy()
    report.raise_if_unhealthy("never")
    assert "8 (100%)" in report.table()
    assert '"dead": 8' in report.to_json()


class Logarithm(nn.Module):
    """Takes the logarithm of what may be negative, for a batch whose first number is large."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).log() if x[0, 0] > 50 else self.fc(x)


@pytest.mark.parametrize(("value", "first"), [(100.0, "log in 'fc'"), (float("nan"), "the input")])
def test_the_batch_with_the_first_non_finite_value_is_named(value: float, first: str) -> None:
    batches = [torch.randn(40, 4) for _ in range(4)]
    batches[2][0, 0] = value
    report = probe(Logarithm(), [(x, torch.zeros(40, 3)) for x in batches], F.mse_loss)
    (found,) = [f for f in report.findings if f.code == "RLU614"]
    assert first in found.message
    assert "on batch 2" in found.message
