"""The values of the symbolic interpreter: known, one of several, or unknown.

A value is what an expression may be at run time. Mutable ones (lists, dicts, instances) keep their
state in dicts that are written only through ``Heap.store``, so that the effects of a branch can be
taken back and joined (as pytype's Variable/Binding, without conditions).
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from relucheck.net import Symbol

if TYPE_CHECKING:
    from relucheck.source.drafts import LayerDraft, NodeDraft, OptimiserDraft
    from relucheck.source.modules import ModuleScope

_serial = itertools.count(1)


class State(dict[str, Any]):
    """The state of a mutable value: names, attributes, items.

    ``serial`` tells its age: what was made inside a branch need not be taken back after it, since
    nothing outside the branch can have read it (see Heap).
    """

    __slots__ = ("serial",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.serial = next(_serial)


Plain = int | float | complex | bool | str | bytes | EllipsisType | None


@dataclass(frozen=True, slots=True)
class Const:
    """A Python constant.

    ``believed``: the default of a parameter that no caller in the project passes; rules that want a
    choice of the author do not count it as one.
    """

    value: Plain
    believed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Num:
    """A number known only as a multiple of a named size."""

    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Unk:
    """A value that is not known; ``name`` says where it came from, so that sizes compare."""

    name: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A Python number taken out of a tensor: ``loss.item()``, ``float(loss)``."""

    source: NodeDraft


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the network: the output of a node."""

    node: NodeDraft


@dataclass(frozen=True, slots=True)
class ParamOf:
    """A learned parameter of a layer: ``self.fc.weight``."""

    layer: LayerDraft
    name: str


@dataclass(frozen=True, slots=True)
class ShapeOf:
    """The shape of a tensor whose number of axes is not known."""

    node: NodeDraft


@dataclass(eq=False, slots=True)
class Seq:
    """A list, tuple, set or iterator. ``exact``: its length is known.

    ``state`` holds ``items`` (a tuple of values) and ``exact``; ``kind`` is the Python type.
    ``at`` is the syntax node that last put something in.
    """

    kind: str
    state: State

    @property
    def items(self) -> tuple[Value, ...]:
        items: tuple[Value, ...] = self.state["items"]
        return items

    @property
    def exact(self) -> bool:
        return bool(self.state["exact"])


def seq(items: Iterable[Value], kind: str = "list", exact: bool = True) -> Seq:
    """A sequence of these items."""
    return Seq(kind, State(items=tuple(items), exact=exact))


@dataclass(eq=False, slots=True)
class Mapping:
    """A dict; ``rest`` are values under keys that are not known.

    A key that only one of several branches has set holds one of its value and ABSENT. ``closed``: no other keys;
    ``exact``: no other keys, and all of these are surely there.
    """

    state: State

    @property
    def items(self) -> dict[Plain, Value]:
        items: dict[Plain, Value] = self.state["items"]
        return items

    @property
    def closed(self) -> bool:
        return bool(self.state["exact"])

    @property
    def exact(self) -> bool:
        return self.closed and not any(may_be_absent(v) for v in self.items.values())

    @property
    def rest(self) -> tuple[Value, ...]:
        rest: tuple[Value, ...] = self.state["rest"]
        return rest


def mapping(items: dict[Plain, Value], exact: bool = True, rest: tuple[Value, ...] = ()) -> Mapping:
    """A dict of these items."""
    return Mapping(State(items=items, exact=exact, rest=rest))


@dataclass(eq=False, slots=True)
class Function:
    """A function, lambda or method of the project."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: ModuleScope
    closure: Frame | None
    owner: Class | None = None
    defaults: dict[str, Value] = field(default_factory=dict)
    wrapped: str = ""  # "static", "class", "property" or nothing
    decorators: frozenset[str] = frozenset()  # their last names: "no_grad" of @torch.no_grad()

    @property
    def name(self) -> str:
        return "<lambda>" if isinstance(self.node, ast.Lambda) else self.node.name


@dataclass(frozen=True, slots=True)
class Bound:
    """A function with its first argument."""

    function: Function
    receiver: Value


@dataclass(eq=False, slots=True)
class Class:
    """A class of the project."""

    node: ast.ClassDef
    scope: ModuleScope
    bases: tuple[Value, ...]
    attrs: dict[str, Value] = field(default_factory=dict)
    _mro: tuple[Class, ...] | None = None
    _outside: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return self.node.name

    def mro(self) -> tuple[Class, ...]:
        """The project's classes in the order in which attributes are looked up (depth first)."""
        if self._mro is None:
            found: dict[int, Class] = {id(self): self}
            for base in self.bases:
                if isinstance(base, Class):
                    found |= {id(c): c for c in base.mro() if id(c) not in found}
            self._mro = tuple(found.values())
        return self._mro

    def outside(self) -> tuple[str, ...]:
        """Qualified names of the bases that are not the project's, ``?`` where not known."""
        if self._outside is None:
            foreign = (base for cls in self.mro() for base in cls.bases if not isinstance(base, Class))
            self._outside = tuple(base.name if isinstance(base, External) else "?" for base in foreign)
        return self._outside

    def find(self, name: str) -> Value | None:
        """A class attribute or method along the bases."""
        for cls in self.mro():
            if name in cls.attrs:
                return cls.attrs[name]
        return None


@dataclass(eq=False, slots=True)
class Instance:
    """An object of a project's class, or of one of torch's containers.

    ``container`` is "Sequential", "ModuleList" or "ModuleDict"; its elements are in
    ``attrs["_items"]``. ``owner`` is the class that keeps a container. ``last`` is the attribute whose
    result a library's network returns, where nothing else of it is known.
    """

    cls: Class | None
    attrs: State = field(default_factory=State)
    container: str = ""
    is_module: bool = False
    opaque: bool = False
    name: str = ""
    owner: str = ""
    last: str = ""
    made: tuple[ModuleScope, ast.AST] | None = None
    in_forward: bool = False
    stored: bool = False
    applied: bool = False

    @property
    def class_name(self) -> str:
        return self.cls.name if self.cls is not None else self.container


@dataclass(frozen=True, slots=True)
class LayerVal:
    """An instance of one of torch's layers or losses."""

    layer: LayerDraft


@dataclass(frozen=True, slots=True)
class OptimiserVal:
    """An optimiser."""

    draft: OptimiserDraft


@dataclass(frozen=True, slots=True)
class ParamsOf:
    """The parameters of a module: ``model.parameters()``."""

    owner: Value


@dataclass(frozen=True, slots=True)
class Super:
    """``super()``: attributes after ``cls`` in the bases of ``receiver``."""

    cls: Class
    receiver: Value


@dataclass(frozen=True, slots=True)
class External:
    """Something of a library, by its qualified name: ``torch.nn.Linear``."""

    name: str


@dataclass(frozen=True, slots=True)
class Builtin:
    """A Python builtin, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Native:
    """A method that the interpreter implements itself, with its receiver."""

    name: str
    receiver: Value


@dataclass(frozen=True, slots=True)
class Partial:
    """``functools.partial``."""

    callee: Value
    args: tuple[Value, ...]
    kwargs: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class ScopeVal:
    """A module of the project, as imported."""

    scope: ModuleScope


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of several values, not known which."""

    values: tuple[Value, ...]


Value = (
    Const
    | Num
    | Unk
    | Item
    | Tensor
    | ParamOf
    | ShapeOf
    | Seq
    | Mapping
    | Function
    | Bound
    | Class
    | Instance
    | LayerVal
    | OptimiserVal
    | ParamsOf
    | Super
    | External
    | Builtin
    | Native
    | Partial
    | ScopeVal
    | OneOf
)

UNK = Unk()
ABSENT = Unk("<absent>")
NONE = Const(None)
TRUE = Const(True)
FALSE = Const(False)
MAX_ALTERNATIVES = 6


@dataclass(eq=False, slots=True)
class Frame:
    """The local names of one call, and what it has returned so far."""

    scope: ModuleScope
    names: dict[str, Value]
    parent: Frame | None = None
    function: Function | None = None
    receiver: Value | None = None
    returns: list[Value] = field(default_factory=list)
    yields: list[Value] | None = None
    globals_declared: frozenset[str] = frozenset()


class Flow:
    """How a block ends."""

    NORMAL = "normal"
    RETURN = "return"
    BREAK = "break"
    CONTINUE = "continue"
    RAISE = "raise"


def truth(value: Value) -> bool | None:
    """Whether a value counts as true; None where that is not known."""
    if isinstance(value, Const):
        return bool(value.value)
    if isinstance(value, Seq):
        return bool(value.items) if value.exact else (True if value.items and value.kind != "range" else None)
    if isinstance(value, Mapping):
        return bool(value.items) if value.exact else None
    if isinstance(value, Instance):
        return None if value.container or value.opaque else True
    if isinstance(value, LayerVal | Function | Bound | Class | External | Partial | OptimiserVal | ScopeVal):
        return True
    if isinstance(value, OneOf):
        answers = {truth(v) for v in value.values}
        return answers.pop() if len(answers) == 1 else None
    return None


def same(a: Value, b: Value) -> bool:
    """Whether two values are surely one."""
    if a is b:
        return True
    if isinstance(a, Const) and isinstance(b, Const):
        return type(a.value) is type(b.value) and a.value == b.value
    if isinstance(a, Seq) and isinstance(b, Seq):
        return _same_seq(a, b)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.node is b.node
    if isinstance(a, LayerVal) and isinstance(b, LayerVal):
        return a.layer is b.layer
    return type(a) is type(b) and isinstance(a, _BY_VALUE) and a == b


_BY_VALUE = (Num, Unk, ParamOf, External, Builtin, Bound, Native, ScopeVal, ParamsOf, OptimiserVal, Item)


def _same_seq(a: Seq, b: Seq) -> bool:
    return (
        a.kind == b.kind == "tuple"
        and a.exact
        and b.exact
        and len(a.items) == len(b.items)
        and all(same(x, y) for x, y in zip(a.items, b.items, strict=True))
    )


def alternatives(value: Value) -> tuple[Value, ...]:
    """The values that a value may be."""
    return value.values if isinstance(value, OneOf) else (value,)


def may_be_absent(value: Value) -> bool:
    """Whether an entry of a dict may not be there."""
    return isinstance(value, OneOf) and ABSENT in value.values


def present(value: Value) -> Value:
    """An entry of a dict as it is if it is there."""
    return one_of([v for v in value.values if v != ABSENT]) if isinstance(value, OneOf) else value


def one_of(values: list[Value]) -> Value:
    """One of these values; unknown where they are too many."""
    flat: list[Value] = []
    for value in values:
        for choice in alternatives(value):
            if not any(same(choice, known) for known in flat):
                flat.append(choice)
        if len(flat) > MAX_ALTERNATIVES:
            return UNK
    return flat[0] if len(flat) == 1 else OneOf(tuple(flat))
