"""A constant learning rate that is so large that it kills ReLU units.

## What it does

Computes the first update as a share of the weights. For Adam-like optimisers it is `lr * sqrt(3 * fan_in)` with the
default initialisation of `nn.Linear`; above 0.3 at the widest layer in front of a ReLU it is reported (above 0.05 for
the rate itself where no width is known), for SGD a rate above 1.

## Why is this bad?

One step of that size throws the pre-activations of most units below zero for all inputs. Their gradient is then zero
too, so they stay there.

## Example

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)  # RLU408
loss = nn.functional.mse_loss(model(torch.randn(8, 15)), torch.randn(8, 1))
```

## Use instead

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
loss = nn.functional.mse_loss(model(torch.randn(8, 15)), torch.randn(8, 1))
```

## Silent on

Optimisers with a scheduler, and networks without ReLU:

```python
import torch
from torch import nn

model = nn.Sequential(nn.Linear(15, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2.0, total_steps=100)
smooth = nn.Sequential(nn.Linear(15, 64), nn.GELU(), nn.Linear(64, 1))
second = torch.optim.Adam(smooth.parameters(), lr=0.1)
loss = smooth(model(torch.randn(8, 15)).expand(8, 15)).mean()
```

## References

- Measured: with Adam the update:weight ratio 0.15 is mild, 0.45 leaves 62-98 % of the first layer's units dead, over
  fan-ins from 49 to 3,136 (784-512-256-128-10, MNIST, 600 steps).
- CS231n, "Neural Networks Part 1": a ReLU layer can lose many units "if the learning rate is set too high".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.net import Net, Node, Optimiser
from relucheck.ops import ADAM_LIKE, Kind

RULE = Rule("RLU408", "learning-rate", Severity.ADVICE, Net)

RATIO = 0.3  # first update:weight ratio from which units die (evidence: theory, section 5)
ADAM_RATE = 0.05  # the same where the fan-in is not known
SGD_RATE = 1.0


def check(net: Net) -> Iterator[Finding]:
    """Report every constant learning rate that is too large for the ReLU layers it trains."""
    for optimiser in net.optimisers:
        rate = optimiser.args.get("lr")
        if optimiser.scheduled or "lr" not in optimiser.explicit or not isinstance(rate, int | float):
            continue
        rectified = _layers_before_relu(net, optimiser)
        if rectified:
            yield from _judge(net, optimiser, float(rate), rectified)


def _judge(net: Net, optimiser: Optimiser, rate: float, rectified: list[Node]) -> Iterator[Finding]:
    if optimiser.kind in ADAM_LIKE:
        fan_in = max((_fan_in(net, node) for node in rectified), default=0)
        ratio = rate * math.sqrt(3 * fan_in)
        if ratio <= RATIO and not (fan_in == 0 and rate > ADAM_RATE):
            return
        share = (
            f": the first step changes weights of fan-in {fan_in} by {ratio:.0%} of their size"
            if fan_in
            else ""
        )
        message = f"{optimiser.kind} with lr={rate:g} kills ReLU units{share}"
    elif optimiser.kind == "SGD" and rate > SGD_RATE:
        message = f"SGD with lr={rate:g} kills ReLU units or diverges"
    else:
        return
    severity = Severity.WARNING if rate > 1 else Severity.ADVICE
    yield RULE.at(
        optimiser.span,
        message,
        severity=severity,
        help="use a smaller rate (1e-3 for Adam), or warm it up by a scheduler",
    )


def _layers_before_relu(net: Net, optimiser: Optimiser) -> list[Node]:
    """The trained affine layers whose output goes into a one-sided activation."""
    trained = set(optimiser.layers)
    return [
        node
        for node in net.of_kind(Kind.AFFINE)
        if node.layer in trained and any(reader.one_sided for reader in _readers(net, node))
    ]


def _readers(net: Net, node: Node) -> list[Node]:
    direct = list(net.consumers(node))
    return direct + [r for n in direct if n.kind is Kind.NORM for r in net.consumers(n)]


def _fan_in(net: Net, node: Node) -> int:
    width = net.args_of(node).get("in_features")
    return width if isinstance(width, int) else 0
