"""Drawings of networks: the graph's lanes, folds, health, curves and colours, on records made by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest

from relucheck.curves import curve
from relucheck.drawing import folds, health
from relucheck.drawing.axes import power, shortened, ticks
from relucheck.drawing.flow import flow
from relucheck.drawing.folds import Fold, folded
from relucheck.drawing.graph import Row, rows
from relucheck.drawing.health import Level
from relucheck.drawing.histogram import bent, histogram
from relucheck.drawing.looks import DARK, LIGHT, LOOKS
from relucheck.drawing.marks import health_mark
from relucheck.drawing.network import network
from relucheck.drawing.over_steps import silent
from relucheck.drawing.shapes import Anchor, Boxes, Disc, Path, Text
from relucheck.drawing.svg import style, svg
from relucheck.drawing.units import units
from relucheck.measurements import Activation, Gradient, Histogram, Measurements
from relucheck.net import Layer, Net, Node, Output
from relucheck.rules import dead_layer, dead_units, saturated_units
from relucheck.timeline import Moment, Watched

NONE = Measurements("Net", 400, 1, True)


def net(*steps: tuple[str, str, tuple[int, ...]]) -> Net:
    """Nodes as (operation, layer, inputs); the last one leaves the network."""
    layers = tuple(
        Layer(i, op, name, "Net", {})
        for i, (op, name) in enumerate(sorted({(o, n) for o, n, _ in steps if n}))
    )
    ids = {(layer.op, layer.name): layer.id for layer in layers}
    nodes = tuple(Node(i, op, read, ids.get((op, name))) for i, (op, name, read) in enumerate(steps))
    return Net("Net", "", layers, nodes, (Output(len(nodes) - 1, "Net", "forward", None),))


RESIDUAL = net(
    ("input", "", ()),
    ("conv", "conv1", (0,)),
    ("batch_norm", "bn1", (1,)),
    ("relu", "act", (2,)),
    ("conv", "conv2", (3,)),
    ("add", "", (4, 0)),
    ("view", "", (5,)),
    ("linear", "head", (6,)),
)


def lanes(graph: Net) -> list[tuple[str, int, tuple[int, ...], tuple[int, ...]]]:
    return [(r.node.op, r.lane, r.arrive, r.pass_by) for r in rows(graph, NONE)]


def test_a_shortcut_keeps_its_lane_and_the_branch_leaves_it() -> None:
    assert lanes(RESIDUAL) == [
        ("input", 0, (), ()),
        ("conv", 1, (0,), (0,)),
        ("batch_norm", 1, (1,), (0,)),
        ("relu", 1, (1,), (0,)),
        ("conv", 1, (1,), (0,)),
        ("add", 0, (0, 1), ()),
        ("linear", 0, (0,), ()),  # the reshape before it is no row of its own
    ]


def test_two_outputs_are_two_lanes() -> None:
    heads = net(("input", "", ()), ("linear", "a", (0,)), ("linear", "b", (0,)))
    assert lanes(heads) == [("input", 0, (), ()), ("linear", 1, (0,), (0,)), ("linear", 0, (0,), ())]


def test_metrics_beside_the_loss_are_no_part_of_the_network() -> None:
    graph = net(
        ("input", "", ()),
        ("linear", "head", (0,)),
        ("argmax", "", (1,)),
        ("compare", "", (2,)),
        ("cross_entropy", "", (1,)),
    )
    graph = replace(graph, outputs=(Output(1, "Net", "forward", None),))
    assert [r.node.op for r in rows(graph, NONE)] == ["input", "linear", "cross_entropy"]


def blocks(count: int, name: str = "blocks.{}.{}") -> Net:
    """Pre-activation residual blocks behind a stem that looks like the end of a block."""
    steps: list[tuple[str, str, tuple[int, ...]]] = [("input", "", ()), ("linear", "stem", (0,))]
    for i in range(count):
        start = len(steps) - 1
        for j, op in enumerate(("layer_norm", "linear", "relu", "linear")):
            steps.append((op, name.format(i, f"{op}{j}"), (start + j,)))
        steps.append(("add", "", (start, start + 4)))
    return net(*steps)


def test_repeated_blocks_of_a_long_network_are_folded() -> None:
    parts = folded(rows(blocks(20), NONE))
    shown = [part.name for part in parts if isinstance(part, Row) and part.name]
    (fold,) = [part for part in parts if isinstance(part, Fold)]
    assert shown == ["stem", *(f"blocks.0.{n}" for n in ("layer_norm0", "linear1", "relu2", "linear3"))]
    assert (fold.period, fold.repeats) == (5, 19)
    assert fold.words == "The same 5 steps 19 times more: blocks.1.layer_norm0 to blocks.19.linear3"


def test_every_row_is_in_the_parts_once() -> None:
    every = rows(blocks(20), NONE)
    parts = folded(every)
    flat = [row for part in parts for row in (part.rows if isinstance(part, Fold) else (part,))]
    assert tuple(flat) == every


def staged(*stages: tuple[str, int]) -> Net:
    """Stages of residual blocks as in ResNet-50: the shortcut of each stage's first block has a layer of its own."""
    steps: list[tuple[str, str, tuple[int, ...]]] = [("input", "", ())]
    for name, count in stages:
        for i in range(count):
            short = len(steps) - 1
            for op, layer in (("conv", "conv1"), ("relu", "act1"), ("conv", "conv2"), ("batch_norm", "bn2")):
                steps.append((op, f"{name}.{i}.{layer}", (len(steps) - 1,)))
            branch = len(steps) - 1
            if i == 0:
                steps.append(("conv", f"{name}.{i}.short", (short,)))
                short = len(steps) - 1
            steps.append(("add", "", (branch, short)))
            steps.append(("relu", f"{name}.{i}.act2", (len(steps) - 1,)))
    return net(*steps)


def test_blocks_are_not_folded_across_their_seams() -> None:
    """Two full blocks after a stage's first one, and most of the next stage's first, are not three blocks."""
    parts = folded(rows(staged(("a", 3), ("b", 6), ("c", 6)), NONE))
    ends = [(p.rows[0].name, p.rows[-1].name, p.repeats) for p in parts if isinstance(p, Fold)]
    assert ends == [("b.2.conv1", "b.5.act2", 4), ("c.2.conv1", "c.5.act2", 4)]


def test_a_straight_line_keeps_its_bends_only() -> None:
    points = [(x / 8, max(0.0, x / 8)) for x in range(-32, 33)]
    assert list(bent(points)) == [(-4.0, 0.0), (0.0, 0.0), (4.0, 4.0)]


def test_a_short_network_is_shown_whole() -> None:
    every = rows(blocks(14), NONE)
    assert len(every) < folds.LONG
    assert folded(every) == every


def test_the_steps_of_a_loop_in_time_are_folded_earlier() -> None:
    (fold,) = [p for p in folded(rows(blocks(8, "cell.{1}"), NONE)) if isinstance(p, Fold)]
    assert (fold.period, fold.repeats) == (5, 7)


def site(**figures: object) -> Activation:
    given = {"name": "act", "function": "relu", "units": 20, "samples": 400, "one_sided": True}
    return Activation(**{**given, **figures})  # type: ignore[arg-type]


def test_a_fold_opens_where_it_hides_a_fault() -> None:
    graph = blocks(20)
    last_relu = max(n.id for n in graph.nodes if n.op == "relu")
    dead = site(name="blocks.19.relu2", node=last_relu, dead_units=tuple(range(15)))
    (fold,) = [p for p in folded(rows(graph, replace(NONE, activations=(dead,)))) if isinstance(p, Fold)]
    assert fold.hides_a_fault
    picture = network(Watched("Net", 1, (), NONE, replace(NONE, activations=(dead,)), graph))
    assert "75 % silent" in [s.words for s in picture.shapes if isinstance(s, Text)]


@pytest.mark.parametrize(
    ("figures", "level", "words"),
    [
        ({}, Level.GOOD, "healthy"),
        ({"dead_units": (1,)}, Level.GOOD, "5 % silent"),
        ({"dead_units": (1, 2)}, Level.NOTICE, "10 % silent"),
        ({"dead_units": tuple(range(10))}, Level.WARNING, "50 % silent"),
        ({"dead_units": tuple(range(18))}, Level.ERROR, "90 % silent"),
        (
            {"dead_units": tuple(range(10)), "linear_units": tuple(range(10, 19))},
            Level.ERROR,
            "collapsed: 50 % silent, 45 % always on",
        ),
        ({"one_sided": False, "saturated_units": tuple(range(10))}, Level.WARNING, "50 % saturated"),
        ({"samples": 31, "dead_units": tuple(range(20))}, Level.UNKNOWN, "31 samples: too few to judge"),
    ],
)
def test_health_has_the_levels_of_the_rules(figures: dict[str, object], level: Level, words: str) -> None:
    assert health.health(site(**figures)) == health.Health(level, words)


def test_levels_are_those_of_the_rules() -> None:
    assert [share for share, _ in health.LEVELS] == [share for share, _ in dead_units.LEVELS]
    assert health.COLLAPSED == dead_units.COLLAPSED == dead_layer.COLLAPSED
    assert health.SATURATED == saturated_units.SHARE


def test_each_level_has_a_form_of_its_own() -> None:
    forms = set()
    for level in Level:
        shapes = health_mark(level, (0, 0))
        corners = len(shapes[0].points) if isinstance(shapes[0], Path) else 0
        forms.add((type(shapes[0]), corners, len(shapes), bool(LOOKS[shapes[0].look].dash)))
    assert len(forms) == len(Level)


@pytest.mark.parametrize(
    ("count", "every", "words"),
    [(0, 9, "0 %"), (1, 3904, "< 1 %"), (1, 3, "33 %"), (999, 1000, "> 99 %"), (9, 9, "100 %")],
)
def test_percent_never_calls_some_none_or_nearly_all_all(count: int, every: int, words: str) -> None:
    assert health.percent(count, every) == words


COUNTED = Histogram(-4.0, 4.0, (0, 10, 30, 10, 10, 20, 15, 0), below=3, above=2)


def test_bars_are_shares_and_the_plateau_of_relu_ends_at_zero() -> None:
    drawing = histogram(site(histogram=COUNTED), RESIDUAL)
    assert drawing is not None
    (bars,) = [s for s in drawing.shapes if isinstance(s, Boxes) and s.look == "bars"]
    heights = [height for _, _, _, height in bars.boxes]
    assert [h / heights[1] for h in heights] == pytest.approx([1 / 3, 1, 1 / 3, 1 / 3, 2 / 3, 1 / 2])
    (flat,) = [s for s in drawing.shapes if isinstance(s, Boxes) and s.look == "flat"]
    (zero,) = [
        s for s in drawing.shapes if isinstance(s, Text) and s.words == "0" and s.anchor is Anchor.MIDDLE
    ]
    x, _, width, _ = flat.boxes[0]
    assert x + width == pytest.approx(zero.at[0], abs=1.0)
    assert {"3 % below", "2 % above"} <= {s.words for s in drawing.shapes if isinstance(s, Text)}


def test_a_slope_that_passes_through_zero_is_no_plateau() -> None:
    drawing = histogram(site(function="gelu", histogram=replace(COUNTED, low=-2.0, high=6.0)), RESIDUAL)
    assert drawing is not None
    assert not [s for s in drawing.shapes if isinstance(s, Boxes) and s.look in ("flat", "weak")]


def test_a_site_without_a_histogram_has_no_picture_of_it() -> None:
    assert histogram(site(), RESIDUAL) is None


def test_cells_of_units_by_kind() -> None:
    told = site(
        units=6, dead_units=(0,), linear_units=(1,), saturated_units=(2,), activity=(0, 1, 0.5, 0.1, 0.52, 1)
    )
    drawing = units(told)
    assert drawing is not None
    cells = [s for s in drawing.shapes if isinstance(s, Boxes) and s.look != "hole"]
    assert {s.look: len(s.boxes) for s in cells} == {
        "dead": 1,
        "on": 1,
        "saturated": 1,
        "fires-1": 1,
        "fires-5": 1,
        "fires-10": 1,
    }
    assert units(site(function="gelu", one_sided=False)) is None


def gradients(*ratios: float) -> tuple[Gradient, ...]:
    return tuple(Gradient(f"fc{i}", f"fc{i}.weight", "linear", r, 1.0, ratio=r) for i, r in enumerate(ratios))


def test_gradient_flow_is_on_a_log_axis_with_the_levels_of_the_rule() -> None:
    drawing = flow(Watched("Net", 1, (), NONE, replace(NONE, gradients=gradients(1e-4, 1e-2, 1.0)), RESIDUAL))
    assert drawing is not None
    heights = [s.at[1] for s in drawing.shapes if isinstance(s, Disc) and s.title]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2])
    notes = [s.words for s in drawing.shapes if isinstance(s, Text) and s.look == "note"]
    assert notes == ["1/10: SGD stalls below", "1/100: Adam may stall", "1/10,000: little trains"]


def test_the_legend_of_gradient_flow_fits_in_the_picture() -> None:
    layers = tuple(Gradient(n, f"{n}.weight", "linear", 0.1, 1.0, ratio=1.0) for n in "ab")
    first, last = (Measurements("Net", 300, 3, True, gradients=layers) for _ in range(2))
    moments = (Moment(0, 4, 300, {}, {}, {}), Moment(12_345, 12_345, 300, {}, {}, {}))
    drawing = flow(Watched("Net", 10, moments, first, last, Net("Net", "", (), (), ())))
    assert drawing is not None
    words = [s for s in drawing.shapes if isinstance(s, Text) and s.words.startswith("linear")]
    assert [s.words for s in words] == ["linear, steps 0 to 4", "linear, step 12345"]
    assert all(s.at[0] + 6.2 * len(s.words) <= drawing.width for s in words)


def test_one_layer_of_a_kind_has_nothing_to_be_compared_with() -> None:
    assert flow(Watched("Net", 1, (), NONE, replace(NONE, gradients=gradients(1.0)), RESIDUAL)) is None


def moment(step: int, share: float) -> Moment:
    return Moment(step, step + 9, 300, {"act": share}, {}, {})


def test_silent_units_over_the_steps() -> None:
    moments = (moment(0, 0.0), moment(10, 0.25), moment(20, 1.0))
    drawing = silent(Watched("Net", 30, moments, NONE, NONE, RESIDUAL))
    assert drawing is not None
    (area,) = [s for s in drawing.shapes if isinstance(s, Path) and s.look == "area"]
    x, y = zip(*area.points, strict=True)
    bottom, top = max(y), min(y)
    assert [(bottom - v) / (bottom - top) for v in y] == pytest.approx([0, 0, 0, 0.25, 0.25, 1, 1, 0])
    assert (x[2] - x[0]) / (x[-1] - x[0]) == pytest.approx(1 / 3)
    assert silent(Watched("Net", 10, moments[:1], NONE, NONE, RESIDUAL)) is None


def test_svg_is_escaped_and_names_only_looks_that_exist() -> None:
    named = site(name='<a"&>', node=3, dead_units=(1,), histogram=COUNTED)
    shown = Watched("<Net>", 1, (), NONE, replace(NONE, activations=(named,)), RESIDUAL)
    text = svg(network(shown)) + svg(histogram(named, RESIDUAL) or network(shown))
    assert "&lt;Net&gt;" in text
    assert "<a" not in text.replace("<animate", "")
    assert set(re.findall(r'class="([^"]+)"', text)) <= set(LOOKS)
    assert all(f"svg .{name} {{" in style() for name in LOOKS)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast_as_wcag_asks(colours: dict[str, str]) -> None:
    texts = ("ink", "soft", "accent", "good", "notice", "warning", "error")
    assert all(contrast(colours[t], colours[p]) >= 4.5 for t in texts for p in ("paper", "panel"))
    assert contrast(colours["error"], colours["flat"]) >= 4.5
    assert contrast(colours["warning"], colours["weak"]) >= 4.5
    marks = ("line", "alive", "on", "saturated", "dead")
    assert all(contrast(colours[m], colours["paper"]) >= 3 for m in marks)


def test_both_palettes_have_the_same_colours_and_looks_use_no_other() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert {c for look in LOOKS.values() for c in (look.fill, look.stroke) if c} <= LIGHT.keys()


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 4) == [0, 0.5, 1]
    assert ticks(-3.2, 7.9, 7) == [-2, 0, 2, 4, 6]
    assert ticks(0, 200, 8) == [0, 50, 100, 150, 200]


def test_words_of_axes() -> None:
    assert power(-12) == "10⁻¹²"
    assert shortened("blocks.11.mlp.fc1", 9) == "….mlp.fc1"


@pytest.mark.parametrize(
    ("op", "args", "x", "y"),
    [
        ("relu", {}, -2.0, 0.0),
        ("clip", {"min": 0, "max": 6}, 7.0, 6.0),
        ("leaky_relu", {"negative_slope": 0.2}, -2.0, -0.4),
        ("elu", {"alpha": 2.0}, -1.0, 2 * math.expm1(-1)),
        ("celu", {"alpha": 2.0}, -1.0, 2 * math.expm1(-0.5)),
        ("threshold", {"threshold": 1.0, "value": -3.0}, 0.5, -3.0),
        ("softshrink", {"lambd": 0.5}, -2.0, -1.5),
        ("hardshrink", {}, -2.0, -2.0),
        ("logsigmoid", {}, 0.0, -math.log(2)),
    ],
)
def test_curves_know_the_arguments_of_torch(op: str, args: dict[str, float], x: float, y: float) -> None:
    function = curve(op, args)
    assert function is not None
    assert function(x) == pytest.approx(y)


def test_what_is_no_curve() -> None:
    assert curve("softmax", {}) is None
