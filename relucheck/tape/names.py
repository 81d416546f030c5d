"""Names of modules and parameters as users know them, and the declared layers of a net."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor, nn

from relucheck.net import UNKNOWN, Arg, Layer
from relucheck.ops import MODULES, REQUIRED, Kind, Spelling, op_named
from relucheck.tape.wrappers import class_name, without_prefixes


@dataclass(frozen=True, slots=True)
class Names:
    """The paths of a model's modules and the names of its tensors, by identity.

    The model must outlive it: identities are those of live objects.
    """

    model: nn.Module
    modules: Mapping[int, str]
    parameters: Mapping[int, str]
    buffers: Mapping[int, str]

    @classmethod
    def of(cls, model: nn.Module) -> Names:
        modules = {id(module): without_prefixes(name) for name, module in model.named_modules()}
        parameters = {id(p): without_prefixes(name) for name, p in model.named_parameters()}
        buffers = {id(b): without_prefixes(name) for name, b in model.named_buffers()}
        return cls(model, modules, parameters, buffers)

    def path(self, module: nn.Module) -> str | None:
        """The dotted path of a module; empty for the model, None for one that is not part of it."""
        return self.modules.get(id(module))

    def tensor(self, tensor: Tensor) -> str | None:
        """The name of a parameter or buffer, None for any other tensor."""
        return self.parameters.get(id(tensor)) or self.buffers.get(id(tensor))


def owner_of(parameter: str) -> str:
    """The path of the layer that a parameter belongs to: ``fc`` for ``fc.weight``.

    A parametrised weight (``fc.parametrizations.weight.original0``) belongs to the layer as well.
    """
    path = parameter.partition(".parametrizations.")[0]
    return path if path != parameter else parameter.rpartition(".")[0]


def layer_of(parameter: str) -> str:
    """What the figures of a weight stand under: its layer, or its own name where it is not called weight."""
    return owner_of(parameter) if parameter.endswith(".weight") else parameter


def spelling_of(module: nn.Module) -> Spelling | None:
    """How the table of operations knows the class of a module, or None for a class of the user."""
    return _spelling_among(type(module).__mro__)


@cache
def _spelling_among(bases: tuple[type, ...]) -> Spelling | None:
    for base in bases:
        if base.__module__.startswith("torch.nn.") and base.__name__ in MODULES:
            return MODULES[base.__name__]
    return None


def layers_of(names: Names) -> tuple[Layer, ...]:
    """Every module of torch.nn that the model holds, used or not, in the order of declaration."""
    known = [(path, module) for path, module in _modules(names) if spelling_of(module) is not None]
    return tuple(_layer(index, path, module, names) for index, (path, module) in enumerate(known))


def _modules(names: Names) -> list[tuple[str, nn.Module]]:
    return [(without_prefixes(name), module) for name, module in names.model.named_modules()]


def _layer(index: int, path: str, module: nn.Module, names: Names) -> Layer:
    spelling = spelling_of(module)
    assert spelling is not None  # layers_of keeps only those
    return Layer(
        id=index,
        op=spelling.op,
        name=path,
        owner=_owner(path, names.model),
        args=_arguments(module, spelling),
        spelling=f"nn.{class_name(module)}",
    )


def _owner(path: str, model: nn.Module) -> str:
    """The class of the nearest enclosing module that is not a container of torch."""
    parts = path.split(".")[:-1]
    while parts:
        module = _at(model, parts)
        if module is not None and not type(module).__module__.startswith("torch.nn."):
            return class_name(module)
        parts.pop()
    return class_name(model)


def _at(model: nn.Module, parts: list[str]) -> nn.Module | None:
    for part in parts:
        found = model._modules.get(part)
        if found is None:
            return None
        model = found
    return model


def _arguments(module: nn.Module, spelling: Spelling) -> dict[str, Arg]:
    """The constructor's arguments as far as the module keeps them under their own names."""
    args: dict[str, Arg] = {}
    for name, default in spelling.params:
        value = getattr(module, name, UNKNOWN if default is REQUIRED else default)
        args[name] = _argument(name, value)
    return {**args, **{name: _argument(name, value) for name, value in spelling.fixed}}


def _argument(name: str, value: object) -> Arg:
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, tuple) and all(isinstance(item, int | float) for item in value):
        return value
    if name == "bias":
        return isinstance(value, Tensor)
    return UNKNOWN


def is_activation(module: nn.Module) -> bool:
    """A module of torch that applies one activation, or a user's own leaf without weights."""
    spelling = spelling_of(module)
    if spelling is not None:
        return op_named(spelling.op).kind is Kind.ACTIVATION
    return not any(module.children()) and next(module.parameters(), None) is None


FOLDED = frozenset({"rnn", "rnn_cell", "lstm", "gru", "attention"})
"""Modules of torch that are one node of the net, whatever they run inside."""


def folded_op(module: nn.Module) -> str | None:
    """The operation that a module stands for as a whole, or None where its inside is the net."""
    spelling = spelling_of(module)
    return spelling.op if spelling is not None and spelling.op in FOLDED else None
