"""``relucheck lint`` imports neither torch nor libcst: a linter must start at once, anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import relucheck

HEAVY = ("torch", "libcst", "numpy", "matplotlib", "jinja2", "multiprocessing")

MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        return torch.softmax(self.fc2(torch.relu(self.fc1(x))), dim=1)


loss = nn.CrossEntropyLoss()(Net()(torch.randn(4, 784)), torch.zeros(4).long())
"""

PROBE = """
import json, sys
{before}
from relucheck.cli import main
try:
    main()
except SystemExit:
    pass
print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)
"""


def imported(folder, *arguments, before=""):
    """The heavy modules in a fresh process after this command."""
    env = {**os.environ, "PYTHONPATH": str(Path(relucheck.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(before=before, heavy=HEAVY), *arguments],
        cwd=folder,
        capture_output=True,
        timeout=120,
        env=env,
        check=True,
    )
    return json.loads(done.stderr.decode().splitlines()[-1])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


@pytest.mark.parametrize("name", ["full", "concise", "junit", "github", "gitlab"])
def test_lint_imports_nothing_heavy(folder, name):
    assert imported(folder, "lint", "model.py", "--output-format", name) == []


@pytest.mark.parametrize("name", ["json", "sarif"])
def test_only_the_text_of_fixes_needs_libcst(folder, name):
    """JSON and SARIF hold the edits of a fix, which libcst works out; without one, it is not needed."""
    assert imported(folder, "lint", "model.py", "--output-format", name) == ["libcst"]
    assert imported(folder, "lint", "model.py", "--output-format", name, "--ignore", "ALL") == []


@pytest.mark.parametrize("arguments", [("rules",), ("rule", "--all"), ("config",), ("--help",)])
def test_the_other_commands_of_the_source_half_import_nothing_heavy(folder, arguments):
    assert imported(folder, *arguments) == []


def test_the_check_can_fail(folder):
    assert imported(folder, "lint", "model.py", before="import libcst") == ["libcst"]
