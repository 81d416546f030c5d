"""Whether a network is one affine map: its vector-Jacobian product is the same wherever it is taken.

The textbook test ``f(x) + f(y) - f(x+y) - f(0)`` fails on deep affine networks by cancellation (1.0
relative in float32 for 50 layers); the vector-Jacobian product of an affine network is constant to
the last bit (theory, D6). It is taken at probes of 1, 10 and 100 times the spread of the data: a
ReLU network looks affine at small scale. It is run only on networks whose every step is affine,
or stuck on the data, so that ordinary networks pay nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from relucheck.measurements import Affine, Verdict
from relucheck.net import Layer, Net, Node
from relucheck.ops import Kind
from relucheck.tape.batches import Batch, tensors_in

SCALES = (1.0, 10.0, 100.0)
PROBES = 32
"""At least this many probes a scale: a reachable ReLU stays on one side with 2 * 2**-32 (theory, 2)."""

SPREAD = 1e-5
"""Relative spread below which the product counts as constant in single precision."""

_STEPS = frozenset({Kind.AFFINE, Kind.SOURCE, Kind.RESHAPE, Kind.IDENTITY, Kind.DROPOUT, Kind.PARTS})
_SUMS = frozenset({"add", "sub", "neg", "mean", "sum", "stack", "cat", "global_avg_pool", "upsample"})
_SCALINGS = frozenset({"mul", "div", "matmul"})


def affine_path(net: Net, stuck: frozenset[int]) -> tuple[Node, ...] | None:
    """The affine layers between input and output, or None if any other step may bend the map.

    ``stuck`` are the activations all of whose units are always on or always off on the data, and identities.
    """
    path = list(_behind(net, tuple(output.node for output in net.outputs)))
    if not all(_straight(net, node, stuck) for node in path):
        return None
    return tuple(node for node in sorted(path, key=lambda n: n.id) if node.kind is Kind.AFFINE)


def identities(net: Net, model: nn.Module) -> frozenset[int]:
    """The leaky activations whose slope is 1 on both sides: ``LeakyReLU(True)``, a PReLU as it may start."""
    leaky = {n.id for n in net.nodes if n.op == "leaky_relu" and net.args_of(n).get("negative_slope") == 1}
    return frozenset(leaky | {i for i, slope in _slopes(net, model).items() if bool((slope == 1).all())})


def _slopes(net: Net, model: nn.Module) -> dict[int, Tensor]:
    """The slopes of the PReLU modules, by node."""
    layers = {n.id: layer for n in net.nodes if n.op == "prelu" and (layer := net.layer_of(n)) is not None}
    return {i: _weight_of(model.get_submodule(layer.name)) for i, layer in layers.items()}


def _behind(net: Net, ends: tuple[int, ...]) -> Iterator[Node]:
    waiting, seen = list(ends), set[int]()
    while waiting:
        index = waiting.pop()
        if index not in seen:
            seen.add(index)
            yield net.nodes[index]
            waiting.extend(net.nodes[index].inputs)


def _straight(net: Net, node: Node, stuck: frozenset[int]) -> bool:
    if node.id in stuck or node.op == "batch_norm" or node.info.linear:
        return True
    if node.op in _SCALINGS:
        varying = [i for i in net.inputs(node) if i.kind is not Kind.SOURCE or i.op == "input"]
        return len(varying) <= 1
    return node.kind in _STEPS or node.op in _SUMS


def judge_affine(model: nn.Module, batch: Batch, path: tuple[Node, ...], net: Net) -> Affine:
    """The verdict on a model whose steps all look affine; the model is put in eval mode."""
    inputs = batch.tensors
    names = tuple(net.label(node) for node in path)
    if not inputs or not all(t.is_floating_point() and t.layout is torch.strided for t in inputs):
        return Affine(layers=names)
    model.eval()
    spread, size = _spread(model, batch)
    if size == 0.0:
        return Affine(Verdict.CONSTANT, spread, names)
    if spread > SPREAD:
        return Affine(Verdict.NOT_AFFINE, spread, names)
    equivalent, difference = collapsed(model, batch, path, net)
    end = path[-1] if path else None
    place = (end.id, end.span) if end is not None else (None, None)
    learns = any(slope.requires_grad for slope in _slopes(net, model).values())
    return Affine(Verdict.AFFINE, spread, names, learns, equivalent, difference, *place)


def _spread(model: nn.Module, batch: Batch) -> tuple[float, float]:
    """The largest relative difference of the products over all probes, and their size."""
    generator = torch.Generator().manual_seed(0)
    products = [_product(model, probe) for scale in SCALES for probe in _probes(batch, scale, generator)]
    every = torch.cat(products)
    size = float(every.abs().max())
    if size == 0.0:
        return 0.0, 0.0
    return float((every - every[:1]).abs().max()) / size, size


def _probes(batch: Batch, scale: float, generator: torch.Generator) -> Iterator[Batch]:
    """Batches of the same shapes, around the data's mean with ``scale`` times its spread."""
    for _ in range(-(-PROBES // max(1, batch.samples(0)))):
        yield batch.mapped(lambda t: _noise(t, scale, generator))


def _noise(tensor: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    spread = float(tensor.detach().std(correction=0)) or 1.0
    noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype).to(tensor.device)
    return (tensor.mean() + scale * spread * noise).detach().requires_grad_()


def _product(model: nn.Module, probe: Batch) -> Tensor:
    """The gradient of a fixed projection of each sample's output, (samples, inputs)."""
    with torch.enable_grad():
        output = model(*probe.args, **probe.kwargs)
        rows = [_one_weight(t) for t in tensors_in(output) if t.is_floating_point() and t.requires_grad]
        if not rows:
            return torch.zeros(1, 1)
        gradients = torch.autograd.grad(sum(rows[1:], rows[0]), probe.tensors, allow_unused=True)
    return torch.cat(
        [g.flatten(1) for g in gradients if g is not None and g.ndim > 1] or [torch.zeros(1, 1)], 1
    )


def _one_weight(output: Tensor) -> Tensor:
    """A projection with the same weights for every sample, so that the rows compare."""
    generator = torch.Generator().manual_seed(0)
    return (output * torch.randn(output.shape[1:], generator=generator).to(output)).sum()


def collapsed(model: nn.Module, batch: Batch, path: tuple[Node, ...], net: Net) -> tuple[str, float | None]:
    """The one nn.Linear that a plain chain of them equals, and how far its outputs are off."""
    layers = [layer for node in path if (layer := net.layer_of(node)) is not None and layer.op == "linear"]
    if len(layers) != len(path) or not _plain(net) or len(batch.tensors) != 1:
        return "", None
    weight, bias = _product_of(dict(model.named_modules()), layers)
    with torch.no_grad():
        x = batch.tensors[0]
        truth = next(iter(tensors_in(model(*batch.args, **batch.kwargs))))
        if x.shape[-1] != weight.shape[1] or truth.shape != (*x.shape[:-1], weight.shape[0]):
            return "", None
        guess = x.double() @ weight.t() + bias
        scale = float(truth.abs().max()) or 1.0
        difference = float((guess - truth.double()).abs().max()) / scale
    return f"nn.Linear({weight.shape[1]}, {weight.shape[0]})", difference


def _plain(net: Net) -> bool:
    """One chain of steps, each reading one value, that only applies layers or keeps what it reads."""
    allowed = {"linear", "input", "dropout", "identity", "clone"}
    path = list(_behind(net, tuple(output.node for output in net.outputs)))
    return all(node.op in allowed and len(node.inputs) <= 1 for node in path)


def _product_of(modules: Mapping[str, nn.Module], layers: list[Layer]) -> tuple[Tensor, Tensor]:
    """The weight and bias of the composition, in double precision."""
    first = modules[layers[0].name]
    weight, bias = _weight(first), _bias(first)
    for layer in layers[1:]:
        after = modules[layer.name]
        weight, bias = _weight(after) @ weight, _weight(after) @ bias + _bias(after)
    return weight, bias


def _weight(module: nn.Module) -> Tensor:
    return _weight_of(module).detach().double()


def _weight_of(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)  # it is an nn.Linear or nn.PReLU
    return weight


def _bias(module: nn.Module) -> Tensor:
    bias = module.bias
    return (
        bias.detach().double()
        if isinstance(bias, Tensor)
        else _weight(module).new_zeros(_weight(module).shape[0])
    )
