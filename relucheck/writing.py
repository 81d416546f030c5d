"""Writing files whole or not at all, as they were in all but their content."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from relucheck.problems import Problem


def replace_content(path: str, before: bytes, after: bytes) -> Problem | None:
    """Give a file new content, or the problem that kept it as it is.

    A symbolic link stays one, and the file it leads to is written. ``before`` is what the file must
    hold: what someone else has written meanwhile is not lost.
    """
    target = Path(os.path.realpath(path))
    try:
        content = target.read_bytes()
        if content == after:
            return None
        if content != before:
            return Problem(path, "was changed by someone else meanwhile and is left as it is; run again")
        if not _writable(target):
            return Problem(path, "is read-only and is left as it is; make it writable to fix it")
        write_whole(target, after)
    except OSError as error:
        return Problem(path, f"cannot be written ({error.strerror or error})")
    return None


def _writable(target: Path) -> bool:
    """Whether its mode lets someone write the file, root or not, and the system lets us."""
    return bool(target.stat().st_mode & 0o222) and os.access(target, os.W_OK)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file by way of a temporary one beside it, so that nobody ever sees half of it."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        _like(target, temporary)
        os.replace(temporary, target)
    finally:  # Ctrl-C as well leaves nothing behind
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _like(target: Path, temporary: str) -> None:
    """Give a temporary file the mode, and where allowed the owner, of the file it replaces."""
    if not target.exists():
        os.chmod(temporary, 0o666 & ~_umask())
        return
    status = target.stat()
    if hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):
            os.chown(temporary, status.st_uid, status.st_gid)
    os.chmod(temporary, stat.S_IMODE(status.st_mode))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
