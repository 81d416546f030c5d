"""The README: every block of Python is linted and run, every command is run and its output compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import readme

pytest.importorskip("torch")

TEXT = readme.README.read_text(encoding="utf-8")
COMMANDS = readme.of_language(TEXT, "console")
REFRESH = "the README is out of date: python -m tests.readme writes what is printed now"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme")
    readme.prepare(path, TEXT)
    return path


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.command)
def test_commands_print_what_is_shown(folder, block):
    printed, _ = readme.run(block.command, folder)
    assert readme.agrees(block.output, printed), f"{REFRESH}\n{printed}"


@pytest.mark.parametrize("block", readme.of_language(TEXT, "python"), ids=lambda block: block.file_name)
def test_python_runs(folder, block):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", block.text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_command_lints_the_first_block(folder):
    first = readme.of_language(TEXT, "python")[0]
    assert COMMANDS[0].command == f"relucheck lint {first.file_name}"
    assert len(first.text.strip().splitlines()) < 25
    _, status = readme.run(COMMANDS[0].command, folder)
    assert status == 1


def test_the_first_command_of_the_installation_prints_the_findings_that_are_shown(folder):
    install, _ = readme.of_language(TEXT, "sh")
    command = install.text.splitlines()[-1].removeprefix(".venv/bin/")
    assert command in [block.command for block in COMMANDS]


def test_two_blocks_install():
    lint, tests = readme.of_language(TEXT, "sh")
    assert lint.text.splitlines()[0] == "python3 -m venv .venv"
    assert "torch" not in lint.text
    assert tests.text.splitlines()[-1] == ".venv/bin/python -m pytest"


def test_the_table_lists_every_rule():
    (shown,) = readme.TABLE.findall(TEXT) and [readme.TABLE.search(TEXT)[0]]
    assert readme.table() in shown, REFRESH


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (readme.ROOT / link).exists()] == []


def test_links_of_the_documents_lead_somewhere():
    for document in [*(readme.ROOT / "docs").glob("*.md"), readme.ROOT / "examples" / "README.md"]:
        links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
        assert [link for link in links if not (document.parent / link).exists()] == [], document


def test_the_settings_are_valid(tmp_path):
    (settings,) = readme.of_language(TEXT, "toml")
    Path(tmp_path, "pyproject.toml").write_text(settings.text, encoding="utf-8")
    Path(tmp_path, "clean.py").write_text("", encoding="utf-8")
    assert readme.run("relucheck lint clean.py", tmp_path) == ("No mistakes found.\n", 0)


def test_the_hook_exists():
    (hook,) = readme.of_language(TEXT, "yaml")
    hooks = (readme.ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    (name,) = re.findall(r"- id: (\S+)", hook.text)
    assert f"- id: {name}\n" in hooks


# -- how output is compared -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "printed", "answer"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\nb\n", "a\nc\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("a\n...\nd\n", "a\nb\n", False),
        ("grad 1.2e-03\n", "grad 1.3e-03\n", True),
        ("dead 12\n", "dead 13\n", False),
    ],
)
def test_comparison(expected, printed, answer):
    assert readme.agrees(expected, printed) is answer


def test_what_is_left_out_stays_left_out():
    assert readme.shortened("...\nb 1\nc\n...\n", "a\nb 1\nd\ne\n") == "...\nb 1\nd\n...\n"
    assert readme.shortened("old\n", "new\n") == "new\n"
    assert readme.shortened("", "new\n") == "new\n"
