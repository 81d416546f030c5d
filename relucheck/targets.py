"""What a command names as ``package.module:name`` or ``path/file.py:name``, loaded; failures said in one line."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from relucheck.paths import shown
from relucheck.problems import UsageProblem

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARIES = tuple(
    path + os.sep
    for key in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_paths().get(key))
)


def load(target: str, example: str) -> Any:
    """The object that a target names; UsageProblem where there is none. ``example`` is a right target."""
    module, colon, name = target.rpartition(":")
    if not colon or not module or not name:
        raise UsageProblem(f"{target}: name the module and the factory, as in {example}")
    return attribute(from_file(module) if module.endswith(".py") else imported(module), module, name)


def imported(module: str) -> ModuleType:
    """A module by its dotted name, looked for in the current folder first."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: ModuleType = carefully(lambda: importlib.import_module(module), f"importing {module}")
    return found


def from_file(path: str) -> ModuleType:
    """A module by its file, which finds its neighbours as ``python file.py`` would."""
    if not os.path.isfile(path):
        raise UsageProblem(f"{path}: there is no such file")
    folder, stem = os.path.split(os.path.abspath(path))
    sys.path[:0] = [place for place in (folder, os.getcwd()) if place not in sys.path]
    name = stem.removesuffix(".py")
    name = f"_relucheck_{name}" if name in sys.modules else name  # never in place of an installed module
    spec = spec_from_file_location(name, os.path.join(folder, stem))
    assert spec is not None  # its name ends in .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    carefully(lambda: spec.loader.exec_module(module), f"running {path}")  # type: ignore[union-attr]
    return module


def attribute(module: Any, name: str, path: str) -> Any:
    """What a module holds under a dotted path."""
    found = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageProblem(f"module {name} has no attribute {path!r}; it has: {_public(module)}")
        found = getattr(found, part)
    return found


def _public(module: Any) -> str:
    own = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    home = [n for n in own if getattr(vars(module)[n], "__module__", None) == module.__name__]
    return ", ".join(home or own) or "nothing to call"


def carefully(work: Callable[[], Any], doing: str) -> Any:
    """The result of the user's code, whose failure is said in one line with its place."""
    with _Said(doing):
        return work()


@dataclass(frozen=True, slots=True)
class _Said:
    """Lets a failure of the user's code out as a UsageProblem; Ctrl-C passes as it is."""

    doing: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception | SystemExit) and not isinstance(error, UsageProblem):
            raise UsageProblem(f"{self.doing} failed: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """An exception in one line: its type, the first line that it says, and the user's line that ran."""
    said = str(error).strip().split("\n", 1)[0] or "(no message)"
    return f"{type(error).__name__}: {said}{where(error)}"


def where(error: BaseException) -> str:
    """The innermost line of the user's that was running, as `` (models.py:12)``; empty if there is none."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if os.path.isfile(path) and _of_the_user(path):
            place = f" ({shown(path)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _of_the_user(path: str) -> bool:
    path = os.path.abspath(path)
    return not path.startswith((_OURS, *_LIBRARIES))


def kind_of(value: Any) -> str:
    """The type of a value with its article: ``an int``."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
