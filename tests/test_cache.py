"""The cache: the same answers, sooner, and never an old one."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import relucheck
from relucheck import cache
from relucheck.config import Settings
from relucheck.engine import LintResult, load_rules
from relucheck.finding import Edit, Finding, Fix, Safety, Severity
from relucheck.span import Span
from tests.test_cli import lint, run

TEXT = "from torch import nn\na = nn.LeakyReLU(True)\n"
FIXABLE = """import torch
from torch import nn
net = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2), nn.Softmax(dim=1))
loss = nn.CrossEntropyLoss()(net(torch.randn(4, 3)), torch.zeros(4).long())
"""
RULES = load_rules()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "m.py").write_text(TEXT)
    (tmp_path / "n.py").write_text(FIXABLE)
    (tmp_path / "latin.py").write_bytes(b"s = '\xe9'\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entries(folder):
    return sorted((folder / cache.NAME).glob("*.json"))


def cached(folder, settings=None):
    return cache.lint_cached(["."], settings or Settings(select=("ALL",)), RULES, str(folder / cache.NAME))


@pytest.fixture
def no_reading(monkeypatch):
    """After this, whoever lints anew fails."""

    def forbidden(*args):
        raise AssertionError("was linted again")

    return lambda: monkeypatch.setattr(cache, "lint_documents", forbidden)


def told(result):
    return [
        (f.code, f.span, f.message, f.help, f.related, f.fix, f.severity, f.layer) for f in result.findings
    ]


def test_the_second_answer_is_the_first(folder, no_reading):
    first = cached(folder)
    no_reading()
    second = cached(folder)
    assert told(second) == told(first)
    assert second.problems == first.problems
    assert [f.code for f in second.silent] == [f.code for f in first.silent]
    assert dict(second.documents) == dict(first.documents)
    assert any(finding.fix for finding in second.findings)


def edit_of(kind):
    """An edit of a kind, with a value of the right type in every field."""
    span = Span("m.py", 2, 1, 2, 3, 4)
    values = {"Span": span, "str": "x", "int": 1, "int | None": None, "bool": False}
    values |= {"tuple[str, ...]": ("a", "b"), "tuple[tuple[str, str], ...]": (("a", "1"),)}
    return kind(*(values[field.type] for field in dataclasses.fields(kind)))


def test_every_kind_of_edit_is_remembered(tmp_path):
    edits = tuple(map(edit_of, get_args(Edit)))
    fix = Fix("do it", Safety.UNSAFE, edits, tidy=edits[::-1])
    finding = Finding("RLU101", "relu-output", Severity.WARNING, "m", Span("m.py", None, 1, 1, 1, 2), fix=fix)
    cache._store(tmp_path / "entry.json", LintResult((finding,)))
    assert cache._load(tmp_path / "entry.json").findings == (finding,)


@pytest.mark.parametrize("change", ["content", "new file", "renamed", "settings", "relucheck"])
def test_every_change_is_a_new_answer(folder, monkeypatch, change):
    cached(folder)
    settings = Settings(select=("ALL",))
    if change == "content":
        (folder / "m.py").write_text(TEXT + "\n")
    elif change == "new file":
        (folder / "o.py").write_text("")
    elif change == "renamed":
        (folder / "m.py").rename(folder / "p.py")
    elif change == "settings":
        settings = Settings(select=("ALL",), ignore=("RLU404",))
    else:
        monkeypatch.setattr(cache, "own_state", tuple)
    result = cached(folder, settings)
    assert len(entries(folder)) == 2
    assert (change == "settings") != any(f.code == "RLU404" for f in result.findings)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"findings": 3}', b'{"findings": [{}], "silent": []}', b"\xff"]
)
def test_a_damaged_entry_is_ignored_and_mended(folder, no_reading, damage):
    first = cached(folder)
    (entry,) = entries(folder)
    entry.write_bytes(damage)
    assert told(cached(folder)) == told(first)
    no_reading()
    assert told(cached(folder)) == told(first)


def test_faults_of_relucheck_are_not_remembered(folder, monkeypatch):
    from relucheck.source import project

    def broken(modules, only):
        raise KeyError("x")

    monkeypatch.setattr(project, "read_project", broken)
    assert cached(folder).crashes
    assert entries(folder) == []


def test_old_entries_go(folder, monkeypatch):
    monkeypatch.setattr(cache, "KEPT", 2)
    for number in range(4):
        (folder / "m.py").write_text(f"x = {number}\n")
        cached(folder)
    assert len(entries(folder)) == 2


def test_the_folder_tells_what_it_is(folder):
    cached(folder)
    assert (
        (folder / cache.NAME / "CACHEDIR.TAG")
        .read_text()
        .startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )
    assert (folder / cache.NAME / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cannot_be_made_is_no_error(folder):
    (folder / cache.NAME).write_text("a file")
    assert cached(folder).findings
    assert (folder / cache.NAME).read_text() == "a file"


def test_runs_at_the_same_time(folder):
    root = str(Path(relucheck.__file__).parent.parent)
    command = [sys.executable, "-m", "relucheck", "lint", "m.py", "n.py", "--output-format", "json"]
    env = {**os.environ, "PYTHONPATH": root}
    runs = [subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, env=env) for _ in range(4)]
    assert len({done.communicate()[0] for done in runs}) == 1
    assert {done.returncode for done in runs} == {1}
    assert [file.name for file in (folder / cache.NAME).iterdir() if file.suffix == ".tmp"] == []


def test_the_command_line_uses_it(folder):
    json_format = ("--output-format", "json")
    first = lint(folder, "m.py", "n.py", *json_format)
    (entry,) = entries(folder)
    data = json.loads(entry.read_text())
    data["findings"] = []
    entry.write_text(json.dumps(data))
    assert json.loads(lint(folder, "m.py", "n.py", *json_format)[1]) == []
    assert lint(folder, "m.py", "n.py", "--no-cache", *json_format) == first


def test_fixing_after_a_remembered_answer(folder):
    lint(folder, "n.py")
    assert lint(folder, "n.py", "--fix", "--unsafe-fixes")[0] == 0
    assert "nn.ReLU()" in (folder / "n.py").read_text()
    assert lint(folder, "n.py")[0] == 0


def test_no_cache_leaves_nothing(folder):
    lint(folder, "m.py", "--no-cache")
    assert not (folder / cache.NAME).exists()


def test_the_cache_is_where_it_is_asked_for(folder):
    lint(folder, "m.py", "--cache-dir", "kept/here")
    assert (folder / "kept" / "here" / "CACHEDIR.TAG").exists()
    assert not (folder / cache.NAME).exists()


def test_clean_removes_the_cache_of_the_project(folder):
    (folder / "relucheck.toml").write_text("")
    (folder / "sub").mkdir()
    lint(folder / "sub", "../m.py")
    assert (folder / cache.NAME).exists()
    assert run("clean", cwd=folder / "sub").stdout.decode().startswith("Removed ")
    assert not (folder / cache.NAME).exists()
    assert b"no cache here" in run("clean", cwd=folder).stdout


def test_clean_removes_nothing_else(folder):
    (folder / cache.NAME).mkdir()
    (folder / cache.NAME / "thesis.txt").write_text("")
    run("clean", cwd=folder)
    assert (folder / cache.NAME / "thesis.txt").exists()
