"""An output of the network that is zero for every sample.

## What it does
Finds units of the network's output that are exactly zero on all samples because the last operation is a
one-sided activation. Judged from 32 samples on.

## Why is this bad?
A score that is always zero carries no gradient, so the class it stands for can never be learned.

## Example
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3), nn.ReLU())
nn.init.constant_(model[2].bias, -3.0)
batches = [torch.randn(64, 8)]
```

## Use instead
```python
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
batches = [torch.randn(64, 8)]
```
End the network with its last Linear and let the loss do the rest.

## Silent on
Heads that are initialised to zero, which learn from the first step on; outputs behind no activation.

## References
RLU101 finds the same mistake in the source.
"""

from __future__ import annotations

from collections.abc import Iterator

from relucheck.finding import Finding, Rule, Severity
from relucheck.measurements import JUDGED_FROM, Measurements

RULE = Rule("RLU605", "dead-output", Severity.ERROR, Measurements)


def check(m: Measurements) -> Iterator[Finding]:
    """One finding for each output with units that are always zero."""
    if m.non_finite is not None or m.samples < JUDGED_FROM:
        return
    for output in m.outputs:
        if output.zero_units:
            count = len(output.zero_units)
            units = ", ".join(str(unit) for unit in output.zero_units[:8])
            yield RULE.at(
                output.span,
                f"{count} of {output.units} units of {output.name} are zero on all {output.samples} samples "
                f"behind {output.function}: what they stand for can never be learned (units {units}"
                f"{', ...' if count > 8 else ''})",
                help="remove the activation after the last layer",
                layer=output.name,
            )
