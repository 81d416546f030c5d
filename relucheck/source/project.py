"""From the files of a project to its networks: one Net for each file that runs something."""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from relucheck.net import Crash, ModuleClass, Net, Reading
from relucheck.source.calls import call
from relucheck.source.classes import ClassFacts
from relucheck.source.expressions import evaluate
from relucheck.source.files import Document
from relucheck.source.machine import Machine
from relucheck.source.modules import ModuleScope, Project
from relucheck.source.roots import load, run_file
from relucheck.source.statements import define, execute, put

RECURSION = 6_000


def read_project(modules: Sequence[tuple[Document, ast.Module]]) -> Reading:
    """Read the files of a project together; they may import each other.

    The order in which the files are given does not matter. A fault while one file is read is a
    Crash of that file; the others are still read.
    """
    project = Project()
    scopes = [project.add(document, tree) for document, tree in sorted(modules, key=lambda pair: pair[0].path)]
    m = Machine(evaluate, execute, call, define, put, load)
    facts = ClassFacts(project)
    m.doubts = facts.doubted_parameters
    nets: list[Net] = []
    classes: list[ModuleClass] = []
    crashes: list[Crash] = []
    with deep_recursion():
        for scope in scopes:
            if not scope.document.relevant:
                continue
            try:
                nets.append(_read_file(m, scope, facts))
                classes.extend(facts.of_file(m, scope))
            except Exception as error:  # the error boundary of one file
                crashes.append(Crash(scope.path, repr(error), traceback.format_exc()))
    return Reading(tuple(nets), tuple(classes), tuple(crashes))


def _read_file(m: Machine, scope: ModuleScope, facts: ClassFacts) -> Net:
    load(m, scope)
    m.contained |= facts.contained(scope)
    run_file(m, scope)
    return scope.tape.freeze(scope.path, scope.path)


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Room for the interpreter's own recursion; the user's code cannot make it endless."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
