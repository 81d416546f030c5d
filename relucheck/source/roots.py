"""Where a symbolic run starts: scripts, functions nobody calls, classes nobody instantiates.

What one run has already executed is not run again, so a function that a script calls is read with
the script's own arguments, and only what nothing calls is read with unknown ones.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import partial

from relucheck.net import Unfinished
from relucheck.source.binding import NO_ARGUMENTS, Arguments
from relucheck.source.calls import default_of, record_output
from relucheck.source.machine import Exhausted, Machine
from relucheck.source.modules import ModuleScope
from relucheck.source.objects import bind_attribute, is_module_class
from relucheck.source.syntax import walk
from relucheck.source.values import (
    NONE,
    UNK,
    Class,
    Const,
    External,
    Frame,
    Function,
    Instance,
    LayerVal,
    Unk,
    Value,
    one_of,
)

FUNCTION_STEPS = 12_000
CLASS_STEPS = 20_000
FILE_STEPS = 60_000
TOP_LEVEL = "the top level"


def load(m: Machine, scope: ModuleScope) -> None:
    """Run the top level of a file once, apart from whatever is being read."""
    if scope.state != "new":
        return
    scope.state = "running"
    scope.names["__name__"] = Const(scope.dotted)
    with m.aside(scope.tape), m.apart():
        frame = Frame(scope, scope.names)
        attempt(m, m.script_steps, scope, TOP_LEVEL, partial(m.execute, m, scope.tree.body, frame))
    scope.state = "done"


def attempt(m: Machine, steps: int, scope: ModuleScope, name: str, run: Callable[[], object]) -> None:
    """Run code of a file within a budget; what a run that does not finish has recorded is taken back.

    A network of which only half has been read would lack consumers, and lead to false alarms.
    """
    tape = m.tape
    marks, covered = tape.marks(), len(m.covered)
    try:
        with m.budget(steps):
            run()
    except (Exhausted, RecursionError):
        tape.cut(marks)
        m.uncover(covered)
        if m.exhausted:
            raise Exhausted from None
        m.unfinished.append(Unfinished(scope.path, name))


def run_script(m: Machine, scope: ModuleScope) -> None:
    """The top level of a file, and what it does when it is started as a program."""
    load(m, scope)
    m.tape = scope.tape
    for statement in main_blocks(scope.tree):
        frame = Frame(scope, scope.names)
        attempt(m, m.script_steps, scope, TOP_LEVEL, partial(m.execute, m, statement.body, frame))


def main_blocks(tree: ast.Module) -> list[ast.If]:
    """The ``if __name__ == "__main__":`` blocks."""
    return [s for s in tree.body if isinstance(s, ast.If) and is_main_test(s.test)]


def is_main_test(test: ast.expr) -> bool:
    """Whether a test is ``__name__ == "__main__"``."""
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


# -- functions ----------------------------------------------------------------------------------


def run_functions(m: Machine, scope: ModuleScope, wanted: Callable[[str], bool]) -> None:
    """The functions of the top level that nothing has called, if they could hold a mistake."""
    m.tape = scope.tape
    attempt_all(m, scope, "the rest of its functions", lambda: _run_functions(m, scope, wanted))


def attempt_all(m: Machine, scope: ModuleScope, rest: str, run: Callable[[], None]) -> None:
    """Several runs within the budget of a file; what is finished stays."""
    with m.budget(FILE_STEPS):
        try:
            run()
        except Exhausted:
            m.unfinished.append(Unfinished(scope.path, rest))


def _run_functions(m: Machine, scope: ModuleScope, wanted: Callable[[str], bool]) -> None:
    for name, node in scope.definitions.items():
        if isinstance(node, ast.ClassDef) or id(node) in m.covered or not wanted(name):
            continue
        if not is_interesting(node, scope):
            continue
        value = scope.names.get(name)
        if isinstance(value, Function) and value.node is node:
            arguments = unknown_arguments(m, value, skip=0)
            attempt(m, FUNCTION_STEPS, scope, name, partial(m.call, m, value, arguments))


_WORDS = frozenset({"backward", "zero_grad", "training_step"})


def called_names(node: ast.AST) -> tuple[frozenset[str], frozenset[str]]:
    """The first names of everything that code calls, and the last names."""
    firsts: set[str] = set()
    lasts: set[str] = set()
    for inner in walk(node):
        if not isinstance(inner, ast.Call):
            continue
        target: ast.expr = inner.func
        if isinstance(target, ast.Attribute):
            lasts.add(target.attr)
        while isinstance(target, ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name):
            firsts.add(target.id)
    return frozenset(firsts), frozenset(lasts)


def is_interesting(node: ast.AST, scope: ModuleScope) -> bool:
    """Whether code calls torch, makes a network or trains one: the rest is not worth running."""
    known = scope.called.get(id(node))
    if known is None:
        known = scope.called[id(node)] = called_names(node)
    firsts, lasts = known
    return bool(lasts & _WORDS) or any(_is_torch_name(scope, name) for name in firsts)


def _is_torch_name(scope: ModuleScope, name: str) -> bool:
    value = scope.names.get(name)
    if isinstance(value, External):
        return value.name.startswith("torch")
    if isinstance(value, Class):
        return is_module_class(value)
    if isinstance(value, LayerVal | Instance):
        return True
    return value is None and scope.bare(name) is not None


def unknown_arguments(m: Machine, function: Function, skip: int, as_tensors: bool = False) -> Arguments:
    """Arguments for a function that nothing calls: required ones are unknown, defaults are left out.

    ``as_tensors``: the function is a forward, whose parameters are tensors; there a default of None
    or a flag is only one of the values that a caller may give.
    """
    spec = function.node.args
    args: list[tuple[str, Value]] = []
    for parameter in [*spec.posonlyargs, *spec.args][skip:] + spec.kwonlyargs:
        default = default_of(spec, parameter.arg)
        value = _unknown(m, parameter, default, as_tensors)
        if value is not None:
            args.append((parameter.arg, value))
    return Arguments((), tuple(args))


def _unknown(m: Machine, parameter: ast.arg, default: ast.expr | None, as_tensor: bool) -> Value | None:
    if default is None:
        return m.node("input", spelling=parameter.arg) if as_tensor else Unk(parameter.arg)
    if not as_tensor or not isinstance(default, ast.Constant):
        return None
    if default.value is None:
        return one_of([NONE, m.node("input", spelling=parameter.arg)])
    return Unk(parameter.arg) if isinstance(default.value, bool) else None


def run_loose(m: Machine, scope: ModuleScope) -> None:
    """Sequentials that nothing has applied or kept: what a factory returns, a model before its loop.

    So are library networks whose last layer was replaced.
    """
    m.tape = scope.tape
    for instance in list(m.instances):
        if instance.made is not None and instance.made[0] is scope and _is_loose(instance):
            attempt(m, FUNCTION_STEPS, scope, "a Sequential", partial(apply_loose, m, instance))


def _is_loose(instance: Instance) -> bool:
    if instance.last:
        return instance.last in instance.attrs and not instance.applied
    return (
        instance.container == "Sequential"
        and instance.cls is None
        and not (instance.applied or instance.stored)
    )


def apply_loose(m: Machine, instance: Instance) -> None:
    """A Sequential on an unknown input; where it is applied is not known, so it has no place."""
    outer, m.place = m.place, instance.made
    try:
        m.call(m, instance, Arguments((m.node("input"),)))
    finally:
        m.place = outer


# -- classes ------------------------------------------------------------------------------------


def run_class(m: Machine, cls: Class, scripted: Instance | None = None) -> None:
    """A class nobody has instantiated, and the methods that nobody has called.

    ``scripted`` is the one instance that a script has made: its widths and options are known, also
    where only a library applies it (``trainer.fit(model)``).
    """
    m.tape = cls.scope.tape
    module = is_module_class(cls)
    todo = [f for f in methods_of(cls) if id(f.node) not in m.covered]
    forward = cls.find("forward")
    if isinstance(forward, Function) and module and id(forward.node) not in m.covered:
        todo = [forward, *(f for f in todo if f is not forward)]
    if not todo or not (module or any(_may_train(cls, f) for f in todo)):
        return
    made: list[Value] = [scripted] if scripted is not None else []
    if scripted is None:
        attempt(m, CLASS_STEPS, cls.scope, cls.name, lambda: made.append(make(m, cls)))
    if made and isinstance(made[0], Instance):
        run_methods(m, cls, made[0], todo)


def _may_train(cls: Class, method: Function) -> bool:
    """Whether a method uses torch, or is called like one that uses the network that ``__init__`` makes."""
    if is_interesting(method.node, cls.scope):
        return True
    init = cls.find("__init__")
    makes = isinstance(init, Function) and is_interesting(init.node, init.scope)
    return makes and _TRAINS.search(method.name) is not None


def make(m: Machine, cls: Class) -> Value:
    """An instance with unknown arguments; a default that some caller may override is not believed."""
    init = cls.find("__init__")
    outer, m.place = m.place, (cls.scope, cls.node)
    try:
        if not isinstance(init, Function):
            return m.call(m, cls, NO_ARGUMENTS)
        arguments = unknown_arguments(m, init, skip=1)
        doubted = m.doubts(cls)
        extra = [(name, _doubted(m, init, name)) for name in doubted if arguments.keyword(name) is None]
        extra += [p for p in _believed(init) if p[0] not in doubted and arguments.keyword(p[0]) is None]
        return m.call(m, cls, Arguments((), (*arguments.kwargs, *extra)))
    finally:
        m.place = outer


def _believed(init: Function) -> list[tuple[str, Value]]:
    """Names that are chosen by default: nobody in the project has asked for another."""
    spec = init.node.args
    found: list[tuple[str, Value]] = []
    for parameter in [*spec.args, *spec.kwonlyargs]:
        default = default_of(spec, parameter.arg)
        if isinstance(default, ast.Constant) and isinstance(default.value, str | int | float):
            found.append((parameter.arg, Const(default.value, believed=True)))
    return found


def _doubted(m: Machine, init: Function, name: str) -> Value:
    default = default_of(init.node.args, name)
    if default is None:
        return Unk(name)
    known = m.evaluate(m, default, Frame(init.scope, init.scope.names))
    if isinstance(known, Const) and isinstance(known.value, int | float | str):
        return Unk(name)
    return one_of([known, UNK])


def methods_of(cls: Class) -> list[Function]:
    """The methods that the class itself defines, without those that Python calls."""
    own = [v for v in cls.attrs.values() if isinstance(v, Function) and v.owner is cls]
    return [f for f in own if not f.name.startswith("__") or f.name == "__call__"]


# Methods of these names use the network whatever they call: training_step, compute_loss, forward_features.
_TRAINS = re.compile(r"forward|step|loss|train|fit|learn")


def run_methods(m: Machine, cls: Class, instance: Instance, methods: list[Function]) -> None:
    """Methods that nothing has called, on an instance with unknown arguments."""
    for method in methods:
        if id(method.node) in m.covered or method.wrapped in ("static", "class", "property"):
            continue
        if not _TRAINS.search(method.name) and not is_interesting(method.node, cls.scope):
            continue
        name = f"{cls.name}.{method.name}"
        attempt(m, FUNCTION_STEPS, cls.scope, name, partial(run_method, m, instance, method))


def run_method(m: Machine, instance: Instance, method: Function) -> None:
    """One method; what a module's method returns leaves the network."""
    outer, m.place = m.place, (method.scope, method.node)
    try:
        as_tensors = instance.is_module and method.name.startswith("forward")
        arguments = unknown_arguments(m, method, skip=1, as_tensors=as_tensors)
        if method.name == "forward" and instance.is_module:
            m.call(m, instance, arguments)
            return
        if as_tensors:
            m.forwards.append(instance)
            m.scope_path.append(instance.class_name)
        try:
            result = m.call(m, bind_attribute(m, method, instance), arguments)
        finally:
            if as_tensors:
                m.forwards.pop()
                m.scope_path.pop()
        if instance.is_module:
            record_output(m, instance, method.name, result)
    finally:
        m.place = outer
