"""A layer that no longer sees its input: it gives nearly the same values for every sample.

## What it does
Divides the between-sample standard deviation of an activation's input by its root mean square. Warns below
1/100, error below 1/10000, where the data itself varies at least ten times as much.

## Why is this bad?
What differs between samples is all there is to learn from. The default initialisation of `nn.Linear`
shrinks it by 2.4 a layer under ReLU while the biases stay, so that deep layers see constants.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
layers = []
for _ in range(20):
    layers += [nn.Linear(64, 64), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(64, 10))
batches = [torch.randn(64, 64)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
layers = []
for _ in range(20):
    linear = nn.Linear(64, 64)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    layers += [linear, nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(64, 10))
batches = [torch.randn(64, 64)]
```
Use He initialisation, residual connections or BatchNorm. A lower learning rate does not help.

## Silent on
Data that does not vary itself; a single sample; side and residual branches, such as the pooled one of
squeeze-and-excitation; layers after which the signal is back.

## References
Poole et al. 2016; Schoenholz et al. 2017 (arXiv 1611.01232), the ordered phase.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import Activation, Measurements

RULE = Rule("RLU616", "signal-collapse", Severity.WARNING, Measurements)

WARN, FAIL = 1e-2, 1e-4  # theory, section 2
VARIES = 10.0  # the data must vary so many times more than the layer


def check(m: Measurements) -> Iterator[Finding]:
    """At most one finding, at the first layer on the trunk from which on all have collapsed."""
    if m.non_finite is not None or m.input_signal is None:
        return
    collapsed: list[tuple[Activation, float]] = []
    for site in reversed(m.activations):
        if site.trunk and site.signal is not None:
            if site.signal >= WARN or m.input_signal <= VARIES * site.signal:
                break
            collapsed.append((site, site.signal))
    if collapsed:
        yield _finding(m, *collapsed[-1])


def _finding(m: Measurements, site: Activation, signal: float) -> Finding:
    return RULE.at(
        site.span,
        f"the input of '{site.name}' is nearly the same for every sample: it varies by {signal:.1e} of its "
        f"size, the data by {m.input_signal:.1e}",
        severity=Severity.ERROR if signal < FAIL else Severity.WARNING,
        help="use He initialisation, residual connections or BatchNorm; a lower learning rate does not help",
        layer=site.name,
    )
