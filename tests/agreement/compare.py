"""Comparing two nets of one model: what the source reader says, and what a real pass did.

Only affine layers and activations are compared: they are what the rules speak about. Each is
matched by its operation in order of execution (a longest common subsequence), then the matched ones
by what feeds them.
"""

from __future__ import annotations

from dataclasses import dataclass

from relucheck.net import Net, Node
from relucheck.ops import Kind

KEYS = (Kind.AFFINE, Kind.ACTIVATION)
UNSURE = frozenset({Kind.JOIN, Kind.UNKNOWN})
"""Where a branch, a loop or an unknown call stands between."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two nets agree.

    ``seen`` operations were run; of these the source reader knows ``agree``, and ``unknown`` are
    behind something that it does not know. ``wrong`` lists operations that it claims and that did
    not run, ``wrong_edges`` those where it claims another producer.
    """

    seen: int
    agree: int
    unknown: int
    wrong: tuple[str, ...]
    wrong_edges: tuple[str, ...]
    edges: int


def keys_of(net: Net) -> list[Node]:
    """The affine layers and activations of a net that depend on its input, in order of execution.

    Tables that are computed from parameters alone (relative positions) are left out: a pass records
    what happens to the input.
    """
    fed: set[int] = set()
    for node in net.nodes:
        if node.op in ("input", "random") or any(i in fed for i in node.inputs):
            fed.add(node.id)
    return [node for node in net.nodes if node.kind in KEYS and node.id in fed]


Label = tuple[str, int | None]


def label(net: Net, node: Node) -> Label:
    """An operation, with its width where that is known."""
    args = net.args_of(node)
    width = args.get("out_features", args.get("out_channels")) if node.kind is Kind.AFFINE else None
    return node.op, width if isinstance(width, int) else None


def alike(a: Label, b: Label) -> bool:
    """Whether two operations may be one: a width that is not known may be any."""
    return a[0] == b[0] and (a[1] == b[1] or a[1] is None or b[1] is None)


def compare(source: Net, tape: Net) -> Agreement:
    """The agreement of the net read from source with the net of a real pass."""
    said, ran = keys_of(source), keys_of(tape)
    pairs = matched(
        [label(source, n) for n in said], [label(tape, n) for n in ran], [not n.maybe for n in said]
    )
    to_ran = {said[i].id: ran[j] for i, j in pairs}
    claimed = [node for node in said if not node.maybe]
    wrong = tuple(_describe(source, node) for node in claimed if node.id not in to_ran)
    edges, wrong_edges = _compare_edges(source, tape, to_ran)
    return Agreement(len(ran), len(pairs), len(ran) - len(pairs), wrong, wrong_edges, edges)


def matched(a: list[Label], b: list[Label], certain: list[bool] | None = None) -> list[tuple[int, int]]:
    """Pairs of positions of a longest common subsequence; of two, the one with more certain items."""
    worth = [1000 if certain is None or is_certain else 999 for is_certain in (certain or [True] * len(a))]
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            same = best[i + 1][j + 1] + worth[i] if alike(a[i], b[j]) else 0
            best[i][j] = max(same, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        if alike(a[i], b[j]) and best[i][j] == best[i + 1][j + 1] + worth[i]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _describe(net: Net, node: Node) -> str:
    return f"{node.op} {net.label(node)} at {node.span}"


def _compare_edges(source: Net, tape: Net, to_ran: dict[int, Node]) -> tuple[int, tuple[str, ...]]:
    """The known edges between matched operations, and those that the pass does not have."""
    edges, wrong = 0, []
    for said_id, ran in to_ran.items():
        node = source.nodes[said_id]
        if node.maybe:
            continue
        feeds = upstream(tape, ran)
        for before in upstream(source, node, UNSURE):
            if before in to_ran:
                edges += 1
                if to_ran[before].id not in feeds:
                    wrong.append(f"{_describe(source, source.nodes[before])} -> {_describe(source, node)}")
    return edges, tuple(wrong)


def upstream(net: Net, node: Node, opaque: frozenset[Kind] = frozenset()) -> set[int]:
    """The nearest affine layers and activations that feed a node, through anything but ``opaque`` kinds."""
    found: set[int] = set()
    todo, seen = list(net.inputs(node)), set()
    while todo:
        current = todo.pop()
        if current.id in seen:
            continue
        seen.add(current.id)
        if current.kind in KEYS:
            found.add(current.id)
        elif current.kind not in opaque:
            todo.extend(net.inputs(current))
    return found
