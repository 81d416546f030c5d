"""From the files of a project to its networks: one Net for each file that runs something."""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from relucheck.net import Crash, ModuleClass, Net, Reading
from relucheck.source.calls import call
from relucheck.source.classes import ClassFacts
from relucheck.source.drafts import Tape
from relucheck.source.expressions import evaluate
from relucheck.source.files import Document
from relucheck.source.machine import Machine
from relucheck.source.modules import ModuleScope, Project
from relucheck.source.roots import attempt_all, load, run_class, run_functions, run_loose, run_script
from relucheck.source.statements import define, execute, put
from relucheck.source.trials import trials
from relucheck.source.values import Instance

RECURSION = 6_000


def read_project(
    modules: Sequence[tuple[Document, ast.Module]], only: frozenset[str] | None = None
) -> Reading:
    """Read the files of a project together; they may import each other.

    ``only`` are the paths to read; the others are what those may import, and how they use their names.

    The order in which the files are given does not matter. A fault while one file is read is a
    Crash of that file; the others are still read.
    """
    project = Project()
    scopes = [
        project.add(document, tree) for document, tree in sorted(modules, key=lambda pair: pair[0].path)
    ]
    m = Machine(evaluate, execute, call, define, put, load)
    facts = ClassFacts(project)
    m.doubts = facts.doubted_parameters
    wanted = [scope for scope in scopes if scope.document.relevant and (only is None or scope.path in only)]
    reader = Reader(m, facts, wanted)
    with deep_recursion():
        return reader.read()


@dataclass(slots=True)
class ScriptReader:
    """Reads scripts that import from ``modules``, each to its end within ``steps``.

    Where ``read_project`` reads everything a little, this reads one program whole, to compare it with
    a real pass. What the modules do when they are imported is read once, for the first script.
    """

    modules: Sequence[tuple[Document, ast.Module]]
    steps: int
    _project: Project = field(default_factory=Project)
    _machine: Machine = field(default_factory=lambda: Machine(evaluate, execute, call, define, put, load))

    def __post_init__(self) -> None:
        for document, tree in self.modules:
            self._project.add(document, tree)
        self._machine.script_steps = self._machine.max_nodes = self.steps

    def read(self, document: Document, tree: ast.Module) -> Net:
        """The Net of one script."""
        scope = self._project.add(document, tree)
        with deep_recursion():
            run_script(self._machine, scope)
        return scope.tape.freeze(scope.path, scope.path)


@dataclass(slots=True)
class Reader:
    """The phases of reading a project; a file in which relucheck fails is left out of later ones."""

    m: Machine
    facts: ClassFacts
    scopes: list[ModuleScope]
    crashes: list[Crash] = field(default_factory=list)
    scripted: dict[int, Instance] = field(default_factory=dict)

    def read(self) -> Reading:
        """Scripts first, with the values that they pass; then what they have not reached."""
        self.each(lambda scope: run_script(self.m, scope))
        self.scripted = made_once(self.m)
        self.each(self.note_contained)
        is_called = self.facts.is_called
        self.each(lambda scope: run_functions(self.m, scope, lambda name: not is_called(name)))
        self.each(lambda scope: self.run_classes(scope, contained=False))
        self.each(lambda scope: self.run_classes(scope, contained=True))
        self.each(lambda scope: run_functions(self.m, scope, is_called))
        self.each(lambda scope: run_loose(self.m, scope))
        nets: list[Net] = []
        classes: list[ModuleClass] = []
        wanted = {scope.path for scope in self.scopes}
        self.each(lambda scope: classes.extend(self.facts.of_file(self.m, scope)))
        self.forget()
        self.each(lambda scope: nets.append(frozen(scope)))
        unfinished = tuple(u for u in dict.fromkeys(self.m.unfinished) if u.path in wanted)
        tests = tuple(self.m.span_of(node, s) for s in self.scopes for node in trials(s.tree))
        return Reading(tuple(nets), tuple(classes), tuple(self.crashes), unfinished, tests)

    def forget(self) -> None:
        """Let go of all values but what is recorded, to have room for the Nets that are made of that."""
        self.m.instances.clear()
        self.m.redirects.clear()
        self.facts.forget()
        for scope in self.facts.project.scopes.values():
            for remembered in (scope.names, scope.spans, scope.called, scope.classes):
                remembered.clear()

    def note_contained(self, scope: ModuleScope) -> None:
        self.m.contained |= self.facts.contained(scope)

    def run_classes(self, scope: ModuleScope, contained: bool) -> None:
        """Classes that may hold others come first: what they run need not be run alone."""
        todo = [c for c in reversed(scope.classes) if (id(c.node) in self.m.contained) is contained]

        def run() -> None:
            for cls in todo:
                run_class(self.m, cls, self.scripted.get(id(cls)))

        attempt_all(self.m, scope, "the rest of its classes", run)

    def each(self, step: Callable[[ModuleScope], None]) -> None:
        """Do one step for every file, inside the error boundary of that file."""
        for scope in list(self.scopes):
            try:
                step(scope)
            except Exception as error:  # a fault of ours costs one file, and is reported
                self.crashes.append(Crash(scope.path, repr(error), traceback.format_exc()))
                self.scopes.remove(scope)


def made_once(m: Machine) -> dict[int, Instance]:
    """The instances that scripts have made, by class, of the classes of which they make only one."""
    found: dict[int, list[Instance]] = {}
    for instance in m.instances:
        if instance.cls is not None:
            found.setdefault(id(instance.cls), []).append(instance)
    return {key: made[0] for key, made in found.items() if len(made) == 1}


def frozen(scope: ModuleScope) -> Net:
    """The Net of a file, whose drafts are not needed any more."""
    net = scope.tape.freeze(scope.path, scope.path)
    scope.tape = Tape()
    return net


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for the interpreter's own recursion; the user's code cannot make it endless."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
