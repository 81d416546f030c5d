"""What lint does not read to its end is said: silence would look like a network without mistakes."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from relucheck.net import Unfinished
from relucheck.source.roots import FILE_STEPS, FUNCTION_STEPS
from relucheck.unfinished import told
from tests.source.reading import HEADER, read_files
from tests.test_cli import lint

ENDLESS = """
def steps(x):
    torch.relu(x)
    row = {}
    for a in range(64):
        for b in range(64):
            row[a] = b - a
"""
"""64 * 64 rounds of at least four steps, more than a function may take and less than a script may."""


def test_a_function_over_its_budget_is_named() -> None:
    assert FUNCTION_STEPS < 64 * 64 * 4
    assert FILE_STEPS > 64 * 64 * 10
    reading = read_files({"a.py": HEADER + ENDLESS, "b.py": HEADER + ENDLESS + "steps(torch.ones(1))\n"})
    assert reading.unfinished == (Unfinished("a.py", "steps"),)


ROUNDS = "for a in range(16):\n for b in range(16):\n  for c in range(24):\n   row[a] = b * c + a - b\n"
"""16 * 16 * 24 rounds of at least ten steps, more than a script may take."""


def test_a_top_level_a_class_and_a_method_are_named() -> None:
    long = "        row = {}\n" + indent(ROUNDS, " " * 8)
    in_init = f"class Made(nn.Module):\n    def __init__(self):\n{long}    def forward(self, x):\n        return x\n"
    in_forward = f"class Run(nn.Module):\n    def forward(self, x):\n{long}"
    files = {"top.py": "row = {}\n" + ROUNDS, "made.py": in_init, "run.py": in_forward}
    assert read_files({path: HEADER + text for path, text in files.items()}).unfinished == (
        Unfinished("top.py", "the top level"),
        Unfinished("made.py", "Made"),
        Unfinished("run.py", "Run.forward"),
    )


def test_lint_says_it_each_time_and_its_status_stays(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(HEADER + ENDLESS)
    fresh, cached = (lint(tmp_path, "--isolated") for _ in range(2))
    assert fresh == cached
    status, _, said = cached
    assert status == 0
    assert said.startswith("warning: a.py: steps takes more steps than lint follows, and is not judged")


def test_what_is_read_to_its_end_is_not_mentioned(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(HEADER + "model = nn.Linear(2, 3)\n")
    assert lint(tmp_path, "--isolated", "--no-cache") == (0, "No mistakes found.\n", "")


def test_many_files_are_one_line_unless_all_are_wanted() -> None:
    unfinished = [Unfinished(f"{n}.py", "build") for n in range(4)] + [Unfinished("3.py", "Net")]
    (line,) = told(unfinished)
    assert line.startswith(
        "5 parts of 4 files take more steps than lint follows, and are not judged: build in 0.py"
    )
    assert len(list(told(unfinished, everything=True))) == 4
    (last,) = told(unfinished[3:])
    assert last.startswith("3.py: build, Net: each takes more steps")


def test_of_many_names_some_are_counted() -> None:
    unfinished = [Unfinished("a.py", f"f{n}") for n in range(6)]
    (line,) = told(unfinished)
    (whole,) = told(unfinished, everything=True)
    assert line.startswith("a.py: f0, f1, f2, f3 and 2 more: each takes")
    assert whole.startswith("a.py: f0, f1, f2, f3, f4, f5: each takes")


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def forward(self, x):
        return torch.tanh(self.fc(x))
"""


def test_what_an_unfinished_script_has_called_is_read_alone() -> None:
    """What the script recorded about the network is taken back with it, so that nobody had read the network."""
    script = "Net()(torch.ones(1, 2))\nrow = {}\n" + ROUNDS
    reading = read_files({"a.py": HEADER + NET + script})

    assert reading.unfinished == (Unfinished("a.py", "the top level"),)
    assert [node.op for node in reading.nets[0].nodes] == ["input", "linear", "tanh"]
