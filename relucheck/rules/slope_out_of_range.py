"""A slope, bound or rate has a value for which the layer makes no sense.

## What it does

Finds literal numbers outside their range: `negative_slope` of LeakyReLU below 0 or at least 1, Hardtanh with
`min >= max`, and a dropout rate of 1 or more.

## Why is this bad?

A slope of 1 is the identity, a larger one amplifies negative values, a negative one folds them over. Dropout with
`p=1` sets everything to zero: in some libraries the number meant the share to keep.

## Example

```python
import torch.nn.functional as F
from torch import nn

act = nn.LeakyReLU(negative_slope=-0.2)  # RLU405
drop = nn.Dropout(1.0)  # RLU405
clip = nn.Hardtanh(5.0, -5.0)  # RLU405


def forward(x):
    return F.leaky_relu(x, 1.5)  # RLU405
```

## Use instead

```python
import torch.nn.functional as F
from torch import nn

act = nn.LeakyReLU(negative_slope=0.2)
drop = nn.Dropout(0.1)
clip = nn.Hardtanh(-5.0, 5.0)


def forward(x):
    return F.leaky_relu(x, 0.15)
```

## Fix

The unsafe fix takes the sign from a negative slope, and exchanges bounds in the wrong order. A slope above 1 and a
dropout of 1 are left alone: what was meant is not known.

## Silent on

Values that come from arguments or configuration, and a slope that undoes another one of the file (`1 / 0.01`):

```python
from torch import nn


def make(slope, p):
    return nn.Sequential(nn.LeakyReLU(slope), nn.Dropout(1.0 - p))
```

## References

- Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013 (slope 0.01).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from relucheck.finding import Finding, Fix, Rule, Safety, SetArg, Severity
from relucheck.net import Arg, Net, Node
from relucheck.span import Span

RULE = Rule("RLU405", "slope-out-of-range", Severity.WARNING, Net, yields_to=("RLU404",))


def check(net: Net) -> Iterator[Finding]:
    """Report out-of-range numbers of layers and of functional calls."""
    varied = _varied(net)
    for layer in net.layers:
        if layer.made not in varied:
            yield from _judge(layer.op, layer.args, layer.explicit, layer.made, layer.spelling)
    for node in net.nodes:
        if node.layer is None and node.explicit and not _is_inverse(net, node):
            yield from _judge(node.op, node.args, dict.fromkeys(node.explicit), node.span, node.spelling)


def _varied(net: Net) -> set[Span | None]:
    """The places that make layers with a number in range as well: the other number is a caller's choice."""
    return {layer.made for layer in net.layers if _problem(layer.op, layer.args, set(layer.explicit)) is None}


def _is_inverse(net: Net, node: Node) -> bool:
    """Whether a leaky ReLU undoes another one of the file: the slopes of a bijection are reciprocals."""
    slope = _number(node.args.get("negative_slope"))
    if node.op != "leaky_relu" or slope is None or slope <= 1:
        return False
    others = (
        _number(net.args_of(other).get("negative_slope", 0.01)) for other in net.nodes if other.op == node.op
    )
    return any(other is not None and math.isclose(other * slope, 1) for other in others)


def _judge(
    op: str, args: Mapping[str, Arg], explicit: Mapping[str, int | None], at: Span | None, name: str
) -> Iterator[Finding]:
    problem = _problem(op, args, set(explicit))
    if problem:
        fix = None if at is None else _fix(op, args, explicit, at)
        yield RULE.at(at, f"{name}: {problem[0]}", help=problem[1], fix=fix)


def _fix(op: str, args: Mapping[str, Arg], explicit: Mapping[str, int | None], at: Span) -> Fix | None:
    """The sign of a slope turned round, or two bounds exchanged; what else was meant is not known."""
    slope = _number(args.get("negative_slope"))
    if op == "leaky_relu" and slope is not None and -1 < slope < 0:
        edit = SetArg(at, "negative_slope", repr(-slope), explicit["negative_slope"])
        return Fix("Use the slope without its sign", Safety.UNSAFE, (edit,))
    low, high = args.get("min_val"), args.get("max_val")
    if op != "clip" or low == high or not explicit.keys() >= {"min_val", "max_val"}:
        return None
    edits = (
        SetArg(at, "min_val", repr(high), explicit["min_val"]),
        SetArg(at, "max_val", repr(low), explicit["max_val"]),
    )
    return Fix("Exchange the two bounds", Safety.UNSAFE, edits)


def _problem(op: str, args: Mapping[str, Arg], explicit: set[str]) -> tuple[str, str] | None:
    if op == "leaky_relu" and "negative_slope" in explicit:
        return _slope(_number(args.get("negative_slope")))
    if op in ("dropout", "feature_dropout") and "p" in explicit:
        rate = _number(args.get("p"))
        if rate is not None and (rate >= 1 or rate < 0):
            return (f"p={rate:g} zeroes everything", "p is the share to drop, between 0 and 1")
    if op == "clip" and explicit & {"min_val", "max_val"}:
        return _bounds(_number(args.get("min_val")), _number(args.get("max_val")))
    return None


def _slope(slope: float | None) -> tuple[str, str] | None:
    if slope is None or 0 <= slope < 1:
        return None
    effect = (
        "it is the identity"
        if slope == 1
        else "it amplifies"
        if slope > 1
        else "it folds negative values over"
    )
    return (f"negative_slope={slope:g}: {effect}", "use a slope between 0 and 1, such as 0.01 or 0.2")


def _bounds(low: float | None, high: float | None) -> tuple[str, str] | None:
    if low is None or high is None or low < high:
        return None
    return (f"min_val={low:g} is not below max_val={high:g}", "exchange the two bounds")


def _number(arg: Arg) -> float | None:
    return float(arg) if isinstance(arg, int | float) and not isinstance(arg, bool) else None
