"""Files that import each other belong together; other files can be read apart, with the same result."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence

from relucheck.source.files import Document
from relucheck.source.modules import ModuleScope, Project

WORTH_SHARING = 150_000
"""Characters of networks below which starting another process costs more than it saves (about 0.4 s)."""

LOPSIDED = 0.85
"""The share of one part from which the others could not help it any more."""


def shared_out(modules: Sequence[tuple[Document, ast.Module]], jobs: int) -> tuple[frozenset[str], ...]:
    """The paths of a project in at most ``jobs`` parts that can be read apart, of about equal size.

    One part holds everything where sharing is not worth it: a small project, or a package whose files
    all import each other.
    """
    everything = frozenset(document.path for document, _ in modules)
    total = sum(_weight(document) for document, _ in modules)
    if jobs < 2 or total < WORTH_SHARING:
        return (everything,)
    weights = {document.path: _weight(document) for document, _ in modules}
    parts = _balanced(_pieces(modules), weights, jobs)
    heaviest = max(sum(weights[path] for path in part) for part in parts)
    return parts if heaviest < LOPSIDED * total else (everything,)


def _weight(document: Document) -> int:
    return len(document.text) if document.relevant else 0


def _balanced(
    pieces: Sequence[frozenset[str]], weights: dict[str, int], jobs: int
) -> tuple[frozenset[str], ...]:
    """The pieces in parts: the heaviest first, each to the part that is lightest so far."""
    heavy = {piece: sum(weights[path] for path in piece) for piece in pieces}
    parts: list[frozenset[str]] = [frozenset()] * jobs
    load: Counter[int] = Counter(dict.fromkeys(range(jobs), 0))
    for piece in sorted(pieces, key=lambda piece: (-heavy[piece], min(piece))):
        index = min(load, key=lambda index: (load[index], index))
        parts[index] |= piece
        load[index] += heavy[piece]
    return tuple(part for part in parts if part)


def _pieces(modules: Sequence[tuple[Document, ast.Module]]) -> list[frozenset[str]]:
    project = Project()
    scopes = [project.add(document, tree) for document, tree in modules]
    return list({id(one): frozenset(one) for one in connected(scopes).values()}.values())


def connected(scopes: Sequence[ModuleScope]) -> dict[str, set[str]]:
    """The connected component of each file in the graph of imports, by its path."""
    piece = {scope.path: {scope.path} for scope in scopes}
    for scope in scopes:
        for other in _imported(scope):
            mine, theirs = piece[scope.path], piece[other.path]
            if mine is not theirs:
                small, large = sorted((mine, theirs), key=len)
                large |= small
                piece.update(dict.fromkeys(small, large))
    return piece


def _imported(scope: ModuleScope) -> Iterator[ModuleScope]:
    """The files of the project that a file's imports may mean, wherever they stand in it."""
    for node in _statements(scope.tree):
        for found in _meant(node, scope):
            if found is not None:
                yield found


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement, however deep; what is inside expressions holds no imports and is most of a tree."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, ())
            if isinstance(inner, list):
                todo.extend(inner)


def _meant(node: ast.AST, scope: ModuleScope) -> Iterator[ModuleScope | None]:
    find = scope.project.find
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield find(alias.name, scope)
            yield find(alias.name.partition(".")[0], scope)
    elif isinstance(node, ast.ImportFrom):
        package = find(node.module or "", scope, node.level)
        yield package
        if package is not None:
            yield from (scope.project.submodule(package, alias.name) for alias in node.names)
