"""The feed-forward part of a transformer uses ReLU, where GELU is today's choice.

## What it does

Finds `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer` with ReLU (their default), and hand-written
feed-forward blocks `Linear, ReLU, Linear` inside a network with attention.

## Why is this bad?

It is not wrong: it is what the paper of 2017 did. GELU and SwiGLU have replaced it in nearly all models since BERT,
with a smoother gradient and no dead units.

## Example

```python
from torch import nn

layer = nn.TransformerEncoderLayer(d_model=64, nhead=4)  # RLU504
```

## Use instead

```python
from torch import nn

layer = nn.TransformerEncoderLayer(d_model=64, nhead=4, activation="gelu")
```

## Fix

The unsafe fix uses GELU.

## Silent on

Networks without attention.

## References

- Hendrycks, Gimpel, "Gaussian Error Linear Units", 2016. Shazeer, "GLU Variants Improve Transformer", 2020.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Fix, Recall, Rule, Safety, SetArg, Severity, Swap, here
from relucheck.net import Layer, Net, Node
from relucheck.ops import Kind
from relucheck.rules._fix import written_as
from relucheck.rules._walk import place

RULE = Rule("RLU504", "relu-in-transformer", Severity.ADVICE, Net)


def check(net: Net) -> Iterator[Finding]:
    """Report transformer layers with ReLU, and hand-written feed-forward parts with it."""
    for layer in net.layers:
        if layer.op in ("transformer_layer", "transformer") and layer.args.get("activation") == "relu":
            yield RULE.at(
                layer.made,
                f"{layer.spelling} uses ReLU{'' if 'activation' in layer.explicit else ' by default'}",
                help='pass activation="gelu"',
                fix=_fix(layer),
                layer=layer.name,
            )
    if any(node.kind is Kind.ATTENTION or _mixes_values(net, node) for node in net.nodes):
        yield from _feed_forwards(net)


# What stands between the products and the softmax of attention that is written by hand, and behind it.
_SCORING = frozenset({"mul", "div", "add", "sub", "masked_fill", "where", "dropout", "cast"})


def _mixes_values(net: Net, node: Node) -> bool:
    """Whether a node is the last product of ``softmax(q @ k.T / scale) @ v`` (Vaswani et al. 2017, section 3.2.1)."""
    if node.op != "matmul" or len(node.inputs) != 2:
        return False
    weights = _behind_scoring(net, net.inputs(node)[0])
    return weights.op == "softmax" and _behind_scoring(net, net.inputs(weights)[0]).op == "matmul"


def _behind_scoring(net: Net, node: Node) -> Node:
    while node.op in _SCORING and node.inputs:
        node = net.inputs(node)[0]
    return node


def _feed_forwards(net: Net) -> Iterator[Finding]:
    for node in net.nodes:
        if node.one_sided and _is_feed_forward(net, node):
            yield RULE.at(
                place(net, node),
                "the feed-forward part of this transformer uses ReLU",
                help="use GELU (or a gated unit such as SwiGLU)",
                related=[here(net.inputs(node)[0].span, "the layer in front of it")],
                fix=_swapped(net, node),
            )


def _swapped(net: Net, node: Node) -> Fix | None:
    """GELU for the ReLU: as a function, or where a layer that serves feed-forward parts alone is made."""
    layer = net.layer_of(node)
    if node.op != "relu" or not all(_is_feed_forward(net, other) for other in written_as(net, node)):
        return None
    if layer is None and node.span is not None:
        return Fix("Use GELU", Safety.UNSAFE, (Recall(node.span, "F.gelu"),))
    if layer is None or layer.made is None:
        return None
    return Fix("Use GELU", Safety.UNSAFE, (Swap(layer.made, "ReLU", "GELU"),))


def _is_feed_forward(net: Net, node: Node) -> bool:
    """Whether a rectifier stands between two Linears behind a LayerNorm or RMSNorm."""
    first = net.inputs(node)[0]
    readers = net.consumers(node)
    while len(readers) == 1 and readers[0].kind is Kind.DROPOUT:
        readers = net.consumers(readers[0])
    if first.op != "linear" or len(readers) != 1 or readers[0].op != "linear":
        return False
    return net.inputs(first)[0].op in ("layer_norm", "rms_norm") or _normed_after(net, readers[0])


def _normed_after(net: Net, node: Node) -> bool:
    """Post-norm: the branch is added to the stream, and the sum is normalised."""
    for reader in net.consumers(node):
        if reader.kind is Kind.DROPOUT and _normed_after(net, reader):
            return True
        if reader.op == "add" and any(n.op == "layer_norm" for n in net.consumers(reader)):
            return True
    return False


def _fix(layer: Layer) -> Fix | None:
    if layer.made is None:
        return None
    edit = SetArg(layer.made, "activation", '"gelu"', layer.explicit.get("activation"))
    return Fix("Use GELU", Safety.UNSAFE, (edit,))
