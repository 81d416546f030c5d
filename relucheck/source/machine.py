"""The state of a symbolic run: where it is, what it has recorded, and how much it may still do."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from relucheck.net import UNKNOWN, Arg, Shape, Symbol, Unfinished
from relucheck.source.drafts import LayerDraft, NodeDraft, Repeated, Tape
from relucheck.source.heap import MISSING, Change, Heap
from relucheck.source.syntax import walk
from relucheck.source.values import (
    ABSENT,
    NONE,
    UNK,
    Class,
    Const,
    Flow,
    Frame,
    Function,
    Instance,
    Item,
    Mapping,
    Num,
    OneOf,
    ParamOf,
    Seq,
    Tensor,
    Unk,
    Value,
    alternatives,
    one_of,
    same,
    seq,
)
from relucheck.span import Span

if TYPE_CHECKING:
    from relucheck.source.modules import Definition, ModuleScope

MAX_DEPTH = 32
MAX_NODES = 6_000
SCRIPT_STEPS = 60_000
Thunk = Callable[[], str]
# Decorators whose function runs at every call; of any other it is not known, as it may be a cache.
KEEPS_NOTHING = frozenset(
    [
        "abstractmethod",
        "autocast",
        "classmethod",
        "compile",
        "disable",
        "enable_grad",
        "export",
        "ignore",
        "inference_mode",
        "no_grad",
        "override",
        "property",
        "script_method",
        "staticmethod",
        "unused",
    ]
)


class Exhausted(Exception):  # noqa: N818 (it is no error)
    """The run has used up its budget; what is recorded so far stays."""


class Machine:
    """One symbolic run over the code of a project.

    ``evaluate``, ``execute``, ``call``, ``define``, ``put`` and ``load`` are the mutually recursive
    functions of the interpreter; they are handed in, so that its rooms need not import each other.
    """

    def __init__(  # noqa: PLR0917 (the functions of the interpreter)
        self,
        evaluate: Callable[[Machine, ast.expr, Frame], Value],
        execute: Callable[[Machine, list[ast.stmt], Frame], str],
        call: Callable[..., Value],
        define: Callable[[Machine, Definition, Frame], None],
        put: Callable[[Machine, Value, Value, Value], None],
        load: Callable[[Machine, ModuleScope], None],
    ) -> None:
        self.evaluate = evaluate
        self.execute = execute
        self.call = call
        self.define = define
        self.put = put
        self.load = load
        self.heap = Heap()
        self.tape = Tape()
        self.redirects: dict[NodeDraft, Value] = {}
        self.steps = 0
        self.recorded = 0
        self.limit = sys.maxsize
        self.script_steps = SCRIPT_STEPS
        self.max_nodes = MAX_NODES
        self.depth = 0
        self.maybe = 0
        self.tests: list[ast.expr] = []
        self.named: dict[int, frozenset[str]] = {}
        self.sorted_names: dict[frozenset[str], tuple[str, ...]] = {}
        self.guessing = 0
        self.no_grad = 0
        self.sites: tuple[Span, ...] = ()
        self.scope_path: list[str] = []
        self.forwards: list[Instance] = []
        self.running: list[Function] = []
        self.making: list[list[LayerDraft]] = []
        self.covered: dict[int, None] = {}
        self.unfinished: list[Unfinished] = []
        self.instances: list[Instance] = []
        self.contained: set[int] = set()
        self.repeated: dict[int, list[Repeated]] = {}
        self.container_span: Span | None = None
        self.discarding: ast.AST | None = None
        self.place: tuple[ModuleScope, ast.AST] | None = None
        self.doubts: Callable[[Class], tuple[str, ...]] = lambda _cls: ()

    # -- budget ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """Count one step; a run over budget stops."""
        self.steps += 1
        if self.steps > self.limit:
            raise Exhausted

    @contextmanager
    def budget(self, steps: int) -> Iterator[None]:
        """Allow at most ``steps`` more steps inside the block."""
        outer = self.limit
        self.limit = min(self.steps + steps, outer)
        try:
            yield
        finally:
            self.limit = outer

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What runs inside the block does not count for what is going on: an import, a decorator."""
        outer, begun = self.limit, self.steps
        self.limit = sys.maxsize
        try:
            yield
        finally:
            self.limit = outer + self.steps - begun

    @property
    def exhausted(self) -> bool:
        """Whether the budget that holds here is used up."""
        return self.steps > self.limit

    @contextmanager
    def aside(self, tape: Tape) -> Iterator[None]:
        """Run something apart from all that is going on: an import does not belong to a branch."""
        saved = (self.tape, self.maybe, self.sites, self.scope_path, self.forwards, self.container_span)
        others = (self.discarding, self.place, self.heap.suspend(), self.depth)
        self.tape, self.maybe, self.sites, self.scope_path = tape, 0, (), []
        self.forwards, self.container_span, self.discarding, self.place, self.depth = [], None, None, None, 0
        try:
            yield
        finally:
            self.tape, self.maybe, self.sites, self.scope_path, self.forwards, self.container_span = saved
            self.discarding, self.place, journals, self.depth = others
            self.heap.resume(journals)

    @property
    def too_deep(self) -> bool:
        return self.depth >= MAX_DEPTH or len(self.tape.nodes) > self.max_nodes

    def uncover(self, mark: int) -> None:
        """Forget which functions a run that is taken back has called, but for the one that it began with.

        What it recorded about them is lost, so they are to be read alone; the first one is not tried again.
        """
        while len(self.covered) > mark + 1:
            self.covered.popitem()

    # -- places ---------------------------------------------------------------------------------

    def span_of(self, node: ast.AST, scope: ModuleScope) -> Span:
        """The place of a syntax node."""
        found = scope.spans.get(id(node))
        if found is None:
            first, last = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
            found = scope.spans[id(node)] = scope.document.span(*first, *last)
        return found

    def here(self) -> Span | None:
        """The place of the call or operator that is being evaluated."""
        if self.place is None:
            return None
        scope, node = self.place
        return self.span_of(node, scope)

    # -- recording ------------------------------------------------------------------------------

    def node(
        self,
        op: str,
        *inputs: NodeDraft,
        layer: LayerDraft | None = None,
        args: dict[str, Arg] | None = None,
        explicit: frozenset[str] = frozenset(),
        spelling: str = "",
        shape: Shape | None = None,
        batch_first: bool = False,
        misused: bool = False,
    ) -> Tensor:
        """Record one application at the current place and return its value."""
        args = args if args is not None else {}
        span = self.here()
        if self.container_span is not None:
            args = {**args, "in_container": True}
            span = self.container_span
        args = self._tested(args, layer)
        if layer is None and op in ("dropout", "feature_dropout") and self.forwards:
            args = {**args, "owner": self.forwards[-1].class_name}
        draft = NodeDraft(
            op,
            inputs,
            layer=layer,
            args=args,
            explicit=explicit,
            span=span,
            callers=self.sites,
            scope=".".join(self.scope_path),
            spelling=spelling,
            discarded=self._is_discarded(),
            misused=misused,
            maybe=self.maybe > 0,
            in_forward=bool(self.forwards),
            shape=shape,
            batch_first=batch_first,
            order=self.recorded,
        )
        self.recorded += 1
        self.tape.nodes.append(draft)
        return Tensor(draft)

    def _tested(self, args: dict[str, Arg], layer: LayerDraft | None = None) -> dict[str, Arg]:
        """Arguments with the names in the tests that decide whether this, or the layer it applies, is there."""
        made_under = layer.args.get("under") if layer is not None else None
        names = self.names_tested()
        if isinstance(made_under, tuple):
            names |= {name for name in made_under if isinstance(name, str)}
        if not names:
            return args
        key = frozenset(names)
        return {**args, "under": self.sorted_names.setdefault(key, tuple(sorted(names)))}

    def names_tested(self) -> frozenset[str]:
        """The names in the tests that the code which runs now stands under."""
        return frozenset(name for test in self.tests for name in self._names_of(test))

    def _names_of(self, test: ast.expr) -> frozenset[str]:
        """The names in a test, looked for once, and only where something is recorded under it."""
        found = self.named.get(id(test))
        if found is None:
            found = self.named[id(test)] = names_in(test)
        return found

    def _is_discarded(self) -> bool:
        return (
            self.discarding is not None
            and self.container_span is None
            and self.place is not None
            and self.place[1] is self.discarding
        )

    def layer(
        self, op: str, spelling: str, args: dict[str, Arg], explicit: dict[str, int | None]
    ) -> LayerDraft:
        """Record that a layer is made at the current place."""
        draft = LayerDraft(
            op,
            spelling,
            self._tested(args),
            explicit,
            made=self.here(),
            callers=self.sites,
            in_forward=bool(self.forwards) and not self._may_be_kept(),
        )
        self.tape.layers.append(draft)
        if self.making:
            self.making[-1].append(draft)
        return draft

    def decline(self) -> None:
        """Note at the layers that a function has made so far that the call leaves out an activation on request."""
        for draft in self.making[-1] if self.making else ():
            draft.args = {**draft.args, "declined": True}

    def _may_be_kept(self) -> bool:
        """Whether a decorator may keep what a function that forward calls returns, so that it runs only once."""
        for function in reversed(self.running):
            if function.name == "forward":
                return False
            if function.decorators - KEEPS_NOTHING:
                return True
        return False

    def opaque(self, *values: Value, spelling: str = "") -> Value:
        """The result of something that is not followed: a tensor where one goes in."""
        inputs = tuple(dict.fromkeys(t.node for v in values for t in tensors_in(v)))
        if not inputs:
            return UNK
        return self.node("unknown", *inputs, spelling=spelling)

    def as_tensor(self, value: Value) -> Tensor | None:
        """The tensor that a value is, if it surely is one (a parameter of a layer counts)."""
        if isinstance(value, Tensor):
            return self.resolve(value)
        if isinstance(value, ParamOf):
            return self.node("parameter", spelling=value.name)
        if isinstance(value, OneOf):
            tensors = [t for v in value.values if isinstance(t := v, Tensor)]
            others = [v for v in value.values if not isinstance(v, Tensor) and v != Const(None)]
            if tensors and not others:
                return tensors[0] if len(tensors) == 1 else self.join_tensors(tensors)
        return None

    def input_of(self, value: Value) -> NodeDraft:
        """The node of a value that goes into a network; an unknown value is an unknown input."""
        tensor = self.as_tensor(value)
        if tensor is not None:
            return tensor.node
        result = self.opaque(value)
        if isinstance(result, Tensor):
            return result.node
        return self.node("input", spelling=value.name or "" if isinstance(value, Unk) else "").node

    # -- in-place statements --------------------------------------------------------------------

    def resolve(self, tensor: Tensor) -> Tensor:
        """The value that a name holds after in-place statements have changed it."""
        while True:
            later = self.redirects.get(tensor.node)
            if not isinstance(later, Tensor):
                return tensor
            tensor = later

    def redirect(self, old: Tensor, new: Tensor) -> None:
        """From now on, whoever holds ``old`` reads ``new``."""
        self.heap.store(self.redirects, old.node, new)

    @contextmanager
    def under(self, test: ast.expr) -> Iterator[None]:
        """Note the names that a test asks for, around what it decides about."""
        self.tests.append(test)
        try:
            yield
        finally:
            self.tests.pop()

    def without_gradient(self) -> bool:
        """Whether the code that runs now computes no gradients: by a ``with`` or by its function's decorator."""
        nodes = (f.node for f in self.running if isinstance(f.node, ast.FunctionDef))
        return self.no_grad > 0 or any(turns_gradients_off(d) for node in nodes for d in node.decorator_list)

    # -- branches -------------------------------------------------------------------------------

    def branch(self, thunks: list[Thunk]) -> str:
        """Run alternatives of which one is taken, not known which, and join what they wrote."""
        self.maybe += 1
        try:
            ends = [self.heap.fork(thunk) for thunk in thunks]
        finally:
            self.maybe -= 1
        live = [written for flow, written in ends if flow == Flow.NORMAL]
        if not live:
            flows = {flow for flow, _ in ends}
            return flows.pop() if len(flows) == 1 else _mixed(flows)
        live += [written for flow, written in ends if flow in (Flow.BREAK, Flow.CONTINUE)]
        self.merge(live, "branch")
        return Flow.NORMAL

    def merge(self, ends: list[dict[tuple[int, object], Change]], op: str) -> None:
        """Write the join of what several alternatives have written."""
        keys = dict.fromkeys(k for written in ends for k in written)
        for key in keys:
            target, name, _ = next(written[key] for written in ends if key in written)
            now = target.get(name, MISSING)
            values = [written[key][2] if key in written else now for written in ends]
            if target is self.redirects:
                values = [Tensor(name) if v is MISSING else v for v in values]
            self.heap.put(target, name, self.join_any(values, op))
            if name == "items" and len({len(v) for v in values if isinstance(v, tuple)}) > 1:
                self.heap.store(target, "exact", False)

    def join_any(self, values: list[object], op: str = "branch") -> object:
        """Join what a state dict may hold: values, item tuples, flags."""
        present = [v for v in values if v is not MISSING]
        if not present:
            return MISSING
        first = present[0]
        if all(v is first for v in present):
            return first
        if isinstance(first, bool):
            return all(present)
        if isinstance(first, tuple):
            return self._join_items([v for v in present if isinstance(v, tuple)], op)
        if isinstance(first, dict):
            return self._join_dicts([v for v in present if isinstance(v, dict)], op)
        return self.join(present, op)  # type: ignore[arg-type]

    def _join_items(self, rows: list[tuple[Value, ...]], op: str) -> tuple[Value, ...]:
        longest = max(rows, key=len)
        columns = []
        for i, item in enumerate(longest):
            here = [row[i] for row in rows if i < len(row)]
            if len(here) < len(rows):  # an element that may not be there
                here.append(NONE)
            columns.append(item if len(here) == 1 else self.join(here, op))
        return tuple(columns)

    def _join_dicts(self, rows: list[dict[object, Value]], op: str) -> dict[object, Value]:
        keys = dict.fromkeys(k for row in rows for k in row)
        return {k: self._join_entries([row.get(k, ABSENT) for row in rows], op) for k in keys}

    def _join_entries(self, values: list[Value], op: str) -> Value:
        """The join of what alternatives have under one key, which some of them may not have at all."""
        joined = self.join([v for v in values if v is not ABSENT], op)
        return one_of([joined, ABSENT]) if any(v is ABSENT for v in values) else joined

    def join(self, values: list[Value], op: str = "branch") -> Value:
        """One value that stands for all of these: a join node for tensors, else one of several."""
        distinct: list[Value] = []
        for value in values:
            for choice in alternatives(value):
                if not any(same(choice, known) for known in distinct):
                    distinct.append(choice)
        if len(distinct) == 1:
            return distinct[0]
        if all(isinstance(v, Tensor) for v in distinct):
            return self.join_tensors([v for v in distinct if isinstance(v, Tensor)], op)
        if all(isinstance(v, Seq) for v in distinct):
            return self._join_seqs([v for v in distinct if isinstance(v, Seq)], op)
        return one_of(distinct)

    def join_tensors(self, tensors: list[Tensor], op: str = "branch") -> Tensor:
        """A join node, without the container or statement that is being read."""
        outer, self.container_span = self.container_span, None
        try:
            nodes = [t.node for t in tensors]
            shapes = {n.shape for n in nodes}
            return self.node(
                op,
                *nodes,
                shape=shapes.pop() if len(shapes) == 1 else None,
                batch_first=all(n.batch_first for n in nodes),
            )
        finally:
            self.container_span = outer

    def _join_seqs(self, rows: list[Seq], op: str) -> Value:
        if len({(row.kind, len(row.items), row.exact) for row in rows}) != 1 or rows[0].kind != "tuple":
            return one_of(list(rows))
        items = self._join_items([row.items for row in rows], op)
        return seq(items, "tuple", rows[0].exact)

    def finish_loop(self, written: dict[tuple[int, object], Change]) -> None:
        """Write what a loop with an unknown number of rounds leaves behind."""
        for target, name, new in written.values():
            old = target.get(name, MISSING)
            if isinstance(old, Tensor) and isinstance(new, Tensor) and old.node is not new.node:
                new = self.join_tensors([old, new], "loop")
            elif isinstance(old, Const) and isinstance(new, Const) and not same(old, new):
                new = UNK
            elif isinstance(old, dict) and isinstance(new, dict):
                new = self._join_dicts([old, new], "loop")
            elif name == "exact":
                new = False
            self.heap.put(target, name, new)
            if name == "items":
                self.heap.store(target, "exact", False)


def names_in(expression: ast.AST) -> frozenset[str]:
    """The plain names and attributes that an expression mentions."""
    words = (getattr(n, "attr", getattr(n, "id", None)) for n in walk(expression))
    return frozenset(word for word in words if isinstance(word, str))


def turns_gradients_off(expression: ast.expr) -> bool:
    """Whether an expression is ``torch.no_grad()`` or ``torch.inference_mode()``, called or not."""
    called = expression.func if isinstance(expression, ast.Call) else expression
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in ("no_grad", "inference_mode")


def _mixed(flows: set[str]) -> str:
    for flow in (Flow.BREAK, Flow.CONTINUE, Flow.RETURN):
        if flow in flows:
            return flow
    return Flow.RAISE


def tensors_in(value: Value, depth: int = 2) -> Iterator[Tensor]:
    """The tensors inside a value, in order, to a small depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Item):
        yield Tensor(value.source)
    elif depth and isinstance(value, Seq):
        for item in value.items:
            yield from tensors_in(item, depth - 1)
    elif depth and isinstance(value, Mapping):
        for item in (*value.items.values(), *value.rest):
            yield from tensors_in(item, depth - 1)
    elif depth:
        for choice in alternatives(value):
            if choice is not value:
                yield from tensors_in(choice, depth - 1)


def to_arg(value: Value) -> Arg:
    """A value as the argument of a layer or node."""
    if isinstance(value, Const):
        return value.value if isinstance(value.value, int | float | bool | str | None) else UNKNOWN
    if isinstance(value, Num):
        return value.symbol
    if isinstance(value, Unk) and value.name:
        return Symbol(value.name)
    if isinstance(value, Seq) and value.exact:
        return tuple(to_arg(item) for item in value.items)
    return UNKNOWN
