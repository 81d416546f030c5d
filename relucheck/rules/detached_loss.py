"""The loss is cut from its graph and wrapped again before `backward()`: nothing is trained.

## What it does

Finds `torch.tensor(loss.item(), requires_grad=True)`, `loss.detach().requires_grad_()` and the like on a value
that `backward()` is then called on. `loss.requires_grad = True` is one of them: torch allows it only where the loss
has no graph already.

## Why is this bad?

The new tensor is a leaf without history. `backward()` runs without complaint, no gradient reaches the network,
and the optimiser changes nothing.

## Example

```python
import torch
from torch import nn

net = nn.Linear(4, 1)
loss = nn.functional.mse_loss(net(torch.randn(8, 4)), torch.randn(8, 1))
loss = torch.tensor(loss.item(), requires_grad=True)  # RLU508
loss.backward()
```

## Use instead

```python
import torch
from torch import nn

net = nn.Linear(4, 1)
loss = nn.functional.mse_loss(net(torch.randn(8, 4)), torch.randn(8, 1))
loss.backward()
```

## Fix

The unsafe fix puts the loss itself in place of its copy, or removes the statement where it says `loss = ...`. A loss
that another statement cut off is left alone.

## Silent on

Detached copies for logging, and leaves that a gradient with respect to the input is taken of:

```python
import torch
from torch import nn

net = nn.Linear(4, 1)
x = torch.randn(8, 4).detach().requires_grad_()
loss = net(x).mean()
running = 0.9 * 0.0 + 0.1 * loss.detach()
loss.backward()
history = torch.tensor(loss.item())
```

## References

- Measured with torch 2.13: `grad_fn` of the wrapped loss is None.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, Severity, Unwrap, here
from relucheck.net import Net

RULE = Rule("RLU508", "detached-loss", Severity.ERROR, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report every loss that is wrapped again before backward."""
    for rewrap in net.rewraps:
        yield RULE.at(
            rewrap.span,
            f"{rewrap.how} starts a new graph: backward() on it gives no gradient to the network",
            help="call backward() on the loss itself; if it has no grad_fn, find the .item(), .detach() or "
            "no_grad() that cut it off",
            related=[here(rewrap.backward, "backward() is called here")],
            fix=None
            if rewrap.cut_before
            else Fix("Use the loss itself", Safety.UNSAFE, (Unwrap(rewrap.span),)),
        )
