"""``--fix``, ``--diff`` and their relatives, as a user meets them."""

import json
import os
import sys

import pytest

from tests.test_cli import lint

NET = """from torch import nn

net = nn.Sequential(
    nn.Linear(3, 8),
    nn.LeakyReLU(True),  # slope
    nn.Linear(8, 2),
)
"""
FIXED = NET.replace("LeakyReLU(True)", "LeakyReLU(inplace=True)")
DIFF = """--- m.py
+++ m.py
@@ -2,6 +2,6 @@
{}
 net = nn.Sequential(
     nn.Linear(3, 8),
-    nn.LeakyReLU(True),  # slope
+    nn.LeakyReLU(inplace=True),  # slope
     nn.Linear(8, 2),
 )
""".format(" ")
UNSAFE = """import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2), nn.Softmax(dim=1))
loss = nn.CrossEntropyLoss()(net(torch.randn(4, 3)), torch.zeros(4).long())
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m.py").write_text(NET)
    return tmp_path


def test_fix_writes_and_reports_what_is_left(folder):
    (folder / "b.py").write_text("x = (\n")
    status, out, err = lint(folder, "--fix", "--output-format", "concise")
    assert (status, err) == (1, "Fixed 1 finding in 1 file.\n")
    assert out.startswith("b.py:1:5")
    assert "m.py" not in out
    assert (folder / "m.py").read_text() == FIXED


def test_fixed_is_0(folder):
    assert lint(folder, "--fix") == (0, "No mistakes found.\n", "Fixed 1 finding in 1 file.\n")
    assert lint(folder, "--fix") == (0, "No mistakes found.\n", "")


def test_diff_shows_and_writes_nothing(folder):
    assert lint(folder, "--diff") == (1, DIFF, "Would fix 1 finding in 1 file.\n")
    assert (folder / "m.py").read_text() == NET
    (folder / "m.py").write_text(FIXED)
    assert lint(folder, "--diff") == (0, "", "")


def test_fix_only_reports_nothing(folder):
    (folder / "b.py").write_text("x = (\n")
    assert lint(folder, "--fix-only") == (0, "", "Fixed 1 finding in 1 file.\n")


def test_unsafe_fixes_are_asked_for(folder):
    (folder / "m.py").write_text(UNSAFE)
    assert lint(folder, "--fix")[0] == 1
    assert (folder / "m.py").read_text() == UNSAFE
    assert lint(folder, "--fix", "--unsafe-fixes")[0] == 0
    assert (folder / "m.py").read_text() == UNSAFE.replace(", nn.Softmax(dim=1)", "")


def test_json_holds_the_edits(folder):
    (one,) = json.loads(lint(folder, "--output-format", "json")[1])
    assert one["fix"] == {
        "applicability": "safe",
        "message": "Pass it as inplace",
        "edits": [
            {
                "filename": str(folder / "m.py"),
                "content": "inplace=True",
                "location": {"row": 5, "column": 18},
                "end_location": {"row": 5, "column": 22},
            }
        ],
    }


def test_full_shows_safe_fixes_and_the_others_when_asked(folder):
    lines = (
        "= fix: Pass it as inplace:",
        "-     nn.LeakyReLU(True),  # slope",
        "+     nn.LeakyReLU(inplace=True),",
    )
    shown = "\n    ".join(lines)
    assert shown in lint(folder)[1]
    (folder / "m.py").write_text(UNSAFE)
    assert "= fix:" not in lint(folder)[1]
    assert "= fix: Remove the softmax:" in lint(folder, "--unsafe-fixes")[1]


def test_sarif_holds_replacements_that_make_the_fix(folder):
    (folder / "u.py").write_text(UNSAFE)
    (folder / "n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": NET}]}))
    (run,) = json.loads(lint(folder, "--output-format", "sarif")[1])["runs"]
    made = {}
    for result in run["results"]:
        for change in [c for f in result.get("fixes", ()) for c in f["artifactChanges"]]:
            name = change["artifactLocation"]["uri"]
            made[name] = replaced((folder / name).read_text(), change["replacements"])
    lint(folder, "--fix", "--unsafe-fixes")
    assert made == {name: (folder / name).read_text() for name in ("m.py", "u.py")}


def replaced(text, replacements):
    """A text with SARIF's replacements, whose columns count characters from 1."""
    lines = text.splitlines(keepends=True)
    offset = lambda row, column: sum(map(len, lines[: row - 1])) + column - 1  # noqa: E731
    for replacement in reversed(replacements):
        region = replacement["deletedRegion"]
        start = offset(region["startLine"], region["startColumn"])
        end = offset(region["endLine"], region["endColumn"])
        text = text[:start] + replacement["insertedContent"]["text"] + text[end:]
    return text


def test_suppressed_findings_are_not_touched(folder):
    text = NET.replace("# slope", "# relucheck: ignore[RLU404] as published")
    (folder / "m.py").write_text(text)
    assert lint(folder, "--fix")[0] == 0
    assert (folder / "m.py").read_text() == text


def test_idle_suppressions_are_removed(folder):
    (folder / "m.py").write_text("x = 1  # relucheck: ignore[RLU101] not any more\ny = 2  # noqa: E501\n")
    assert lint(folder, "--fix")[0] == 0
    assert (folder / "m.py").read_text() == "x = 1\ny = 2  # noqa: E501\n"


def test_rules_that_are_not_selected_are_not_fixed(folder):
    lint(folder, "--fix", "--ignore", "RLU404")
    assert (folder / "m.py").read_text() == NET


def test_stdin_is_fixed_to_stdout(tmp_path):
    assert lint(tmp_path, "-", "--fix", text=NET) == (
        0,
        FIXED,
        "Fixed 1 finding in 1 file.\nNo mistakes found.\n",
    )
    assert lint(tmp_path, "-", "--fix-only", text="x = (\n")[1] == "x = (\n"
    assert lint(tmp_path, "-", "--diff", "--stdin-filename", "m.py", text=NET)[1] == DIFF


def test_a_notebook_shows_its_cells(tmp_path):
    cells = [{"cell_type": "markdown", "source": []}, {"cell_type": "code", "source": NET.splitlines(True)}]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}, indent=1))
    out = lint(tmp_path, "--diff")[1]
    assert out == DIFF.replace("m.py", "n.ipynb:cell 2")
    lint(tmp_path, "--fix")
    cells[1]["source"] = FIXED.splitlines(True)
    assert (tmp_path / "n.ipynb").read_text() == json.dumps({"cells": cells}, indent=1)


def test_a_file_without_a_last_line_end(folder):
    (folder / "m.py").write_text("from torch import nn\nact = nn.LeakyReLU(True)")
    assert lint(folder, "--diff")[1].count("\\ No newline at end of file\n") == 2


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_a_read_only_file_is_2_and_said(folder):
    (folder / "m.py").chmod(0o444)
    status, out, err = lint(folder, "--fix")
    assert status == 2
    assert "LeakyReLU(True)" in out
    assert "error: m.py: is read-only and is left as it is" in err
    assert "Fixed" not in err
    assert (folder / "m.py").read_text() == NET


def test_ctrl_c_writes_nothing(folder, monkeypatch):
    from relucheck import cli, fixing

    def interrupted(*args, **kw):
        raise KeyboardInterrupt

    monkeypatch.setattr(fixing, "objection", interrupted)
    monkeypatch.setattr(sys, "argv", ["relucheck", "lint", "--fix"])
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert (stop.value.code, (folder / "m.py").read_text()) == (130, NET)
