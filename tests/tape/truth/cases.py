"""All networks of known truth."""

from __future__ import annotations

from tests.tape.truth import gradients, layers, mixed, spellings, traps

CASES = (*spellings.CASES, *layers.CASES, *mixed.CASES, *traps.CASES, *gradients.CASES)
