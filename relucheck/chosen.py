"""The rules that options, ini settings and marks name, checked against those that there are."""

from __future__ import annotations

from collections.abc import Iterable

from relucheck.engine import known_rules, load_rules


def chosen(options: Iterable[str], where: str) -> tuple[str, ...]:
    """Selectors from options that may hold commas; raises UsageProblem, naming the nearest, for unknown ones."""
    parts = [part for option in options for part in option.split(",") if part.strip()]
    return known_rules(load_rules()).checked(parts, where) if parts else ()
