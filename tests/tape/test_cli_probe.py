"""``relucheck probe`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relucheck.cli_probe import probe
from relucheck.problems import UsageProblem

MODELS = """
import torch
from torch import nn

def make_model():
    return nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))

def make_dead():
    model = make_model()
    nn.init.constant_(model[0].bias, -25.0)
    return model

def make_tokens():
    return nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3))

def broken():
    raise KeyError("width")

def number():
    return 3

class Net(nn.Linear):
    def __init__(self):
        super().__init__(8, 3)

instance = Net()
constant = 7

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.second(self.first(x))

def make_two():
    return Two()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("project")
    (path / "models_of_test.py").write_text(MODELS)
    (path / "unimportable.py").write_text("import torch\n1 / 0\n")
    return path


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))


def run(*args: str) -> Result:
    return CliRunner().invoke(probe, args, standalone_mode=False)


def refused(*args: str) -> str:
    error = run(*args).exception
    assert isinstance(error, UsageProblem)
    return str(error)


def test_a_healthy_model() -> None:
    result = run("models_of_test:make_model", "--input", "32,8")
    assert result.return_value == 0
    assert "320 samples in 10 batches" in result.output
    assert "No mistakes found." in result.output


def test_findings_make_the_status_1() -> None:
    args = ("models_of_test:make_dead", "--input", "32,8", "--target", "classes:3")
    assert run(*args).return_value == 1
    assert run(*args, "--fail-on", "never").return_value == 0
    assert run(*args, "--ignore", "RLU6").return_value == 0


def test_places_are_shown_as_they_are_seen_from_here() -> None:
    """The module is imported by its whole path; so do lint and run show places."""
    result = run("models_of_test:make_two", "--input", "32,8")
    row = MODELS.split("\n").index("        return self.second(self.first(x))") + 1
    assert f"\nmodels_of_test.py:{row}:" in result.output


def test_json() -> None:
    result = run("models_of_test:make_dead", "--input", "32,8", "--batches", "2", "--output-format", "json")
    content = json.loads(result.output)
    assert (content["samples"], content["findings"][0]["code"]) == (64, "RLU602")


@pytest.mark.parametrize("name", ["Net", "instance"])
def test_classes_and_instances(name: str) -> None:
    assert run(f"models_of_test:{name}", "--input", "4,8").return_value == 0


def test_integers_and_losses() -> None:
    args = ("--input", "16,5:50", "--target", "values:3", "--loss", "smooth_l1_loss", "--optimiser", "SGD")
    assert run("models_of_test:make_tokens", *args).return_value == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("models_of_test", "--input", "4,8"), "name the module and the factory"),
        (("no_such_module:f", "--input", "4,8"), "importing no_such_module failed: ModuleNotFoundError"),
        (("unimportable:f", "--input", "4,8"), "ZeroDivisionError: division by zero (unimportable.py:2)"),
        (("models_of_test:f", "--input", "4,8"), "has no attribute 'f'; it has: make_model, make_dead"),
        (
            ("models_of_test:broken", "--input", "4,8"),
            "broken() failed: KeyError: 'width' (models_of_test.py:",
        ),
        (("models_of_test:number", "--input", "4,8"), "returned an int, not an nn.Module"),
        (("models_of_test:constant", "--input", "4,8"), "is an int, not a factory"),
        (
            ("models_of_test:make_model", "--input", "4,9"),
            "the model failed on batch 0 (inputs of shape (4, 9))",
        ),
        (("models_of_test:make_model", "--input", "four"), "write sizes with commas"),
        (("models_of_test:make_model", "--input", "0,8"), "sizes are positive"),
        (("models_of_test:make_model", "--input", "4,8", "--target", "x"), "write classes:10"),
        (("models_of_test:make_model", "--input", "4,8", "--loss", "mse_loss"), "needs --target"),
        (
            ("models_of_test:make_model", "--input", "4,8", "--target", "classes:9"),
            "the loss function failed on batch 0",
        ),
    ],
)
def test_what_cannot_be_used_is_said(args: tuple[str, ...], words: str) -> None:
    assert words in refused(*args)
