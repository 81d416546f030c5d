"""A watched training as text: the layers over time, then the findings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from relucheck.finding import Finding
from relucheck.measurements import Gradient
from relucheck.report._saved import record
from relucheck.report._table import aligned, found, said, short
from relucheck.timeline import Moment, Watched

_COLUMNS = 5


def training_table(
    networks: Sequence[Watched],
    findings: Sequence[Finding],
    steps: int,
    inspected: int,
    *,
    ranks: Sequence[int] = (),
    world: int = 1,
) -> str:
    """Per network and layer: silent share, gradient and update:weight ratio over the steps."""
    plural = "" if steps == 1 else "s"
    parts = [f"{steps} step{plural} (backward passes), {inspected} inspected{_processes(ranks, world)}"]
    parts += [_network(network, ranks) for network in networks] or [_nothing(steps)]
    parts += [said(finding) for finding in findings]
    if networks and not findings:
        parts.append("\nNo mistakes found.")
    return "\n".join(parts)


def training_json(
    networks: Sequence[Watched], findings: Sequence[Finding], steps: int, inspected: int
) -> str:
    """The steps, the findings and, network by network, all figures over time."""
    content = {
        "steps": steps,
        "inspected": inspected,
        "findings": [found(finding) for finding in findings],
        "networks": [record(network) for network in networks],
    }
    return json.dumps(content, indent=2)


def _processes(ranks: Sequence[int], world: int) -> str:
    """Which processes of a distributed training are in a report."""
    if world == 1:
        return ""
    if len(ranks) == world:
        return f" on each of {world} ranks"
    return f" on {_named(ranks)} only, of {world} ranks"


def _named(ranks: Sequence[int]) -> str:
    return f"rank{'' if len(ranks) == 1 else 's'} {', '.join(map(str, ranks))}"


def _nothing(steps: int) -> str:
    if not steps:
        return "no backward pass ran, so there was nothing to measure"
    return "no backward pass reached a network's parameters through its own call"


def _network(network: Watched, ranks: Sequence[int]) -> str:
    moments = _chosen(network.moments)
    heads = [_steps(moment) for moment in moments]
    rows = [_silent(name, moments) for name in _names(moments)]
    silent = [aligned([("silent units", *heads), *rows], names=1)] if rows else []
    flow = [("gradient norm(dL/dW)", *heads, "update:weight")]
    flow += [_flow(gradient, moments) for gradient in network.last.gradients]
    samples = sum(moment.samples for moment in network.moments)
    name = f"\n{network.name}: {samples} samples in {network.steps} inspected steps"
    if tuple(ranks) != network.ranks:
        name += f" on {_named(network.ranks)}"
    return "\n".join([name, *silent, *([aligned(flow, names=1)] if len(flow) > 1 else [])])


def _chosen(moments: Sequence[Moment]) -> list[Moment]:
    """The first, the last and some between, evenly."""
    if len(moments) <= _COLUMNS:
        return list(moments)
    last = len(moments) - 1
    return [moments[round(i * last / (_COLUMNS - 1))] for i in range(_COLUMNS)]


def _steps(moment: Moment) -> str:
    return f"step {moment.first}" if moment.first == moment.last else f"{moment.first}-{moment.last}"


def _names(moments: Sequence[Moment]) -> list[str]:
    return list(dict.fromkeys(name for moment in moments for name in moment.silent))


def _silent(name: str, moments: Sequence[Moment]) -> tuple[str, ...]:
    return (short(name), *(_cell(moment.silent, name, "{:.0%}") for moment in moments))


def _flow(gradient: Gradient, moments: Sequence[Moment]) -> tuple[str, ...]:
    cells = [_cell(moment.gradient, gradient.name, "{:.1e}") for moment in moments]
    update = f"{gradient.update:.1e}" if gradient.update is not None else ""
    return (short(gradient.name), *cells, "frozen" if gradient.frozen else update)


def _cell(values: Mapping[str, float], name: str, form: str) -> str:
    return form.format(values[name]) if name in values else "-"
