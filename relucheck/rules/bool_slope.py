"""A bool lands in a numeric parameter: `LeakyReLU(True)` has slope 1 and is the identity.

## What it does

Finds `True` or `False` in a parameter of an activation that takes a number.

## Why is this bad?

The first parameter of ReLU is `inplace`; that of LeakyReLU is `negative_slope`, of ELU `alpha`, of Softplus `beta`.
`nn.LeakyReLU(True)` has the slope 1: it is the identity, and the layers around it collapse to one.

## Example

```python
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.LeakyReLU(True),  # RLU404
    nn.Conv2d(8, 8, 3),
    nn.ELU(True),  # RLU404
)
```

## Use instead

```python
from torch import nn

net = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.LeakyReLU(inplace=True),
    nn.Conv2d(8, 8, 3),
    nn.ELU(inplace=True),
)
```

## Fix

The safe fix passes the bool as `inplace`, which is what it was written as; Softplus and PReLU have no such parameter,
and `True` is dropped there, which is the default of 1.

## Silent on

Bools where they belong, and variables:

```python
from torch import nn


def make(alpha):
    return [nn.ReLU(True), nn.LeakyReLU(0.2, True), nn.ELU(inplace=True), nn.CELU(alpha)]
```

## References

- 9 of the first 10 public files with `nn.LeakyReLU(True)` are this mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from relucheck.finding import Finding, Fix, Omit, Rule, Safety, SetArg, Severity
from relucheck.net import Arg, Net
from relucheck.ops import Kind
from relucheck.span import Span

RULE = Rule("RLU404", "bool-slope", Severity.WARNING, Net)

NUMBERS = (
    "negative_slope",
    "alpha",
    "beta",
    "threshold",
    "min_val",
    "max_val",
    "lower",
    "upper",
    "lambd",
    "num_parameters",
    "init",
    "value",
    "p",
)
KINDS = (Kind.ACTIVATION, Kind.DROPOUT)
INPLACE = frozenset({"leaky_relu", "elu", "celu", "clip"})
DEFAULT_IS_ONE = frozenset({"softplus", "prelu"})  # beta and num_parameters


def check(net: Net) -> Iterator[Finding]:
    """Report every bool in a numeric parameter of an activation."""
    for layer in net.layers:
        if layer.info.kind in KINDS:
            yield from _judge(layer.op, layer.args, layer.explicit, layer.made, layer.spelling)
    for node in net.nodes:
        if node.kind in KINDS and node.layer is None and not node.misused:
            explicit = dict.fromkeys(node.explicit)
            yield from _judge(node.op, node.args, explicit, node.span, node.spelling)


def _judge(
    op: str, args: Mapping[str, Arg], explicit: Mapping[str, int | None], at: Span | None, name: str
) -> Iterator[Finding]:
    for parameter in NUMBERS:
        value = args.get(parameter)
        if parameter in explicit and isinstance(value, bool):
            identity = op == "leaky_relu" and value
            effect = "has slope 1 and is the identity" if identity else f"sets {parameter} to {int(value)}"
            yield RULE.at(
                at,
                f"{name}({value}) {effect}: the bool lands in {parameter}",
                severity=Severity.ERROR if identity else Severity.WARNING,
                help="write inplace=True" if op in INPLACE else f"pass a number for {parameter}",
                fix=_fix(op, at, value, explicit[parameter]),
            )


def _fix(op: str, at: Span | None, value: bool, position: int | None) -> Fix | None:
    if at is None or position is None:
        return None
    if op in DEFAULT_IS_ONE and value:
        return Fix("Leave the number at its default of 1", Safety.SAFE, (Omit(at, position),))
    if op not in INPLACE:
        return None
    return Fix("Pass it as inplace", Safety.SAFE, (SetArg(at, "inplace", str(value), position),))
