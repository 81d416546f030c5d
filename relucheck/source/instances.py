"""Whether a value is an instance of a class, or a class a subclass, as far as that is known."""

from __future__ import annotations

from relucheck.source.layers import layer_class
from relucheck.source.objects import is_module_class, is_opaque
from relucheck.source.values import (
    Bound,
    Builtin,
    Class,
    Const,
    External,
    Function,
    Instance,
    LayerVal,
    Mapping,
    OneOf,
    Partial,
    Seq,
    Tensor,
    Value,
)


def is_instance(value: Value, classes: Value) -> bool | None:
    """Whether a value is an instance of one of some classes; None where that is not known."""
    if isinstance(classes, Seq):
        answers = [is_instance(value, c) for c in classes.items]
        if any(answer is True for answer in answers):
            return True
        return None if None in answers or not classes.exact else False
    if isinstance(value, OneOf):
        found = {is_instance(choice, classes) for choice in value.values}
        return found.pop() if len(found) == 1 else None
    name = classes.name if isinstance(classes, External) else getattr(classes, "name", None)
    if isinstance(value, LayerVal):
        return _layer_is(value, classes)
    if isinstance(value, Instance):
        return _object_is(value, classes)
    return _plain_is(value, name)


def _layer_is(value: LayerVal, classes: Value) -> bool | None:
    if isinstance(classes, Class):
        return False
    if not isinstance(classes, External):
        return None
    asked, own = classes.name.rpartition(".")[2], value.layer.spelling.rpartition(".")[2]
    if asked in ("Module", own):
        return True
    groups = {
        "_ConvNd": ("conv", "conv_transpose"),
        "_BatchNorm": ("batch_norm",),
        "_NormBase": ("batch_norm", "instance_norm"),
        "_DropoutNd": ("dropout", "feature_dropout"),
        "RNNBase": ("rnn", "lstm", "gru"),
        "_Loss": (),
    }
    if asked in groups:
        return value.layer.op in groups[asked]
    return False if classes.name.startswith("torch.nn") else None


def _object_is(value: Instance, classes: Value) -> bool | None:
    if isinstance(classes, Class):
        if value.cls is None:
            return False
        return True if classes in value.cls.mro() else (None if value.opaque else False)
    if isinstance(classes, Builtin):
        bases = [base for cls in value.cls.mro() for base in cls.bases] if value.cls is not None else []
        return True if classes in bases else (None if value.opaque else classes.name == "object")
    if not isinstance(classes, External):
        return None
    asked = classes.name.rpartition(".")[2]
    if asked == "Module" and value.is_module:
        return True
    if value.cls is None:
        return None if value.last else asked == value.container
    outside = value.cls.outside()
    if any(name.rpartition(".")[2] == asked for name in outside):
        return True
    return None if value.opaque else False


_PLAIN_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float,),
    "str": (str,),
    "bool": (bool,),
    "bytes": (bytes,),
    "complex": (complex,),
}
_SEQ_KINDS = {"list": {"list", "range"}, "tuple": {"tuple"}, "set": {"set"}}
_KNOWN_TYPES = frozenset({*_PLAIN_TYPES, *_SEQ_KINDS, "dict", "torch.Tensor", "torch.nn.Module", "type"})


_ABSTRACT: dict[str, tuple[type, ...]] = {
    "Iterable": (str, bytes),
    "Sequence": (str, bytes),
    "Collection": (str, bytes),
    "Container": (str, bytes),
    "Sized": (str, bytes),
    "Reversible": (str, bytes),
    "Hashable": (object,),
    "Callable": (),
    "Mapping": (),
    "MutableMapping": (),
    "MutableSequence": (),
    "Iterator": (),
    "Set": (),
    "Number": (int, float, complex),
    "Complex": (int, float, complex),
    "Real": (int, float),
    "Rational": (int,),
    "Integral": (int,),
}
"""Abstract classes of ``collections.abc`` and ``numbers``, and which constants are instances of them."""

_OF_SEQUENCES = frozenset(
    ["Iterable", "Sequence", "Collection", "Container", "Sized", "Reversible", "MutableSequence"]
)
_OF_MAPPINGS = frozenset(
    ["Iterable", "Mapping", "MutableMapping", "Collection", "Container", "Sized", "Reversible"]
)


def _abstract_is(value: Value, name: str) -> bool | None:
    """Whether a value is an instance of an abstract class such as ``collections.abc.Iterable``."""
    if isinstance(value, Const):
        return isinstance(value.value, _ABSTRACT[name])
    if isinstance(value, Seq):
        if value.kind not in ("list", "tuple") or name == "Hashable":
            return None
        return name in _OF_SEQUENCES and (name != "MutableSequence" or value.kind == "list")
    if isinstance(value, Mapping):
        return name in _OF_MAPPINGS
    if isinstance(value, Function | Bound | Class | Partial):
        return name in ("Callable", "Hashable")
    if isinstance(value, External) and layer_class(value.name) is not None:
        return name in ("Callable", "Hashable")
    return None


def _abstract_name(name: str | None) -> str | None:
    """The abstract class that a qualified name means."""
    head, _, last = (name or "").rpartition(".")
    return (
        last
        if last in _ABSTRACT and head in ("collections.abc", "collections", "typing", "numbers")
        else None
    )


_CALLABLE_TYPES = {
    "functools.partial": Partial,
    "types.FunctionType": Function,
    "types.LambdaType": Function,
    "types.MethodType": Bound,
}


def _callable_is(value: Value, wanted: type) -> bool | None:
    """Whether a value is a partial, a function or a bound method; a class is none of them."""
    if isinstance(value, wanted):
        return True
    is_class = isinstance(value, External) and layer_class(value.name) is not None
    known = isinstance(value, Const | Seq | Mapping | Function | Bound | Class | Partial | LayerVal)
    return False if known or is_class else None


def _plain_is(value: Value, name: str | None) -> bool | None:
    abstract = _abstract_name(name)
    if abstract is not None:
        return _abstract_is(value, abstract)
    if name in _CALLABLE_TYPES:
        return _callable_is(value, _CALLABLE_TYPES[name])
    if name is None or (name not in _KNOWN_TYPES and not name.startswith("torch.nn.")):
        return False if isinstance(value, Const) and value.value is None else None
    if isinstance(value, Const):
        return isinstance(value.value, _PLAIN_TYPES.get(name, ()))
    if isinstance(value, Seq):
        return value.kind in _SEQ_KINDS.get(name, ())
    if isinstance(value, Mapping):
        return name == "dict"
    if isinstance(value, Tensor):
        certain = value.node.op not in ("unknown", "input", "part")
        return (name == "torch.Tensor") if certain else (True if name == "torch.Tensor" else None)
    if name == "type":
        return _is_class(value)
    if isinstance(value, Class | External | Partial | Function):
        return False if name in _PLAIN_TYPES or name in _SEQ_KINDS or name == "dict" else None
    return None


def _is_class(value: Value) -> bool | None:
    if isinstance(value, Class) or (isinstance(value, External) and layer_class(value.name) is not None):
        return True
    return False if isinstance(value, Partial | Function) else None


def is_subclass(cls: Value, bases: Value) -> bool | None:
    """Whether a class is a subclass of one of some classes; None where that is not known."""
    if isinstance(bases, Seq):
        answers = [is_subclass(cls, base) for base in bases.items]
        return True if True in answers else (None if None in answers or not bases.exact else False)
    if isinstance(cls, External) and layer_class(cls.name) is not None:
        if isinstance(bases, Class):
            return False
        same = isinstance(bases, External) and bases.name in (cls.name, "torch.nn.Module")
        return True if same else None
    if not isinstance(cls, Class):
        return None
    if isinstance(bases, Class):
        return True if bases in cls.mro() else (None if is_opaque(cls) else False)
    if isinstance(bases, External) and (bases.name in cls.outside() or _is_module_base(bases.name, cls)):
        return True
    return None


def _is_module_base(name: str, cls: Class) -> bool:
    """Whether a name is torch's Module and a class is a network module."""
    return name == "torch.nn.Module" and is_module_class(cls)
