"""The single pictures of a measured network by name, as ``relucheck plot`` draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relucheck.drawing.flow import flow
from relucheck.drawing.histogram import histogram
from relucheck.drawing.network import network
from relucheck.drawing.over_steps import gradients, silent
from relucheck.drawing.shapes import Drawing
from relucheck.drawing.sheets import sheet
from relucheck.drawing.units import units
from relucheck.measurements import Activation
from relucheck.timeline import Watched

_COLUMNS = 3


def histograms(shown: Watched) -> Drawing | None:
    """The histograms of all sites on one sheet."""
    return _sites(shown, lambda site: histogram(site, shown.net))


def heat_maps(shown: Watched) -> Drawing | None:
    """The units of all sites on one sheet."""
    return _sites(shown, units)


def _sites(shown: Watched, draw: Callable[[Activation], Drawing | None]) -> Drawing | None:
    drawn = [(site.name, drawing) for site in shown.last.activations if (drawing := draw(site)) is not None]
    return sheet(drawn, _COLUMNS) if drawn else None


def alone(draw: Callable[[Watched], Drawing | None]) -> Callable[[Watched], Drawing | None]:
    """A chart on a sheet of its own, with the network's name."""

    def drawn(shown: Watched) -> Drawing | None:
        drawing = draw(shown)
        return None if drawing is None else sheet([(shown.name, drawing)], 1)

    return drawn


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its name: what it shows, how to draw it, and what it needs where there is nothing to draw."""

    name: str
    shows: str
    draw: Callable[[Watched], Drawing | None]
    needs: str


_STEPS = "several windows of steps, as relucheck run --json writes them"

PICTURES = (
    Picture("network", "the network as its graph, with the health of its activations", network, "operations"),
    Picture(
        "flow",
        "the gradient flow of its layers with the thresholds",
        alone(flow),
        "two layers of one kind that received a gradient",
    ),
    Picture("silent", "the silent units of each layer over the steps", alone(silent), _STEPS),
    Picture("gradients", "the gradient of each layer over the steps", alone(gradients), _STEPS),
    Picture(
        "histograms",
        "the pre-activations of each site beneath its curve",
        histograms,
        "an activation that was measured",
    ),
    Picture(
        "units",
        "the units of each site as heat maps",
        heat_maps,
        "an activation whose units can be told apart",
    ),
)
