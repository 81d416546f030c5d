"""Units of an activation that no sample ever lets a gradient through.

## What it does
Counts, for each activation site with a zero slope on one side (ReLU, ReLU6, `clamp(min=0)`, in any
spelling), the units whose slope is zero at every position of every sample. One unit is one feature
of a Linear or one channel of a convolution. Advice from 10 % of a layer's units, warning from 50 %,
error from 90 %. Below 299 samples only shares from 90 % are judged, and from 32 samples on: a unit that
is silent on 32 samples may still fire on 8.9 % of all inputs.

A unit is *silent* where data only shows that it did not fire, and *dead* where it cannot recover: its
layer reads the data itself, or its weights prove that no input makes it fire.

## Why is this bad?
A silent unit contributes nothing and receives no gradient. A quarter of a layer costs little (measured:
26 % dead, accuracy 0.940 against 0.942), three quarters cost 4 points and nearly all of it 40.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
with torch.no_grad():
    model[0].bias[:24] = -25.0
batches = [torch.randn(64, 8) for _ in range(5)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
batches = [torch.randn(64, 8) for _ in range(5)]
```
Lower the learning rate first: it is what kills units in practice. Where that is not enough, use
BatchNorm, He initialisation (deep networks), or an activation with a slope on both sides
(LeakyReLU, PReLU, ELU, GELU).

## Silent on
GELU, SiLU, LeakyReLU and ELU, whose slope is nowhere zero for long; units that fire rarely; layers that
are dead as a whole (RLU602) and outputs (RLU605).

## References
Lu, Shin, Su, Karniadakis, "Dying ReLU and Initialization", arXiv 1903.06733. Clopper and Pearson 1934.
AWS SageMaker Debugger's DeadRelu rule also fires at half of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import JUDGED_FROM, Activation, Measurements

RULE = Rule("RLU601", "dead-units", Severity.WARNING, Measurements, yields_to=("RLU602", "RLU605"))

# Shares of a layer's units. 50 %: SageMaker and TheDeepChecker; 90 %: where accuracy collapses
# (theory, section 2, measured). No source was found for a danger line at 10 to 20 %.
LEVELS = ((0.9, Severity.ERROR), (0.5, Severity.WARNING), (0.1, Severity.ADVICE))

COLLAPSED = 0.95  # from here on RLU602 speaks
_SHOWN = 8


def check(m: Measurements) -> Iterator[Finding]:
    """One finding for each site with enough silent units."""
    if m.non_finite is not None:  # figures of a pass with NaN mean nothing (theory, section 5)
        return
    for site in m.activations:
        severity = _severity(site)
        if severity is not None:
            yield RULE.at(site.span, _message(site), severity=severity, help=_help(site), layer=site.name)


def _severity(site: Activation) -> Severity | None:
    if not site.one_sided or site.last or site.samples < JUDGED_FROM or site.collapsed_share >= COLLAPSED:
        return None
    for share, severity in LEVELS:
        if site.dead_share >= share and (not site.undetermined or share >= 0.9):
            return severity
    return None


def _message(site: Activation) -> str:
    word = "dead" if site.permanent or site.certified == site.dead else "silent"
    share = f"{site.dead} of {site.units} units ({site.dead_share:.0%}) of '{site.name}' are {word}"
    proof = f"; {site.certified} of them for every input" if site.certified else ""
    return f"{share} on all {site.samples} samples{proof}: {_bound(site)}"


def _bound(site: Activation) -> str:
    bound = f"each fires on at most {site.max_active_probability:.2g} of inputs (95 % confidence)"
    return f"undetermined below 299 samples, {bound}" if site.undetermined else bound


def _help(site: Activation) -> str:
    units = ", ".join(str(unit) for unit in site.dead_units[:_SHOWN])
    more = ", ..." if site.dead > _SHOWN else ""
    return (
        f"units {units}{more}; lower the learning rate, or use BatchNorm, He initialisation or an "
        "activation with a slope on both sides (LeakyReLU, PReLU, ELU, GELU)"
    )
