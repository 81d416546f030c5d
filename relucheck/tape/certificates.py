"""Units proved dead for every input, from the weights alone: one matrix product, no data.

For a row w and bias b behind an operation whose outputs u lie in a known set, the unit is dead if
``sup(w.u) + b <= 0``. The suprema (theory, section 4) are exact for the set of all outputs:

| before | sup of w.u |
|---|---|
| LayerNorm(gamma, beta), n features | sqrt(n) * norm(P(gamma*w)) + w.beta, P removes the mean |
| RMSNorm(gamma) | sqrt(n) * norm(gamma*w) |
| softmax | max w |
| sigmoid, hardsigmoid | sum of positive w |
| tanh, softsign | sum of abs(w) |
| relu6 | 6 * sum of positive w |
| relu | infinite unless no w is positive, then 0 |
| embedding with table E | max over v of E_v.w |
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from relucheck.tape.values import Source
from relucheck.tape.wrappers import is_whole


def certified(source: Source | None) -> tuple[int, ...]:
    """The units of a linear layer in front of a ReLU whose pre-activation is never positive."""
    if source is None or source.op != "linear" or source.weight is None or source.weight.ndim != 2:
        return ()
    if not all(map(is_whole, _tensors(source))):
        return ()
    with torch.no_grad():
        rows = source.weight.detach().double().t()
        bias = 0.0 if source.bias is None else source.bias.detach().double()
        if isinstance(bias, Tensor) and bias.shape != rows.shape[:1]:
            return ()
        top = supremum(rows, source.before) + bias
        return tuple((top <= 0).nonzero().flatten().tolist())


def _tensors(source: Source) -> Iterator[Tensor]:
    """The weights that a certificate reads: those of a layer and of the one before it."""
    for one in (source, source.before):
        if one is not None:
            yield from (t for t in (one.weight, one.bias) if t is not None)


def supremum(rows: Tensor, before: Source | None) -> Tensor:
    """The least upper bound of ``w.u`` for each row w (units, features) over all outputs u."""
    positive = rows.clamp(min=0).sum(1)
    op = before.op if before is not None else ""
    if before is not None and op in ("layer_norm", "rms_norm"):
        return _after_norm(rows, before)
    if op == "softmax":
        return rows.amax(1)
    if op in ("sigmoid", "hardsigmoid"):
        return positive
    if op in ("tanh", "softsign"):
        return rows.abs().sum(1)
    if op == "relu6":
        return 6 * positive
    if op == "embedding" and before is not None and before.weight is not None:
        return (before.weight.detach().double() @ rows.t()).amax(0)
    unbounded = positive if op == "relu" else rows.abs().sum(1)
    return torch.where(unbounded > 0, math.inf, 0.0)


def _after_norm(rows: Tensor, norm: Source) -> Tensor:
    features = rows.shape[1]
    if norm.weight is None or norm.weight.shape != (features,):  # normalised over other axes, or not known
        return torch.full_like(rows[:, 0], math.inf)
    scaled = rows * norm.weight.detach().double()
    if norm.op == "layer_norm":
        scaled = scaled - scaled.mean(1, keepdim=True)
    largest: Tensor = math.sqrt(features) * torch.linalg.vector_norm(scaled, dim=1)
    return largest if norm.bias is None else largest + rows @ norm.bias.detach().double()
