"""The first step of the optimiser changes the weights in front of a ReLU by a large part of their size.

## What it does
Divides the norm of the first change of a weight by the norm of the weight, `norm(dW) / norm(W)`, for each `nn.Linear`
whose output goes straight into an activation with a zero slope on one side. A watched training measures it; a probe
computes it from the optimiser that it is given (`optimiser=torch.optim.Adam(...)`): every entry moves by the learning
rate, so that it is `lr * sqrt(3 * fan_in)` under the default initialisation. Advice above 0.15, warning above 0.3,
error above 1.

## Why is this bad?
One such step throws most pre-activations below zero for all inputs, and a unit in the first layer that no sample
makes fire has no gradient that would bring it back. Measured with Adam over fan-ins from 49 to 3,136, after 600 steps:
a ratio of 0.15 leaves 23-38 % of the first layer's units dead, 0.45 leaves 62-98 % and 1.4 leaves 92-98 %; 0.05 is
harmless.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
batches = [(torch.randn(64, 256), torch.randint(0, 10, (64,)))]
loss_fn = nn.CrossEntropyLoss()
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
batches = [(torch.randn(64, 256), torch.randint(0, 10, (64,)))]
loss_fn = nn.CrossEntropyLoss()
```
A smaller learning rate, or one that a scheduler warms up. A wider input needs a smaller rate.

## Silent on
Layers with a norm between them and the activation; convolutions, of which the levels are not known; activations with
a slope on both sides; weights of zero; optimisers that have stepped before; in a probe optimisers whose first step
depends on the gradient's size (SGD, RAdam, Adadelta).

## References
Kingma and Ba 2015 (arXiv 1412.6980), section 2.1: the step is about as large as the learning rate. The 1e-3 of CS231n
("Neural Networks Part 3", update:data ratio) is no bound on a first step: Adam at 1e-3 begins with 0.049 on 784 inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Gradient, Measurements

RULE = Rule("RLU617", "update-ratio", Severity.WARNING, Measurements)

# Dead share of the first layer over the ratio, Adam, four fan-ins, 600 steps (theory, section 5).
LEVELS = ((1.0, Severity.ERROR), (0.3, Severity.WARNING), (0.15, Severity.ADVICE))


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding, at the layer that changes most."""
    judged = [(g.first_update, g) for g in m.gradients if _counts(g) and g.first_update is not None]
    if m.non_finite is not None or not judged:
        return
    ratio, layer = max(judged, key=lambda pair: pair[0])
    severity = next((severity for level, severity in LEVELS if ratio > level), None)
    if severity is not None:
        yield RULE.at(layer.span, _message(m, layer, ratio), severity=severity, help=_HELP, layer=layer.name)


_HELP = "use a smaller learning rate, or warm it up by a scheduler"


def _counts(gradient: Gradient) -> bool:
    return gradient.kind == "linear" and gradient.rectified and not gradient.frozen


def _message(m: Measurements, layer: Gradient, ratio: float) -> str:
    who = f"{m.optimiser}'s first step" if m.optimiser else "the optimiser's first step"
    return (
        f"{who} changes the weights of '{layer.name}' by {ratio:.2g} times their size, "
        "which kills units of the activation behind it"
    )
