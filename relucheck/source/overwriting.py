"""Tensors whose entries a statement changes: ``x[mask] = 0``, ``x[..., 4:].sigmoid_()``."""

from __future__ import annotations

from relucheck.ops import op_named
from relucheck.source.drafts import NodeDraft
from relucheck.source.machine import Machine, tensors_in
from relucheck.source.values import Const, Tensor, Value


def put_entries(m: Machine, tensor: Tensor, key: Value, value: Value) -> None:
    """``tensor[key] = value``: whoever holds the tensor, or what it is a view of, reads changed values."""
    old = m.resolve(tensor)
    if _rectifies(old.node, key, value):
        m.tape.forget([key.node] if isinstance(key, Tensor) else [])
        new = _changed(m, "relu", old.node, (), "x[x < 0] = 0")
    else:
        put = tuple(t.node for t in tensors_in(value) if t.node is not old.node)
        new = _changed(m, "unknown", old.node, put, "")
    overwrite(m, old, new)


def _rectifies(old: NodeDraft, key: Value, value: Value) -> bool:
    """Whether the negative entries of a tensor become zero."""
    if not isinstance(key, Tensor) or key.node.op != "compare" or value not in (Const(0), Const(0.0)):
        return False
    args = key.node.args
    below_zero = args.get("operator") in ("<", "<=") and args.get("other") == 0
    return below_zero and key.node.inputs[0] is old


def _changed(m: Machine, op: str, old: NodeDraft, others: tuple[NodeDraft, ...], spelling: str) -> Tensor:
    return m.node(op, old, *others, spelling=spelling, shape=old.shape, batch_first=old.batch_first)


def overwrite(m: Machine, old: Tensor, new: Tensor) -> None:
    """From now on, whoever holds ``old`` reads ``new``, and what it is a view of has changed somewhere."""
    m.redirect(old, new)
    node = old.node
    while node.inputs and op_named(node.op).view:
        node = node.inputs[0]
        m.redirect(Tensor(node), _changed(m, "unknown", node, (new.node,), ""))
