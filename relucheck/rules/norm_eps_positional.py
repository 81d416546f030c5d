"""A momentum or rate lands in `eps`, the second parameter of a normalisation layer.

## What it does

Finds BatchNorm, InstanceNorm, LayerNorm and the like whose second positional argument is a literal above 0.01.

## Why is this bad?

The second parameter is `eps`, which is added to the variance. `nn.BatchNorm2d(128, 0.8)` does not set a momentum
of 0.8: it normalises by `sqrt(var + 0.8)`.

## Example

```python
from torch import nn

block = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.BatchNorm2d(8, 0.8),  # RLU406
    nn.LeakyReLU(0.2),
)
```

## Use instead

```python
from torch import nn

block = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.BatchNorm2d(8, momentum=0.8),
    nn.LeakyReLU(0.2),
)
```

## Fix

The safe fix passes the number as `momentum`. Layers without one (LayerNorm) are left alone.

## Silent on

Small values, keywords and variables:

```python
from torch import nn


def make(eps):
    return nn.Sequential(nn.BatchNorm2d(8, 1e-3), nn.BatchNorm2d(8, eps=0.1), nn.BatchNorm2d(8, eps))
```

## References

- PyTorch documentation, `torch.nn.BatchNorm2d(num_features, eps=1e-05, momentum=0.1, ...)`.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, SetArg, Severity
from relucheck.net import Layer, Net
from relucheck.ops import Kind

RULE = Rule("RLU406", "norm-eps-positional", Severity.WARNING, Net)

# The default eps is 1e-5; published networks go up to 1e-2 on purpose (evidence: real bugs, 51 hits).
LARGE = 0.01


def check(net: Net) -> Iterator[Finding]:
    """Report every normalisation layer with a large positional eps."""
    for layer in net.layers:
        eps = layer.args.get("eps")
        position = layer.explicit.get("eps")
        if (
            layer.info.kind is Kind.NORM
            and position is not None
            and isinstance(eps, float | int)
            and eps > LARGE
        ):
            yield RULE.at(
                layer.made,
                f"{layer.spelling}(..., {eps:g}): the second argument is eps, not momentum; "
                f"{eps:g} is added to every variance",
                help=_help(layer, eps),
                fix=_fix(layer, eps, position),
                layer=layer.name,
            )


def _help(layer: Layer, eps: float) -> str:
    if "momentum" in layer.args:
        return f"write momentum={eps:g} if that is meant, or eps={eps:g} to say that it is not"
    return f"write eps={eps:g} if that is meant"


def _fix(layer: Layer, eps: float, position: int) -> Fix | None:
    if layer.made is None or "momentum" not in layer.args:
        return None
    edit = SetArg(layer.made, "momentum", f"{eps:g}", position)
    return Fix("Pass the number as momentum", Safety.SAFE, (edit,))
