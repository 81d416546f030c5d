"""What a page shows of a network: its drawings as SVG, its rows and its cards, ready for a template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relucheck.drawing.flow import flow
from relucheck.drawing.folds import Fold, folded
from relucheck.drawing.graph import Row, rows
from relucheck.drawing.health import Health, Level, health, percent
from relucheck.drawing.histogram import histogram
from relucheck.drawing.marks import RANKED, health_mark
from relucheck.drawing.network import Lanes
from relucheck.drawing.over_steps import gradients, silent
from relucheck.drawing.shapes import Boxes, Disc, Drawing
from relucheck.drawing.svg import svg
from relucheck.drawing.units import units
from relucheck.measurements import Activation, Measurements
from relucheck.report._table import note
from relucheck.timeline import Watched

_MOST_CARDS = 200  # sites with pictures of their own; the tables hold all


@dataclass(frozen=True, slots=True)
class Card:
    """One activation site with its pictures."""

    id: str
    site: Activation
    health: Health
    histogram: str
    units: str


@dataclass(frozen=True, slots=True)
class View:
    """One network on a page; drawings are SVG, empty where there is nothing to draw."""

    id: str
    name: str
    facts: str
    last: Measurements
    graph: tuple[Row | Fold, ...]
    lanes: Lanes
    flow: str
    silent: str
    gradients: str
    cards: tuple[Card, ...]

    @property
    def longest_name(self) -> int:
        """Characters that the column of names needs, within bounds."""
        every = (row for part in self.graph for row in (part.rows if isinstance(part, Fold) else (part,)))
        return min(34, max((len(row.name) for row in every), default=0) + 2)

    def anchor(self, site: Activation) -> str:
        """Where the page tells more about a site."""
        return next((card.id for card in self.cards if card.site is site), f"{self.id}-activations")

    @property
    def contents(self) -> tuple[tuple[str, str], ...]:
        """The sections: where they begin and what they are called."""
        every = (
            (self.graph, "graph", "Network"),
            (self.silent, "silent", "Silent units"),
            (self.flow, "flow", "Gradient flow"),
            (self.gradients, "gradients", "Gradients over the steps"),
            (self.cards, "sites", "Activations"),
            (self.last.gradients, "layers", "Layers"),
        )
        return tuple((f"{self.id}-{end}", words) for there, end, words in every if there)


def view(shown: Watched, number: int, facts: str = "") -> View:
    """The view of the network of that number on its page."""
    name = f"net{number}"
    every = rows(shown.net, shown.last)
    return View(
        id=name,
        name=shown.name,
        facts=facts,
        last=shown.last,
        graph=folded(every),
        lanes=Lanes.of(every),
        flow=drawn(flow(shown)),
        silent=drawn(silent(shown)),
        gradients=drawn(gradients(shown)),
        cards=tuple(_cards(shown, name)),
    )


def _cards(shown: Watched, name: str) -> Iterator[Card]:
    for number, site in enumerate(shown.last.activations[:_MOST_CARDS]):
        yield Card(
            f"{name}-site{number}",
            site,
            health(site),
            drawn(histogram(site, shown.net)),
            drawn(units(site)),
        )


def drawn(drawing: Drawing | None) -> str:
    """A drawing as SVG; empty for none."""
    return "" if drawing is None else svg(drawing)


def where(views: Sequence[View]) -> Mapping[str, str]:
    """The anchors of the sites by the names under which findings speak of them."""
    named: dict[str, str] = {}
    for shown in views:
        for card in shown.cards:
            named.setdefault(card.site.name, card.id)
            named.setdefault(card.site.name.partition("#")[0], card.id)
    return named


def facts_of(m: Measurements) -> str:
    """How much was measured, in which mode, and how sure the counts are."""
    batches = f"{m.batches} batch{'' if m.batches == 1 else 'es'}"
    mode = f"{'training' if m.training else 'eval'} mode{f', {m.optimiser}' if m.optimiser else ''}"
    sure = note(m)
    said = f" {sure[0].upper()}{sure[1:]}." if sure else ""
    return f"{m.samples} samples in {batches}, {mode}.{said}"


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the summary with what it counts."""

    figure: str
    words: str
    look: str = ""


def tiles(networks: Sequence[Watched]) -> Iterator[Tile]:
    """The figures at the top of a page: sites, silent units, and the weakest gradient."""
    sites = [site for shown in networks for site in shown.last.activations]
    if sites:
        bad = [s for s in sites if health(s).level in (Level.NOTICE, Level.WARNING, Level.ERROR)]
        look = max((health(s).level for s in sites), key=RANKED.index).value
        words = f"of {len(sites)} activation sites need{'s' if len(bad) == 1 else ''} attention"
        yield Tile(str(len(bad)), words, look)
    one_sided = [s for s in sites if s.one_sided]
    if one_sided:
        dead, every = sum(s.dead for s in one_sided), sum(s.units for s in one_sided)
        yield Tile(percent(dead, every), f"silent units: {dead} of {every}")
    weakest = min(
        (g for n in networks for g in n.last.gradients if g.ratio and g.kind != "parameter"),
        key=lambda g: g.ratio or 1.0,
        default=None,
    )
    if weakest is not None and weakest.ratio is not None and weakest.ratio < 0.5:
        words = f"smallest share of the largest elasticity: {weakest.name}"
        yield Tile(f"1/{1 / weakest.ratio:,.0f}", words)


def marks() -> tuple[tuple[str, str], ...]:
    """The key of the network's marks: each as SVG with what it means."""
    said = (
        (health_mark(Level.GOOD, (9, 9)), "healthy"),
        (health_mark(Level.NOTICE, (9, 9)), "10 % of the units silent"),
        (health_mark(Level.WARNING, (9, 9)), "half of them silent or saturated"),
        (health_mark(Level.ERROR, (9, 9)), "90 % silent, or collapsed"),
        (health_mark(Level.UNKNOWN, (9, 9)), "too few samples"),
        ((Boxes(((3.5, 4.5, 11, 9),), "layer"),), "layer with weights"),
        ((Disc((9, 9), 4, "op"),), "other operation"),
    )
    return tuple((svg(Drawing(18, 18, words, shapes), hidden=True), words) for shapes, words in said)
