"""Finding the files to read: folders are walked, what is excluded or ignored by git is left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from relucheck.config import Configuration, Settings
from relucheck.problems import Problem

_SUFFIXES = (".py", ".ipynb")


@dataclass(frozen=True, slots=True)
class Discovery:
    """The files to read, sorted, each once, and what is wrong with the paths that were given."""

    files: tuple[str, ...]
    problems: tuple[Problem, ...]


def discover(paths: Iterable[str], configuration: Configuration) -> Discovery:
    """The Python files and notebooks under these paths; files given by name are always among them."""
    problems: list[Problem] = []
    found: list[str] = []
    for path in dict.fromkeys(paths):
        if os.path.isdir(path):
            walk = _Walk(path, configuration)
            inside = sorted(walk.files())
            found += inside
            problems += walk.problems
            if not inside and not walk.problems:
                problems.append(Problem(path, "holds no Python file or notebook to read", fatal=False))
        elif os.path.lexists(path):
            found.append(path)
        else:
            problems.append(Problem(path, "no such file or folder"))
    return Discovery(_each_once(found), tuple(problems))


def _each_once(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths in order of their names, one for each real file."""
    first: dict[str, str] = {}
    for path in sorted(dict.fromkeys(os.path.normpath(path) for path in paths)):
        first.setdefault(os.path.realpath(path), path)
    return tuple(first.values())


class _Walk:
    """One walk through a folder; links to folders are not followed, so it ends."""

    def __init__(self, top: str, configuration: Configuration) -> None:
        self.top = top
        self.configuration = configuration
        self.problems: list[Problem] = []

    def files(self) -> Iterator[str]:
        """The files to read under the top folder."""
        yield from self._in(self.top, self._outer_ignores)

    def _in(self, folder: str, ignores: tuple[_Ignore, ...]) -> Iterator[str]:
        settings = self.configuration.at(folder)
        if settings.respect_gitignore:
            ignores += _ignore_file(folder)
        for entry in self._entries(folder):
            is_folder = entry.is_dir(follow_symlinks=False)
            if not is_folder and not entry.name.endswith(_SUFFIXES):
                continue
            if _excluded(entry, settings) or _ignored(entry.path, is_folder, ignores):
                continue
            if is_folder:
                yield from self._in(entry.path, ignores)
            elif self._is_file(entry):
                yield entry.path

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """What is in a folder; one that cannot be listed is a problem, since its files go unread."""
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            reason = f"cannot be listed ({error.strerror or error})"
            self.problems.append(Problem(os.path.normpath(folder), reason))
            return []

    def _is_file(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry is a file; links to nothing are said, and cost nothing."""
        try:
            if entry.is_file():
                return True
            if os.path.exists(entry.path):
                return False
            reason = "is a link to nothing"
        except OSError as error:  # a circle of links
            reason = f"cannot be followed ({error.strerror or error})"
        path = os.path.normpath(entry.path)
        self.problems.append(Problem(path, f"{reason} and is left out", fatal=False))
        return False

    @cached_property
    def _outer_ignores(self) -> tuple[_Ignore, ...]:
        """The .gitignore files above the top folder, up to the root of its repository."""
        above: list[str] = []
        folder = os.path.abspath(self.top)
        while not os.path.exists(os.path.join(folder, ".git")):
            parent = os.path.dirname(folder)
            if parent == folder:
                return ()  # not in a repository
            above.append(parent)
            folder = parent
        return tuple(ignore for parent in reversed(above) for ignore in _ignore_file(parent))


def _excluded(entry: os.DirEntry[str], settings: Settings) -> bool:
    """Whether a pattern names this entry: by its name, or by its path from the settings' folder."""
    patterns = settings.exclude + settings.extend_exclude
    if any(fnmatchcase(entry.name, pattern.rstrip("/")) for pattern in patterns):
        return True
    anchored = [pattern for pattern in patterns if "/" in pattern.rstrip("/")]
    return any(settings.names(pattern, entry.path) for pattern in anchored)


_Ignore = tuple[str, Any]
"""A folder and the patterns of its .gitignore, which are relative to it."""


def _ignore_file(folder: str) -> tuple[_Ignore, ...]:
    path = os.path.join(folder, ".gitignore")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return ()
    import pathspec  # only folders with a .gitignore need it

    return ((os.path.abspath(folder), pathspec.GitIgnoreSpec.from_lines(lines)),)


def _ignored(path: str, is_folder: bool, ignores: tuple[_Ignore, ...]) -> bool:
    """Whether git ignores this entry; the innermost .gitignore that names it decides."""
    absolute = os.path.abspath(path)
    for folder, spec in reversed(ignores):
        relative = os.path.relpath(absolute, folder).replace(os.sep, "/")
        named = spec.check_file(relative + "/" * is_folder).include
        if named is not None:
            # a folder that the user asked for is read although its own parent is ignored
            return bool(named) and not _parent_named(relative, spec)
    return False


def _parent_named(relative: str, spec: Any) -> bool:
    parent = os.path.dirname(relative)
    return bool(parent) and bool(spec.check_file(parent + "/").include)
