"""How a file spells a name of torch, by the imports at its top."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from relucheck.source.splices import CannotEdit, Rows, Splice

CANONICAL = {"nn": "torch.nn", "F": "torch.nn.functional", "torch": "torch"}
"""The short names in which fixes are written, whatever the file calls them."""

IN_TORCH = frozenset({"F.relu", "F.sigmoid", "F.tanh", "F.softmax", "F.log_softmax"})
"""Functions that ``torch`` itself has under the same name."""


@dataclass(frozen=True, slots=True)
class Imports:
    """The names that a file's imports bind, and where a ``from`` import can take one more."""

    bound: Mapping[str, str]
    open: Mapping[str, ast.ImportFrom]
    rows: Rows

    def spelled(self, name: str) -> tuple[str, tuple[Splice, ...]]:
        """A dotted name as the file may write it, with the import that this needs."""
        for end in range(name.count(".") + 1, 0, -1):
            parts = name.split(".")
            prefix, rest = ".".join(parts[:end]), parts[end:]
            alias = next((bound for bound, target in self.bound.items() if target == prefix), None)
            if alias is not None:
                return ".".join((alias, *rest)), ()
        module, _, last = name.rpartition(".")
        if module in self.open and last not in self.bound:
            return last, (self._one_more(self.open[module], last),)
        raise CannotEdit(f"the file does not import {module}")

    def function(self, code: str) -> str:
        """A function of ``F`` by its shorter name in ``torch``, where the file imports that alone."""
        targets = frozenset(self.bound.values())
        short = "torch.nn.functional" not in targets and "torch" in targets
        return f"torch.{code.removeprefix('F.')}" if short and code in IN_TORCH else code

    def _one_more(self, statement: ast.ImportFrom, name: str) -> Splice:
        last = statement.names[-1]
        assert last.end_lineno is not None
        assert last.end_col_offset is not None
        offset = self.rows.offset(last.end_lineno, last.end_col_offset)
        return Splice(offset, offset, f", {name}")


def imports_of(text: str) -> Imports:
    """The imports at the top level of a text, also inside ``try`` and ``if``."""
    bound: dict[str, str] = {}
    room: dict[str, ast.ImportFrom] = {}
    for statement in _imports(ast.parse(text).body):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                first = alias.name.partition(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
        elif not statement.level and statement.module:
            names = {a.asname or a.name: f"{statement.module}.{a.name}" for a in statement.names}
            bound.update(names)
            if "*" not in names and _is_ascii(text, statement):
                room[statement.module] = statement
    return Imports(bound, room, Rows.of(text.split("\n")))


def _is_ascii(text: str, statement: ast.ImportFrom) -> bool:
    """Whether columns of a statement's last row count characters: they are bytes to the parser."""
    row = statement.names[-1].end_lineno or statement.lineno
    return text.split("\n")[row - 1].isascii()


def _imports(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        elif isinstance(statement, ast.Try | ast.If):
            yield from _imports(statement.body)


def respelled(code: str, imports: Imports) -> tuple[str, tuple[Splice, ...]]:
    """Code written with the canonical names ``nn``, ``F`` and ``torch``, as the file may write it."""
    names = [n for n in ast.walk(ast.parse(code, mode="eval")) if isinstance(n, ast.Attribute | ast.Name)]
    for node in names:
        text = ast.unparse(node)
        root, _, rest = text.partition(".")
        if rest and root in CANONICAL and code.startswith(text):
            name, splices = imports.spelled(f"{CANONICAL[root]}.{rest}")
            return name + code[len(text) :], splices
    return code, ()
