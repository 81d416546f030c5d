"""The GitHub Action: its file is well formed, and its shell steps do what they say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import relucheck

yaml = pytest.importorskip("yaml")

ROOT = Path(relucheck.__file__).parent.parent
FILE = ROOT / "action.yml"
if not FILE.is_file() or shutil.which("bash") is None:
    pytest.skip("needs the repository and bash", allow_module_level=True)

ACTION = yaml.safe_load(FILE.read_text(encoding="utf-8"))
STEPS = {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}
BAD = "from torch import nn\n\nnet = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9))\ny = net(x)\n"


def run(step, folder, **env):
    """A step's script, run as GitHub runs it; ``env`` is what its expressions give."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def folder(tmp_path):
    """A project with a bad file, and an environment whose Python is this one."""
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "sub folder").mkdir()
    (tmp_path / "sub folder" / "fine.py").write_text("import torch\n")
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path


def lint(folder, paths=ACTION["inputs"]["paths"]["default"], args=""):
    return run("Lint", folder, ENVIRONMENT=str(folder / "environment"), ARGS=args, PATHS=paths)


def test_the_file_is_a_composite_action():
    assert ACTION["runs"]["using"] == "composite"
    assert set(ACTION["inputs"]) == {"paths", "args", "version", "python-version"}
    assert all(entry["description"] for entry in ACTION["inputs"].values())
    assert all(step.get("shell") == "bash" or "uses" in step for step in STEPS.values())


def test_inputs_reach_the_scripts_as_variables_only():
    """An expression inside a script would run what a pull request's title, say, may hold."""
    assert [name for name, step in STEPS.items() if "${{" in step.get("run", "")] == []
    used = set(re.findall(r"inputs\.([\w-]+)", FILE.read_text(encoding="utf-8")))
    assert used == set(ACTION["inputs"])


def test_a_mistake_is_an_annotation_and_fails_the_step(folder):
    status, out, err = lint(folder)
    assert (status, err) == (1, "")
    assert out.startswith("::warning title=relucheck (RLU201),file=bad.py,line=3,endLine=3,col=")


@pytest.mark.parametrize(
    ("paths", "args", "status"),
    [
        ("'sub folder' sub\\ folder", "", 0),
        ("bad.py\n'sub folder/fine.py'\n", "", 1),
        ("bad.py", "--ignore 'RLU2, RLU3'", 0),
        ("bad.py", "--exit-zero", 0),
        ("none.py", "", 2),
        ("$(touch ran)", "", 2),
    ],
)
def test_inputs_are_words_as_in_a_shell_but_nothing_is_run(folder, paths, args, status):
    assert lint(folder, paths, args)[0] == status
    assert not (folder / "ran").exists()


def test_the_install_step_makes_an_environment_without_torch(tmp_path):
    environment = tmp_path / "environment"
    status, out, err = run(
        "Install relucheck",
        tmp_path,
        PYTHON=sys.executable, ENVIRONMENT=str(environment), CHECKOUT=str(ROOT), VERSION="",
    )  # fmt: skip
    assert status == 0, out + err
    installed = {path.name.partition("-")[0] for path in environment.rglob("*.dist-info")}
    assert {"relucheck", "click", "libcst"} <= installed
    assert "torch" not in installed
    (tmp_path / "bad.py").write_text(BAD)
    found = run("Lint", tmp_path, ENVIRONMENT=str(environment), ARGS="", PATHS="bad.py")
    assert (found[0], "RLU201" in found[1]) == (1, True)
