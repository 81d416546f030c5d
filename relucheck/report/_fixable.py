"""The closing line about fixes: how many ``--fix`` makes, and how many wait for ``--unsafe-fixes``."""

from __future__ import annotations

from collections.abc import Iterable

from relucheck.finding import Finding, Safety


def fixable(findings: Iterable[Finding], *, unsafe: bool, fixed: bool) -> str:
    """The line, worded as ruff's; empty where there is nothing to offer.

    ``unsafe``: unsafe fixes are asked for as well; ``fixed``: what can be fixed has been.
    """
    safeties = [finding.fix.safety for finding in findings if finding.fix is not None]
    hidden = 0 if unsafe else safeties.count(Safety.UNSAFE)
    ready = 0 if fixed else len(safeties) - hidden
    more = f"{hidden} hidden fix{'' if hidden == 1 else 'es'} can be enabled with the `--unsafe-fixes` option"
    if ready:
        return f"[*] {ready} fixable with the `--fix` option{f' ({more})' if hidden else ''}."
    return f"No fixes available ({more})." if hidden else ""
