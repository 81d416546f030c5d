"""One pass, recorded as it runs: every operation with its exact tensors, whatever its spelling.

Three things are watched at once, all from outside the model, so that it is never touched:

- a ``TorchDispatchMode`` sees every ``aten`` operation with the tensors that it reads and makes, be
  it called as a module, a function, a method, inside ``nn.RNN`` or with gradients off. It is the
  truth about tensors: ``F.relu``, ``x.relu_()`` and ``clamp(min=0)`` look alike, the mask of
  ``x * (x > 0)`` is there (an autograd graph does not hold it), and a checkpointed block is seen once,
  since its recomputation happens in backward, outside the mode;
- a ``TorchFunctionMode`` sees how the user's call is spelled, and folds what one call decomposes
  into (cross_entropy = log_softmax and nll_loss, dropout = noise and product) into one step;
- global module hooks give the layer that runs.

Autograd's own graph supplies only what it alone knows: the gradients (``gradients.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from relucheck.net import Arg
from relucheck.ops import FUNCTIONS, METHODS, TORCH, Kind, Spelling, op_named
from relucheck.span import Span
from relucheck.tape.aten import RANDOM, SKIPPED, AtenOp, aten_op, creates, plateau
from relucheck.tape.axes import followed, made_by
from relucheck.tape.batches import Batch, tensors_in
from relucheck.tape.certificates import certified
from relucheck.tape.gradients import GradientWatch
from relucheck.tape.idioms import Reading, comparison, read
from relucheck.tape.names import Names, folded_op, is_activation, owner_of, spelling_of
from relucheck.tape.places import user_places
from relucheck.tape.units import Counts, SiteKey, Sites, between_samples
from relucheck.tape.values import Mask, Source, Value, Values, flat

if TYPE_CHECKING:
    from relucheck.tape.finite import Hunt

WEIGHTED = frozenset(
    {
        "linear",
        "conv",
        "conv_transpose",
        "batch_norm",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "embedding",
        "prelu",
    }
)
"""Operations whose parameters belong to the operation: in the net they read the data only."""

_COMPOSED = frozenset({"softsign", "tanhshrink"})
_AFFINE = frozenset({"linear", "conv", "conv_transpose"})
_FOLDED_KINDS = frozenset(
    {Kind.ACTIVATION, Kind.NORM, Kind.DROPOUT, Kind.ATTENTION, Kind.LOSS, Kind.AFFINE, Kind.RESAMPLE}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One application of an operation in one pass; its id is its position."""

    op: str
    inputs: tuple[int, ...]
    layer: str = ""
    args: Mapping[str, Arg] = field(default_factory=dict)
    explicit: frozenset[str] = frozenset()
    spelling: str = ""
    scope: str = ""
    places: tuple[Span, ...] = ()
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Fold:
    """A call under way whose inner steps will become one."""

    start: int
    op: str
    args: Mapping[str, Arg]
    explicit: frozenset[str]
    spelling: str
    inputs: tuple[int, ...]
    places: tuple[Span, ...]


@dataclass(slots=True)
class Recorder:
    """The state of one pass. ``detailed`` adds source lines, signal figures and dL/dz, which cost time."""

    names: Names
    sites: Sites
    gradients: GradientWatch
    stop: CodeType
    detailed: bool
    values: Values = field(default_factory=Values)
    steps: list[Step] = field(default_factory=list)
    modules: list[tuple[nn.Module, str | None, _Fold | None]] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    anonymous: dict[int, str] = field(default_factory=dict)
    reading_loss: bool = False
    hunt: Hunt | None = None
    observed: list[Counts] = field(default_factory=list)

    # -- inputs ---------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> None:
        """Declares the tensors of a batch as the network's inputs."""
        for tensor in batch.tensors:
            value = Value(self._add(Step("input", (), shape=tuple(tensor.shape))), data=True)
            self.values.put(tensor, value, fresh=False)

    def settle(self) -> None:
        """Runs what had to wait until autograd finished the operation before."""
        while self.waiting:
            self.waiting.pop(0)()

    # -- modules --------------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: Any) -> None:
        op = folded_op(module)
        fold = None
        if op is not None and not any(f for _, _, f in self.modules):
            fold = self._fold(op, {}, frozenset(), f"nn.{type(module).__name__}", list(tensors_in(args)))
        self.modules.append((module, self.names.path(module), fold))

    def leave(self, module: nn.Module, output: Any) -> None:
        while self.modules:
            last, _, fold = self.modules[-1]
            if last is module and fold is not None:
                self.unfold(fold, list(tensors_in(output)))
            self.modules.pop()
            if last is module:
                return

    @property
    def scope(self) -> str:
        """The path of the user's module whose forward runs."""
        for module, path, _ in reversed(self.modules):
            if path is not None and spelling_of(module) is None:
                return path
        return ""

    @property
    def within_fold(self) -> bool:
        return any(fold is not None for _, _, fold in self.modules)

    def _layer(self) -> str:
        """The layer of torch.nn that runs, if the innermost module of the model is one."""
        for module, path, _ in reversed(self.modules):
            if path is not None:
                return path if spelling_of(module) is not None else ""
        return ""

    # -- calls of functions -----------------------------------------------------------------------

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Fold | None:
        """Starts to fold a call that the table of operations knows as one; None for all others."""
        spelling, name = _spelled(func)
        if spelling is None or op_named(spelling.op).kind not in _FOLDED_KINDS or spelling.op == "clip":
            return None
        given, explicit = _bound(spelling, args, kwargs)
        if spelling.op in _COMPOSED and args and isinstance(args[0], Tensor):
            self._observe_composed(spelling.op, args[0])
        tensors = list(flat([*args, *kwargs.values()]))
        return self._fold(spelling.op, given, explicit, name, tensors)

    def _fold(
        self, op: str, args: Mapping[str, Arg], explicit: frozenset[str], spelling: str, tensors: list[Tensor]
    ) -> _Fold:
        inputs = self._inputs(op, tensors)
        places = user_places(self.stop) if self.detailed else ()
        return _Fold(len(self.steps), op, args, explicit, spelling, inputs, places)

    def unfold(self, fold: _Fold, outputs: list[Tensor]) -> None:
        """Replaces the steps since the fold began by one, made of the same outputs."""
        held = [(t, v) for t in outputs if (v := self.values.get(t)) is not None and v.data]
        if not held:
            return
        del self.steps[fold.start :]
        known = _with_fallback(fold, self.steps)
        node = self._add(
            Step(
                fold.op,
                known,
                self._step_layer(fold.op, held[0][1]),
                fold.args,
                fold.explicit,
                fold.spelling,
                self.scope,
                fold.places,
                tuple(held[0][0].shape),
            )
        )
        for counts in self.observed:
            if counts.node is not None and counts.node >= fold.start:
                counts.node = node
        for tensor, value in held:
            moved = replace(value, node=node)
            inplace = self.values.writes.get(tensor.untyped_storage().data_ptr())
            if inplace is not None and inplace.node >= fold.start:
                self.values.write(tensor, moved)
            else:
                self.values.put(tensor, moved, fresh=False)

    # -- operations of the dispatcher ---------------------------------------------------------------

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call:
        """Reads a call that is about to run, and counts units if it is an activation."""
        self.settle()
        tensors = list(flat([*args, *kwargs.values()]))
        held = [self._value(t) for t in tensors]
        if creates(op.name) or not any(v.data for v in held):
            return _Call(op, tensors, held, None, None)
        reading = self._read(op, args, kwargs, held)
        main, site = self._main(reading, tensors, held), None
        if reading.operand is not None and main is not None:
            site = self._observe(reading, main)
        return _Call(op, tensors, held, reading, main, comparison(op, args, self.values), site)

    def _read(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], held: list[Value]) -> Reading:
        reading = read(op, args, kwargs, self.values)
        if reading.op in ("linear", "matmul"):
            constant = any(not v.data and v.weights for v in held)
            return replace(reading, op="linear" if constant else "matmul")
        if reading.op == "conv" and len(args) > 6 and args[6] is True:
            return replace(reading, op="conv_transpose")
        return reading

    def _main(self, reading: Reading, tensors: list[Tensor], held: list[Value]) -> Value | None:
        """The value whose units the result has: the operand, else the one made by the latest layer."""
        for tensor, value in zip(tensors, held, strict=True):
            if tensor is reading.operand and value.data:
                return value
        return max((v for v in held if v.data), key=lambda v: v.maker, default=None)

    def _value(self, tensor: Tensor) -> Value:
        """A tensor's value; one that no step made is a parameter, a buffer or a constant."""
        value = self.values.get(tensor)
        if value is None:
            name = self.names.tensor(tensor) or self._anonymous(tensor)
            value = Value(-1, data=False, weights=(name,) if name else ())
        return value

    def _anonymous(self, tensor: Tensor) -> str:
        """A name for a trainable tensor outside the model's parameters, the same in every pass."""
        if not (tensor.is_leaf and tensor.requires_grad):
            return ""
        return self.anonymous.setdefault(id(tensor), f"tensor{len(self.anonymous)}")

    def after(self, call: _Call, args: Sequence[Any], out: Any) -> None:
        """Records a call that has run."""
        outputs = list(flat([out]))
        if call.reading is None or call.main is None:
            self._constant(call, outputs)
            return
        reading = call.reading
        if reading.op == "clone" and call.op.name == "copy_" and len(call.tensors) > 1:
            reading = replace(reading, operand=None)
        node = self._record(call, reading, outputs)
        for tensor in outputs:
            value = self._made(call, reading, node, args, tensor)
            if call.op.inplace:
                self.values.write(tensor, value)
            else:
                self.values.put(tensor, value, fresh=not call.op.aliases)
        if self.detailed and reading.op in _AFFINE and outputs and not self.reading_loss:
            layer = self._producer(reading.op, call.held)
            self.waiting.append(lambda: self.gradients.watch_output(layer, outputs[0]))
        if call.site is not None and self.detailed and outputs:
            site = call.site
            self.waiting.append(lambda: self.gradients.watch_step(site, outputs[0]))
        self._locate(call, node)
        if self.hunt is not None:
            self._hunt(self.hunt, reading.op, call, outputs, node)

    def _locate(self, call: _Call, node: int) -> None:
        """Tells a site seen for the first time which step it is."""
        counts = self.sites.counts.get(call.site) if call.site is not None else None
        if counts is not None and counts.node is None:
            counts.node = node
            self.observed.append(counts)

    def _hunt(self, hunt: Hunt, op: str, call: _Call, outputs: list[Tensor], node: int) -> None:
        layer = self.steps[node].layer or (call.main.label if call.main else "")
        hunt.check(op, layer, call.tensors, outputs, node)
        if outputs:
            self.waiting.append(lambda: hunt.watch(op, layer, outputs[0], node))

    def _constant(self, call: _Call, outputs: list[Tensor]) -> None:
        """A result that no data reached: noise, or a parameter in another form."""
        random = call.op.name in RANDOM or any(v.random for v in call.held)
        weights = tuple(dict.fromkeys(w for v in call.held for w in v.weights))
        value = Value(-1, data=False, weights=weights, random=random)
        for tensor in outputs:
            if call.op.inplace:
                self.values.write(tensor, value)
            else:
                self.values.put(tensor, value, fresh=not call.op.aliases)

    def _record(self, call: _Call, reading: Reading, outputs: list[Tensor]) -> int:
        inputs = self._inputs(reading.op, call.tensors, call.held)
        args: Mapping[str, Arg] = {**reading.args, "inplace": True} if call.op.inplace else reading.args
        step = Step(
            reading.op,
            inputs,
            self._step_layer(reading.op, None, call.held),
            args,
            frozenset(),
            call.op.name,
            self.scope,
            user_places(self.stop) if self.detailed else (),
            tuple(outputs[0].shape) if outputs else None,
        )
        return self._add(step)

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _inputs(self, op: str, tensors: list[Tensor], held: list[Value] | None = None) -> tuple[int, ...]:
        """The steps that a call reads; parameters and constants become steps where they are operands."""
        found = held or [self._value(t) for t in tensors]
        nodes: list[int] = []
        for tensor, value in zip(tensors, found, strict=True):
            if value.node >= 0 and value.data:
                nodes.append(value.node)
            elif op not in WEIGHTED and not value.random:
                nodes.append(self._source(tensor, value))
        return tuple(nodes)

    def _source(self, tensor: Tensor, value: Value) -> int:
        """A step for a parameter, buffer or constant that an operation reads beside the data."""
        if value.node >= 0:
            return value.node
        named = bool(value.weights) and value.weights[0] in self.names.buffers.values()
        op = "buffer" if named else "parameter" if value.weights else "constant"
        node = self._add(Step(op, (), shape=tuple(tensor.shape)))
        self.values.put(tensor, replace(value, node=node), fresh=False)
        return node

    def _step_layer(self, op: str, made: Value | None, held: Sequence[Value] = ()) -> str:
        """The declared layer that a step applies."""
        layer = self._layer()
        if layer or op not in WEIGHTED:
            return layer
        return made.label if made is not None else self._producer(op, held)

    def _producer(self, op: str, held: Sequence[Value]) -> str:
        """The path of the layer whose parameters an operation applies."""
        for value in held:
            if not value.data and value.weights:
                return owner_of(value.weights[0])
        return self._layer() or self.scope

    def _made(self, call: _Call, reading: Reading, node: int, args: Sequence[Any], out: Tensor) -> Value:
        """The value of a result: a layer starts a new one, everything else carries its operand's on."""
        main = call.main
        assert main is not None  # the caller has checked
        if reading.op in WEIGHTED and reading.op != "prelu":
            return self._from_layer(call, reading.op, main, node, tuple(out.shape))
        return _carried(call, reading.op, main, node, args, tuple(out.shape))

    def _from_layer(self, call: _Call, op: str, main: Value, node: int, shape: tuple[int, ...]) -> Value:
        """A value with units of its own, those of the layer that made it."""
        axis = made_by(op, shape)
        if axis is None:  # LayerNorm keeps the units of what it reads
            same = main.axis is not None and _shape_of(main, call) == shape
            axis = main.axis if same else len(shape) - 1
        label = self._producer(op, call.held)
        return Value(
            node=node,
            data=True,
            axis=axis,
            label=label,
            affine=label if op in _AFFINE else main.affine,
            weights=tuple(dict.fromkeys(w for v in call.held if not v.data for w in v.weights)),
            maker=node,
            raw=main.raw and (op not in _AFFINE or main.maker < 0),
            source=_source_of(op, call, main),
        )

    # -- activations ----------------------------------------------------------------------------

    def _observe(self, reading: Reading, main: Value) -> SiteKey | None:
        where = plateau(reading.op, reading.args)
        z = reading.operand
        if where is None or z is None or self.reading_loss or not z.is_floating_point() or self._gated():
            return None
        base, module = self._site(reading.op, main)
        key = (base, main.weights, main.depth)
        counts = self.sites.observe(key, z, main.axis, reading.op, where, module)
        if counts.node is None:
            counts.producer = main.affine or main.label
            counts.raw = self._permanent(main)
            counts.span = self._span()
            if self.detailed:
                counts.certified = certified(main.source) if where.low == 0 and where.dies else ()
                counts.signal = between_samples(z, main.axis, self.sites.samples)
        return key

    def _observe_composed(self, function: str, z: Tensor) -> None:
        """Counts an activation that the dispatcher only sees in pieces."""
        value = self.values.get(z)
        if value is None or not value.data:
            return
        with _disable_current_modes(), torch.no_grad():
            site = self._observe(Reading(function, {}, z), value)
        counts = self.sites.counts.get(site) if site is not None else None
        if counts is not None and counts.node is None:
            counts.node = len(self.steps)
            self.observed.append(counts)

    def _gated(self) -> bool:
        """Inside LSTM and GRU, sigmoid and tanh are gates, which are meant to close."""
        return any(
            fold is not None and fold.op in ("lstm", "gru", "attention") for _, _, fold in self.modules
        )

    def _site(self, function: str, main: Value) -> tuple[str, bool]:
        """The name of a site: the activation's module where it is one, else ``producer:function``."""
        for module, path, _ in reversed(self.modules):
            if path is None:
                continue
            if path and is_activation(module):
                return path, True
            break
        feeds = main.label or self.scope
        return (f"{feeds}:{function}" if feeds else function), False

    def _permanent(self, main: Value) -> bool:
        """Whether what the producing layer reads cannot change: the data itself."""
        return main.raw and main.maker >= 0

    def _span(self) -> Span | None:
        if not self.detailed:
            return None
        places = user_places(self.stop)
        return places[-1] if places else None


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of the dispatcher, read before it ran."""

    op: AtenOp
    tensors: list[Tensor]
    held: list[Value]
    reading: Reading | None
    main: Value | None
    mask: Mask | None = None
    site: SiteKey | None = None


def _carried(
    call: _Call, op: str, main: Value, node: int, args: Sequence[Any], shape: tuple[int, ...]
) -> Value:
    """A value with the units of the operand, wherever the operation moves their axis."""
    before = _shape_of(main, call)
    axis = made_by(op, shape)
    if axis is None:
        axis = followed(call.op.name.removesuffix("_"), args, before, main.axis, shape)
    joined = _joined(op, call, main)
    return replace(
        main,
        node=node,
        axis=axis,
        depth=main.depth + (op_named(op).kind is Kind.ACTIVATION),
        weights=joined,
        label=main.label if joined == main.weights else owner_of(joined[0]),
        mask=call.mask or (main.mask if op == "cast" else None),
        source=main.source if _transparent(op, before, shape) else Source(op, before=main.source),
    )


def _transparent(op: str, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether each vector of features passes as it is, so that a bound on it still holds."""
    return op in ("view", "clone", "cast", "identity") and before[-1:] == after[-1:]


def _joined(op: str, call: _Call, main: Value) -> tuple[str, ...]:
    """The parameters whose sum makes the units: those of ``W x`` and of ``U h`` in ``W x + U h``.

    Where h is the constant at the first time step it counts too, so that all steps are one site.
    """
    if op not in ("add", "sub"):
        return main.weights
    return tuple(sorted({w for v in call.held if v.depth == 0 for w in v.weights} | set(main.weights)))


def _shape_of(main: Value, call: _Call) -> tuple[int, ...]:
    for tensor, value in zip(call.tensors, call.held, strict=True):
        if value is main:
            return tuple(tensor.shape)
    return ()


def _source_of(op: str, call: _Call, main: Value) -> Source:
    """The parameters of a layer in the order of the call: the weight has the most axes."""
    own = [t for t, v in zip(call.tensors, call.held, strict=True) if not v.data and v.weights]
    own.sort(key=lambda t: -t.ndim)
    weight = own[0] if own else None
    return Source(op, weight, own[1] if len(own) > 1 else None, main.source)


def _with_fallback(fold: _Fold, steps: Sequence[Step]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(i for i in fold.inputs if i < len(steps)))


def _spelled(func: Any) -> tuple[Spelling | None, str]:
    """How the table knows a function that torch was called with, and how it is written."""
    name = getattr(func, "__name__", "")
    home = getattr(func, "__module__", None) or ""
    if home in ("torch.nn.functional", "torch._C._nn", "torch.special"):
        return FUNCTIONS.get(
            {"log_sigmoid": "logsigmoid", "_threshold": "threshold"}.get(name, name)
        ), f"F.{name}"
    if home == "torch":
        return TORCH.get(name), f"torch.{name}"
    return METHODS.get(name), name


def _bound(
    spelling: Spelling, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Arg], frozenset[str]]:
    """The plain arguments of a call by name, and which of them the call passes itself."""
    given = {**dict(zip(spelling.names, args, strict=False)), **kwargs}
    defaults = {n: d for n, d in spelling.params if isinstance(d, int | float | bool | str | None)}
    plain = {n: v for n, v in given.items() if isinstance(v, int | float | bool | str | None)}
    fixed = {n: v for n, v in spelling.fixed if isinstance(v, int | float | bool | str | None)}
    return {**defaults, **plain, **fixed}, frozenset(n for n in given if n != "input")


class _Dispatch(TorchDispatchMode):
    """Hands every aten call to the recorder, before and after it runs."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = aten_op(func)
        if op.name in SKIPPED:
            self.recorder.settle()
            return func(*args, **kwargs)
        with torch.no_grad():
            call = self.recorder.before(op, args, kwargs)
        out = func(*args, **kwargs)
        self.recorder.after(call, args, out)
        return out


class _Functions(TorchFunctionMode):
    """Hands every call of a torch function to the recorder, which folds what it decomposes into."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fold = self.recorder.begin(func, args, kwargs)
        out = func(*args, **kwargs)
        if fold is not None:
            self.recorder.unfold(fold, list(tensors_in(out)))
        return out


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Everything that runs inside is recorded; afterwards no hook and no mode is left."""
    handles = (
        module_hooks.register_module_forward_pre_hook(recorder.enter),
        module_hooks.register_module_forward_hook(
            lambda module, args, output: recorder.leave(module, output), always_call=True
        ),
    )
    try:
        with _Functions(recorder), _Dispatch(recorder):
            yield
        recorder.settle()
    finally:
        for handle in handles:
            handle.remove()
