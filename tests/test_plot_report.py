"""``relucheck plot`` of a saved report: the round trip through JSON, the formats, and what is said where it fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relucheck.cli_plot import plot
from relucheck.drawing.chosen import PICTURES
from relucheck.drawing.looks import DARK, LIGHT
from relucheck.drawing.shapes import Drawing
from relucheck.measurements import Activation, Gradient, Histogram, Measurements
from relucheck.net import UNKNOWN, Layer, Net, Node, Output
from relucheck.report._saved import NotAReportError, networks_of, record
from relucheck.span import Span
from relucheck.timeline import Moment, Watched

SITE = Activation(
    "act", "leaky_relu", 3, 400, (1,), (2,), activity=(0.123456789, 0.0, 1.0), one_sided=True,
    histogram=Histogram(-1.0, 1.0, (1, 2, 3, 4), 5, 6), node=2, span=Span("net.py", None, 3, 1, 3, 9),
)  # fmt: skip
GRADIENTS = (
    Gradient("a", "a.weight", "linear", 0.1, 2.0, ratio=1.0, node=1),
    Gradient("b", "b.weight", "linear", 0.01, 2.0, ratio=0.1),
)
LAST = Measurements("Net", 400, 4, True, (SITE,), GRADIENTS, optimiser="Adam")
NET = Net(
    "Net",
    "net.py",
    (Layer(0, "linear", "a", "Net", {}), Layer(1, "leaky_relu", "act", "Net", {"negative_slope": 0.3})),
    (
        Node(0, "input", shape=(UNKNOWN, 8)),
        Node(1, "linear", (0,), 0, shape=(UNKNOWN, 3)),
        Node(2, "leaky_relu", (1,), 1, scope="inner"),
    ),
    (Output(2, "Net", "forward", None),),
)
MOMENTS = (Moment(0, 4, 300, {"act": 0.0}, {"a": 0.1}, {}), Moment(5, 9, 300, {"act": 0.5}, {"a": 0.2}, {}))
TRAINED = Watched("Net", 10, MOMENTS, Measurements("Net", 300, 3, True), LAST, NET)
PROBED = Watched("Net", 4, (), LAST, LAST, NET)


def saved(*networks: Watched) -> str:
    return json.dumps({"networks": [record(network) for network in networks]})


def test_what_is_read_draws_the_same_pictures() -> None:
    for shown in (TRAINED, PROBED):
        (again,) = networks_of(json.loads(saved(shown)))
        for picture in PICTURES:
            assert picture.draw(again) == picture.draw(shown), picture.name


def test_places_stay_behind_and_numbers_keep_six_digits() -> None:
    text = saved(TRAINED)
    assert "net.py" not in text
    (again,) = networks_of(json.loads(text))
    assert again.last.activations[0].activity == (0.123457, 0.0, 1.0)
    assert again.first.samples == 300
    assert again.net.args_of(again.net.nodes[2]) == {"negative_slope": 0.3}


def test_a_report_of_a_later_version_may_hold_more() -> None:
    content = json.loads(saved(PROBED))
    content["networks"][0]["last"]["activations"][0]["mood"] = "good"
    content["networks"][0]["last"]["weather"] = 3
    assert networks_of(content)[0].last.activations[0].name == "act"


@pytest.mark.parametrize("content", [[], {}, 3, {"networks": [{}]}, {"networks": [{"last": 3}]}])
def test_other_json_is_no_report(content: Any) -> None:
    with pytest.raises(NotAReportError):
        networks_of(content)


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(saved(TRAINED), encoding="utf-8")
    return path


def called(*args: str) -> Result:
    return CliRunner().invoke(plot, list(args), standalone_mode=False)


@pytest.mark.parametrize("picture", [picture.name for picture in PICTURES])
def test_each_picture_is_drawn(picture: str, report: Path) -> None:
    pytest.importorskip("matplotlib")
    result = called(picture, "report.json", "--dark")
    assert result.output == f"drew {picture}.png\n"
    from matplotlib.image import imread

    image = imread(report.parent / f"{picture}.png")
    background = tuple(int(DARK["paper"][i : i + 2], 16) / 255 for i in (1, 3, 5))
    assert tuple(image[0, 0, :3]) == pytest.approx(background, abs=0.01)
    drawn = (abs(image[:, :, :3] - background) > 0.1).any(-1).mean()
    assert drawn > 0.002


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_the_ending_decides_the_format(ending: str, start: bytes, report: Path) -> None:
    pytest.importorskip("matplotlib")
    assert called("network", "report.json", "--output", f"a.{ending}").exit_code == 0
    assert (report.parent / f"a.{ending}").read_bytes().startswith(start)


def test_texts_of_the_figure_are_those_of_the_drawing() -> None:
    pytest.importorskip("matplotlib")
    from relucheck.drawing.shapes import Text
    from relucheck.pictures.drawn import figure

    cost = Drawing(200, 50, "x", (Text((10, 20), "a $b$", "name"), Text((10, 40), "c", "tick", turn=30)))
    texts = figure(cost, LIGHT).axes[0].texts
    assert [t.get_text() for t in texts] == [r"a \$b\$", "c"]
    assert [t.get_position() for t in texts] == [(10, 20), (10, 40)]
    assert texts[1].get_rotation() == pytest.approx(330)


def test_the_first_network_with_something_to_draw_is_drawn(report: Path) -> None:
    pytest.importorskip("matplotlib")
    smooth = replace(PROBED, name="Smooth")  # a probe has no windows, so no silent units over the steps
    (report.parent / "two.json").write_text(saved(smooth, TRAINED), encoding="utf-8")
    assert called("silent", "two.json").exit_code == 0
    named = called("silent", "two.json", "--network", "Smooth")
    assert "nothing to draw for silent of Smooth: it needs" in str(named.exception)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("flow", "missing.json"), "missing.json: cannot be read (No such file or directory)"),
        (("flow", "text.json"), "text.json: is not JSON"),
        (("flow", "list.json"), "list.json: no report of relucheck"),
        (("flow", "none.json"), "none.json: the report has no network"),
        (
            ("silent", "probe.json"),
            "probe.json: there is nothing to draw for silent of Net: it needs several windows",
        ),
        (("flow", "report.json", "--network", "Other"), "--network Other: the report has Net"),
        (("flow", "report.json", "--output", "a.docx"), "a.docx: the name must end in one of"),
    ],
)
def test_what_is_wrong_is_said(args: tuple[str, ...], said: str, report: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, text in (
        ("text", "a = 1"), ("list", "[]"), ("none", '{"networks": []}'), ("probe", saved(PROBED)),
    ):  # fmt: skip
        (report.parent / f"{name}.json").write_text(text, encoding="utf-8")
    assert said in str(called(*args).exception)
