"""The fixes of every rule, on the example of its own page and on the acceptance cases."""

import ast
import re
import shutil
from pathlib import Path

import pytest

import relucheck
from relucheck.cli_fix import text_edits
from relucheck.config import Settings
from relucheck.engine import lint_documents, lint_paths, load_rules
from relucheck.fixing import fix
from relucheck.source.files import from_text

RULES = load_rules()
ALL = Settings(select=("ALL",))
PAGES = {module.rule.name: module.page for module in RULES}
CASES = Path(relucheck.__file__).parent.parent.parent / "shared" / "cases" / "static"

OTHERWISE = (
    "double-activation",
    "dropout-on-logits",
    "layer-made-in-forward",
    "sigmoid-before-bce-logits",
    "slope-out-of-range",
    "softmax-one-unit",
)
"""Rules whose example is fixed in another way than the page shows, or in part."""

FIXABLE = tuple(name for name in sorted(PAGES) if "\n## Fix\n" in PAGES[name])
AS_WRITTEN = tuple(name for name in FIXABLE if name not in OTHERWISE)
"""Rules whose example, fixed, is what the page recommends."""


def block(page, title):
    """The Python code under a heading of a page."""
    return re.search(rf"## {title}\n.*?```python\n(.*?)```", page, re.DOTALL).group(1)


def fixed(text):
    """The fixed text of one file, and the result."""
    document = from_text("m.py", text)
    lint = lambda documents: lint_documents(documents, ALL, RULES)  # noqa: E731
    result = fix(lint([document]), lint, lambda path: text.encode(), unsafe=True)
    return result.contents.get("m.py", text.encode()).decode(), result


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_the_fixed_example_is_what_the_page_recommends(name):
    text, _ = fixed(block(PAGES[name], "Example"))
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(block(PAGES[name], "Use instead")))


@pytest.mark.parametrize("name", FIXABLE)
def test_the_finding_is_gone_from_the_fixed_example(name):
    text, result = fixed(block(PAGES[name], "Example"))
    assert name in [finding.name for finding in result.fixed], result.rejected
    ast.parse(text)


@pytest.mark.parametrize("name", [name for name in PAGES if "```python" in PAGES[name]])
def test_a_page_says_whether_there_is_a_fix_and_how_safe_it_is(name):
    if "## Example" not in PAGES[name]:
        pytest.skip("a page without code")
    found = lint_documents([from_text("m.py", block(PAGES[name], "Example"))], ALL, RULES).findings
    safeties = {finding.fix.safety.value for finding in found if finding.name == name and finding.fix}
    said = re.search(r"## Fix\n\nThe (safe|unsafe) fix ", PAGES[name])
    assert safeties == ({said.group(1)} if said else set())


# ------------------------------------------------- fixed examples, run and measured


def run(name):
    """The names that a fixed example leaves, run with torch."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    names = {"__name__": "example", "x": _input(name)}
    exec(compile(fixed(block(PAGES[name], "Example"))[0], name, "exec"), names)
    return names


def _input(name):
    """What the examples leave to the reader: an input."""
    import torch

    images = name == "norm-after-activation"
    return torch.randn(4, 3, 8, 8) if images else torch.randn(4, 10 if name == "linear-stack" else 8)


@pytest.mark.parametrize("name", FIXABLE)
def test_the_fixed_example_runs(name):
    if "```python" not in PAGES[name]:
        pytest.skip("a page without code")
    run(name)


def is_affine(function, width):
    """Whether a function maps the middle of two points to the middle of their images."""
    import torch

    a, b = torch.randn(64, width), torch.randn(64, width)
    with torch.no_grad():
        return bool((function((a + b) / 2) - (function(a) + function(b)) / 2).abs().max() < 1e-4)


@pytest.mark.parametrize(
    ("name", "width"),
    [("linear-stack", 10), ("activation-called-on-tensor", 8), ("discarded-activation", 8)],
)
def test_a_fixed_network_is_no_longer_affine(name, width):
    names = run(name)
    net = names["net"] if "net" in names else names["Net"]()
    assert not is_affine(net.eval(), width)


def test_each_slope_of_a_fixed_stack_is_its_own():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    text = (
        "import torch\nfrom torch import nn\n"
        "net = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 8), nn.Linear(8, 2))\nnet(torch.randn(3, 4))\n"
    )
    names = {}
    exec(fixed(text)[0], names)
    assert [type(layer) for layer in names["net"]][1::2] == [torch.nn.ReLU, torch.nn.ReLU]
    assert not is_affine(names["net"], 4)


def test_a_slope_that_was_a_bool_is_a_slope():
    import torch

    net = run("bool-slope")["net"]
    assert net[1](torch.tensor([-1.0, 2.0])).tolist() == pytest.approx([-0.01, 2.0])
    assert net[3](torch.tensor([-1.0])).item() == pytest.approx(-0.632, abs=1e-3)


def test_fixed_outputs_are_no_longer_one_sided_or_squashed():
    import torch

    assert run("relu-output")["Net"]()(torch.randn(64, 8)).min() < 0
    scores = run("softmax-before-cross-entropy")["model"](torch.randn(64, 4))
    assert scores.min() < 0
    assert (scores.sum(1) - 1).abs().max() > 0.1
    names = run("sigmoid-before-bce-logits")
    assert names["probs"].min() < 0 or names["probs"].max() > 1


def test_below_its_rectifier_a_squash_reaches_all_its_values():
    """What enters the softmax is what the layer computes, negative scores included."""
    import torch

    net = run("relu-before-squash")["Net"]()
    x = torch.randn(256, 8)
    scores = net.fc2(torch.relu(net.fc1(x)))
    assert torch.allclose(net(x), scores.log_softmax(1), atol=1e-6)
    assert not torch.allclose(net(x), scores.relu().log_softmax(1), atol=1e-2)


def test_a_fixed_state_is_bounded():
    import torch

    rnn = run("relu-rnn")["rnn"]
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(50)
        states, _ = rnn(torch.randn(100, 4, 8))
    assert states.abs().max() <= 1


def test_dropout_follows_the_mode():
    import torch

    x = torch.randn(16, 8)
    for name in ("functional-dropout-always-on", "layer-made-in-forward"):
        net = run(name)["Net"]()
        assert not torch.equal(net(x), net(x))
        assert torch.equal(net.eval()(x), net(x))


def test_registered_and_renewed_layers_have_their_own_weights():
    parameters = sum(p.numel() for p in run("layer-in-python-list")["Net"]().parameters())
    assert parameters == 3 * (8 * 8 + 8) + (8 + 1)
    assert sum(p.numel() for p in run("repeated-layer")["Encoder"](8).parameters()) == 6 * (8 * 8 + 8)


def test_a_reattached_loss_gives_a_gradient():
    assert run("detached-loss")["net"].weight.grad.abs().sum() > 0


def test_a_fixed_residual_branch_keeps_its_shortcut():
    import torch

    net = run("inplace-overwrites")["Residual"](2)
    x = -torch.ones(1, 2, 4, 4)
    assert torch.allclose(net(x), x + net.block[1].bias.view(1, 2, 1, 1), atol=1e-6)


def test_a_fixed_softmax_sums_to_one_for_each_sample_and_a_fixed_score_varies():
    import torch

    shares = run("softmax-wrong-dim")["Net"]()(torch.randn(5, 3, 3, 3))
    assert shares.sum(1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert run("softmax-one-unit")["Scorer"]()(torch.randn(64, 8)).std() > 0.01


def test_fixed_initialisations_have_the_spread_of_their_definition():
    """He et al. 2015: std = sqrt(2 / fan_in). Glorot and Bengio 2010: gain sqrt(2 / (fan_in + fan_out)), tanh 5/3."""
    weight = run("constant-init")["Net"]().fc1.weight
    assert weight.std().item() == pytest.approx((2 / 8) ** 0.5, rel=0.1)
    weight = run("init-mismatch")["Net"]().fc1.weight
    assert weight.std().item() == pytest.approx(5 / 3 * (2 / (8 + 64)) ** 0.5, rel=0.1)
    assert run("negative-bias")["Net"]().fc1.bias.abs().max() == 0
    norm = run("norm-eps-positional")["block"][1]
    assert (norm.eps, norm.momentum) == (1e-5, 0.8)


def test_a_fixed_loss_is_that_of_the_raw_scores():
    names = run("missing-log-softmax-nll")
    assert names["loss"] > 0  # minus a log-probability; of raw scores it has any sign
    assert run("missing-sigmoid-bce")["loss"] > 0


def test_fixed_steps_stand_in_the_standard_order():
    order = [type(layer).__name__ for layer in run("dropout-before-activation")["net"]]
    assert order == ["Linear", "GELU", "Dropout", "Linear"]
    order = [type(layer).__name__ for layer in run("norm-after-activation")["net"]]
    assert order == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "ReLU"]


# ------------------------------------------------------------- what a fix leaves behind

CLASSIFIER = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        return self.softmax(self.fc(x))
{more}

net = Net()
loss = nn.CrossEntropyLoss()(net(torch.randn(4, 8)), torch.zeros(4).long())
"""


def test_a_module_that_nothing_applies_any_more_goes_as_well():
    text, result = fixed(CLASSIFIER.format(more=""))
    assert [finding.code for finding in result.fixed] == ["RLU102"]
    assert "softmax" not in text
    assert result.lint.findings == ()


@pytest.mark.parametrize(
    "more",
    [
        "\n    def predict(self, x):\n        return self.softmax(self(x))\n",
        "\n\ndef predict(net, x):\n    return net.softmax(net(x))\n",
    ],
)
def test_a_module_that_is_applied_elsewhere_stays(more):
    text, result = fixed(CLASSIFIER.format(more=more))
    assert "return self.fc(x)\n" in text
    assert "self.softmax = nn.Softmax(dim=1)\n" in text
    assert [finding.code for finding in result.fixed] == ["RLU102"]


ONE_HIDDEN_LAYER = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 8)
        self.out = nn.Linear(8, 1)
        with torch.no_grad():
            {0}

    def forward(self, x):
        return self.out(torch.relu(self.fc(x)))
"""


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("self.fc.weight.copy_(torch.zeros(8, 4))", "RLU402"),
        ("self.fc.weight = nn.Parameter(0.1 * torch.ones(8, 4))", "RLU402"),
        ("self.fc.bias.data = torch.full((8,), -2.0)", "RLU403"),
    ],
)
def test_a_tensor_that_replaces_a_parameter_is_not_an_initialiser_to_rename(statement, code):
    before = ONE_HIDDEN_LAYER.format(statement)
    text, result = fixed(before)
    assert text == before
    assert [finding.code for finding in result.lint.findings] == [code]


def test_an_initialiser_keeps_its_mode():
    call = 'nn.init.kaiming_normal_(self.fc.weight, mode="fan_out", nonlinearity="{0}")'
    text, _ = fixed(ONE_HIDDEN_LAYER.format(call.format("tanh")))
    assert text == ONE_HIDDEN_LAYER.format(call.format("relu"))


@pytest.mark.parametrize(
    "wrapping",
    [
        "number = loss.item()\nloss = torch.tensor(number, requires_grad=True)",
        "loss = loss.detach()\nloss = loss.requires_grad_()",
        "loss.requires_grad = True",
    ],
)
def test_a_loss_that_another_statement_cut_off_is_left_alone(wrapping):
    before = f"""
import torch
from torch import nn

net = nn.Linear(4, 1)
loss = nn.functional.mse_loss(net(torch.randn(8, 4)), torch.randn(8, 1))
{wrapping}
loss.backward()
"""
    text, result = fixed(before)
    assert text == before
    assert [finding.code for finding in result.lint.findings] == ["RLU508"]


def test_a_step_that_a_loop_makes_for_every_layer_is_not_taken_out():
    text = (
        "import torch\nfrom torch import nn\nlayers = []\nfor a, b in ((8, 16), (16, 16), (16, 3)):\n"
        "    layers += [nn.Linear(a, b), nn.ReLU()]\nnet = nn.Sequential(*layers)\n"
        "nn.CrossEntropyLoss()(net(torch.randn(4, 8)), torch.zeros(4).long())\n"
    )
    found = lint_documents([from_text("m.py", text)], ALL, RULES).findings
    assert [(finding.code, finding.fix) for finding in found] == [("RLU101", None)]


@pytest.mark.parametrize("element", ["[nn.Linear(8, 8), nn.ReLU()]", "nn.Linear(8, 8), None"])
def test_a_list_of_more_than_modules_is_not_registered(element):
    text = block(PAGES["layer-in-python-list"], "Example").replace(
        "self.hidden = []", f"self.hidden = [{element}]"
    )
    found = lint_documents([from_text("m.py", text)], ALL, RULES).findings
    assert [(finding.code, finding.fix) for finding in found] == [("RLU507", None)]


SHARED = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.out = nn.Linear(8, 8), nn.Linear(8, {width})
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x):
        {use}
        return self.softmax(self.out(x))


net = Net()
loss = nn.{loss}()(net(torch.randn(4, 8)), torch.zeros(4{more}))
"""


@pytest.mark.parametrize("use", ["pass", "x = x * self.softmax(self.query(x))"])
@pytest.mark.parametrize(
    ("code", "new", "facts"),
    [
        ("RLU105", "nn.LogSoftmax(dim=-1)", {"width": 3, "loss": "NLLLoss", "more": ", dtype=int"}),
        ("RLU107", "nn.Sigmoid()", {"width": 1, "loss": "BCELoss", "more": ", 1"}),
    ],
)
def test_a_layer_with_another_use_is_not_swapped(use, code, new, facts):
    text = SHARED.format(use=use, **facts)
    after, result = fixed(text)
    assert (new in after) is (use == "pass"), result.rejected
    assert (code in [finding.code for finding in result.lint.findings]) is (use != "pass")
    torch = pytest.importorskip("torch")
    assert torch.isfinite(exec_(after)["loss"])


def exec_(text):
    names = {}
    exec(text, names)
    return names


# ------------------------------------------------------------------- all examples


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_example_is_broken_by_fixing(name):
    if "## Example\n" not in PAGES[name] or "```python" not in PAGES[name]:
        pytest.skip("a page without code")
    text = block(PAGES[name], "Example")
    if name == "syntax-error":
        pytest.skip("not Python")
    after, result = fixed(text)
    ast.parse(after)
    assert len(result.lint.findings) <= len(lint_documents([from_text("m.py", text)], ALL, RULES).findings)


@pytest.mark.skipif(not CASES.is_dir(), reason="no acceptance cases beside the project")
def test_the_acceptance_cases_are_fixed_without_new_findings(tmp_path, monkeypatch):
    shutil.copytree(CASES, tmp_path / "static")
    monkeypatch.chdir(tmp_path / "static")
    before = lint_paths(["."], ALL, RULES)
    lint = lambda documents: lint_documents(documents, ALL, RULES)  # noqa: E731
    result = fix(before, lint, lambda path: Path(path).read_bytes(), unsafe=True)
    assert len(result.contents) > 20
    assert not [finding for finding in result.lint.findings if finding.name == "syntax-error"]
    known = {(f.span.path, f.code) for f in (*before.findings, *before.silent)}
    assert {(f.span.path, f.code) for f in result.lint.findings} <= known
    assert [f for f in result.lint.findings if f.fix and text_edits(result.lint)(f)] == []
    for path, content in result.contents.items():
        _untouched_lines_stay(Path(path).read_bytes(), content)


def _untouched_lines_stay(before, after):
    """Whether a fixed file is the old one with few lines in other words, in the same order."""
    import difflib

    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    same = sum(
        block.size for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    )
    assert same >= len(old) - 9
