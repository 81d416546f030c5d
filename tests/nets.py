"""Nets written as text, for tests of what no reader needs to be asked for.

One statement a line, in Python's own grammar::

    x = input()
    h = fc1.Linear(8, 4 * dim)(x)     # declares the layer fc1 and applies it; names are symbols
    h = relu(h, inplace=True)         # an operation of relucheck.ops
    y = branch(h, fc1(x))             # a known layer again
    zeros_(fc1.weight)                # an initialisation
    return y                          # an output of the class Net

A node stands at its row of the text, a layer is made at row 100 + its number, and the words of
``# maybe, discarded, in_forward`` behind a statement are the node's flags.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from relucheck.net import Arg, Init, Layer, Net, Node, Output, Symbol
from relucheck.ops import MODULES, OPS
from relucheck.span import Span

FLAGS = re.compile(r"#\s*([a-z_, ]+)$")


def net(text: str, *, contained: bool = False) -> Net:
    """The net that a text describes."""
    builder = _Builder(text.splitlines(), contained)
    for statement in ast.parse(text).body:
        builder.read(statement)
    return Net(
        "Net",
        "net.py",
        *(tuple(part) for part in (builder.layers, builder.nodes, builder.outputs, builder.inits)),
    )


def at(row: int) -> Span:
    """The place of a row of the text; of a layer, 100 + its number."""
    return Span("net.py", None, row, 1, row, 2)


@dataclass
class _Builder:
    lines: list[str]
    contained: bool
    layers: list[Layer] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    inits: list[Init] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def read(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Return) and statement.value is not None:
            node = self.value(statement.value)
            self.outputs.append(Output(node, "Net", "forward", at(statement.lineno), self.contained))
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            self.names[statement.targets[0].id] = self.value(statement.value)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            self.statement(statement.value)

    def statement(self, call: ast.Call) -> None:
        subject = call.args[0] if call.args else None
        if not isinstance(subject, ast.Attribute):
            self.value(call)
            return
        args = {key.arg: _scalar(key.value) for key in call.keywords if key.arg}
        layer = self.layer_named(ast.unparse(subject.value))
        assert layer is not None
        function = ast.unparse(call.func)
        self.inits.append(Init(layer.id, subject.attr, function, args, frozenset(args), at(call.lineno)))

    def value(self, expression: ast.expr) -> int:
        """The id of the node that an expression names or makes."""
        if isinstance(expression, ast.Name):
            return self.names[expression.id]
        assert isinstance(expression, ast.Call), ast.unparse(expression)
        inputs = tuple(self.value(a) for a in expression.args)
        args = {key.arg: _scalar(key.value) for key in expression.keywords if key.arg}
        layer = self.applied(expression.func)
        op = layer.op if layer is not None else ast.unparse(expression.func)
        assert op in OPS, op
        node = Node(
            len(self.nodes),
            op,
            inputs,
            layer.id if layer is not None else None,
            args,
            frozenset(args),
            at(expression.lineno),
            spelling=op,
            **self.flags(expression.lineno),  # type: ignore[arg-type]
        )
        self.nodes.append(node)
        return node.id

    def flags(self, row: int) -> dict[str, bool]:
        found = FLAGS.search(self.lines[row - 1])
        return {word.strip(): True for word in found.group(1).split(",")} if found else {}

    def applied(self, function: ast.expr) -> Layer | None:
        """The layer that a call applies: one declared here, or one known by name."""
        if isinstance(function, ast.Call) and isinstance(function.func, ast.Attribute):
            return self.declare(ast.unparse(function.func.value), function)
        return self.layer_named(ast.unparse(function))

    def layer_named(self, name: str) -> Layer | None:
        return next((layer for layer in self.layers if layer.name == name), None)

    def declare(self, name: str, call: ast.Call) -> Layer:
        assert isinstance(call.func, ast.Attribute)
        kind = call.func.attr
        spelling = MODULES[kind]
        args: dict[str, Arg] = {
            key: default for key, default in spelling.params if not hasattr(default, "name")
        }
        explicit: dict[str, int | None] = {}
        for position, (key, value) in enumerate(zip(spelling.names, call.args, strict=False)):
            args[key], explicit[key] = _scalar(value), position
        for keyword in call.keywords:
            assert keyword.arg is not None
            args[keyword.arg], explicit[keyword.arg] = _scalar(keyword.value), None
        number = len(self.layers)
        layer = Layer(number, spelling.op, name, "Net", args, explicit, at(100 + number), (), f"nn.{kind}")
        self.layers.append(layer)
        return layer


def _scalar(expression: ast.expr) -> Arg:
    """A literal, or a symbol: ``dim``, ``4 * dim``, ``dim // 2``."""
    if isinstance(expression, ast.Name):
        return Symbol(expression.id)
    if isinstance(expression, ast.BinOp):
        left, right = _scalar(expression.left), _scalar(expression.right)
        if isinstance(right, Symbol) and isinstance(left, int):
            return Symbol(right.base, left)
        if isinstance(left, Symbol) and isinstance(right, int):
            return Symbol(left.base, 1, right)
    literal: Arg = ast.literal_eval(expression)
    return literal
