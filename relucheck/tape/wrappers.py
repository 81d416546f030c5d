"""What training on several devices puts around a model and into it: wrappers, and weights in shards.

Classes are told by their names, since importing ``torch.distributed.fsdp`` takes long and is not
needed where nobody uses it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_INSIDE = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Classes of torch that wrap one model, and the attribute that holds it."""

_PREFIXES = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_FSDP = "FullyShardedDataParallel"


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that the user wrote, out of DDP, FSDP, DataParallel and torch.compile."""
    attribute = _attribute(model)
    while attribute is not None:
        model = getattr(model, attribute)
        attribute = _attribute(model)
    return model


def _attribute(model: nn.Module) -> str | None:
    """Where a wrapper, or a class that the user derived from one, holds its model."""
    known = (b.__name__ for b in type(model).__mro__ if b.__module__.startswith("torch."))
    return next((_INSIDE[name] for name in known if name in _INSIDE), None)


def without_prefixes(path: str) -> str:
    """The path of a module or parameter without the parts that wrappers add."""
    return ".".join(part for part in path.split(".") if part not in _PREFIXES)


def class_name(module: nn.Module) -> str:
    """The name of the user's class; ``fully_shard`` replaces it by one that it makes up."""
    bases = type(module).__mro__
    return next(b.__name__ for b in bases if not b.__module__.startswith("torch.distributed.fsdp"))


def is_dtensor(tensor: Tensor) -> bool:
    """One rank's part of a tensor: any operation on it may make all ranks communicate."""
    return type(tensor).__name__ == "DTensor"


def part_of(tensor: Tensor) -> Tensor:
    """What of a tensor is in this process: all of it, or its shard."""
    local: Tensor = tensor.to_local() if is_dtensor(tensor) else tensor  # type: ignore[attr-defined]
    return local


def is_flat(parameter: Tensor) -> bool:
    """Many parameters in one, as FullyShardedDataParallel keeps them."""
    return type(parameter).__name__ == "FlatParameter" or getattr(parameter, "_is_flat_param", False)


def shards_of(path: str, parameter: Tensor) -> Iterator[tuple[str, int, int]]:
    """What a flat parameter holds in this process: the name of each weight, where it begins and its entries.

    ``path`` is the flat parameter's own, without prefixes; a flat parameter of another version of torch,
    which says nothing of its shards, holds nothing that is known.
    """
    above = path.rpartition(".")[0]
    names, infos = getattr(parameter, "_fqns", ()), getattr(parameter, "_shard_param_infos", ())
    for name, info in zip(names, infos, strict=False):
        if info.in_shard:
            whole = without_prefixes(f"{above}.{name}".lstrip("."))
            yield whole, info.offset_in_shard, info.numel_in_shard


def sharded(model: nn.Module) -> bool:
    """Whether ranks hold different parts of the weights, which are whole only while a layer runs."""
    if any(base.__name__ == _FSDP for part in model.modules() for base in type(part).__mro__):
        return True
    return any(is_dtensor(p) or is_flat(p) for p in model.parameters())


def is_whole(tensor: Tensor) -> bool:
    """Whether its values are in memory: FSDP frees a weight's storage when its layer has run.

    Reading such a tensor ends the process.
    """
    if tensor.layout is not torch.strided or tensor.numel() == 0:
        return True
    return tensor.untyped_storage().nbytes() > 0


def attributes_of(module: nn.Module) -> Iterator[tuple[str, object]]:
    """The parameters of a module and whatever it keeps as plain attributes, with their names."""
    yield from module._parameters.items()
    yield from vars(module).items()
