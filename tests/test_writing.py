"""Writing: whole or not at all, with modes, owners and links as they were."""

import os
import stat

import pytest

from relucheck import writing
from relucheck.writing import replace_content

posix = pytest.mark.skipif(os.name == "nt", reason="modes and links are POSIX's")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "m.py").write_bytes(b"old\n")
    return tmp_path / "m.py"


def test_a_file_is_replaced_and_nothing_else_is_left(file):
    assert replace_content(str(file), b"old\n", b"new\n") is None
    assert (file.read_bytes(), os.listdir(file.parent)) == (b"new\n", ["m.py"])


@posix
def test_the_mode_stays(file):
    file.chmod(0o751)
    replace_content(str(file), b"old\n", b"new\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o751


@posix
def test_a_link_stays_one(file):
    link = file.parent / "link.py"
    link.symlink_to("m.py")
    assert replace_content(str(link), b"old\n", b"new\n") is None
    assert (link.is_symlink(), file.read_bytes()) == (True, b"new\n")
    assert replace_content(str(file), b"old\n", b"new\n") is None  # the other way to the same file


@posix
def test_a_read_only_file_is_left_alone(file):
    file.chmod(0o444)
    problem = replace_content(str(file), b"old\n", b"new\n")
    assert "is read-only" in problem.message
    assert (problem.fatal, file.read_bytes()) == (True, b"old\n")


def test_what_someone_else_wrote_is_kept(file):
    file.write_bytes(b"other\n")
    assert "changed by someone else" in replace_content(str(file), b"old\n", b"new\n").message
    assert file.read_bytes() == b"other\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interruption_leaves_the_old_file_and_no_other(file, monkeypatch, error):
    def interrupted(*args):
        raise error

    monkeypatch.setattr(writing.os, "replace", interrupted)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            replace_content(str(file), b"old\n", b"new\n")
    else:
        assert "No space left" in replace_content(str(file), b"old\n", b"new\n").message
    assert (file.read_bytes(), os.listdir(file.parent)) == (b"old\n", ["m.py"])
