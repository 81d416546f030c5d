"""The steps of a pass, read as it runs: what each operation is, which layer runs, and whose units its tensors hold.

The modes of ``modes.py`` hand in what runs; the recorder turns it into steps, follows the units of
every value and counts them where an activation is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from relucheck.net import Arg
from relucheck.ops import Kind, op_named
from relucheck.span import Span
from relucheck.tape.aten import RANDOM, AtenOp, creates, plateau
from relucheck.tape.axes import made_by
from relucheck.tape.batches import Batch, tensors_in
from relucheck.tape.certificates import certified
from relucheck.tape.finite import Hunt
from relucheck.tape.gathered import Gathered
from relucheck.tape.gradients import GradientWatch
from relucheck.tape.idioms import Reading, comparison, read
from relucheck.tape.likeness import likeness
from relucheck.tape.names import Names, folded_op, is_activation, owner_of, spelling_of
from relucheck.tape.places import user_places
from relucheck.tape.replay import Tracer
from relucheck.tape.spellings import bound, spelled
from relucheck.tape.steps import (
    AFFINE_OPS,
    WEIGHTED,
    Call,
    Fold,
    Step,
    batch_of,
    carried,
    read_by,
    shape_of,
    source_of,
)
from relucheck.tape.units import Counts, SiteKey, Sites, between_samples, laid_out
from relucheck.tape.values import Value, Values, flat
from relucheck.tape.wrappers import class_name, is_dtensor

_COMPOSED = frozenset({"softsign", "tanhshrink"})
_KEEP_BATCH = frozenset(
    {"linear", "attention", "softmax", "log_softmax", "layer_norm", "dropout", "instance_norm"}
)
_INSTANCE_WISE = frozenset({"instance_norm"})
"""Calls that torch runs with the units of all samples on one axis."""

_FOLDED_KINDS = frozenset(
    {Kind.ACTIVATION, Kind.NORM, Kind.DROPOUT, Kind.ATTENTION, Kind.LOSS, Kind.AFFINE, Kind.RESAMPLE}
)


_COUNTED = Step("", ())
"""What stands for every step of a pass that is not detailed: only their number matters there."""


@dataclass(slots=True)
class Recorder:
    """The state of one pass.

    ``unbatched``: a layer reads as features what was taken for the axis of samples, so that the input is one.
    ``detailed`` adds the net, source lines, signal figures and dL/dz, which cost time. A ``tracer`` writes down
    what is needed to follow later passes that do the same.
    """

    names: Names
    sites: Sites
    gradients: GradientWatch
    stop: CodeType
    detailed: bool
    values: Values = field(default_factory=Values)
    steps: list[Step] = field(default_factory=list)
    modules: list[tuple[nn.Module, str | None, Fold | None]] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    anonymous: dict[int, str] = field(default_factory=dict)
    reading_loss: bool = False
    hunt: Hunt | None = None
    gathered: Gathered | None = None
    observed: list[Counts] = field(default_factory=list)
    makers: int = 0
    batch_axis: int = 0
    unbatched: bool = False
    tracer: Tracer | None = None

    # -- inputs ---------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> None:
        """Declares the tensors of a batch as the network's inputs."""
        for tensor in batch.tensors:
            axis = self.batch_axis if self.detailed and tensor.ndim > self.batch_axis else None
            step = Step("input", (), shape=tuple(tensor.shape), batch=axis)
            value = Value(self._add(step), data=True, batch=axis)
            self.values.put(tensor, value, fresh=False)
        if self.tracer is not None:
            self.tracer.given(batch.tensors)

    def feed_more(self, batch: Batch) -> None:
        """Declares the inputs of another call; what an earlier one returned stays known as that."""
        self.feed(Batch(tuple(t for t in batch.tensors if self.values.get(t) is None), {}))

    def settle(self) -> None:
        """Runs what had to wait until autograd finished the operation before."""
        while self.waiting:
            self.waiting.pop(0)()

    # -- modules --------------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: Any) -> None:
        op = folded_op(module)
        fold = None
        if op is not None and not any(f for _, _, f in self.modules):
            fold = self._fold(op, {}, frozenset(), f"nn.{class_name(module)}", list(tensors_in(args)))
        self.modules.append((module, self.names.path(module), fold))

    def leave(self, module: nn.Module, output: Any) -> None:
        while self.modules:
            last, _, fold = self.modules[-1]
            if last is module and fold is not None:
                self._unfold(fold, list(tensors_in(output)))
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

    def _layer(self) -> str:
        """The layer of torch.nn that runs, if the innermost module of the model is one."""
        for module, path, _ in reversed(self.modules):
            if path is not None:
                return path if spelling_of(module) is not None else ""
        return ""

    # -- calls of functions -----------------------------------------------------------------------

    def begin(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Fold | None:
        """Starts to fold a call that the table of operations knows as one; None for all others."""
        if self.tracer is not None and not self.reading_loss:
            self.tracer.calls.begin(func, args, kwargs)
        spelling, name = spelled(func)
        if spelling is None or op_named(spelling.op).kind not in _FOLDED_KINDS or spelling.op == "clip":
            return None
        given, explicit = bound(spelling, args, kwargs)
        if spelling.op in _COMPOSED and args and isinstance(args[0], Tensor):
            self._observe_composed(spelling.op, args[0])
        tensors = flat([*args, *kwargs.values()])
        return self._fold(spelling.op, given, explicit, name, tensors)

    def _fold(
        self, op: str, args: Mapping[str, Arg], explicit: frozenset[str], spelling: str, tensors: list[Tensor]
    ) -> Fold:
        read = next((v for t in tensors if (v := self.values.get(t)) is not None and v.data), None)
        if not self.detailed:
            return Fold(len(self.steps), op, args, explicit, spelling, (), (), None, read)
        inputs, places = self._inputs(op, tensors), user_places(self.stop)
        batch = read.batch if read is not None else None
        return Fold(len(self.steps), op, args, explicit, spelling, inputs, places, batch, read)

    def unfold(self, fold: Fold | None, out: Any) -> None:
        """A call has returned; what was folded becomes one step."""
        if self.tracer is not None and not self.reading_loss:
            self.tracer.calls.end(out)
        if fold is not None:
            self._unfold(fold, list(tensors_in(out)))

    def _unfold(self, fold: Fold, outputs: list[Tensor]) -> None:
        """Replaces the steps since the fold began by one, made of the same outputs."""
        held = [(t, v) for t in outputs if (v := self.values.get(t)) is not None and v.data]
        if not held:
            return
        del self.steps[fold.start :]
        node = self._add(self._folded(fold, *held[0]) if self.detailed else _COUNTED)
        for counts in self.observed:
            if counts.node is not None and counts.node >= fold.start:
                counts.node = node
        for tensor, value in held:
            moved = replace(value, node=node, batch=_kept_batch(fold, value, tensor))
            if fold.op in _INSTANCE_WISE:
                moved = replace(moved, axis=_kept_axis(fold, tensor), parts=(), alone=False)
            self._move(tensor, moved, fold.start)

    def _folded(self, fold: Fold, tensor: Tensor, value: Value) -> Step:
        """The one step that stands for a call whose first result is ``tensor``."""
        return Step(
            op=fold.op,
            inputs=tuple(dict.fromkeys(i for i in fold.inputs if i < len(self.steps))),
            layer=self._step_layer(fold.op, value),
            args=fold.args,
            explicit=fold.explicit,
            spelling=fold.spelling,
            scope=self.scope,
            places=fold.places,
            shape=tuple(tensor.shape),
            batch=_kept_batch(fold, value, tensor),
        )

    def _move(self, tensor: Tensor, value: Value, start: int) -> None:
        """A tensor's value under its new step; what was written in place stays seen by every view."""
        written = self.values.written(tensor)
        if written is not None and written.node >= start:
            self.values.write(tensor, value)
        else:
            self.values.put(tensor, value, fresh=False)

    # -- operations of the dispatcher ---------------------------------------------------------------

    def before(self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Reads a call that is about to run, and counts units if it is an activation."""
        self.settle()
        tensors = flat([*args, *kwargs.values()])
        if self.tracer is not None and not self.reading_loss:
            self.tracer.step(op, args, tensors)
        with torch.no_grad():
            return self._call(op, args, kwargs, tensors)

    def _call(
        self, op: AtenOp, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: list[Tensor]
    ) -> Call:
        held = [self._value(t) for t in tensors]
        if creates(op.name) or not any(v.data for v in held) or any(map(is_dtensor, tensors)):
            return Call(op, tensors, held, None, None)
        reading = self._read(op, args, kwargs, held)
        main, site = self._main(reading, tensors, held), None
        if reading.operand is not None and main is not None:
            site = self._observe(reading, main)
            if self.tracer is not None and self._is_site(reading):
                self.tracer.site(site, reading.operand, main, tensors)
        return Call(op, tensors, held, reading, main, comparison(op, args, self.values), site)

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
        if value is not None and (self.gathered is None or value.data or value.node >= 0):
            return value
        name = self._whole(tensor, made=value is not None)
        if not name and value is None:
            name = self.names.tensor(tensor) or self._anonymous(tensor)
        return value if value is not None and not name else Value(-1, False, weights=(name,) if name else ())

    def _whole(self, tensor: Tensor, made: bool) -> str:
        """The name of a weight that was put together for this call from the shards of all ranks.

        ``made``: in this pass, by steps that were recorded.
        """
        if self.gathered is None:
            return ""
        running = next((module for module, path, _ in reversed(self.modules) if path is not None), None)
        with _disable_current_modes(), torch.no_grad():
            return self.gathered.name_of(tensor, running, everywhere=not made)

    def _anonymous(self, tensor: Tensor) -> str:
        """A name for a trainable tensor outside the model's parameters, the same in every pass."""
        if not (tensor.is_leaf and tensor.requires_grad):
            return ""
        return self.anonymous.setdefault(id(tensor), f"tensor{len(self.anonymous)}")

    def after(self, call: Call, args: Sequence[Any], out: Any) -> None:
        """Records a call that has run."""
        outputs = flat([out])
        if self.tracer is not None:
            self.tracer.numbers.made(outputs)
        if call.reading is None or call.main is None:
            self._constant(call, outputs)
            return
        reading = call.reading
        if reading.op == "clone" and call.op.name == "copy_" and len(call.tensors) > 1:
            reading = replace(reading, operand=None)
        node = self._record(call, reading, args, outputs)
        for tensor in outputs:
            value = self._made(call, reading, node, args, tensor)
            if call.op.inplace:
                self.values.write(tensor, value)
            else:
                self.values.put(tensor, value, fresh=not call.op.aliases)
        if self.detailed and reading.op in AFFINE_OPS and outputs and not self.reading_loss:
            layer = self._producer(reading.op, call.held)
            self.waiting.append(lambda: self.gradients.watch_output(layer, outputs[0]))
        if call.site is not None and self.detailed and outputs:
            site = call.site
            self.waiting.append(lambda: self.gradients.watch_step(site, outputs[0]))
        self._locate(call, node)
        if self.hunt is not None:
            self._hunt(self.hunt, reading.op, call, outputs, node)

    def _locate(self, call: Call, node: int) -> None:
        """Tells a site seen for the first time which step it is."""
        counts = self.sites.counts.get(call.site) if call.site is not None else None
        if counts is not None and counts.node is None:
            counts.node = node
            self.observed.append(counts)

    def _hunt(self, hunt: Hunt, op: str, call: Call, outputs: list[Tensor], node: int) -> None:
        layer = self.steps[node].layer or (call.main.label if call.main else "")
        hunt.check(op, layer, call.tensors, outputs, node)
        if outputs:
            self.waiting.append(lambda: hunt.watch(op, layer, outputs[0], node))

    def _constant(self, call: Call, outputs: list[Tensor]) -> None:
        """A result that no data reached: noise, or a parameter in another form."""
        random = call.op.name in RANDOM or any(v.random for v in call.held)
        weights = tuple(dict.fromkeys(w for v in call.held for w in v.weights))
        value = Value(-1, data=False, weights=weights, random=random)
        for tensor in outputs:
            if call.op.inplace:
                self.values.write(tensor, value)
            else:
                self.values.put(tensor, value, fresh=not call.op.aliases)

    def _record(self, call: Call, reading: Reading, arguments: Sequence[Any], outputs: list[Tensor]) -> int:
        if not self.detailed:
            return self._add(_COUNTED)
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
            user_places(self.stop),
            tuple(outputs[0].shape) if outputs else None,
            batch_of(call, arguments, tuple(outputs[0].shape)) if outputs else None,
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

    def _made(self, call: Call, reading: Reading, node: int, args: Sequence[Any], out: Tensor) -> Value:
        """The value of a result: a layer starts a new one, everything else carries its operand's on."""
        main = call.main
        assert main is not None  # the caller has checked
        if reading.op in WEIGHTED and reading.op != "prelu":
            batch = batch_of(call, args, tuple(out.shape))
            return self._from_layer(call, reading.op, node, batch, tuple(out.shape))
        return carried(call, reading.op, node, args, out)

    def _from_layer(self, call: Call, op: str, node: int, batch: int | None, shape: tuple[int, ...]) -> Value:
        """A value with units of its own, those of the layer that made it."""
        main = call.main
        assert main is not None  # the caller has checked
        self.makers += 1
        self.unbatched |= main.maker < 0 and main.batch is not None and self._mixes_samples(op, call, main)
        axis = made_by(op, shape)
        if axis is None:  # LayerNorm keeps the units of what it reads
            same = main.axis is not None and shape_of(main, call) == shape
            axis = main.axis if same else len(shape) - 1
        label = self._producer(op, call.held)
        return Value(
            node=node,
            data=True,
            axis=axis,
            label=label,
            affine=label if op in AFFINE_OPS else main.affine,
            weights=tuple(dict.fromkeys(w for v in call.held if not v.data for w in v.weights)),
            maker=self.makers,
            batch=batch,
            raw=main.raw and (op not in AFFINE_OPS or main.maker < 0),
            source=source_of(op, call, main),
        )

    def _mixes_samples(self, op: str, call: Call, main: Value) -> bool:
        """Whether a layer sums over the axis that counts samples; a fixed matrix may (a graph's adjacency)."""
        weights = (w for v in call.held if not v.data for w in v.weights)
        learned = any(w not in self.names.buffers.values() for w in weights)
        return learned and main.batch == read_by(op, call, main)

    # -- activations ----------------------------------------------------------------------------

    def _observe(self, reading: Reading, main: Value) -> SiteKey | None:
        where = plateau(reading.op, reading.args)
        z = reading.operand
        if where is None or z is None or not self._is_site(reading):
            return None
        if not z.is_floating_point() or z.numel() == 0:  # an expert that no sample was sent to
            return None
        z, axis = laid_out(z, main.axis, main.parts, main.alone)
        units = z.shape[-1 if axis is None else axis] if z.ndim else 1
        name = self._site(reading.op, main)
        key = SiteKey(name, reading.op, main.weights, main.depth, units, main.section)
        counts = self.sites.observe(key, z, axis, where)
        if self.detailed:
            counts.bins.add(z)
        if counts.node is None:
            counts.producer = main.affine or main.label
            counts.raw = self._permanent(main)
            counts.span = self._span()
            if self.detailed:
                counts.certified = certified(main.source) if where.low == 0 and where.dies else ()
                counts.signal = between_samples(z, axis, self.sites.samples)
                counts.cosine, counts.dimension = likeness(z, axis, self.sites.samples)
        return key

    def _is_site(self, reading: Reading) -> bool:
        return not self.reading_loss and plateau(reading.op, reading.args) is not None and not self._gated()

    def _observe_composed(self, function: str, z: Tensor) -> None:
        """Counts an activation that the dispatcher only sees in pieces."""
        if self.tracer is not None:
            self.tracer.faithful = False
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

    def _site(self, function: str, main: Value) -> str:
        """The name of a site: the activation's module where it is one, else ``producer:function``."""
        module, path = next(((m, p) for m, p, _ in reversed(self.modules) if p is not None), (None, None))
        if module is not None and path and is_activation(module):
            return path
        feeds = main.label or self.scope
        return f"{feeds}:{function}" if feeds else function

    def _permanent(self, main: Value) -> bool:
        """Whether what the producing layer reads cannot change: the data itself."""
        return main.raw and main.maker >= 0

    def _span(self) -> Span | None:
        if not self.detailed:
            return None
        places = user_places(self.stop)
        return places[-1] if places else None


def _kept_axis(fold: Fold, tensor: Tensor) -> int | None:
    """The unit axis after a call that leaves every unit where it is, though it laid them among the samples inside."""
    read = fold.read
    return read.axis if read is not None and read.axis is not None else made_by(fold.op, tuple(tensor.shape))


def _kept_batch(fold: Fold, value: Value, tensor: Tensor) -> int | None:
    """The batch axis after a call, which inner reshapes may have hidden: that of its first input."""
    if value.batch is not None or fold.op not in _KEEP_BATCH:
        return value.batch
    return fold.batch if fold.batch is not None and fold.batch < tensor.ndim else None
