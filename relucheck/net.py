"""A network as a small graph: layers that are declared, nodes that apply them, and unknown as a value.

Both readers produce it: ``relucheck.source`` from text, ``relucheck.tape`` from the autograd graph
of a real pass. Nodes are in order of execution, so ``a.id < b.id`` means that a ran before b. A
node is its output value (as in torch.fx); edges are node ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from relucheck.ops import Kind, Op, op_named
from relucheck.span import Span


class Unknown(Enum):
    """The value of what the reader does not know; rules stay silent on it."""

    UNKNOWN = "?"

    def __str__(self) -> str:
        return "?"


UNKNOWN = Unknown.UNKNOWN


@dataclass(frozen=True, slots=True)
class Symbol:
    """A width that is not known as a number: ``numerator/denominator`` times a named size.

    Two symbols of one base compare, so ``4*dim`` is wider than ``dim``; others do not.
    """

    base: str
    numerator: int = 1
    denominator: int = 1

    def __str__(self) -> str:
        times = "" if self.numerator == 1 else f"{self.numerator}*"
        over = "" if self.denominator == 1 else f"//{self.denominator}"
        return f"{times}{self.base}{over}"


Scalar = int | float | bool | str | None
Arg = Scalar | tuple["Arg", ...] | Symbol | Unknown
Dim = int | Symbol | Unknown
Shape = tuple[Dim, ...]


def smaller(a: Arg, b: Arg) -> bool | None:
    """Whether width a is smaller than width b; None where they do not compare."""
    if isinstance(a, Symbol) and isinstance(b, Symbol) and a.base == b.base:
        return a.numerator * b.denominator < b.numerator * a.denominator
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a < b
    return None


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is declared, used or not.

    ``name`` is its attribute path (``fc1``, ``net.3``); ``owner`` the class or script that made it;
    ``args`` its constructor arguments, defaults included, or UNKNOWN; ``explicit`` the names of
    those that the code passes itself, with the position of positional ones (None for keywords).
    ``made`` is the place of the constructor call, ``callers`` the calls that led there.
    """

    id: int
    op: str
    name: str
    owner: str
    args: Mapping[str, Arg]
    explicit: Mapping[str, int | None] = field(default_factory=dict)
    made: Span | None = None
    callers: tuple[Span, ...] = ()
    spelling: str = ""

    @property
    def info(self) -> Op:
        return op_named(self.op)


@dataclass(frozen=True, slots=True)
class Node:
    """One application of an operation.

    ``inputs`` are the ids of the values it reads. ``layer`` is the layer applied, if any.
    ``span`` is the call; ``callers`` the calls that led to it, outermost first. ``scope`` is the
    dotted path of the module whose forward runs it (empty at the top). ``discarded``: the result of
    this call is an expression statement. ``misused``: an activation class called with a tensor.
    ``maybe``: on a path that may not be taken. ``batch_first``: axis 0 is proved to be the batch.
    ``shape`` is None where not even the number of axes is known.
    """

    id: int
    op: str
    inputs: tuple[int, ...] = ()
    layer: int | None = None
    args: Mapping[str, Arg] = field(default_factory=dict)
    explicit: frozenset[str] = frozenset()
    span: Span | None = None
    callers: tuple[Span, ...] = ()
    scope: str = ""
    spelling: str = ""
    discarded: bool = False
    misused: bool = False
    maybe: bool = False
    in_forward: bool = False
    shape: Shape | None = None
    batch_first: bool = False

    @property
    def info(self) -> Op:
        return op_named(self.op)

    @property
    def kind(self) -> Kind:
        return self.info.kind

    @property
    def inplace(self) -> bool:
        return self.args.get("inplace") is True

    @property
    def one_sided(self) -> bool:
        """Never negative, with zero slope on a half-line: ReLU, ReLU6, clamp(min=0, max=c)."""
        if self.op == "clip":
            return self.args.get("min") == 0 or self.args.get("min_val") == 0
        if self.op == "threshold":
            return self.args.get("threshold") == 0 and self.args.get("value") == 0
        return self.info.one_sided


@dataclass(frozen=True, slots=True)
class Output:
    """A value that a network returns to code outside any network.

    ``owner`` is the class whose forward (or other ``method``) returned it, at ``span``.
    ``contained``: another module of the project holds an instance of the class.
    """

    node: int
    owner: str
    method: str
    span: Span | None
    contained: bool = False
    bases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Init:
    """An initialisation: ``tensor`` ("weight", "bias" ...) of ``layer`` is set by ``function``.

    ``function`` is the name in torch.nn.init (``zero_``, ``fill_`` and assignments count as
    ``zeros_`` and ``constant_``). ``replaced``: by assigning or copying another tensor, whose place
    ``span`` is then, not by a call that takes the parameter.
    """

    layer: int
    tensor: str
    function: str
    args: Mapping[str, Arg]
    explicit: frozenset[str]
    span: Span | None
    maybe: bool = False
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Optimiser:
    """An optimiser over ``layers`` (ids); ``all_parameters``: of one whole model, in one group."""

    kind: str
    args: Mapping[str, Arg]
    explicit: frozenset[str]
    layers: tuple[int, ...]
    all_parameters: bool
    span: Span | None
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Rewrap:
    """A loss that is detached and wrapped again before ``backward``: no gradient passes.

    ``cut_before``: another statement has detached it.
    """

    span: Span
    how: str
    backward: Span
    cut_before: bool = False


@dataclass(frozen=True, slots=True)
class Net:
    """One network, or one script with its networks and losses, as read by one reader."""

    name: str
    path: str
    layers: tuple[Layer, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...] = ()
    inits: tuple[Init, ...] = ()
    optimisers: tuple[Optimiser, ...] = ()
    rewraps: tuple[Rewrap, ...] = ()
    _consumers: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    def layer_of(self, node: Node) -> Layer | None:
        """The declared layer that a node applies, or None for a function."""
        return None if node.layer is None else self.layers[node.layer]

    def inputs(self, node: Node) -> tuple[Node, ...]:
        """The nodes whose values a node reads."""
        return tuple(self.nodes[i] for i in node.inputs)

    def consumers(self, node: Node) -> tuple[Node, ...]:
        """The nodes that read a node's value, in order of execution."""
        if not self._consumers:
            self._index()
        return tuple(self.nodes[i] for i in self._consumers.get(node.id, ()))

    def _index(self) -> None:
        readers: dict[int, list[int]] = {}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                readers.setdefault(source, []).append(node.id)
        self._consumers.update({k: tuple(v) for k, v in readers.items()})
        self._consumers.setdefault(-1, ())

    def returned(self, node: Node) -> bool:
        """Whether code outside the network receives this value."""
        return any(output.node == node.id for output in self.outputs)

    def of_kind(self, kind: Kind) -> Iterator[Node]:
        """The nodes of one kind, in order of execution."""
        return (node for node in self.nodes if node.kind is kind)

    def args_of(self, node: Node) -> Mapping[str, Arg]:
        """A node's own arguments over those of its layer."""
        layer = self.layer_of(node)
        return node.args if layer is None else {**layer.args, **node.args}

    def label(self, node: Node) -> str:
        """How messages call a node: the layer's attribute path, else the spelling or operation."""
        layer = self.layer_of(node)
        if layer is not None and layer.name:
            return layer.name
        return node.spelling or node.op

    def __str__(self) -> str:
        return "\n".join(self._line(node) for node in self.nodes)

    def _line(self, node: Node) -> str:
        layer = self.layer_of(node)
        name = f"[{layer.name}]" if layer is not None else ""
        reads = ", ".join(f"%{i}" for i in node.inputs)
        notes = [word for word, is_so in (("maybe", node.maybe), ("discarded", node.discarded)) if is_so]
        return f"%{node.id} = {node.op}{name}({reads})" + (f"  # {', '.join(notes)}" if notes else "")


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that a class assigns a layer to in a method.

    ``container``: the class of ``torch.nn`` that could hold all that a plain list or dict holds, empty
    where there is none.
    """

    name: str
    op: str
    span: Span
    spelling: str
    container: str = ""


@dataclass(frozen=True, slots=True)
class UnreadParameter:
    """A parameter of ``__init__`` that its body never names."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class ModuleClass:
    """What a class of the project declares and never reads.

    ``unread`` holds the layer attributes that nothing in the project reads; it is empty where the
    class may be read in ways that are not followed (getattr, children(), registries).
    ``unregistered`` are layers with parameters in a plain list or dict that forward applies,
    ``repeated`` layers with parameters listed several times by ``[layer] * n``, and
    ``made_in_forward`` layers that forward makes and applies without keeping them.
    """

    name: str
    span: Span
    unread: tuple[Attribute, ...] = ()
    unread_parameters: tuple[UnreadParameter, ...] = ()
    unregistered: tuple[Attribute, ...] = ()
    repeated: tuple[Attribute, ...] = ()
    made_in_forward: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True)
class Crash:
    """A fault of relucheck itself while it read one file; the others are still read."""

    path: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, order=True)
class Unfinished:
    """Code of a file that takes more steps than the reader follows; what it recorded is taken back."""

    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that a reader made of its input; ``trials`` are the tests in it, where odd networks are meant."""

    nets: tuple[Net, ...] = ()
    classes: tuple[ModuleClass, ...] = ()
    crashes: tuple[Crash, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    trials: tuple[Span, ...] = ()
