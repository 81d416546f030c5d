"""Softmax over the batch axis, so that the samples of a batch compete with each other.

## What it does

Finds softmax and log_softmax with `dim=0` on values whose axis 0 is proved to be the batch. A `dim` that is left out
is advice: PyTorch then picks an axis by an old rule and warns.

## Why is this bad?

The probabilities of one sample depend on which others happen to be in its batch, and do not sum to one over the
classes.

## Example

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.flatten(self.conv(x), 1)
        return F.softmax(self.fc(x), dim=0)  # RLU108
```

## Use instead

```python
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.flatten(self.conv(x), 1)
        return F.softmax(self.fc(x), dim=1)
```

## Fix

The unsafe fix names the axis of the features that the layer in front computes, where it is known. Where `dim` is left
out and the number of axes is proved, it names the axis that PyTorch picks, which is safe.

## Silent on

Unbatched values, and attention over nodes:

```python
import torch
import torch.nn.functional as F
from torch import nn


class Nodes(nn.Module):
    def __init__(self):
        super().__init__()
        self.score = nn.Linear(8, 1)

    def forward(self, nodes):
        return (F.softmax(self.score(nodes), dim=0) * nodes).sum(0)
```

## References

- PyTorch documentation, `torch.nn.functional.softmax`: "Implicit dimension choice ... has been deprecated".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from relucheck.finding import Finding, Fix, Rule, Safety, SetArg, Severity
from relucheck.net import UNKNOWN, Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import written_as
from relucheck.rules._walk import call_text, evidence, next_steps, place, subjects, width_out

RULE = Rule("RLU108", "softmax-wrong-dim", Severity.WARNING, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report softmax over the batch, and softmax without an axis."""
    for node in net.nodes:
        if node.op not in ("softmax", "log_softmax", "softmin") or node.misused:
            continue
        dim = net.args_of(node).get("dim", UNKNOWN)
        if dim is None:
            found = _finding(
                net, node, "leaves its axis to a deprecated rule", "pass dim=-1", Severity.ADVICE
            )
            yield replace(found, fix=_fix(net, node))
        elif _is_batch(net, node, dim) and not _weighs_instances(net, node):
            problem = f"with dim={dim} runs over the batch: the samples compete with each other"
            found = _finding(net, node, problem, "use dim=1 or dim=-1, the axis of the classes", None)
            yield replace(found, fix=_over_classes(net, node))


def _fix(net: Net, node: Node) -> Fix | None:
    """The axis that PyTorch's old rule picks, where the number of axes is known wherever the layer is used."""
    layer = net.layer_of(node)
    stands = node.span if layer is None else layer.made
    axes = {_implicit(other) for other in written_as(net, node)}
    if stands is None or len(axes) > 1 or None in axes:
        return None
    return Fix("Name the axis", Safety.SAFE, (SetArg(stands, "dim", str(*axes)),))


def _over_classes(net: Net, node: Node) -> Fix | None:
    """The axis of the features of the layer in front, the same wherever the softmax is applied."""
    layer = net.layer_of(node)
    stands = node.span if layer is None else layer.made
    axes = {_features(net, other) for other in written_as(net, node)}
    if stands is None or len(axes) > 1 or None in axes:
        return None
    position = None if layer is None else layer.explicit.get("dim")
    return Fix("Use the axis of the classes", Safety.UNSAFE, (SetArg(stands, "dim", str(*axes), position),))


def _features(net: Net, node: Node) -> int | None:
    """The one axis that is not the batch, or that which the layer in front computes."""
    if node.shape is not None and len(node.shape) == 2:
        return 1
    return {"linear": -1, "conv": 1}.get(net.inputs(node)[0].op)


def _implicit(node: Node) -> int | None:
    """The axis that softmax picks without ``dim`` (torch.nn.functional._get_softmax_dim)."""
    return None if node.shape is None else int(len(node.shape) not in (0, 1, 3))


def _is_batch(net: Net, node: Node, dim: object) -> bool:
    known = node.shape is not None
    if isinstance(dim, bool) or (known and len(node.shape or ()) < 2):
        return False
    first = dim == 0 or (known and dim == -len(node.shape or ()))
    return first and (node.batch_first or any(_has_samples_first(net, n) for n in _losses(net, node)))


def _losses(net: Net, node: Node) -> Iterator[Node]:
    """The losses that receive what a softmax computes, or its logarithm."""
    for loss in next_steps(net, node, lambda n: n.op == "log" or n.kind in (Kind.IDENTITY, Kind.DROPOUT)):
        if loss.kind is Kind.LOSS:
            yield loss


def _has_samples_first(net: Net, loss: Node) -> bool:
    """Whether a loss takes the entries of axis 0 for samples: classes on axis 1, or the mean over a batch."""
    target = net.inputs(loss)[1:]
    if loss.op == "nll_loss":
        return bool(target) and bool(target[0].shape)  # a target of no axes is that of one sample alone
    return loss.op == "kl_div" and loss.args.get("reduction") == "batchmean"


def _weighs_instances(net: Net, node: Node) -> bool:
    """Whether one score for each sample weighs the samples of a bag: no classes compete in it.

    Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", 2018, eq. 8.
    """
    scores = net.inputs(node)[0]
    weighed = any(reader.op in ("mul", "matmul") for reader in net.consumers(node))
    return weighed and width_out(net, scores) == 1


def _finding(net: Net, node: Node, problem: str, advice: str, severity: Severity | None) -> Finding:
    return RULE.at(
        place(net, node),
        f"{call_text(net, node)} {problem}",
        severity=severity,
        help=advice,
        related=evidence(net, node),
        subjects=subjects(net, node),
    )
