"""What each checker says of a network, in its documented default use, brought to one form.

A peer that is not installed is left out; each is run on a network of its own, in the middle of a training loop (SGD,
rate 1e-3) where it is made for that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from relucheck.finding import Severity
from relucheck.live import probe
from relucheck.tape.batches import projection
from tests.tape.truth.case import Case, called


@dataclass(slots=True)
class Said:
    """What a checker said: layers with dead units as (units, dead), other dead flags, a gradient alarm, a crash."""

    counts: list[tuple[int, int]] = field(default_factory=list)
    flag: str = ""
    gradient: str = ""
    crash: str = ""


Tool = Callable[[Case], Said]


def relucheck(case: Case) -> Said:
    """``relucheck.probe`` on all batches."""
    report = probe(case.model(), case.batches(), case.loss)
    alarms = [f for f in report.findings if f.code.startswith("RLU6") and f.severity is not Severity.ADVICE]
    dead = [f.code for f in alarms if f.code in ("RLU601", "RLU602", "RLU605")]
    flow = [f"{f.code} {f.name} at {f.layer}" for f in alarms if f.code in FLOW]
    counts = [(a.units, a.dead) for a in report.activations if a.dead]
    return Said(counts, ", ".join(dead), "; ".join(flow), "; ".join(map(str, report.crashes)))


FLOW = frozenset({"RLU611", "RLU612", "RLU613", "RLU614", "RLU615", "RLU616"})


def torchdiag(case: Case) -> Said:
    """``check_dead_neurons(model, sample_input)`` with one batch, ``check_gradients`` after one backward."""
    import torchdiag as peer

    model, batches = case.model(), case.batches()
    said = Said()
    with contextlib.redirect_stdout(io.StringIO()):
        found = peer.check_dead_neurons(model, inputs_of(batches[0]))
        loss_of(case, model, batches[0]).backward()
        stats = peer.check_gradients(model)
    said.counts = [(one["total"], one["dead"]) for one in found.values() if one["dead"]]
    said.gradient = "; ".join(f"{n}: {s['status']}" for n, s in stats.items() if s["status"] != "OK")
    return said


def traintools(case: Case) -> Said:
    """``PlasticityProbe`` around a training loop, ``GradientHealthMonitor`` after each backward."""
    from traintools.gradhealth import GradientHealthMonitor
    from traintools.plasticity import PlasticityProbe

    model = case.model()
    probe_, monitor, said = PlasticityProbe(model), GradientHealthMonitor(), Said()
    try:
        warned: list[str] = []
        for step, _ in enumerate(training(case, model)):
            warned += monitor.inspect(model, step=step).warnings
        layers = probe_.measure().layers
    finally:
        probe_.remove_hooks()
    said.counts = [(x.n_units, round(x.dead_fraction * x.n_units)) for x in layers if x.dead_fraction]
    said.gradient = "; ".join(dict.fromkeys(warned))
    return said


def torchtest2(case: Case) -> Said:
    """``check_model`` on one batch with its loss."""
    import torchtest2 as peer

    model, batch = case.model(), case.batches()[0]
    targets = batch[1] if case.loss is not None else None
    report = peer.check_model(model, inputs_of(batch), targets, loss_fn=case.loss)
    flow = report["gradient_flow"]
    dead = "dead ReLU" in flow.message
    alarms = [r for r in (flow, report["gradient_magnitude"]) if r.status.value in ("WARN", "FAIL")]
    alarms = [r for r in alarms if not (r is flow and dead)]
    return Said([], flow.message if dead else "", "; ".join(r.message for r in alarms))


PEERS: dict[str, tuple[str, Tool]] = {
    "torchdiag": ("torchdiag", torchdiag),
    "traintools": ("traintools", traintools),
    "torchtest2": ("torchtest2", torchtest2),
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(PEERS[name][0]) is not None


def inputs_of(batch: Any) -> Any:
    return batch[0] if isinstance(batch, tuple | list) else batch


def loss_of(case: Case, model: nn.Module, batch: Any) -> Tensor:
    output = called(model, batch)
    return projection(output) if case.loss is None else case.loss(output, batch[1])


def training(case: Case, model: nn.Module) -> Iterator[None]:
    """A plain loop over the data; each step stops between backward and the optimiser's step."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for batch in case.batches():
        optimiser.zero_grad()
        loss_of(case, model, batch).backward()
        yield
        optimiser.step()


def said_by(tool: Tool, case: Case) -> Said:
    """A tool's verdict, or how it broke: a crash of a peer is a result here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tool(case)
        except Exception as error:  # whatever a peer raises is what its user would see
            return Said(crash=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
