"""What pictures need of a measured network, as plain JSON and back, so that they can be drawn later and elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from relucheck.finding import Finding, Severity
from relucheck.measurements import Activation, Gradient, Histogram, Measurements
from relucheck.net import Layer, Net, Node, Output, Unknown
from relucheck.ops import Kind
from relucheck.span import Span
from relucheck.timeline import Moment, Watched

_PLAIN = (int, float, str, bool)
_T = TypeVar("_T")


class NotAReportError(ValueError):
    """A file is no report of ``relucheck probe`` or ``relucheck run`` with pictures in it."""


def record(shown: Watched) -> dict[str, Any]:
    """The JSON object of a network, under the names of the records' fields; places are left out."""
    first = {} if shown.first is shown.last else {"first": _measurements(shown.first)}
    return {
        "name": shown.name,
        "steps": shown.steps,
        "moments": [_plain(moment) for moment in shown.moments],
        **first,
        "last": _measurements(shown.last),
        "nodes": [_node(shown.net, node) for node in shown.net.nodes],
        "outputs": [output.node for output in shown.net.outputs],
    }


def _measurements(m: Measurements) -> dict[str, Any]:
    return {
        "name": m.name,
        "samples": m.samples,
        "batches": m.batches,
        "training": m.training,
        "optimiser": m.optimiser,
        "activations": [_plain(site) for site in m.activations],
        "gradients": [_plain(gradient) for gradient in m.gradients],
    }


def _plain(value: Any) -> Any:
    """A record, mapping or tuple as JSON; spans are left out and numbers kept to six digits."""
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name != "span"}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    return value


def _node(net: Net, node: Node) -> dict[str, Any]:
    layer = net.layer_of(node)
    sizes = None if node.shape is None else [s if isinstance(s, int) else None for s in node.shape]
    args = net.args_of(node) if node.kind is Kind.ACTIVATION else {}
    return {
        "op": node.op,
        "layer": layer.name if layer is not None else None,
        "scope": node.scope,
        "inputs": list(node.inputs),
        "shape": sizes,
        "args": {name: value for name, value in args.items() if isinstance(value, _PLAIN)},
    }


def networks_of(content: Any) -> tuple[Watched, ...]:
    """The networks of a report's JSON. Raises NotAReportError for anything else."""
    try:
        return tuple(_watched(one) for one in content["networks"])
    except (KeyError, TypeError, IndexError) as error:
        raise NotAReportError(f"no report of relucheck ({type(error).__name__}: {error})") from error


def finding_of(content: Mapping[str, Any]) -> Finding:
    """A finding from its JSON; of its place, the start is known."""
    at, path = content["location"], content["filename"]
    span = None if at is None else Span(path, None, at["row"], at["column"], at["row"], at["column"] + 1)
    return Finding(
        content["code"],
        content["name"],
        Severity(content["severity"]),
        content["message"],
        span,
        content["help"],
        layer=content["layer"],
    )


def _watched(content: Mapping[str, Any]) -> Watched:
    last = _measured(content["last"])
    first = _measured(content["first"]) if "first" in content else last
    moments = tuple(_made(Moment, moment) for moment in content["moments"])
    net = _net(content["name"], content["nodes"], content["outputs"])
    return Watched(content["name"], content["steps"], moments, first, last, net)


def _measured(content: Mapping[str, Any]) -> Measurements:
    activations = tuple(_activation(site) for site in content["activations"])
    gradients = tuple(_made(Gradient, gradient) for gradient in content["gradients"])
    rest = {name: value for name, value in content.items() if name not in ("activations", "gradients")}
    return _made(Measurements, {**rest, "activations": activations, "gradients": gradients})


def _activation(content: Mapping[str, Any]) -> Activation:
    counted = content.get("histogram")
    made = _made(Histogram, counted) if counted is not None else None
    return _made(Activation, {**content, "histogram": made})


def _made(record: type[_T], content: Mapping[str, Any]) -> _T:
    """A record of those fields that it has: a report of another version may hold others."""
    known = {f.name for f in fields(record)}  # type: ignore[arg-type]
    return record(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in content.items() if name in known}
    )


def _net(name: str, nodes: Sequence[Mapping[str, Any]], outputs: Iterable[int]) -> Net:
    named = dict.fromkeys((n["layer"], n["op"]) for n in nodes if n["layer"] is not None)
    ids = {key: number for number, key in enumerate(named)}
    layers = tuple(Layer(ids[layer, op], op, layer, name, {}) for layer, op in named)
    return Net(
        name,
        "",
        layers,
        tuple(_node_of(number, n, ids.get((n["layer"], n["op"]))) for number, n in enumerate(nodes)),
        tuple(Output(node, name, "forward", None) for node in outputs),
    )


def _node_of(number: int, content: Mapping[str, Any], layer: int | None) -> Node:
    shape = content["shape"]
    return Node(
        number,
        content["op"],
        tuple(content["inputs"]),
        layer,
        content["args"],
        scope=content["scope"],
        shape=None if shape is None else tuple(Unknown.UNKNOWN if s is None else s for s in shape),
    )
