"""What the shapes look like: colours for light and dark, and which look uses which.

Texts keep a contrast of 4.5 : 1 with their background, marks and curves 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11);
a test computes them. What a colour says, a shape or a word says as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f5f6f9",
    "edge": "#d9dde5",
    "ink": "#1c2330",
    "soft": "#5b6475",
    "line": "#7c8698",
    "accent": "#2560b8",
    "alive": "#2f6fc6",
    "on": "#8a4bd0",
    "saturated": "#b26f00",
    "dead": "#c62f39",
    "good": "#1f7a4d",
    "notice": "#2560b8",
    "warning": "#955700",
    "error": "#b3202b",
    "bar": "#a9c3e8",
    "weak": "#fdf0d5",
    "flat": "#fbdcdc",
}
"""Colours on white."""

DARK: Mapping[str, str] = {
    "paper": "#14171d",
    "panel": "#1e232c",
    "edge": "#39414f",
    "ink": "#e6e9f0",
    "soft": "#a3acbd",
    "line": "#7f8aa0",
    "accent": "#8ab6ff",
    "alive": "#6aa5f2",
    "on": "#b98af0",
    "saturated": "#e6a83f",
    "dead": "#f0656e",
    "good": "#5cc394",
    "notice": "#8ab6ff",
    "warning": "#f0b455",
    "error": "#ff8089",
    "bar": "#3d5f8f",
    "weak": "#3a3019",
    "flat": "#472328",
}
"""The same names on nearly black."""


@dataclass(frozen=True, slots=True)
class Look:
    """Fill and stroke by their colours' names, the stroke's width and dash; of texts the size and weight."""

    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    dash: tuple[float, ...] = ()
    size: float = 0.0
    bold: bool = False
    opacity: float = 1.0


LOOKS: Mapping[str, Look] = {
    "grid": Look(stroke="edge"),
    "axis": Look(stroke="line"),
    "bound": Look(stroke="warning", width=1.2, dash=(5, 4)),
    "edge": Look(stroke="line", width=2),
    "faint": Look(stroke="line", width=1.2, dash=(2, 3)),
    "op": Look(fill="paper", stroke="line", width=1.5),
    "layer": Look(fill="ink"),
    "good": Look(fill="good"),
    "notice": Look(fill="notice"),
    "warning": Look(fill="warning"),
    "error": Look(fill="error"),
    "unknown": Look(fill="paper", stroke="soft", width=1.5, dash=(2, 2)),
    "cross": Look(stroke="paper", width=1.8),
    "hole": Look(fill="paper"),
    "plus": Look(stroke="line", width=1.5),
    "series-0": Look(stroke="accent", width=2),
    "series-1": Look(stroke="on", width=2, dash=(9, 2)),
    "series-2": Look(stroke="saturated", width=2, dash=(3, 2)),
    "earlier": Look(stroke="soft", width=1.6, dash=(6, 3)),
    "spot": Look(fill="accent", stroke="paper", width=1.5),
    "spot-soft": Look(fill="paper", stroke="soft", width=1.6),
    "area": Look(fill="dead", opacity=0.75),
    "value": Look(stroke="ink", width=2.2),
    "bars": Look(fill="bar"),
    "weak": Look(fill="weak"),
    "flat": Look(fill="flat"),
    "panel": Look(fill="panel"),
    "alive": Look(fill="alive"),
    "on": Look(fill="on"),
    "saturated": Look(fill="saturated"),
    "dead": Look(fill="dead"),
    **{f"fires-{tenths}": Look(fill="alive", opacity=0.16 + 0.084 * tenths) for tenths in range(11)},
    "tick": Look(fill="soft", size=11.5),
    "small": Look(fill="soft", size=11),
    "note": Look(fill="warning", size=11),
    "name": Look(fill="ink", size=12.5),
    "heading": Look(fill="ink", size=14, bold=True),
    "words-flat": Look(fill="error", stroke="flat", width=3, size=11),
    "words-weak": Look(fill="warning", stroke="weak", width=3, size=11),
    "words-good": Look(fill="good", size=12),
    "words-notice": Look(fill="notice", size=12),
    "words-warning": Look(fill="warning", size=12),
    "words-error": Look(fill="error", size=12, bold=True),
    "words-unknown": Look(fill="soft", size=12),
}
"""Every look that a drawing may name."""
