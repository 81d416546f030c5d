"""Saying what lint did not read to its end, so that silence is not mistaken for a network without mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relucheck.net import Unfinished

MOST_FILES = 3
MOST_NAMES = 4
_ADVICE = "relucheck.probe judges what it makes when it runs"


def told(unfinished: Sequence[Unfinished], *, everything: bool = False) -> Iterator[str]:
    """One line for each file; of more than a few files one line for all, unless ``everything`` is wanted."""
    files: dict[str, list[str]] = {}
    for code in unfinished:
        files.setdefault(code.path, []).append(code.name)
    if len(files) > MOST_FILES and not everything:
        first = unfinished[0]
        yield (
            f"{len(unfinished)} parts of {len(files)} files take more steps than lint follows, and are not judged: "
            f"{first.name} in {first.path}, ... (--verbose names all); {_ADVICE}"
        )
        return
    for path, names in files.items():
        yield f"{path}: {_listed(names, everything)} more steps than lint follows, and is not judged; {_ADVICE}"


def _listed(names: Sequence[str], everything: bool) -> str:
    """``f, g and 3 more: each takes``."""
    shown = names if everything or len(names) <= MOST_NAMES else names[:MOST_NAMES]
    if len(names) == 1:
        return f"{names[0]} takes"
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return f"{', '.join(shown)}{more}: each takes"
