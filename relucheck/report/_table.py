"""Measurements as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from relucheck.finding import Finding
from relucheck.measurements import Activation, Gradient, Measurements
from relucheck.paths import place
from relucheck.report._saved import record
from relucheck.span import Span
from relucheck.timeline import Watched

_HEADS = ("layer", "function", "units", "dead", "on", "saturated", "gradient", "elasticity")
_WIDEST = 44


def table(m: Measurements, findings: Sequence[Finding]) -> str:
    """Activation sites with the gradient of the layer that feeds them, then the findings."""
    rows = _rows(m)
    parts = [_heading(m)]
    if rows:
        parts.append(aligned([_HEADS, *rows]))
    sure = note(m)
    if sure:
        parts.append(sure)
    parts += [said(finding) for finding in findings]
    return "\n".join(parts) + ("" if findings else "\nNo mistakes found.")


def _heading(m: Measurements) -> str:
    mode = "training" if m.training else "eval"
    batches = f"{m.batches} batch{'es' if m.batches != 1 else ''}"
    return f"{m.name}: {m.samples} samples in {batches}, {mode} mode"


def _rows(m: Measurements) -> list[tuple[str, ...]]:
    """Sites and layers in the order in which the network runs them."""
    gradients = {g.name: g for g in m.gradients}
    fed = {a.producer for a in m.activations}
    placed: list[tuple[float, tuple[str, ...]]] = []
    for site in m.activations:
        placed.append((_position(site.node), _site_row(site, gradients.get(site.producer))))
    for gradient in m.gradients:
        if gradient.name not in fed:
            placed.append((_position(gradient.node), _layer_row(gradient)))
    return [row for _, row in sorted(placed, key=lambda pair: pair[0])]


def _position(node: int | None) -> float:
    return float("inf") if node is None else node


def _site_row(site: Activation, gradient: Gradient | None) -> tuple[str, ...]:
    dead = _share(site.dead, site.units) if site.one_sided else "-"
    linear = str(site.linear) if site.one_sided else "-"
    return (
        short(site.name),
        site.function,
        str(site.units),
        dead,
        linear,
        str(site.saturated),
        *_flow(gradient),
    )


def _layer_row(gradient: Gradient) -> tuple[str, ...]:
    return (short(gradient.name), gradient.kind, "", "", "", "", *_flow(gradient))


def _flow(gradient: Gradient | None) -> tuple[str, str]:
    if gradient is None:
        return "", ""
    if gradient.frozen:
        return "frozen", ""
    if gradient.norm is None or gradient.elasticity is None:
        return "none", ""
    return f"{gradient.norm:.1e}", f"{gradient.elasticity:.1e}"


def _share(count: int, units: int) -> str:
    return f"{count} ({count / units:.0%})" if count else "0"


def short(name: str) -> str:
    """The end of a name that is too long for a column."""
    return name if len(name) <= _WIDEST else "..." + name[-_WIDEST + 3 :]


def aligned(rows: Sequence[Sequence[str]], *, names: int = 2) -> str:
    """Rows of cells as columns, the first ``names`` of them from the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        left = [cell.ljust(width) for cell, width in zip(row[:names], widths[:names], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[names:], widths[names:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines)


def note(m: Measurements) -> str:
    """How sure the counts of silent units are."""
    sites = [a for a in m.activations if a.one_sided]
    if not sites:
        return "" if m.activations else "no activation was applied to any layer's output"
    bound = max(site.max_active_probability for site in sites)
    sure = "" if not any(site.undetermined for site in sites) else " (use 299 samples or more for 1 %)"
    return f"a unit counted as dead fires on at most {bound:.1%} of inputs, with 95 % confidence{sure}"


def said(finding: Finding) -> str:
    """A finding with its place and what to do."""
    help_ = f"\n    {finding.help}" if finding.help else ""
    return f"\n{place(finding.span)}{finding.code} {finding.severity.value}: {finding.message}{help_}"


def as_json(shown: Watched, findings: Iterable[Finding]) -> str:
    """The figures under the names of the records' fields; places as in the other reports.

    ``networks`` is what pictures are drawn of (``relucheck plot``).
    """
    m = shown.last
    content = {
        "model": m.name,
        "samples": m.samples,
        "batches": m.batches,
        "findings": [found(finding) for finding in findings],
        "activations": [_activation(site) for site in m.activations],
        "gradients": [_gradient(gradient) for gradient in m.gradients],
        "affine": {
            "verdict": m.affine.verdict.value,
            "spread": m.affine.spread,
            "equivalent": m.affine.equivalent,
        },
        "networks": [record(shown)],
    }
    return json.dumps(content, indent=2)


def found(finding: Finding) -> dict[str, Any]:
    """The JSON object of a finding."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        "help": finding.help,
        "layer": finding.layer,
        **_place(finding.span),
    }


def _place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {"filename": None, "location": None}
    return {"filename": span.path, "location": {"row": span.row, "column": span.column}}


def _activation(site: Activation) -> dict[str, Any]:
    return {
        "name": site.name,
        "function": site.function,
        "units": site.units,
        "dead": site.dead,
        "linear": site.linear,
        "saturated": site.saturated,
        "certified": site.certified,
        "signal": site.signal,
        "cosine": site.cosine,
        "dimension": site.dimension,
        "dead_units": list(site.dead_units),
        "samples": site.samples,
        "max_active_probability": site.max_active_probability,
        "undetermined": site.undetermined,
        **_place(site.span),
    }


def _gradient(gradient: Gradient) -> dict[str, Any]:
    return {
        "name": gradient.name,
        "parameter": gradient.parameter,
        "norm": gradient.norm,
        "weight_norm": gradient.weight_norm,
        "elasticity": gradient.elasticity,
        "rms": gradient.rms,
        "ratio": gradient.ratio,
        "update": gradient.update,
        "first_update": gradient.first_update,
        "underflow": gradient.underflow,
        "frozen": gradient.frozen,
        "no_gradient": gradient.no_gradient,
        **_place(gradient.span),
    }
