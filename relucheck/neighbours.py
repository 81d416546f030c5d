"""A file and the files that it imports: what a tool reads that is given one file at a time."""

from __future__ import annotations

import ast
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from relucheck.config import OWN_FILES
from relucheck.problems import SyntaxProblem
from relucheck.source.files import Document, from_bytes
from relucheck.source.parse import parse

LIMIT = 50
"""Files that are read at most, the nearest first: an import of a large library is not followed to its end."""

_TOPS = (".git", "pyproject.toml", "setup.py", "setup.cfg", *OWN_FILES)

Read = Callable[[str], Document | None]


def from_disk(path: str) -> Document | None:
    """A file as it is on disk, under the path that it is asked for; None where it cannot be read."""
    try:
        document = from_bytes(path, Path(path).read_bytes())
    except OSError:
        return None
    return document if isinstance(document, Document) else None


@dataclass(frozen=True, slots=True)
class Import:
    """A module that a file imports: its dotted name, after ``level`` leading dots."""

    dotted: str
    level: int = 0


def with_imports(document: Document, read: Read) -> tuple[Document, ...]:
    """The document, and those that it imports, directly or not, as ``read`` gives them by path.

    The document's path must be absolute, as those are that ``read`` is asked for.
    """
    found = {document.path: document}
    todo = deque([document])
    while todo:
        importer = todo.popleft()
        for path in _paths_in(importer):
            if len(found) >= LIMIT:
                return tuple(found.values())
            if path not in found and (imported := read(path)) is not None:
                found[path] = imported
                todo.append(imported)
    return tuple(found.values())


def _paths_in(document: Document) -> Iterator[str]:
    """The files that a document's imports name."""
    try:
        tree = parse(document)
    except SyntaxProblem:
        return
    folder = os.path.dirname(document.path)
    above = _folders_above(folder)
    for imported in dict.fromkeys(imports(tree)):
        path = _file_of(imported, folder, above)
        if path is not None:
            yield path


def imports(tree: ast.Module) -> Iterator[Import]:
    """The modules that a file may import; ``from a import b`` may mean the module ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            yield Import(name, node.level)
            yield from (Import(f"{name}.{a.name}".lstrip("."), node.level) for a in node.names)


def _file_of(imported: Import, folder: str, above: Sequence[str]) -> str | None:
    """The file of a module, looked for as the reader of a project does: beside, then in the folders above."""
    if imported.level:
        up = (os.pardir,) * (imported.level - 1)
        return _module_in(os.path.normpath(os.path.join(folder, *up)), imported.dotted)
    if imported.dotted.partition(".")[0] == "torch":
        return None
    places = (_module_in(place, imported.dotted) for place in above)
    return next((path for path in places if path is not None), None)


def _module_in(folder: str, dotted: str) -> str | None:
    base = os.path.join(folder, *dotted.split(".")) if dotted else folder
    candidates = (f"{base}.py", os.path.join(base, "__init__.py"))
    return next((path for path in candidates if os.path.isfile(path)), None)


def _folders_above(folder: str) -> Sequence[str]:
    """The folder and those above it, up to the top of its project.

    Where nothing marks one, that is the folder which holds the outermost package.
    """
    folders = list(_upward(folder))
    tops = (place for place in folders if any(os.path.exists(os.path.join(place, top)) for top in _TOPS))
    loose = (place for place in folders if not os.path.isfile(os.path.join(place, "__init__.py")))
    last = next(tops, None) or next(loose, folder)
    return folders[: folders.index(last) + 1]


def _upward(folder: str) -> Iterator[str]:
    """A folder and every folder above it."""
    while True:
        yield folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return
        folder = parent
