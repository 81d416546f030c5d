"""The flake8 plugin, run by the real flake8."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import relucheck

pytest.importorskip("flake8")

ROOT = Path(relucheck.__file__).parent.parent
ENTRY = "relucheck.flake8_plugin:Plugin"
INSTALLED = any(point.value == ENTRY for point in entry_points(group="flake8.extension"))
LOCAL = "" if INSTALLED else f"[flake8:local-plugins]\nextension =\n    RLU = {ENTRY}\n"
NET = """\
from torch import nn

net = nn.Sequential(
    nn.Linear(10, 20),
    nn.Linear(20, 5),
)
y = net(x)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".flake8").write_text(f"[flake8]\nselect = E,F,RLU\nignore = F821\n{LOCAL}")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def flake8(folder, *arguments, text=None):
    done = subprocess.run(
        [sys.executable, "-m", "flake8", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_findings_stand_among_those_of_flake8(folder):
    (folder / "net.py").write_text("import os\n" + NET)
    status, lines = flake8(folder, "net.py")
    assert (status, len(lines)) == (1, 2)
    assert lines[0] == "net.py:1:1: F401 'os' imported but unused"
    assert lines[1].startswith("net.py:6:5: RLU201 ")
    assert lines[1].endswith("[linear-stack]")


def test_standard_input(folder):
    _, lines = flake8(folder, "--stdin-display-name", "shown.py", "-", text=NET)
    assert [line.split(" ")[:2] for line in lines] == [["shown.py:5:5:", "RLU201"]]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (NET.replace("5),", "5),  # noqa: RLU201"), ()),
        (NET.replace("5),", "5),  # relucheck: ignore[RLU201] both are regularised"), ()),
        (NET, ("--extend-ignore", "RLU2")),
    ],
)
def test_suppressed_and_not_selected(folder, text, options):
    (folder / "net.py").write_text(text)
    assert flake8(folder, "net.py", *options) == (0, [])


def test_imports_are_read_and_the_settings_hold(folder):
    (folder / "layers.py").write_text(
        "from torch import nn\n\n\ndef first():\n    return nn.Linear(10, 20)\n"
    )
    (folder / "net.py").write_text(
        NET.replace("nn.Linear(10, 20)", "layers.first()").replace("\n\n", "\n\nimport layers\n\n", 1)
    )
    _, lines = flake8(folder, "net.py")
    assert [line.split(" ")[1] for line in lines if "RLU" in line] == ["RLU201"]
    (folder / "relucheck.toml").write_text('ignore = ["linear-stack"]\n')
    assert not [line for line in flake8(folder, "net.py")[1] if "RLU" in line]


def test_wrong_settings_are_said(folder):
    (folder / "relucheck.toml").write_text('ignor = ["linear-stack"]\n')
    status, (line,) = flake8(folder, "net.py")
    assert status == 1
    assert "RLU000 the file is not judged: " in line
    assert "relucheck.toml:1: unknown key 'ignor'; did you mean 'ignore'?" in line


def test_what_is_not_python_is_left_to_flake8(folder):
    (folder / "net.py").write_text("net = (\n")
    _, lines = flake8(folder, "net.py")
    assert [line.split(" ")[1] for line in lines if "RLU" in line] == []
    assert any("E999" in line for line in lines)


def test_the_entry_point_is_declared():
    pyproject = ROOT / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("installed without its pyproject.toml")
    declared = f'[project.entry-points."flake8.extension"]\nRLU = "{ENTRY}"\n'
    assert declared in pyproject.read_text(encoding="utf-8")
