"""What all figures share: drawing without a window, and saving."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from relucheck.problems import UsageProblem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1f2430", "#6b7280", "#e3e6ec"
BLUE, ORANGE = "#1f6feb", "#e0641b"
RED_TINT, AMBER_TINT = "#f9c9c9", "#fdebc8"


def save(figure: Figure, path: str) -> None:
    """Write a figure; the ending of the path decides the format."""
    ending = os.path.splitext(path)[1].lstrip(".").lower()
    formats = figure.canvas.get_supported_filetypes()
    if ending not in formats:
        raise UsageProblem(
            f"{path}: the name must end in one of {', '.join(f'.{f}' for f in sorted(formats))}"
        )
    try:
        figure.savefig(path)
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be written ({error.strerror})") from None
