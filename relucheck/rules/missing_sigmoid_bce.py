"""BCELoss receives values that can lie outside [0, 1].

## What it does

Follows what `nn.BCELoss` and `F.binary_cross_entropy` receive as their prediction, and reports it where it is the
output of an affine layer, of tanh, or of another unbounded activation on every path.

## Why is this bad?

The loss is the logarithm of a probability. PyTorch raises a RuntimeError for values outside [0, 1], often only after
the first steps, or on the GPU as an assertion without a line.

## Example

```python
import torch
from torch import nn

judge = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
loss = nn.BCELoss()(judge(torch.randn(4, 8)), torch.ones(4, 1))  # RLU104
```

## Use instead

```python
import torch
from torch import nn

judge = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
loss = nn.BCEWithLogitsLoss()(judge(torch.randn(4, 8)), torch.ones(4, 1))
```

## Fix

The unsafe fix uses `BCEWithLogitsLoss`, which is the same with the sigmoid inside, where every use of the loss
receives raw scores.

## Silent on

A sigmoid anywhere on the way, and values that are not known:

```python
import torch
from torch import nn

judge = nn.Sequential(nn.Linear(8, 1), nn.Sigmoid())
loss = nn.BCELoss()(judge(torch.randn(4, 8)).squeeze(1), torch.ones(4))
```

## References

- PyTorch documentation, `torch.nn.BCELoss`.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, Severity, Swap, here
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import written_as
from relucheck.rules._walk import all_are, call_text, expectation, losses, origins, place, subjects

RULE = Rule("RLU104", "missing-sigmoid-bce", Severity.ERROR, Net, yields_to=("RLU205",))


def check(net: Net) -> Iterator[Finding]:
    """Report every BCE loss on unbounded values, once for each network that gives them."""
    reported: set[object] = set()
    for loss in losses(net):
        if loss.op != "bce_loss":
            continue
        sources = origins(net, net.inputs(loss)[0])
        where = tuple(place(net, source) for source in sources)
        if all_are(sources, lambda node: _is_unbounded(net, node)) and where not in reported:
            reported.add(where)
            yield _finding(net, loss, sources)


def _is_unbounded(net: Net, node: Node) -> bool:
    if node.kind is Kind.AFFINE:
        return not _is_fixed(net, node)
    return node.kind is Kind.ACTIVATION and node.op != "some_activation" and _leaves_unit_interval(node)


def _is_fixed(net: Net, node: Node) -> bool:
    """Whether the weights are not learned: a blur or a mean of probabilities gives probabilities."""
    frozen = net.args_of(node).get("frozen") is True
    return frozen or any(weight.op == "constant" for weight in net.inputs(node)[1:])


def _leaves_unit_interval(node: Node) -> bool:
    if node.op in ("clip", "threshold", "glu", "hardshrink", "softshrink", "gumbel_softmax"):
        return False
    return node.info.low < 0 or node.info.high > 1


def _finding(net: Net, loss: Node, sources: tuple[Node, ...]) -> Finding:
    source = sources[-1]
    return RULE.at(
        loss.span,
        f"the prediction comes from {call_text(net, source)} and can lie outside [0, 1]: {expectation(net, loss)}",
        help="use BCEWithLogitsLoss on the raw scores, or end the network in a sigmoid",
        related=[here(place(net, source), "the prediction is computed here")],
        subjects=subjects(net, source),
        fix=_fix(net, loss),
    )


def _fix(net: Net, loss: Node) -> Fix | None:
    """The loss that holds the sigmoid, where every use of this one receives raw scores."""
    layer = net.layer_of(loss)
    users = written_as(net, loss)
    raw = [all_are(origins(net, net.inputs(n)[0]), lambda o: o.kind is Kind.AFFINE) for n in users]
    stands = loss.span if layer is None else layer.made
    if stands is None or not all(raw):
        return None
    names = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
    old, new = names if layer is None else ("BCELoss", "BCEWithLogitsLoss")
    return Fix("Use the loss on raw scores", Safety.UNSAFE, (Swap(stands, old, new),))
