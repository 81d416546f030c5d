"""Measurements and findings as one self-contained HTML file: no script, nothing from the network."""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from relucheck.finding import Finding
from relucheck.measurements import Activation, Measurements
from relucheck.report._svg import flow, units
from relucheck.report._table import note
from relucheck.span import Span
from relucheck.version import __version__

TEMPLATE = Path(__file__).with_name("_page.html")

_AROUND = 2  # lines shown before and behind the one that is meant


class MissingJinjaError(ImportError):
    """Jinja2 is not installed; the message says how to install it."""

    def __init__(self) -> None:
        super().__init__('the HTML report needs Jinja2: pip install "relucheck[report]"')


def page(m: Measurements, findings: Sequence[Finding]) -> str:
    """The page's text. Raises MissingJinjaError without Jinja2."""
    if find_spec("jinja2") is None:
        raise MissingJinjaError
    from jinja2 import Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    drawings = [(site.name, Markup(drawing)) for site in m.activations if (drawing := units(site))]
    text: str = template.render(
        m=m,
        findings=findings,
        note=note(m),
        flow=Markup(flow(m.gradients)),
        drawings=drawings,
        excerpt=excerpt,
        shares=lambda site: list(shares(site)),
        number=number,
        version=__version__,
    )
    return text


def excerpt(span: Span) -> list[tuple[int, str, bool]]:
    """The source around a place: row, text and whether it is the place; empty where there is no file."""
    if span.cell is not None:
        return []
    lines = linecache.getlines(span.path)
    rows = range(max(1, span.row - _AROUND), min(len(lines), span.end_row + _AROUND) + 1)
    return [(row, lines[row - 1].rstrip("\n"), span.row <= row <= span.end_row) for row in rows]


def shares(site: Activation) -> Iterator[tuple[str, float]]:
    """The parts of a site's units, silent ones last; a unit is counted once."""
    dead = site.dead if site.one_sided else 0
    on = site.linear if site.one_sided else 0
    saturated = min(site.saturated, site.units - dead - on)
    for kind, count in (
        ("alive", site.units - dead - on - saturated),
        ("on", on),
        ("saturated", saturated),
        ("dead", dead),
    ):
        if count:
            yield kind, count / site.units


def number(value: float | None) -> str:
    """A figure in two digits, a dash for none."""
    return "–" if value is None else f"{value:.1e}"
