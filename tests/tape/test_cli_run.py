"""``relucheck run`` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from relucheck.cli_run import Line, run, state_of
from relucheck.problems import UsageProblem

TRAIN = """
import sys
import torch
from torch import nn
import neighbour

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))
with torch.no_grad():
    model[0].bias[:neighbour.dead(sys.argv)] = -25.0
optimizer = torch.optim.SGD(model.parameters(), 0.01)
for step in range(20):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(torch.randn(64, 8)), torch.randint(0, 3, (64,)))
    loss.backward()
    optimizer.step()
    if step == 10:
        neighbour.stop(sys.argv)
print("arguments", sys.argv[1:], __name__)
"""

NEIGHBOUR = """
import sys

def dead(argv):
    return 12 if "--dead" in argv else 0

def stop(argv):
    if "--raise" in argv:
        raise ValueError("too much")
    if "--interrupt" in argv:
        raise KeyboardInterrupt
    if "--exit" in argv:
        sys.exit(7)
    if "--done" in argv:
        sys.exit()
    if "--text" in argv:
        sys.exit("no data")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training")
    (path / "training_script.py").write_text(TRAIN)
    (path / "neighbour.py").write_text(NEIGHBOUR)
    return path


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def ran(*args: str) -> Result:
    before = sys.argv[:], sys.path[:]
    result = CliRunner().invoke(run, args, standalone_mode=False)
    assert (sys.argv, sys.path) == before
    return result


def test_a_healthy_training() -> None:
    result = ran("--every", "2", "training_script.py", "--epochs", "3")
    assert result.return_value == 0
    assert result.stdout == "arguments ['--epochs', '3'] __main__\n"
    assert "20 steps (backward passes), 11 inspected" in result.stderr
    assert "No mistakes found." in result.stderr


def test_findings_make_the_status_1_and_name_the_script_s_line() -> None:
    result = ran("--every", "1", "training_script.py", "--dead")
    assert result.return_value == 1
    assert "RLU601 warning: 12 of 20 units (60%) of '1' are dead" in result.stderr
    assert "training_script.py:14:" in result.stderr
    assert ran("--every", "1", "--fail-on", "never", "training_script.py", "--dead").return_value == 0
    assert ran("--every", "1", "--ignore", "RLU6", "training_script.py", "--dead").return_value == 0


@pytest.mark.parametrize("name", ["training_script"])
def test_a_module(name: str) -> None:
    result = ran("-m", name, "--epochs", "3")
    assert result.return_value == 0
    assert "20 steps" in result.stderr


@pytest.mark.parametrize(
    ("option", "status", "words"),
    [
        ("--raise", 1, "ended in ValueError (status 1); the report covers the steps before"),
        ("--interrupt", 130, "was interrupted"),
        ("--exit", 7, "exited with status 7"),
        ("--text", 1, "no data"),
        ("--done", 0, "No mistakes found."),
    ],
)
def test_the_script_s_own_end_is_passed_on(option: str, status: int, words: str) -> None:
    result = ran("training_script.py", option)
    assert result.return_value == status
    assert words in result.stderr
    assert "11 steps (backward passes)" in result.stderr


def test_a_script_that_cannot_be_parsed_is_said_as_python_says_it(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("def f(:\n")
    result = ran(str(script))
    assert result.return_value == 1
    lines = result.stderr.splitlines()
    assert lines[0] == f'  File "{script}", line 1'
    assert "SyntaxError: invalid syntax" in lines
    assert "cli_run" not in result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_of_the_script_that_ends_by_itself_reports_nothing(tmp_path: Path) -> None:
    script, page = tmp_path / "forks.py", tmp_path / "figures.json"
    script.write_text(
        "import os, sys\nif os.fork() == 0:\n    sys.exit(5)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    command = [sys.executable, "-m", "relucheck", "run", "--json", str(page), str(script)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.stdout, result.returncode) == ("5\n", 0)
    assert result.stderr.count("relucheck:") == 1
    assert page.exists()


def test_a_traceback_begins_at_the_script() -> None:
    lines = ran("training_script.py", "--raise").stderr.splitlines()
    start = lines.index("Traceback (most recent call last):")
    assert "training_script.py" in lines[start + 1]
    assert "ValueError: too much" in lines


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "name the script to run"),
        (("missing.py",), "missing.py: there is no such file"),
        (("-m", "no_such_module"), "no_such_module cannot be run: No module named no_such_module"),
    ],
)
def test_what_cannot_be_run_is_said(args: tuple[str, ...], words: str) -> None:
    error = ran(*args).exception
    assert isinstance(error, UsageProblem)
    assert words in str(error)


@pytest.mark.parametrize(
    ("option", "alike"), [("--evry", "'--every'"), ("--evry=3", "'--every'"), ("--learning-rate", None)]
)
def test_an_option_that_does_not_exist_is_no_script(option: str, alike: str | None) -> None:
    error = ran(option, "3", "training_script.py").exception
    assert isinstance(error, click.NoSuchOption)
    assert error.option_name == option.partition("=")[0]
    assert (alike in error.format_message()) if alike else not error.possibilities


def test_the_live_line(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    import relucheck

    states: list[str] = []
    line = Line(clock=lambda: 0.0)

    def told(watcher: object) -> None:
        line.told(watcher)  # type: ignore[arg-type]
        states.append(state_of(watcher))  # type: ignore[arg-type]

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    torch.nn.init.constant_(model[0].bias, -99.0)
    with relucheck.watch(every=1, told=told):
        for _ in range(3):
            model(torch.randn(200, 4)).sum().backward()
    assert states[0] == "relucheck: step 1, 1 inspected"
    assert states[2] == "relucheck: step 3, 3 inspected, silent units at most 100% ('1')"
    assert (
        capsys.readouterr().err == "\rrelucheck: step 1, 1 inspected\x1b[K\r"
    )  # not more than twice a second


def test_the_page_and_the_json_are_written_where_the_command_was_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "moving.py"
    script.write_text(f"import os\nos.chdir({str(folder)!r})\n" + TRAIN)
    monkeypatch.syspath_prepend(str(folder))
    CliRunner().invoke(
        run, ["--html", "a.html", "--json", "a.json", str(script), "--dead"], catch_exceptions=False
    )
    assert "A training of 20 steps" in (tmp_path / "a.html").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (content["steps"], content["networks"][0]["name"]) == (20, "Sequential")


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_a_folder_that_is_missing_is_said_before_the_script_runs(folder: Path, option: str) -> None:
    result = CliRunner().invoke(run, [option, "no/such/a.html", str(folder / "training_script.py")])
    assert isinstance(result.exception, UsageProblem)
    assert str(result.exception) == f"{option} no/such/a.html: there is no folder no/such"
    assert result.stdout == ""
