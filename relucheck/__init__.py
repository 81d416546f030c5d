"""relucheck finds activation and gradient-flow mistakes in PyTorch networks.

``lint`` reads source files and needs no torch; ``probe`` and ``watch`` measure real passes and do, and
``compare`` trains an experiment with one thing changed at a time.
Everything is imported when it is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from relucheck.version import __version__

if TYPE_CHECKING:
    from relucheck.finding import Finding as Finding
    from relucheck.finding import Severity as Severity

__all__ = [
    "Comparison",
    "Experiment",
    "ExperimentError",
    "Finding",
    "ProbeError",
    "Report",
    "Severity",
    "__version__",
    "compare",
    "lint",
    "probe",
    "watch",
]

_CORE = frozenset({"Finding", "Severity"})
_LIVE = {
    "Comparison": "relucheck.comparison",
    "Experiment": "relucheck.experiments.running",
    "ExperimentError": "relucheck.experiments.running",
    "compare": "relucheck.experiments.running",
    "ProbeError": "relucheck.live",
    "Report": "relucheck.live",
    "probe": "relucheck.live",
    "watch": "relucheck.training",
}


def lint(*paths: str | os.PathLike[str]) -> list[Finding]:
    """The findings in files and folders, as ``relucheck lint`` reports them.

    The settings of each file are found as on the command line. Unreadable files, bad settings and
    faults of relucheck raise an exception, since a list of findings would hide them.
    """
    from relucheck.api import findings_in

    return findings_in([os.fspath(path) for path in paths])


def __getattr__(name: str) -> Any:
    if name in _CORE:
        import relucheck.finding

        return getattr(relucheck.finding, name)
    if name in _LIVE:
        return _live(name)
    raise AttributeError(f"module 'relucheck' has no attribute {name!r}")


def _live(name: str) -> Any:
    """A name of the half that measures real passes, or a clear error where torch is missing."""
    if find_spec("torch") is None:
        raise ImportError(f'relucheck.{name} needs PyTorch: pip install "relucheck[torch]"')
    return getattr(import_module(_LIVE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
