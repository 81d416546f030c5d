"""What a logger hears of an inspected step: numbers by name, of all networks that it ran."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from relucheck.measurements import Activation
from relucheck.tape.inspected import Inspected
from relucheck.tape.names import layer_of
from relucheck.tape.subject import Subject
from relucheck.timeline import Inspection

GROUP = "relucheck"
"""What every name begins with, so that a dashboard shows the figures in a section of their own."""


def inspection_of(passes: Sequence[Inspected], subjects: Iterable[Subject]) -> Inspection | None:
    """The figures of the passes, and of the windows that have closed; None where there is nothing to tell."""
    figures: dict[str, float] = {}
    activity: dict[str, tuple[float, ...]] = {}
    until = 0
    for one in passes:
        figures.update(_flow(one))
    for subject in subjects:
        window = subject.told()
        for site in window.measurements.activations if window is not None else ():
            layer = _inside(subject.path, site.name)
            figures[_name(layer, "silent" if site.one_sided else "saturated")] = _share(site)
            if site.activity:
                activity[_name(layer, "activity")] = site.activity
            until = max(until, subject.until)
    step = max((one.step for one in passes), default=until)
    return Inspection(step, figures, activity) if figures else None


def _flow(one: Inspected) -> Iterator[tuple[str, float]]:
    """Gradient, elasticity and update of each weight, in the order of declaration."""
    for parameter, size in one.sizes.items():
        layer = layer_of(_inside(one.subject.path, parameter))
        yield _name(layer, "gradient"), one.arrived[parameter]
        yield _name(layer, "elasticity"), one.arrived[parameter] * size
        if parameter in one.updates:
            yield _name(layer, "update"), one.updates[parameter]


def _share(site: Activation) -> float:
    if site.one_sided:
        return site.dead_share
    return site.saturated / site.units if site.units else 0.0


def _inside(path: str, name: str) -> str:
    return ".".join(filter(None, (path, name)))


def _name(layer: str, figure: str) -> str:
    return f"{GROUP}/{layer}/{figure}"
