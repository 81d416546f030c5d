"""A layer whose activation does nothing: nearly every unit is silent or always on.

## What it does
Adds up the units of an activation that are silent on all samples and those that are always on. From
95 % the layer is constant or affine on the data. *Dying ReLU* (nearly all silent) and *collapse*
(silent and always-on in equal parts: each unit sits on one side for every sample) are told apart.
Judged from 32 samples on.

## Why is this bad?
What an affine layer computes can be folded into the next one: the network is shallower than its code.
A layer that is all silent passes neither signal nor gradient, and everything before it stops learning.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
nn.init.constant_(model[0].bias, -25.0)
batches = [torch.randn(64, 8)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
batches = [torch.randn(64, 8)]
```
For dying ReLU lower the learning rate and initialise again: the layer does not recover by itself. For
collapse use He initialisation, residual connections or normalisation.

## Silent on
Fewer than 32 samples; activations at the output (RLU605); activations with a slope on both sides.

## References
Lu et al., "Dying ReLU and Initialization", arXiv 1903.06733 ("born dead"). Default `nn.Linear`
initialisation with ReLU collapses from about the sixth layer on (measured: half silent, half always on).
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import JUDGED_FROM, Activation, Measurements

RULE = Rule("RLU602", "dead-layer", Severity.ERROR, Measurements, yields_to=("RLU605",))

COLLAPSED = 0.95  # theory, section 2: "layer collapse"
DYING = 0.9  # share of silent units from which it is called dying ReLU


def check(m: Measurements) -> Iterator[Finding]:
    """One finding for the first layer of each kind of collapse, the rest named with it."""
    if m.non_finite is not None:
        return
    collapsed = [site for site in m.activations if _collapsed(site)]
    dying = [site for site in collapsed if site.dead_share >= DYING]
    split = [site for site in collapsed if site.dead_share < DYING]
    if dying:
        yield _finding(dying, _dying(dying[0]), "lower the learning rate and initialise this layer again")
    if split:
        yield _finding(
            split, _split(split[0]), "use He initialisation, residual connections or normalisation"
        )


def _collapsed(site: Activation) -> bool:
    return (
        site.samples >= JUDGED_FROM and not site.last and site.units > 1 and site.collapsed_share >= COLLAPSED
    )


def _finding(sites: list[Activation], message: str, remedy: str) -> Finding:
    others = ", ".join(f"'{site.name}'" for site in sites[1:6])
    also = f" (and {others}{', ...' if len(sites) > 6 else ''})" if others else ""
    spans = [site.span for site in sites]
    return RULE.at(sites[0].span, message + also, help=remedy, subjects=spans, layer=sites[0].name)


def _dying(site: Activation) -> str:
    return (
        f"{site.dead} of {site.units} units of '{site.name}' are silent on all {site.samples} samples: "
        "the layer is dead, and nothing before it learns"
    )


def _split(site: Activation) -> str:
    return (
        f"'{site.name}' is affine on the data: {site.dead} of {site.units} units are silent and "
        f"{site.linear} always on over all {site.samples} samples"
    )
