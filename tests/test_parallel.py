"""``-j``: files that do not import each other are read by several processes, with the same findings."""

from __future__ import annotations

import ast
import os
import signal

import pytest

from relucheck import parallel
from relucheck.config import Settings
from relucheck.engine import lint_documents, load_rules
from relucheck.net import Reading
from relucheck.parallel import at_once
from relucheck.source import pieces
from relucheck.source.files import from_text
from relucheck.source.pieces import shared_out

NETWORK = """
import torch.nn as nn
model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
"""
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@pytest.fixture
def forking(monkeypatch):
    """Processes are forked also where other tests have left a thread behind."""
    monkeypatch.setattr(parallel, "_can_fork", lambda: True)


def modules(**texts):
    documents = [from_text(f"{name}.py", text) for name, text in texts.items()]
    return [(document, ast.parse(document.text)) for document in documents]


def parts(jobs=2, **texts):
    return sorted(sorted(part) for part in shared_out(modules(**texts), jobs))


@pytest.fixture(autouse=True)
def _small_projects_are_shared_out(monkeypatch):
    monkeypatch.setattr(pieces, "WORTH_SHARING", 0)


def test_files_that_import_each_other_stay_together():
    together = {
        "a": NETWORK,
        "b": f"from a import model\n{NETWORK}",
        "c": NETWORK,
        "d": f"import c\n{NETWORK}",
    }
    assert parts(**together) == [["a.py", "b.py"], ["c.py", "d.py"]]


def test_an_import_anywhere_in_a_file_counts():
    inside = f"def f():\n    try:\n        from .a import *\n    except ImportError:\n        pass\n{NETWORK}"
    assert parts(a=NETWORK, b=inside, c=NETWORK * 2) == [["a.py", "b.py"], ["c.py"]]


def test_a_module_is_found_through_its_package():
    texts = {"p/__init__": NETWORK, "p/a": NETWORK, "b": f"from p import a\n{NETWORK}", "c": NETWORK * 3}
    assert parts(**texts) == [["b.py", "p/__init__.py", "p/a.py"], ["c.py"]]


def test_one_job_and_one_large_piece_are_one_part():
    assert len(parts(jobs=1, a=NETWORK, b=NETWORK)) == 1
    assert len(parts(a=NETWORK * 9, b=NETWORK)) == 1


def test_a_small_project_is_one_part(monkeypatch):
    monkeypatch.setattr(pieces, "WORTH_SHARING", 10_000)
    assert len(parts(a=NETWORK, b=NETWORK)) == 1


def test_parts_are_of_about_equal_size():
    sizes = {"a": 5, "b": 4, "c": 3, "d": 3, "e": 1}
    assert parts(**{name: NETWORK * size for name, size in sizes.items()}) == [
        ["a.py", "d.py"],
        ["b.py", "c.py", "e.py"],
    ]


@forks
def test_tasks_run_in_processes_of_their_own_but_the_first(forking):
    here, *others = at_once([os.getpid, os.getpid, os.getpid])
    assert here == os.getpid()
    assert len({here, *others}) == 3


@forks
def test_a_killed_process_has_no_answer(forking):
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    assert at_once([lambda: 1, killed, lambda: 3]) == [1, None, 3]


def test_without_fork_all_work_is_done_here(monkeypatch):
    monkeypatch.setattr(parallel, "_can_fork", lambda: False)
    assert at_once([os.getpid, os.getpid]) == [os.getpid()] * 2


@forks
def test_an_interrupt_ends_the_processes(forking):
    def interrupted():
        raise KeyboardInterrupt

    def endless():
        signal.pause()

    with pytest.raises(KeyboardInterrupt):  # and it returns: nothing waits for the endless one
        at_once([interrupted, endless])


@forks
def test_findings_do_not_depend_on_the_number_of_jobs(forking):
    user = f"from a import model\nimport torch\nloss = torch.nn.CrossEntropyLoss()(model(x).relu(), y)\n{NETWORK}"
    documents = [
        from_text(f"{name}.py", text) for name, text in {"a": NETWORK, "b": user, "c": NETWORK}.items()
    ]
    alone = lint_documents(documents, Settings(), load_rules(), jobs=1)
    shared = lint_documents(documents, Settings(), load_rules(), jobs=3)
    assert {finding.span.path for finding in alone.findings} == {"a.py", "b.py", "c.py"}
    assert shared.findings == alone.findings


@forks
def test_a_process_that_was_killed_is_an_internal_error_of_its_files(forking):
    here = os.getpid()

    def reader(_, paths):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return Reading()

    documents = [from_text("a.py", NETWORK), from_text("b.py", NETWORK)]
    (crash,) = lint_documents(documents, Settings(), load_rules(), reader, jobs=2).crashes
    assert crash.path == "b.py"
    assert crash.message.startswith("the process that read this file was killed")
