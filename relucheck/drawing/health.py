"""How well an activation site does, in the levels at which the measured rules speak."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from relucheck.measurements import JUDGED_FROM, Activation

COLLAPSED = 0.95
"""Silent plus always-on units from which a layer is affine on the data (RLU602)."""
LEVELS = ((0.9, "error"), (0.5, "warning"), (0.1, "notice"))
"""Shares of silent units from which RLU601 speaks."""
SATURATED = 0.5
"""Share of saturated units from which RLU604 speaks."""


class Level(Enum):
    """A look and a word; each has a mark of its own shape."""

    GOOD = "good"
    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Health:
    """A level, and the figure that led to it in words."""

    level: Level
    words: str


def health(site: Activation) -> Health:
    """The worst that holds for a site; nothing is said below ``JUDGED_FROM`` samples."""
    if site.samples < JUDGED_FROM:
        return Health(Level.UNKNOWN, f"{site.samples} samples: too few to judge")
    if site.units > 1 and site.collapsed_share >= COLLAPSED:
        return Health(Level.ERROR, f"collapsed: {_said(site)}")
    silent = next((Level(word) for share, word in LEVELS if _silent(site) >= share), Level.GOOD)
    if silent is Level.GOOD and _share(site.saturated, site.units) >= SATURATED:
        return Health(Level.WARNING, _said(site))
    return Health(silent, _said(site) or "healthy")


def _silent(site: Activation) -> float:
    return site.dead_share if site.one_sided else 0.0


def _share(count: int, units: int) -> float:
    return count / units if units else 0.0


def _said(site: Activation) -> str:
    """The counts of units that are not plainly alive, as percentages."""
    parts = (
        (site.dead if site.one_sided else 0, "silent"),
        (site.linear if site.one_sided else 0, "always on"),
        (site.saturated, "saturated"),
    )
    return ", ".join(f"{percent(count, site.units)} {word}" for count, word in parts if count)


def percent(count: int, units: int) -> str:
    """A share in whole percent that never says 0 % for some or 100 % for nearly all."""
    share = 100 * _share(count, units)
    if 0 < share < 1:
        return "< 1 %"
    if 99 < share < 100:
        return "> 99 %"
    return f"{share:.0f} %"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a site's units: its look, its word and their number."""

    look: str
    word: str
    count: int


def parts(site: Activation) -> tuple[Part, ...]:
    """The units of a site by what they do, silent ones last; a unit is counted once."""
    dead = site.dead if site.one_sided else 0
    on = site.linear if site.one_sided else 0
    saturated = min(site.saturated, site.units - dead - on)
    alive = site.units - dead - on - saturated
    every = (
        Part("alive", "alive", alive),
        Part("on", "always on", on),
        Part("saturated", "saturated", saturated),
        Part("dead", "silent", dead),
    )
    return tuple(part for part in every if part.count)
