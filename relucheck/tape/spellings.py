"""How the user's call of a torch function is spelled, by the table of operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from relucheck.net import Arg
from relucheck.ops import FUNCTIONS, METHODS, TORCH, Spelling

_PUBLIC = {"log_sigmoid": "logsigmoid", "_threshold": "threshold"}
"""The names under which users call what torch calls otherwise inside."""


def spelled(func: Any) -> tuple[Spelling | None, str]:
    """How the table knows a function that torch was called with, and how it is written."""
    name = getattr(func, "__name__", "")
    home = getattr(func, "__module__", None) or ""
    if home in ("torch.nn.functional", "torch._C._nn", "torch.special"):
        public = _PUBLIC.get(name, name)
        return FUNCTIONS.get(public), public
    return (TORCH if home == "torch" else METHODS).get(name), name


def bound(
    spelling: Spelling, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Arg], frozenset[str]]:
    """The plain arguments of a call by name, and which of them the call passes itself."""
    given = {**dict(zip(spelling.names, args, strict=False)), **kwargs}
    defaults = {n: d for n, d in spelling.params if isinstance(d, int | float | bool | str | None)}
    plain = {n: v for n, v in given.items() if isinstance(v, int | float | bool | str | None)}
    fixed = {n: v for n, v in spelling.fixed if isinstance(v, int | float | bool | str | None)}
    return {**defaults, **plain, **fixed}, frozenset(n for n in given if n != "input")
