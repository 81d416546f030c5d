"""How the arguments of a call meet the parameters of what is called."""

from __future__ import annotations

from dataclasses import dataclass

from relucheck.net import UNKNOWN, Arg, Symbol
from relucheck.ops import REQUIRED, Spelling
from relucheck.source.machine import to_arg
from relucheck.source.values import UNK, Const, Num, Seq, Unk, Value, seq


@dataclass(frozen=True, slots=True)
class Arguments:
    """The evaluated arguments of a call; ``open`` where a starred argument is not known."""

    args: tuple[Value, ...] = ()
    kwargs: tuple[tuple[str, Value], ...] = ()
    open: bool = False

    def keyword(self, name: str) -> Value | None:
        """The value of a keyword argument."""
        return next((v for k, v in self.kwargs if k == name), None)

    def get(self, position: int, name: str) -> Value | None:
        """An argument by position or name; None where it is not given."""
        if position < len(self.args):
            return self.args[position]
        return self.keyword(name)

    def values(self) -> tuple[Value, ...]:
        """All argument values, positional first."""
        return (*self.args, *(v for _, v in self.kwargs))

    def after(self, first: Value) -> Arguments:
        """These arguments with one more in front."""
        return Arguments((first, *self.args), self.kwargs, self.open)

    def rest(self) -> Arguments:
        """These arguments without the first positional one."""
        return Arguments(self.args[1:], self.kwargs, self.open)


NO_ARGUMENTS = Arguments()


@dataclass(frozen=True, slots=True)
class Bound:
    """Arguments under their parameter names, and which of them the code passes itself."""

    values: dict[str, Value]
    explicit: dict[str, int | None]

    def args(self, leave_out: frozenset[str] = frozenset()) -> dict[str, Arg]:
        """The arguments as plain data."""
        return {k: to_arg(v) for k, v in self.values.items() if k not in leave_out}


def bind(spelling: Spelling, arguments: Arguments) -> Bound:
    """Match arguments with a spelling's parameters; defaults fill in, unless a star hides some."""
    values: dict[str, Value] = {}
    explicit: dict[str, int | None] = {}
    names = spelling.names
    for i, value in enumerate(arguments.args):
        name = names[i] if i < len(names) else ""
        if name.startswith("*"):
            values[name[1:]] = _gathered(arguments.args[i:], not arguments.open)
            explicit[name[1:]] = i
            break
        if name:
            values[name], explicit[name] = value, i
    for key, value in arguments.kwargs:
        values[key], explicit[key] = value, None
    for name, default in spelling.params:
        plain = name.lstrip("*")
        if plain not in values and default is not REQUIRED:
            values[plain] = UNK if arguments.open else from_arg(default)
    values |= {
        name: from_arg(value) for name, value in spelling.fixed if not isinstance(value, type(REQUIRED))
    }
    believed = tuple(k for k, v in values.items() if isinstance(v, Const) and v.believed)
    if believed:
        values["believed"] = seq([Const(name) for name in believed], "tuple")
    return Bound(values, explicit)


def _gathered(values: tuple[Value, ...], exact: bool) -> Value:
    """The values of a ``*sizes`` parameter, which may also be given as one tuple; more may follow if not exact."""
    if len(values) == 1 and isinstance(values[0], Seq):
        return values[0]
    return seq(values, "tuple", exact)


def from_arg(arg: object) -> Value:
    """Plain data as a value."""
    if isinstance(arg, Symbol):
        return Num(arg)
    if arg is UNKNOWN:
        return UNK
    if isinstance(arg, tuple):
        return seq([from_arg(a) for a in arg], "tuple")
    if isinstance(arg, int | float | bool | str | None):
        return Const(arg)
    return Unk()
