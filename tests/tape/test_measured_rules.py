"""The pages of the measured rules are true: each example is found, each remedy is silent."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from relucheck.engine import load_rules
from relucheck.finding import RuleModule, Severity
from relucheck.live import Report, probe
from relucheck.measurements import Activation, Gradient, Measurements

MEASURED = [rule for rule in load_rules() if rule.rule.subject is Measurements]
HEADINGS = ["What it does", "Why is this bad?", "Example", "Use instead", "Silent on", "References"]
ALL = ("ALL",)


def block(rule: RuleModule, heading: str) -> str:
    section = rule.page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.S)
    return str(code)


def run(code: str) -> Report:
    from relucheck.config import Settings

    names: dict[str, Any] = {}
    exec(compile(code, "<page>", "exec"), names)
    return probe(
        names["model"],
        names["batches"],
        names.get("loss_fn"),
        optimiser=names.get("optimiser"),
        configuration=Settings(select=ALL),
    )


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def test_there_are_thirteen() -> None:
    numbers = [601, 602, 603, 604, 605, 611, 612, 613, 614, 615, 616, 617, 621]
    assert [rule.rule.code for rule in MEASURED] == [f"RLU{n}" for n in numbers]


@pytest.mark.parametrize("rule", MEASURED, ids=lambda r: r.rule.code)
def test_pages_have_their_headings(rule: RuleModule) -> None:
    assert re.findall(r"^## (.*)$", rule.page, re.M) == HEADINGS


@pytest.mark.parametrize("rule", MEASURED, ids=lambda r: r.rule.code)
def test_the_example_is_found(rule: RuleModule) -> None:
    assert rule.rule.code in codes(run(block(rule, "Example")))


@pytest.mark.parametrize("rule", MEASURED, ids=lambda r: r.rule.code)
def test_the_remedy_is_silent(rule: RuleModule) -> None:
    assert [c for c in codes(run(block(rule, "Use instead"))) if c.startswith("RLU6")] == []


def measurements(**changes: Any) -> Measurements:
    return Measurements(**{"name": "Net", "samples": 1000, "batches": 10, "training": True, **changes})


def said(m: Measurements) -> list[tuple[str, Severity]]:
    return [(f.code, f.severity) for rule in MEASURED for f in rule.check(m)]


def site(dead: int, units: int = 100, samples: int = 1000, linear: int = 0, **more: Any) -> Activation:
    return Activation(
        "fc:relu",
        "relu",
        units,
        samples,
        dead_units=tuple(range(dead)),
        linear_units=tuple(range(dead, dead + linear)),
        one_sided=True,
        **more,
    )


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (site(9), []),
        (site(10), [("RLU601", Severity.ADVICE)]),
        (site(50), [("RLU601", Severity.WARNING)]),
        (site(90), [("RLU601", Severity.ERROR)]),
        (site(95), [("RLU602", Severity.ERROR)]),
        (site(50, linear=45), [("RLU602", Severity.ERROR)]),
        (site(60, samples=298), []),
        (site(90, samples=298), [("RLU601", Severity.ERROR)]),
        (site(90, samples=31), []),
        (site(100, samples=31), []),
        (site(100, samples=32), [("RLU602", Severity.ERROR)]),
        (site(60, last=True), []),
        (site(0, linear=60), [("RLU603", Severity.ADVICE)]),
    ],
)
def test_levels_of_silent_units(activation: Activation, expected: list[tuple[str, Severity]]) -> None:
    assert said(measurements(activations=(activation,))) == expected


def layer(elasticity: float, **more: Any) -> Gradient:
    return Gradient(f"l{elasticity}", "weight", "linear", elasticity, 1.0, trunk=True, **more)


@pytest.mark.parametrize(
    ("elasticities", "optimiser", "expected"),
    [
        ((1.0, 1.0, 1.0), "", []),
        ((0.05, 0.3, 1.0), "", []),
        ((0.05, 0.3, 1.0), "Adam", []),
        ((0.05, 0.3, 1.0), "SGD", [("RLU611", Severity.WARNING)]),
        ((0.005, 0.1, 1.0), "", [("RLU611", Severity.WARNING)]),
        ((0.00005, 0.01, 1.0), "", [("RLU611", Severity.ERROR)]),
        ((0.0, 0.0, 1.0), "", [("RLU611", Severity.ERROR)]),
        ((200.0, 10.0, 1.0), "", [("RLU612", Severity.WARNING)]),
        ((20.0, 5.0, 1.0), "SGD", [("RLU612", Severity.WARNING)]),
        ((1.0, 0.005, 1.0), "", []),
    ],
)
def test_levels_of_gradient_flow(
    elasticities: tuple[float, ...], optimiser: str, expected: list[tuple[str, Severity]]
) -> None:
    gradients = tuple(layer(e) for e in elasticities)
    assert said(measurements(gradients=gradients, optimiser=optimiser)) == expected


@pytest.mark.parametrize(
    ("norm", "arriving", "expected"),
    [
        (9e-10, 1e-4, [("RLU611", Severity.WARNING)]),
        (9e-10, 8e-6, []),  # the loss itself is small
        (2e-9, 1e-4, []),
    ],
)
def test_gradients_below_the_epsilon_of_adam(
    norm: float, arriving: float, expected: list[tuple[str, Severity]]
) -> None:
    gradients = (layer(norm), layer(norm / 2), layer(norm, rms=arriving))
    assert said(measurements(gradients=gradients)) == expected


def equally_small(gain: float, depth: int, act: type[nn.Module]) -> Report:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(64, 64, bias=False)
        nn.init.normal_(linear.weight, std=gain / 8)
        parts += [linear, act()]
    model = nn.Sequential(*parts, nn.Linear(64, 10))
    return probe(model, [(torch.randn(320, 64), torch.randint(0, 10, (320,)))], nn.CrossEntropyLoss())


def test_a_signal_that_vanishes_both_ways_leaves_no_ratio_to_judge() -> None:
    """tanh is the identity near 0, so its layers differ from bias-free ReLU's in a factor of the output only."""
    for act, gain in ((nn.Tanh, 0.3), (nn.ReLU, 0.3 * 2**0.5)):
        found = equally_small(gain, 20, act)
        elasticities = [g.elasticity or 0.0 for g in found.gradients]
        assert max(elasticities) < 50 * min(elasticities)
    (finding,) = [f for f in equally_small(0.3, 20, nn.Tanh).findings if f.code == "RLU611"]
    assert finding.severity is Severity.WARNING
    assert finding.layer == "0"
    assert "RLU611" not in codes(equally_small(0.3, 10, nn.Tanh))  # Adam trains it


@pytest.mark.parametrize(
    ("ratio", "more", "expected"),
    [
        (0.15, {}, []),
        (0.16, {}, [("RLU617", Severity.ADVICE)]),
        (0.31, {}, [("RLU617", Severity.WARNING)]),
        (1.01, {}, [("RLU617", Severity.ERROR)]),
        (1.01, {"rectified": False}, []),
        (1.01, {"kind": "conv"}, []),
        (1.01, {"frozen": True}, []),
    ],
)
def test_levels_of_the_first_update(
    ratio: float, more: dict[str, Any], expected: list[tuple[str, Severity]]
) -> None:
    record = replace(layer(1.0), first_update=ratio, rectified=True)
    assert said(measurements(gradients=(replace(record, **more),))) == expected


@pytest.mark.parametrize(
    ("share", "scale", "words"),
    [
        (0.49, 1.0, None),
        (0.5, 1.0, "makes 50% of the nonzero gradients of 'l1.0' zero without a loss scale"),
        (1.0, 65536.0, "makes 100% of the nonzero gradients of 'l1.0' zero at a loss scale of 65536"),
        (None, 1.0, None),
    ],
)
def test_levels_of_underflow(share: float | None, scale: float, words: str | None) -> None:
    m = measurements(gradients=(layer(1.0, underflow=share),), loss_scale=scale)
    messages = [f.message for rule in MEASURED for f in rule.check(m)]
    assert messages == ([] if words is None else [f"fp16 {words}"])


def test_a_zero_initialised_head_blocks_the_verdict() -> None:
    head = Gradient("head", "weight", "linear", 1.0, 0.0, trunk=True)
    assert said(measurements(gradients=(layer(0.0), layer(0.0), layer(0.0), head))) == []


def healthy() -> dict[str, tuple[nn.Module, Any, Any]]:
    """The negative controls of section 3, and ordinary networks."""

    def he(depth: int, width: int) -> nn.Sequential:
        parts: list[nn.Module] = []
        for _ in range(depth):
            linear = nn.Linear(width, width)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            parts += [linear, nn.ReLU()]
        return nn.Sequential(*parts, nn.Linear(width, 10))

    def bias_free(depth: int, width: int) -> nn.Sequential:
        parts: list[nn.Module] = []
        for _ in range(depth):
            parts += [nn.Linear(width, width, bias=False), nn.ReLU()]
        return nn.Sequential(*parts, nn.Linear(width, 10, bias=False))

    def normed() -> nn.Module:
        parts: list[nn.Module] = []
        for _ in range(10):
            parts += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
        return nn.Sequential(*parts, nn.Linear(64, 10)).eval()

    irnn = nn.RNN(8, 8, nonlinearity="relu", batch_first=True)
    nn.init.eye_(irnn.weight_hh_l0)
    zero_head = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    nn.init.zeros_(zero_head[4].weight)
    nn.init.zeros_(zero_head[4].bias)
    encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    wide = [torch.randn(100, 64) for _ in range(4)]
    return {
        "he 20x64": (he(20, 64), wide, None),
        "bias-free 20": (bias_free(20, 256), [torch.randn(100, 256)] * 4, None),
        "norm in eval at step 0": (normed(), wide, None),
        "n=32": (he(2, 64), [torch.randn(32, 64)], None),
        "irnn": (irnn, [torch.rand(32, 30, 8)], None),
        "zero head": (zero_head, wide, None),
        "transformer": (
            nn.TransformerEncoder(encoder, 6, enable_nested_tensor=False),
            [torch.randn(300, 7, 32)],
            None,
        ),
        "sparse input": (he(3, 64), [(torch.rand(100, 64) > 0.9).float() for _ in range(4)], None),
        "lstm": (nn.LSTM(8, 16, 2, batch_first=True), [torch.randn(64, 12, 8)], None),
        "gru": (nn.GRU(8, 16, 2, batch_first=True), [torch.randn(64, 12, 8)], None),
        "conv": (
            nn.Sequential(
                nn.Conv2d(3, 16, 3),
                nn.BatchNorm2d(16),
                nn.ReLU(True),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 16, 3),
                nn.BatchNorm2d(16),
                nn.ReLU(True),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(16, 10),
            ),
            [(torch.randn(40, 3, 20, 20), torch.randint(0, 10, (40,)))],
            nn.CrossEntropyLoss(),
        ),
    }


@pytest.mark.parametrize("name", list(healthy()))
def test_healthy_networks_are_left_alone(name: str) -> None:
    torch.manual_seed(0)
    model, batches, loss = healthy()[name]
    report = probe(model, batches, loss)
    assert [f.message for f in report.findings if f.code.startswith("RLU6")] == []
    assert report.crashes == ()


def trained(act: type[nn.Module], rate: float, steps: int) -> tuple[nn.Module, Any]:
    """A classifier of raw pixels between 0 and 1 with a border of zeros, after some steps of Adam."""
    model = nn.Sequential(nn.Linear(100, 64), act(), nn.Linear(64, 32), act(), nn.Linear(32, 4))
    centres = torch.rand(4, 10, 10)
    centres[:, [0, -1]] = centres[:, :, [0, -1]] = 0.0
    y = torch.randint(0, 4, (640,))
    x = (centres[y] + 0.2 * torch.rand(640, 10, 10) * (centres[y] > 0)).clamp(0, 1).flatten(1)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        part = slice(64 * (step % 10), 64 * (step % 10) + 64)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        optimiser.step()
    return model, [(x[:320], y[:320])]


def test_a_trained_classifier_of_raw_pixels_is_left_alone() -> None:
    model, batches = trained(nn.ReLU, 1e-3, 60)
    assert probe(model, batches, nn.CrossEntropyLoss()).findings == ()


def test_leaky_units_are_never_dead_however_large_the_rate() -> None:
    model, batches = trained(nn.LeakyReLU, 0.1, 60)
    z = model[0](batches[0][0])
    assert float((z <= 0).all(0).double().mean()) > 0.1  # a count of signs would call these dead
    report = probe(model, batches, nn.CrossEntropyLoss())
    assert [site.dead for site in report.activations] == [0, 0]
    assert {"RLU601", "RLU602"}.isdisjoint(codes(report))


def test_deep_default_networks_collapse_and_the_cause_comes_first() -> None:
    parts: list[nn.Module] = []
    for _ in range(20):
        parts += [nn.Linear(64, 64), nn.ReLU()]
    report = probe(nn.Sequential(*parts, nn.Linear(64, 10)), [torch.randn(320, 64)])
    assert "RLU616" in codes(report)


def test_findings_of_two_layers_on_one_line_are_two() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(8, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 3)
            )
            for layer in (self.net[0], self.net[2]):
                with torch.no_grad():
                    layer.bias[:60] = -25.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    report = probe(Net(), [torch.randn(320, 8)])
    assert [(f.code, f.layer) for f in report.findings] == [("RLU601", "net.1"), ("RLU601", "net.3")]
    assert all(f.span is not None and f.span.path == __file__ for f in report.findings)


class Beside(nn.Module):
    """Returns its features, of which three are dead, and a prediction from them or from the input."""

    def __init__(self, reads_features: bool) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(6, 12), nn.Linear(12 if reads_features else 6, 2)
        self.reads_features = reads_features
        with torch.no_grad():
            self.fc.bias[:3] = -50.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.fc(x))
        return h, self.head(h if self.reads_features else x)


def test_features_returned_beside_a_prediction_are_no_outputs_that_must_learn() -> None:
    report = probe(Beside(reads_features=True), [torch.randn(64, 6)])
    assert "RLU605" not in {f.code for f in report.findings}
    assert [(a.dead, a.last) for a in report.activations] == [(3, False)]


def test_a_zero_head_is_not_blamed_on_the_activation_of_another_output() -> None:
    model = Beside(reads_features=False)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    (finding,) = [f for f in probe(model, [torch.randn(64, 6)]).findings if f.code == "RLU605"]
    assert finding.message.startswith("3 of 12 units of output[0] are zero")
