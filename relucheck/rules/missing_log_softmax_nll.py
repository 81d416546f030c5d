"""NLLLoss receives raw scores or probabilities instead of log-probabilities.

## What it does

Follows what `nn.NLLLoss` and `F.nll_loss` receive as their prediction, and reports it where it is the output of an
affine layer, of softmax or of sigmoid on every path.

## Why is this bad?

The loss is the negative of one entry. On raw scores it falls without limit and the network does not learn (measured
accuracy .10 for ten classes); on probabilities the gradient is that of `-p`, which nearly vanishes where the network
is wrong.

## Example

```python
import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
loss = F.nll_loss(net(torch.randn(4, 8)), torch.zeros(4).long())  # RLU105
```

## Use instead

```python
import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
loss = F.cross_entropy(net(torch.randn(4, 8)), torch.zeros(4).long())
```

## Fix

The unsafe fix turns softmax into `log_softmax`, or the loss on raw scores into cross-entropy, which is the same with
the log-softmax inside.

## Silent on

Log-probabilities in any spelling, a loss that was chosen by the same name as the call (`if kind == "ce":`), and the
unreduced form that focal losses use on probabilities:

```python
import torch
import torch.nn.functional as F
from torch import nn

net = nn.Linear(8, 3)
x, y = torch.randn(4, 8), torch.zeros(4).long()
a = F.nll_loss(net(x).softmax(dim=1).clamp_min(1e-8).log(), y)
b = nn.NLLLoss()(F.log_softmax(net(x), dim=1), y)
p = -F.nll_loss(F.softmax(net(x), dim=1), y, reduction="none")
```

## References

- PyTorch documentation, `torch.nn.NLLLoss`: "the input is expected to contain log-probabilities of each class".
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Rule, Safety, Severity, Swap, here
from relucheck.net import Layer, Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import written_as
from relucheck.rules._walk import (
    all_are,
    call_text,
    expectation,
    is_transparent,
    losses,
    next_steps,
    origins,
    place,
    subjects,
)
from relucheck.span import Span

RULE = Rule("RLU105", "missing-log-softmax-nll", Severity.ERROR, Net)

PROBABILITIES = frozenset({"softmax", "sigmoid"})
UNCLEAR = frozenset({"some_activation", "clip", "threshold", "glu", "gumbel_softmax"})


def check(net: Net) -> Iterator[Finding]:
    """Report every NLL loss on scores or probabilities."""
    for loss in losses(net):
        if loss.op != "nll_loss":
            continue
        sources = origins(net, net.inputs(loss)[0])
        if all_are(sources, _is_no_log) and not _picks_entries(net, loss, sources):
            yield _finding(net, loss, sources)


def _is_no_log(node: Node) -> bool:
    """Whether a value can be positive, which no log-probability is."""
    if node.kind is Kind.ACTIVATION:
        return node.info.high > 0 and node.op not in UNCLEAR
    return node.kind is Kind.AFFINE


def _picks_entries(net: Net, loss: Node, sources: tuple[Node, ...]) -> bool:
    """Whether the loss only picks an entry of each row: for a focal loss, a margin, or beside ``logsumexp``."""
    if net.args_of(loss).get("reduction") != "none":
        return False
    negated = any(reader.op == "neg" for reader in net.consumers(loss))
    readers = (reader for source in sources for reader in net.consumers(source))
    normalised = any(reader.spelling == "logsumexp" for reader in readers)
    return negated or normalised or any(source.op in PROBABILITIES for source in sources)


def _finding(net: Net, loss: Node, sources: tuple[Node, ...]) -> Finding:
    source = sources[-1]
    what = "probabilities" if source.op in PROBABILITIES else "raw scores"
    return RULE.at(
        loss.span,
        f"the prediction is {what} from {call_text(net, source)}: {expectation(net, loss)}",
        help="use cross_entropy on the raw scores, or apply log_softmax first",
        related=[here(place(net, source), "the prediction is computed here")],
        subjects=subjects(net, source),
        fix=_fix(net, loss, sources),
    )


def _fix(net: Net, loss: Node, sources: tuple[Node, ...]) -> Fix | None:
    """Log-softmax for the softmax, or the loss that holds it for raw scores."""
    if len(sources) == 1 and sources[0].op == "softmax":
        layer = net.layer_of(sources[0])
        stands = sources[0].span if layer is None else layer.made
        if not all(_is_lost(net, other) for other in written_as(net, sources[0])):
            return None
        return _swap(stands, layer, ("softmax", "log_softmax"), ("Softmax", "LogSoftmax"))
    layer = net.layer_of(loss)
    users = written_as(net, loss)
    raw = [all_are(origins(net, net.inputs(n)[0]), lambda o: o.kind is Kind.AFFINE) for n in users]
    stands = loss.span if layer is None else layer.made
    if not all(raw):
        return None
    return _swap(stands, layer, ("nll_loss", "cross_entropy"), ("NLLLoss", "CrossEntropyLoss"))


def _is_lost(net: Net, node: Node) -> bool:
    """Whether such a loss receives a value, which is no attention then."""
    return any(reader.op == "nll_loss" for reader in next_steps(net, node, is_transparent))


def _swap(
    stands: Span | None, layer: Layer | None, function: tuple[str, str], module: tuple[str, str]
) -> Fix | None:
    if stands is None:
        return None
    old, new = function if layer is None else module
    return Fix(f"Use {new}", Safety.UNSAFE, (Swap(stands, old, new),))
