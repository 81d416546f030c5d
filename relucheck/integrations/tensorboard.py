"""TensorBoard: the figures of inspected steps as scalars, and how often each unit fires as histograms.

```python
from torch.utils.tensorboard import SummaryWriter
from relucheck.integrations.tensorboard import TensorBoardLogger

writer = SummaryWriter()
with relucheck.watch(model, on_step=TensorBoardLogger(writer)):
    train(model)
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from relucheck.timeline import Inspection


class Writer(Protocol):
    """What is needed of ``torch.utils.tensorboard.SummaryWriter``, or of tensorboardX's."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Writes one number."""

    def add_histogram(self, tag: str, values: Any, global_step: int) -> Any:
        """Writes the distribution of several."""


@dataclass(frozen=True, slots=True)
class TensorBoardLogger:
    """An ``on_step`` of ``relucheck.watch`` that writes to TensorBoard.

    ``step`` gives the global step of the user's own curves; by default the number of backward passes
    counts. ``histograms``: the activity of a layer, the share of samples in which each unit fires,
    is written wherever a window of samples is complete. Raises TypeError where ``writer`` is none.
    """

    writer: Writer
    histograms: bool = True
    step: Callable[[], int] | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.writer, "add_scalar"):
            raise TypeError(
                f"writer must be a SummaryWriter of torch.utils.tensorboard (pip install tensorboard), "
                f"not {type(self.writer).__name__}"
            )

    def __call__(self, inspection: Inspection) -> None:
        """Writes what one inspected step showed."""
        step = inspection.step if self.step is None else self.step()
        for name, value in inspection.figures.items():
            self.writer.add_scalar(name, value, step)
        for name, shares in inspection.activity.items() if self.histograms else ():
            self.writer.add_histogram(name, torch.tensor(shares), step)
