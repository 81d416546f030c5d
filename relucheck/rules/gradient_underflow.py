"""Gradients that are too small for half precision become zero.

## What it does
Where a layer runs in fp16 (autocast or half-precision weights), runs the pass again in single precision and counts the
entries of dL/dz and dL/dW that are not zero there and round to zero in fp16, 2^-25 (3.0e-8) and below, with the loss's
scale in them. Warns where that is half of the entries of some layer at the start of a training. A GradScaler is seen:
return `scaler.scale(loss)` from the `loss_fn` of a probe; in a watched training its scale is read as it is. There the
first inspected step is measured whose gradients did not overflow.

## Why is this bad?
A layer whose gradient is zero does not learn, and neither does any layer in front of it, though the same code trains in
single precision. Measured on handwritten digits (64-64x4-10, 3 seeds, gradients rounded to fp16): up to 29 % lost in
the first layer at the first step cost 2 points of accuracy at most; at 36-46 % Adam lost 1 to 6 points; at 58-70 % SGD
lost 2 points and Adam half of the accuracy; at 96 % neither learned. At the end of a training 70 % were harmless.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
layers = []
for _ in range(12):
    layers += [nn.Linear(256, 256), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(256, 10)).half()
batches = [(torch.randn(64, 256).half(), torch.randint(0, 10, (64,)))]


def loss_fn(output, target):
    return nn.functional.cross_entropy(output, target)
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
layers = []
for _ in range(12):
    linear = nn.Linear(256, 256)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    layers += [linear, nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(256, 10)).half()
batches = [(torch.randn(64, 256).half(), torch.randint(0, 10, (64,)))]
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)


def loss_fn(output, target):
    return scaler.scale(nn.functional.cross_entropy(output.float(), target))
```
Scale the loss with `torch.amp.GradScaler`, or use bfloat16, which has the range of single precision. Where a scale of
65,536 is not enough, the gradient vanishes (RLU611), and the network has to change.

## Silent on
bfloat16 and single precision; entries that are zero in single precision too (dead units, masks, unused embeddings);
shares that do no harm; models that ask for half precision inside, which cannot be run in single precision.

## References
Micikevicius et al. 2018, "Mixed Precision Training" (arXiv 1710.03740), section 3.2. IEEE 754 binary16.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Gradient, Measurements

RULE = Rule("RLU615", "gradient-underflow", Severity.WARNING, Measurements)

HARMFUL = 0.5  # share at the first step from which trainings failed (measured, see the page)


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding, at the layer that loses most; the first of them towards the input."""
    judged = [(g.underflow, g) for g in m.gradients if g.underflow is not None and not g.frozen]
    if m.non_finite is not None or m.detached or not judged:
        return
    share, layer = max(judged, key=lambda pair: pair[0])
    if share >= HARMFUL:
        yield RULE.at(layer.span, _message(m, layer, share), help=_help(m), layer=layer.name)


def _message(m: Measurements, layer: Gradient, share: float) -> str:
    scale = f"at a loss scale of {m.loss_scale:g}" if m.loss_scale != 1 else "without a loss scale"
    return f"fp16 makes {share:.0%} of the nonzero gradients of '{layer.name}' zero {scale}"


def _help(m: Measurements) -> str:
    if m.loss_scale > 1:
        return "use bfloat16; the gradient itself vanishes: He initialisation, normalisation or shortcuts"
    return "scale the loss with torch.amp.GradScaler, or use bfloat16"
