"""``relucheck.probe``: real passes in, a report out. It joins the tape, the engine and the rules."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relucheck.config import Configuration, Settings, rank_to_fail_on
from relucheck.engine import in_order, load_rules, raw_findings, selected, without_commented, yielded
from relucheck.finding import Finding, Related, RuleModule
from relucheck.measurements import Activation, Gradient, Measurements
from relucheck.net import Crash, Net, Node
from relucheck.span import Span
from relucheck.tape.batches import LossFunction, ProbeError
from relucheck.tape.probe import Measured, measure
from relucheck.timeline import Watched

__all__ = ["ProbeError", "Report", "probe"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a probe found; ``findings`` come from the structural and the measured rules."""

    findings: tuple[Finding, ...]
    measurements: Measurements
    net: Net
    crashes: tuple[Crash, ...] = ()

    @property
    def activations(self) -> tuple[Activation, ...]:
        """One record for each activation site, in order of execution."""
        return self.measurements.activations

    @property
    def gradients(self) -> tuple[Gradient, ...]:
        """One record for each weight, from input to output."""
        return self.measurements.gradients

    @property
    def nets(self) -> tuple[Net, ...]:
        """The network as read off the first pass."""
        return (self.net,)

    @property
    def shown(self) -> Watched:
        """What pictures are drawn of: the network as at one moment."""
        m = self.measurements
        return Watched(m.name, m.batches, (), m, m, self.net)

    def table(self) -> str:
        """The figures and the findings as text for a terminal."""
        from relucheck.report._table import table

        return table(self.measurements, self.findings)

    def to_json(self) -> str:
        """The figures and the findings as one JSON object."""
        from relucheck.report._table import as_json

        return as_json(self.shown, self.findings)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as one self-contained HTML page, also written to ``path`` where one is given.

        Needs Jinja2 (``pip install "relucheck[report]"``); raises ImportError without it.
        """
        from relucheck.report._html import page

        text = page(self.shown, self.findings)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def failing(self, fail_on: str = "warning") -> tuple[Finding, ...]:
        """The findings at or above a severity; ``never`` fails on none. Raises ValueError for any other word."""
        rank = rank_to_fail_on(fail_on)
        return tuple(finding for finding in self.findings if finding.severity.rank >= rank)

    def raise_if_unhealthy(self, fail_on: str = "warning") -> None:
        """Raises AssertionError with the table where a finding is at or above that severity."""
        __tracebackhide__ = True  # pytest shows the caller's line instead
        failing = self.failing(fail_on)
        if failing:
            count = f"{len(failing)} finding{'s' if len(failing) > 1 else ''}"
            raise AssertionError(f"{self.measurements.name} is not healthy: {count}\n\n{self.table()}")


def probe(
    model: Any,
    batches: Any,
    loss_fn: LossFunction | None = None,
    *,
    max_batches: int | None = None,
    batch_axis: int = 0,
    optimiser: object = None,
    configuration: Configuration | None = None,
) -> Report:
    """Runs real passes of ``model`` over ``batches`` and reports on its activations and gradients.

    ``batches`` is an iterable of batches: a tensor, a dict of keyword arguments, or
    ``(inputs, targets)``, where inputs is a tensor, a tuple or a dict. Without ``loss_fn`` the
    output's own ``.loss`` is used, else a fixed random projection of every floating output. The
    model, its buffers, gradients, flags and the random generators are left as they were.
    Raises ProbeError (a ValueError) where batches, output or loss cannot be used.
    """
    measured = measure(
        model, batches, loss_fn, max_batches=max_batches, batch_axis=batch_axis, optimiser=optimiser
    )
    findings, crashes = judge(measured, load_rules(), configuration or Settings())
    return Report(findings, measured.measurements, measured.net, crashes)


def judge(
    measured: Measured, rules: Sequence[RuleModule], configuration: Configuration
) -> tuple[tuple[Finding, ...], tuple[Crash, ...]]:
    """What the rules say about a net and its measurements, each mistake once, less what comments suppress.

    One line of source may run many layers (``self.net(x)`` of a Sequential, the forward of a block
    used eight times), while rules take places for identities. So they judge copies on which the
    place of every node is its own position, and the findings get the true places afterwards.
    """
    places = _Places.of(measured.net)
    raw = raw_findings((places.net, places.marked(measured.measurements)), rules)
    settled = yielded(selected(raw.findings, rules, configuration), rules)
    findings = in_order(places.resolved(_whole_first(settled)))
    return without_commented(without_repeats(findings, measured.net)), raw.crashes


def _whole_first(findings: Iterable[Finding]) -> list[Finding]:
    """Without the linear stacks of a network that is affine as a whole: that is one mistake."""
    findings = list(findings)
    affine = any(finding.code == "RLU621" for finding in findings)
    return [finding for finding in findings if not (affine and finding.code == "RLU201")]


@dataclass(frozen=True, slots=True)
class _Places:
    """Marks that stand for the places of a net's nodes."""

    net: Net
    true: dict[Span, Node]

    @classmethod
    def of(cls, net: Net) -> _Places:
        marks = {_mark(node, net.path): node for node in net.nodes}
        nodes = tuple(replace(node, span=mark, callers=()) for mark, node in marks.items())
        outputs = tuple(replace(o, span=nodes[o.node].span) for o in net.outputs)
        return cls(replace(net, nodes=nodes, outputs=outputs), marks)

    def marked(self, m: Measurements) -> Measurements:
        return replace(
            m,
            activations=tuple(self._marked(a) for a in m.activations),
            gradients=tuple(self._marked(g) for g in m.gradients),
            outputs=tuple(self._marked(o) for o in m.outputs),
            affine=self._marked(m.affine),
        )

    def _marked(self, record: Any) -> Any:
        return record if record.node is None else replace(record, span=self.net.nodes[record.node].span)

    def resolved(self, findings: Iterable[Finding]) -> list[Finding]:
        return [self._resolved(finding) for finding in findings]

    def _resolved(self, finding: Finding) -> Finding:
        node = self.true.get(finding.span) if finding.span is not None else None
        layer = finding.layer or (self.net.label(node) if node is not None else "")
        related = tuple(
            Related(s, r.message) for r in finding.related if (s := self._span(r.span)) is not None
        )
        subjects = frozenset(s for mark in finding.subjects if (s := self._span(mark)) is not None)
        span = self._span(finding.span)
        return replace(finding, span=span, layer=layer, related=related, subjects=subjects, fix=None)

    def _span(self, mark: Span | None) -> Span | None:
        node = self.true.get(mark) if mark is not None else None
        return node.span if node is not None else mark if mark is not None and mark.row > 0 else None


def _mark(node: Node, path: str) -> Span:
    """A place that no source has: rows count down from -1."""
    return Span(path, None, -1 - node.id, 1, -1 - node.id, 2)


def without_repeats(findings: Iterable[Finding], net: Net) -> tuple[Finding, ...]:
    """Structural findings once for each line of a class, however many instances of it ran."""
    first: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        measured = finding.code.startswith("RLU6")
        name = finding.layer if measured else _relative(finding.layer)
        first.setdefault((finding.code, finding.span, name, finding.message if measured else ""), finding)
    return tuple(first.values())


def _relative(layer: str) -> str:
    """A layer's name with the positions of the blocks around it left out: ``blocks.*.act``."""
    *outer, last = layer.split(".")
    return ".".join([*("*" if part.isdigit() else part for part in outer), last])
