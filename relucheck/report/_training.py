"""A watched training as text: the layers over time, then the findings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from relucheck.finding import Finding
from relucheck.measurements import DETERMINED_FROM, Gradient
from relucheck.report._saved import record
from relucheck.report._table import aligned, found, said, short
from relucheck.timeline import Moment, Watched

_COLUMNS = 5

_ELSEWHERE = (
    "backward passes of other threads were not watched: enter relucheck.watch() in the thread that trains"
)

NOTED = 0.1  # the share of a layer's units from which RLU601 speaks, given enough samples


def training_table(
    networks: Sequence[Watched],
    findings: Sequence[Finding],
    steps: int,
    inspected: int,
    *,
    ranks: Sequence[int] = (),
    world: int = 1,
    elsewhere: bool = False,
) -> str:
    """Per network and layer: silent share, gradient and update:weight ratio over the steps."""
    plural = "" if steps == 1 else "s"
    parts = [f"{steps} step{plural} (backward passes), {inspected} inspected{_processes(ranks, world)}"]
    parts += [_ELSEWHERE] if elsewhere else []
    parts += [_network(network, ranks) for network in networks]
    parts += [_nothing(steps)] if not networks and not elsewhere else []
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
        return "backward() was not called here, so there was nothing to measure"
    return (
        "no backward pass reached the parameters of a network that was called as a module, model(x): "
        "there was nothing to measure"
    )


def _undecided(network: Watched) -> list[str]:
    """Says why silent units that the table shows are no finding, where too few samples were seen."""
    sites = [a for a in network.last.activations if a.one_sided and a.undetermined]
    if not any(a.dead_share >= NOTED for a in sites):
        return []
    samples = min(a.samples for a in sites)
    return [
        f"silent units of {samples} samples are not judged one by one: watch until there are {DETERMINED_FROM}, "
        "with more steps inspected (first=, every=) or larger batches"
    ]


def _network(network: Watched, ranks: Sequence[int]) -> str:
    moments = _chosen(network.moments)
    heads = [_steps(moment) for moment in moments]
    rows = [_silent(name, moments) for name in _names(moments)]
    silent = [aligned([("silent units", *heads), *rows], names=1)] if rows else []
    flow = [("gradient norm(dL/dW)", *heads, "update:weight")]
    flow += [_flow(gradient, moments) for gradient in network.last.gradients]
    samples = sum(moment.samples for moment in network.moments)
    plural = "" if network.steps == 1 else "s"
    name = f"\n{network.name}: {samples} samples in {network.steps} inspected step{plural}"
    if tuple(ranks) != network.ranks:
        name += f" on {_named(network.ranks)}"
    grown = [aligned(flow, names=1)] if len(flow) > 1 else []
    return "\n".join([name, *silent, *grown, *_undecided(network)])


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
