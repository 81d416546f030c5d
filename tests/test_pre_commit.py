"""The pre-commit hook, run by the real pre-commit: it fails on a bad file, and it installs no torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BAD = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 5))

    def forward(self, x):
        return self.layers(x)
"""
GOOD = BAD.replace("nn.Linear(20, 5)", "nn.ReLU(), nn.Linear(20, 5)")

pytest.importorskip("pre_commit")
if shutil.which("git") is None or not (ROOT / ".git").exists():
    pytest.skip("pre-commit clones the hook's repository with git", allow_module_level=True)


def run(*command, cwd, **env):
    environment = {**os.environ, "NO_COLOR": "1", **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def git(*args, cwd):
    who = ("-c", "user.name=Tests", "-c", "user.email=tests@example.org", "-c", "commit.gpgsign=false")
    # a hook that runs these tests points git at its own repository
    done = run("git", *who, *args, cwd=cwd, GIT_DIR=str(cwd / ".git"), GIT_WORK_TREE=str(cwd))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def repository(folder, files):
    """A new repository with one commit; the commit."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    git("init", "--quiet", cwd=folder)
    git("add", "--all", "--force", cwd=folder)
    git("commit", "--quiet", "--no-verify", "--message", "all", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder)


def packaged():
    """What the package is built from, as it lies in the working tree."""
    names = ["pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"]
    paths = [ROOT / name for name in names] + sorted((ROOT / "relucheck").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository whose pre-commit configuration uses the hook of a local clone of this one."""
    root = tmp_path_factory.mktemp("pre-commit")
    revision = repository(root / "relucheck", packaged())
    config = (
        f"repos:\n  - repo: {(root / 'relucheck').as_uri()}\n    rev: {revision}\n"
        "    hooks:\n      - id: relucheck\n"
    )
    files = {
        "bad.py": BAD.encode(),
        "good.py": GOOD.encode(),
        "notes.txt": b"nn.Linear\n",
        ".pre-commit-config.yaml": config.encode(),
    }
    repository(root / "project", files)
    return root


def pre_commit(project, *args):
    command = (sys.executable, "-m", "pre_commit", *args)
    return run(*command, cwd=project / "project", PRE_COMMIT_HOME=str(project / "home"))


def test_a_bad_file_fails_the_hook(project):
    done = pre_commit(project, "run", "--all-files")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "bad.py:7:56" in done.stdout
    assert "RLU201" in done.stdout
    assert "nn.Linear(10, 5)" in done.stdout
    assert "good.py" not in done.stdout


def test_a_good_file_passes(project):
    done = pre_commit(project, "run", "--files", "good.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout


def test_files_that_are_not_python_are_left_alone(project):
    assert "Skipped" in pre_commit(project, "run", "--files", "notes.txt").stdout


def test_the_environment_of_the_hook_holds_no_torch(project):
    assert pre_commit(project, "install-hooks").returncode == 0
    installed = {path.name for path in (project / "home").rglob("site-packages/*")}
    assert any(name.startswith("relucheck-") for name in installed)
    assert "libcst" in installed
    assert not {"torch", "numpy", "matplotlib"} & installed
