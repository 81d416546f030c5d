"""Input that nobody meant to give: each gets a clear message and the right status, and the rest is judged."""

import os
import shutil
import subprocess
import sys

import pytest

from relucheck.config import Settings
from relucheck.source import walk
from relucheck.source.files import discover
from tests.test_cli import IDLE, codes, lint

HEAD = "import torch\nfrom torch import nn\n"
BAD = "\nnet = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9))\nnet(torch.ones(9))\n"
posix = pytest.mark.skipif(os.name == "nt", reason="needs the shell and the links of POSIX")


@pytest.fixture
def folder(tmp_path):
    """A folder with one file that complains, so that something must still be said."""
    (tmp_path / "idle.py").write_text(IDLE)
    return tmp_path


def found(folder, *arguments):
    status, out, err = lint(folder, "--no-cache", "--output-format", "json", *arguments)
    return status, codes(out), err


# ------------------------------------------------------------ folders and links


def test_a_folder_that_cannot_be_listed_is_said_and_the_others_are_read(folder, monkeypatch):
    (folder / "locked").mkdir()
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(walk.os, "scandir", scandir)
    discovery = discover([str(folder)], Settings())
    assert [os.path.basename(path) for path in discovery.files] == ["idle.py"]
    (problem,) = discovery.problems
    assert (problem.fatal, problem.message) == (True, "cannot be listed (Permission denied)")
    assert problem.path == str(folder / "locked")


@posix
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="nothing is locked for root")
@pytest.mark.parametrize("name", ["locked", "locked.py"])
def test_without_permission(folder, name):
    path = folder / name
    path.write_text("") if name.endswith(".py") else path.mkdir()
    path.chmod(0)
    try:
        status, said, err = found(folder)
    finally:
        path.chmod(0o700)
    assert (status, said) == (2, ["RLU001"])
    assert f"error: {name}: cannot be" in err
    assert "Permission denied" in err


@posix
def test_links_that_lead_nowhere_are_said_and_left_out(folder):
    (folder / "gone.py").symlink_to("nothing.py")
    (folder / "a.py").symlink_to("b.py")
    (folder / "b.py").symlink_to("a.py")
    (folder / "self").symlink_to(".", target_is_directory=True)
    status, said, err = found(folder)
    assert (status, said) == (1, ["RLU001"])
    assert sorted(err.splitlines()) == [
        "warning: a.py: cannot be followed (Too many levels of symbolic links) and is left out",
        "warning: b.py: cannot be followed (Too many levels of symbolic links) and is left out",
        "warning: gone.py: is a link to nothing and is left out",
    ]


@posix
@pytest.mark.parametrize("cache", [(), ("--no-cache",)])
def test_links_that_lead_nowhere_are_errors_where_they_are_asked_for(folder, cache):
    (folder / "gone.py").symlink_to("nothing.py")
    (folder / "round.py").symlink_to("round.py")
    status, out, err = lint(folder, "gone.py", "round.py", "idle.py", "--output-format", "json", *cache)
    assert (status, codes(out)) == (2, ["RLU001"])
    assert err.splitlines() == [
        "error: gone.py: cannot be read (No such file or directory)",
        "error: round.py: cannot be read (Too many levels of symbolic links)",
    ]


# ------------------------------------------------------------------- contents


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)) * 8, "error: odd.py: is not utf-8: byte 0x80 in line 2; save it as UTF-8"),
        (b"import torch\n\0\n", "error: odd.py: holds a NUL character in line 2; it is not Python text"),
        ("import torch\n".encode("utf-16"), "error: odd.py: is not utf-8: byte 0xff in line 1"),
        (b"# coding: klingon\n", "error: odd.py: cannot be decoded: unknown encoding: klingon"),
        (b"# coding: rot13\nvzcbeg gbepu\n", "error: odd.py: cannot be decoded: "),
        (b"# coding: idna\n\xff = 1\n", "error: odd.py: is not ascii: byte 0xff in line 2"),
    ],
    ids=["binary", "NUL", "UTF-16", "unknown", "no text encoding", "undecodable"],
)
def test_what_is_no_text_is_said_and_the_other_files_are_judged(folder, content, message):
    (folder / "odd.py").write_bytes(content)
    status, said, err = found(folder)
    assert (status, said) == (2, ["RLU001"])
    assert err.startswith(message), err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("encoding", "start"), [("cp1252", "# coding: cp1252\n"), ("utf-8-sig", "")])
def test_encodings_that_a_file_declares_are_read(folder, encoding, start):
    text = f"{start}{HEAD}é = 1{BAD}"
    (folder / "idle.py").write_bytes(text.encode(encoding))
    assert found(folder) == (1, ["RLU201"], "")


def test_huge_files_are_read(folder):
    (folder / "string.py").write_text(f"{HEAD}x = '{'a' * 20_000_000}'{BAD}")
    (folder / "rows.py").write_text(HEAD + "x = 1\n" * 10_000 + BAD)
    cell = f'{{"cell_type": "code", "source": "1", "outputs": ["{"a" * 20_000_000}"]}}'
    (folder / "big.ipynb").write_text(f'{{"cells": [{cell}]}}')
    status, said, err = found(folder)
    assert (status, sorted(said), err) == (1, ["RLU001", "RLU201", "RLU201"], "")


# --------------------------------------------------------------- deep nesting

DEEP = {
    "parentheses": f"x = {'(' * 2000}1{')' * 2000}",
    "ifs": "\n".join(f"{' ' * i}if x:" for i in range(2000)) + f"\n{' ' * 2000}pass",
    "a sum": f"x = {' + '.join(['a'] * 5000)}",
    "attributes": f"x = a{'.b' * 5000}",
    "calls": f"x = torch.ones(2){'.relu()' * 5000}",
    "indices": f"x = y{'[0]' * 5000}",
}
"""Deeper than Python itself compiles, on some versions or on all."""

FAIR = {
    "parentheses": f"x = {'(' * 150}1{')' * 150}",
    "ifs": "\n".join(f"{' ' * i}if x:" for i in range(90)) + f"\n{' ' * 90}pass",
    "a sum": f"a = torch.ones(2)\nx = {' + '.join(['a'] * 900)}",
    "a sum in a function": f"def f(a):\n    return {' + '.join(['a'] * 900)}\n\n\nf(torch.ones(2))",
    "calls": f"x = torch.ones(2){'.relu()' * 400}",
    "strings": "x = " + " + ".join(["'a'"] * 900),
    "ands": f"x = {' and '.join(['y'] * 5000)}",
    "elifs": "if a:\n    y = 1\n" + "".join(f"elif a == {i}:\n    y = {i}\n" for i in range(500)),
    "containers": f"x = {'nn.Sequential(' * 90}nn.ReLU(){')' * 90}\nx(torch.ones(2))",
    "endless recursion": "def f(x):\n    return f(x) + 1\n\n\nf(torch.ones(2))",
}
"""What Python compiles, and a generator of code may write."""


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_what_is_too_deep_for_python_is_a_finding_or_is_read(folder, text):
    (folder / "deep.py").write_text(HEAD + text + BAD)
    status, said, err = found(folder)
    assert (status, err) == (1, "")
    assert said in (["RLU000", "RLU001"], ["RLU201", "RLU001"])


@pytest.mark.parametrize("text", FAIR.values(), ids=FAIR)
def test_what_is_deep_hides_nothing_else(folder, text):
    (folder / "deep.py").write_text(HEAD + text + BAD)
    status, said, err = found(folder, "deep.py")
    assert (status, err) == (1, "")
    assert "RLU201" in said


@pytest.mark.parametrize("deep", [FAIR["a sum"], FAIR["elifs"], FAIR["ifs"]])
def test_fixes_in_deep_text_are_refused_or_made_but_nothing_fails(folder, deep):
    text = HEAD + deep + BAD
    (folder / "deep.py").write_text(text)
    status, _, err = lint(folder, "--fix", "--unsafe-fixes", "deep.py")
    fixed = text.replace("nn.Linear(9, 9), ", "nn.Linear(9, 9), nn.ReLU(), ")
    after = (folder / "deep.py").read_text()
    assert (status, after) in [(0, fixed), (1, text)], err
    assert "Traceback" not in err


# -------------------------------------------------------------------- streams


@posix
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("lint >&-", 1),
        ("lint >&- 2>&-", 1),
        ("lint --exit-zero >&-", 0),
        ("lint - <&-", 0),
        ("rules >&-", 0),
    ],
)
def test_streams_that_are_closed(folder, arguments, status):
    assert shell(folder, arguments) == (status, "")


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["lint", "rules", "lint --output-format json"])
def test_a_full_disk_behind_standard_output_is_2(folder, command):
    message = "error: standard output cannot be written (No space left on device)\n"
    assert shell(folder, f"{command} > /dev/full") == (2, message)


def shell(folder, arguments):
    """The exit status and stderr of a command line with redirections."""
    root = os.path.dirname(os.path.dirname(walk.__file__.replace("/source", "")))
    done = subprocess.run(
        [shutil.which("sh"), "-c", f'"{sys.executable}" -m relucheck {arguments}'],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr
