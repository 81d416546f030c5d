"""The files of a project and how they import each other."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from relucheck.source.drafts import Tape
from relucheck.source.files import Document
from relucheck.source.values import Class, Const, External, Function, Value
from relucheck.span import Span

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

BARE = {
    "torch": "torch",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "optim": "torch.optim",
    "init": "torch.nn.init",
}
"""Names that mean torch's modules in snippets without imports."""


@dataclass(eq=False)
class ModuleScope:
    """One file of the project while it is read: its names, and what its code has recorded.

    ``called``, ``building`` and ``spans`` remember facts about its syntax nodes, by id.
    ``state`` is "new", "running" or "done": importing a module that is running gives what it has
    defined so far, as in Python.
    """

    document: Document
    tree: ast.Module
    project: Project
    names: dict[str, Value] = field(default_factory=lambda: {"__name__": Const("?")})
    tape: Tape = field(default_factory=Tape)
    state: str = "new"
    called: dict[int, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    building: dict[int, bool] = field(default_factory=dict)
    spans: dict[int, Span] = field(default_factory=dict)
    classes: list[Class] = field(default_factory=list)
    decorator_steps: int = 60_000

    @property
    def path(self) -> str:
        return self.document.path

    @cached_property
    def dotted(self) -> str:
        """The name that ``import`` knows the file by; ``?`` where it is only ever started as a program."""
        return self.project.dotted(self)

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Functions and classes of the top level by name, also those inside its ifs and tries."""
        found: dict[str, Definition] = {}
        for statement in _top_level(self.tree.body):
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[statement.name] = statement
        return found

    @cached_property
    def bound_names(self) -> frozenset[str]:
        """Every name that the file binds somewhere; the others may be torch's in a bare snippet."""
        bound: set[str] = set(self.definitions)
        for statement in _top_level(self.tree.body):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                bound |= {(a.asname or a.name).partition(".")[0] for a in statement.names}
            elif isinstance(statement, ast.Assign):
                bound |= {t.id for t in statement.targets if isinstance(t, ast.Name)}
        return frozenset(bound)

    def binds(self, name: object) -> bool:
        """Whether the file has a name now, or gets it from a function or class of its own."""
        return name in self.names or name in self.definitions

    def bare(self, name: str) -> External | None:
        """What an unbound ``nn`` or ``F`` means."""
        if name in BARE and name not in self.bound_names:
            return External(BARE[name])
        return None


def _top_level(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _top_level(statement.body)
            yield from _top_level(getattr(statement, "orelse", []))
            for handler in getattr(statement, "handlers", []):
                yield from _top_level(handler.body)


@dataclass(eq=False)
class Project:
    """All files that are linted together."""

    scopes: dict[str, ModuleScope] = field(default_factory=dict)

    def add(self, document: Document, tree: ast.Module) -> ModuleScope:
        """A new file."""
        scope = ModuleScope(document, tree, self)
        self.scopes[_normal(document.path)] = scope
        return scope

    def find(self, dotted: str, importer: ModuleScope, level: int = 0) -> ModuleScope | None:
        """The file that an import means, looked for beside the importer and in the folders above.

        A script's own folder is on Python's path, and so is some folder above a package; which one
        cannot be known, so the nearest folder that has the module wins.
        """
        if dotted.partition(".")[0] == "torch" and level == 0:
            return None
        folder = posixpath.dirname(_normal(importer.path))
        if level:
            for _ in range(level - 1):
                folder = posixpath.dirname(folder)
            return self._in(folder, dotted)
        while True:
            found = self._in(folder, dotted)
            if found is not None and found is not importer:
                return found
            above = posixpath.dirname(folder)
            if above == folder:
                return None
            folder = above

    def dotted(self, scope: ModuleScope) -> str:
        """The dotted name of a file, from the outermost folder that is a package."""
        folder, file = posixpath.split(_normal(scope.path))
        words = [] if file == "__init__.py" else [posixpath.splitext(file)[0]]
        while posixpath.join(folder, "__init__.py") in self.scopes:
            folder, name = posixpath.split(folder)
            words.insert(0, name)
        return ".".join(words) if words not in ([], ["__main__"]) else "?"

    def _in(self, folder: str, dotted: str) -> ModuleScope | None:
        base = posixpath.join(folder, *dotted.split(".")) if dotted else folder
        return self.scopes.get(f"{base}.py") or self.scopes.get(posixpath.join(base, "__init__.py"))

    def submodule(self, scope: ModuleScope, name: str) -> ModuleScope | None:
        """``package.name`` as a file of the package."""
        folder, file = posixpath.split(_normal(scope.path))
        return self._in(folder, name) if file == "__init__.py" else None


def _normal(path: str) -> str:
    path = path.replace("\\", "/")
    return posixpath.normpath(path if path.startswith("/") else f"/./{path}")


def make_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, scope: ModuleScope, owner: Class | None = None
) -> Function:
    """A function of the top level or of a class; decorators that change how it binds are noted."""
    names = {_last_name(d) for d in node.decorator_list}
    wrapped = ""
    if "staticmethod" in names:
        wrapped = "static"
    elif "classmethod" in names:
        wrapped = "class"
    elif names & {"property", "cached_property"}:
        wrapped = "property"
    return Function(node, scope, None, owner, wrapped=wrapped)


def _last_name(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    if isinstance(decorator, ast.Attribute):
        return decorator.attr
    return decorator.id if isinstance(decorator, ast.Name) else ""
