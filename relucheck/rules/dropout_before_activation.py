"""Dropout stands directly before the activation instead of behind it.

## What it does

Finds Dropout whose result goes straight into an activation.

## Why is this bad?

The usual order is Linear, normalisation, activation, dropout. For ReLU both orders compute the same; for GELU, SiLU,
tanh and sigmoid they do not, and dropping pre-activations moves the mean of what follows.

## Example

```python
from torch import nn

net = nn.Sequential(
    nn.Linear(8, 8),
    nn.Dropout(0.5),  # RLU502
    nn.GELU(),
    nn.Linear(8, 1),
)
y = net(x)
```

## Use instead

```python
from torch import nn

net = nn.Sequential(
    nn.Linear(8, 8),
    nn.GELU(),
    nn.Dropout(0.5),
    nn.Linear(8, 1),
)
y = net(x)
```

## Fix

The unsafe fix exchanges the two steps.

## Silent on

Dropout in front of a softmax, which another rule judges.

## References

- Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014, section 4: units are
  dropped after the activation function.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity, here
from relucheck.net import Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import exchange

RULE = Rule("RLU502", "dropout-before-activation", Severity.ADVICE, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report every dropout on pre-activations."""
    for node in net.of_kind(Kind.DROPOUT):
        readers = net.consumers(node)
        if net.args_of(node).get("p") == 0:
            continue  # nothing is dropped
        if len(readers) != 1 or not _is_hidden(readers[0]) or not _from_affine(net, node):
            continue
        inside = node.args.get("in_container") is True
        layer = net.layer_of(node)
        place = layer.made if inside and layer is not None else node.span
        yield RULE.at(
            place,
            f"{net.label(node)} drops pre-activations: {readers[0].op} comes after it",
            help="put the dropout behind the activation",
            related=[here(readers[0].span, f"the {readers[0].op}")],
            fix=exchange(net, node, readers[0], "Put the dropout behind the activation"),
        )


def _is_hidden(node: Node) -> bool:
    return node.kind is Kind.ACTIVATION and node.info.elementwise


def _from_affine(net: Net, node: Node) -> bool:
    source = net.inputs(node)[0]
    while source.kind is Kind.NORM:
        source = net.inputs(source)[0]
    return source.kind is Kind.AFFINE
