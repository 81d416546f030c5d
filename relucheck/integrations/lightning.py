"""Lightning: a callback that watches ``trainer.fit``.

```python
from relucheck.integrations.lightning import ReluCheck

trainer = Trainer(callbacks=[ReluCheck(every=50)])
```
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

from relucheck.integrations._training import Options, Training
from relucheck.training import Inspection, TrainingReport

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""Lightning is published under two names; their classes are not the same."""


def _base() -> Any:
    """The ``Callback`` of the package that the user's trainer comes from: the one imported already."""
    imported = [name for name in _PACKAGES if sys.modules.get(name) is not None]
    installed = [name for name in _PACKAGES if find_spec(name.partition(".")[0]) is not None]
    for name in (*imported, *installed):
        return import_module(name).Callback
    raise ImportError("relucheck.integrations.lightning needs Lightning: pip install lightning")


_Callback: Any = _base()


class ReluCheck(_Callback):  # type: ignore[misc]
    """Watches the networks of the LightningModule from the start of a fit to its end, however it ends.

    ``every``: one backward pass in that many is inspected, ``first``: and so many at the start.
    ``select`` and ``ignore`` choose rules by code or family. ``fail_on`` is the severity from which a
    finding raises AssertionError at the end of the fit (``never``: none does). ``log``: the figures of
    inspected steps go to the trainer's loggers and to ``trainer.callback_metrics``, as
    ``relucheck/<layer>/<figure>``. ``show``: the report is printed at the end.
    In a fit of several processes each measures its own batches; the report is that of all of them, and the main
    one prints it and logs its own figures. Raises ValueError for options that cannot be followed.
    """

    def __init__(
        self,
        *,
        every: int = 50,
        first: int = 5,
        select: str | Iterable[str] = (),
        ignore: str | Iterable[str] = (),
        fail_on: str = "never",
        log: bool = True,
        show: bool = True,
    ) -> None:
        super().__init__()
        self._training = Training(
            Options.of(
                every=every, first=first, select=select, ignore=ignore, fail_on=fail_on, log=log, show=show
            )
        )

    @property
    def report(self) -> TrainingReport:
        """What the latest fit showed; raises RuntimeError before its end."""
        return self._training.report

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins to watch."""
        self._training.begin(
            pl_module, lambda inspection: _log(trainer, inspection), main=trainer.is_global_zero
        )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Lets a compiled training step that is to be inspected run as it is written."""
        self._training.prepare()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Logs what the batch has shown, before the trainer counts it."""
        self._training.settle()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Ends the watching, prints the report and judges it."""
        if self._training.running:
            self._training.end(completed=True)
            self._training.show()
            self._training.judge()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Ends the watching of a fit that has not come to its end; Ctrl-C is an exception too."""
        if self._training.running:
            self._training.end(completed=False)
            self._training.show()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leaves nothing in place, whatever came before."""
        self._training.end(completed=False)


def _log(trainer: Any, inspection: Inspection) -> None:
    """To the main process's loggers with the step of the trainer's own curves, as Lightning's monitors do it."""
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    for logger in trainer.loggers if trainer.is_global_zero else ():
        logger.log_metrics(dict(inspection.figures), step=step)
    trainer.callback_metrics.update(_tensors(inspection.figures))


def _tensors(figures: Mapping[str, float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in figures.items()}
