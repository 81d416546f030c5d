"""Comparing two nets of one model: what the source reader says, and what a real pass did.

Only affine layers and activations are compared: they are what the rules speak about. Each is
matched by its operation, its width and its place in the module tree, in order of execution (a
longest common subsequence); then the matched ones by what feeds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from relucheck.net import Net, Node
from relucheck.ops import Kind

KEYS = (Kind.AFFINE, Kind.ACTIVATION)
UNSURE = frozenset({Kind.JOIN, Kind.UNKNOWN})
"""Where a branch, a loop or an unknown call stands between."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two nets agree.

    ``seen`` operations were run. Of these the source reader is certain of ``agree``, ``maybe`` it has
    on a path that may not be taken, and the rest is behind something that it does not know.
    ``wrong`` lists operations that it is certain of and that did not run, ``wrong_edges`` those
    where it claims another producer.
    """

    seen: int
    agree: int
    maybe: int
    wrong: tuple[str, ...]
    wrong_edges: tuple[str, ...]
    edges: int

    @property
    def unknown(self) -> int:
        """Operations that ran and that the source reader is not certain of."""
        return self.seen - self.agree


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


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of an operation: its name, its width, and the module path of its layer.

    A path may hold more than the layer's own: the source reader notes every module on the way and a
    container twice. It ends with the calling module where a function is applied (``is_function``).
    """

    op: str
    width: int | None = None
    path: tuple[str, ...] = ()
    is_function: bool = False


def label(net: Net, node: Node, whole: bool = False) -> Label:
    """The label of an operation; ``whole``: the net's layer names are paths from the top."""
    layer = net.layer_of(node)
    args = net.args_of(node)
    width = args.get("out_features", args.get("out_channels")) if node.kind is Kind.AFFINE else None
    name = layer.name if layer is not None else ""
    path = name if whole and name else f"{node.scope}.{name}"
    words = tuple(word for word in path.split(".") if word)
    return Label(node.op, width if isinstance(width, int) else None, words, layer is None)


Aliases = Mapping[str, tuple[str, ...]]


def alike(said: Label, ran: Label, aliases: Aliases | None = None) -> bool:
    """Whether a label of the source may be that of a real pass: what is not known may be any.

    ``aliases`` are all paths of modules that a model holds under several.
    """
    if said.op != ran.op or not (said.width == ran.width or said.width is None or ran.width is None):
        return False
    return any(_leads_to(said, path) for path in _paths(ran.path, aliases or {}))


def _paths(path: tuple[str, ...], aliases: Aliases) -> Iterator[tuple[str, ...]]:
    """A path and, where a module on it has several, the others; such a one also without its holder."""
    yield path
    for length in range(1, len(path) + 1):
        for other in aliases.get(".".join(path[:length]), ()):
            yield (*other.split("."), *path[length:])
            yield (other.rpartition(".")[2], *path[length:])


def _leads_to(said: Label, path: tuple[str, ...]) -> bool:
    """Whether all of a path is in the longer one, in order; a function may apply a layer's parameters."""
    if not said.path or not path:
        return True
    words = iter(said.path)
    missing = [word for word in path if word not in words]
    if said.is_function:
        return not missing or missing == [path[-1]]
    return not missing and path[-1] == said.path[-1]


def compare(source: Net, tape: Net, aliases: Aliases | None = None) -> Agreement:
    """The agreement of the net read from source with the net of a real pass."""
    said, ran = keys_of(source), keys_of(tape)
    pairs = matched(
        [label(source, n) for n in said],
        [label(tape, n, whole=True) for n in ran],
        [not n.maybe for n in said],
        aliases,
    )
    to_ran = {said[i].id: ran[j] for i, j in pairs}
    certain = [node for node in said if not node.maybe]
    wrong = tuple(_describe(source, node) for node in certain if node.id not in to_ran)
    edges, wrong_edges = _compare_edges(source, tape, to_ran)
    agree = sum(1 for node in certain if node.id in to_ran)
    return Agreement(len(ran), agree, len(pairs) - agree, wrong, wrong_edges, edges)


def matched(
    said: list[Label], ran: list[Label], certain: list[bool], aliases: Aliases | None = None
) -> list[tuple[int, int]]:
    """Pairs of positions of a longest common subsequence; of two, the one with more certain items."""
    same = _sameness(said, ran, aliases or {})
    worth = [1000 if is_certain else 999 for is_certain in certain]
    best = [[0] * (len(ran) + 1) for _ in range(len(said) + 1)]
    for i in range(len(said) - 1, -1, -1):
        row, below, gain = best[i], best[i + 1], worth[i]
        for j in range(len(ran) - 1, -1, -1):
            paired = below[j + 1] + gain if same[i][j] else 0
            row[j] = max(paired, below[j], row[j + 1])
    pairs, i, j = [], 0, 0
    while i < len(said) and j < len(ran):
        if same[i][j] and best[i][j] == best[i + 1][j + 1] + worth[i]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _sameness(said: list[Label], ran: list[Label], aliases: Aliases) -> list[list[bool]]:
    """Which pairs of labels are alike; equal labels are compared once."""
    rows: dict[Label, list[bool]] = {}
    for one in said:
        if one not in rows:
            known: dict[Label, bool] = {}
            for other in ran:
                if other not in known:
                    known[other] = alike(one, other, aliases)
            rows[one] = [known[other] for other in ran]
    return [rows[one] for one in said]


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
