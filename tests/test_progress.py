"""The line that tells of a long run: on a terminal, after a while, and gone at the end."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import relucheck
from relucheck.progress import progress

ROOT = Path(relucheck.__file__).parent.parent

SLOW = """
import sys, time
from relucheck import engine, progress
whole = engine.lint_paths
def slow(*args, **kwargs):
    time.sleep(0.3)
    return whole(*args, **kwargs)
engine.lint_paths = slow
progress.progress.__wrapped__.__defaults__ = (0.05,)
from relucheck.cli import main
main()
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_short_run_says_nothing():
    terminal = Terminal()
    with progress("Reading", terminal, patience=30):
        pass
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_long_run_says_how_long_it_takes_and_takes_the_line_away(error):
    terminal = Terminal()
    try:
        with progress("Reading", terminal, patience=0.01):
            while not terminal.getvalue():
                time.sleep(0.01)
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    assert terminal.getvalue() == "\r\x1b[KReading ... 0 s\r\x1b[K"


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Terminal(), "dumb")])
def test_nothing_where_nobody_watches(stream, term, monkeypatch):
    monkeypatch.setenv("TERM", term)
    with progress("Reading", stream, patience=0.0):
        time.sleep(0.05)
    assert stream.getvalue() == ""


@pytest.mark.skipif(os.name == "nt", reason="needs the terminals of POSIX")
def test_lint_shows_it_on_a_terminal_and_leaves_standard_output_alone(tmp_path):
    import pty

    (tmp_path / "m.py").write_text("import torch\n")
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", SLOW, "lint", "--no-cache", "--isolated", "m.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, check=False,
    )  # fmt: skip
    os.close(theirs)
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (0, b"No mistakes found.\n")
    assert "Reading ... 0 s" in said
    assert said.endswith("\r\x1b[K")


def test_processes_can_be_forked_while_it_is_shown():
    """A fork beside another thread may hang, so ``-j`` would be of no use on a terminal."""
    before = threading.active_count()
    with progress("Reading", Terminal(), patience=0.01):
        assert threading.active_count() == before or not hasattr(signal, "setitimer")


def test_elsewhere_than_in_the_main_thread_it_is_shown_too():
    terminal = Terminal()

    def work():
        with progress("Reading", terminal, patience=0.01):
            while not terminal.getvalue():
                time.sleep(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(10)
    assert terminal.getvalue() == "\r\x1b[KReading ... 0 s\r\x1b[K"
