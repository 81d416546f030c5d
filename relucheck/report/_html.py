"""Measurements and findings as one self-contained HTML file: no script, nothing from the network."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from relucheck.drawing.folds import Fold
from relucheck.drawing.graph import Row
from relucheck.drawing.health import Health, health, parts
from relucheck.drawing.marks import RANKED
from relucheck.drawing.network import Lanes, gap_drawing, strip_drawing
from relucheck.drawing.svg import palettes, style, svg
from relucheck.finding import Finding, Severity
from relucheck.measurements import Activation
from relucheck.report._view import Tile, View, facts_of, marks, tiles, view, where
from relucheck.span import Span
from relucheck.timeline import Watched
from relucheck.version import __version__

TEMPLATES = Path(__file__).with_name("templates")

_AROUND = 2  # lines shown before and behind the one that is meant


class MissingJinjaError(ImportError):
    """Jinja2 is not installed; the message says how to install it."""

    def __init__(self) -> None:
        super().__init__('the HTML report needs Jinja2: pip install "relucheck[report]"')


def page(shown: Watched, findings: Sequence[Finding]) -> str:
    """The page of one probe. Raises MissingJinjaError without Jinja2."""
    return _report(shown.name, facts_of(shown.last), [shown], [view(shown, 1)], findings)


def training_page(
    networks: Sequence[Watched], findings: Sequence[Finding], steps: int, inspected: int
) -> str:
    """The page of a watched training. Raises MissingJinjaError without Jinja2."""
    title = ", ".join(shown.name for shown in networks) or "No network"
    plural = "" if steps == 1 else "s"
    facts = f"A training of {steps} step{plural} (backward passes), {inspected} of them inspected."
    if len(networks) == 1:
        views = [view(networks[0], 1)]
        facts = f"{facts} At its end: {facts_of(networks[0].last)}"
    else:
        views = [view(one, i, f"At the end: {facts_of(one.last)}") for i, one in enumerate(networks, 1)]
    return _report(title, facts, networks, views, findings)


def _report(
    title: str, facts: str, networks: Sequence[Watched], views: Sequence[View], findings: Sequence[Finding]
) -> str:
    return rendered(
        "report.html",
        title=title,
        facts=facts,
        tiles=[found_tile(findings), *tiles(networks)],
        networks=views,
        findings=findings,
        where=where(views),
    )


def rendered(template: str, **content: Any) -> str:
    """A template of this package, filled; whatever is not SVG of our own is escaped."""
    if find_spec("jinja2") is None:
        raise MissingJinjaError
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    environment.globals.update(
        excerpt=excerpt,
        parts=parts,
        worst=worst,
        number=number,
        strip=lambda row, lanes: Markup(_strip(row, lanes)),
        gap=lambda fold, lanes: Markup(_gap(fold, lanes)),
        marks=[(Markup(mark), words) for mark, words in marks()],
        palettes=Markup(palettes()),
        looks=Markup(style()),
        version=__version__,
    )
    text: str = environment.get_template(template).render(**content)
    return text


def _strip(row: Row, lanes: Lanes) -> str:
    return svg(strip_drawing(row, lanes), hidden=True)


def _gap(fold: Fold, lanes: Lanes) -> str:
    return svg(gap_drawing(fold, lanes), hidden=True)


@dataclass(frozen=True, slots=True)
class Judged:
    """A site and its health."""

    site: Activation
    health: Health


def worst(sites: Sequence[Activation]) -> Judged:
    """The site of a node that does worst."""
    return max((Judged(s, health(s)) for s in sites), key=lambda j: RANKED.index(j.health.level))


def found_tile(findings: Sequence[Finding]) -> Tile:
    """How many findings there are, by severity."""
    counts = {s: sum(f.severity is s for f in findings) for s in reversed(Severity)}
    said = [f"{n} {s.value}{'' if n == 1 or s is Severity.ADVICE else 's'}" for s, n in counts.items() if n]
    looks = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.ADVICE: "notice"}
    look = next((looks[s] for s, n in counts.items() if n), "good")
    words = f"finding{'' if len(findings) == 1 else 's'}{': ' if said else ''}{', '.join(said)}"
    return Tile(str(len(findings)), words, look)


def excerpt(span: Span) -> list[tuple[int, str, bool]]:
    """The source around a place: row, text and whether it is the place; empty where there is no file."""
    if span.cell is not None:
        return []
    lines = linecache.getlines(span.path)
    rows = range(max(1, span.row - _AROUND), min(len(lines), span.end_row + _AROUND) + 1)
    return [(row, lines[row - 1].rstrip("\n"), span.row <= row <= span.end_row) for row in rows]


def number(value: float | None) -> str:
    """A figure in two digits, a dash for none."""
    return "–" if value is None else f"{value:.1e}"
