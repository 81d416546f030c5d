"""``relucheck plot``: single pictures, drawn with matplotlib, which only the ``report`` extra installs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from relucheck.cli import OK
from relucheck.drawing.chosen import PICTURES, Picture
from relucheck.drawing.looks import DARK, LIGHT
from relucheck.drawing.shapes import Drawing
from relucheck.problems import UsageProblem
from relucheck.report._saved import NotAReportError, networks_of
from relucheck.timeline import Watched

_MISSING = 'drawing needs matplotlib: pip install "relucheck[report]"'
_HOW = "relucheck probe --output-format json and relucheck run --json FILE write one"

_output = click.option(
    "--output",
    metavar="FILE",
    help="Where to draw; the ending decides the format: .png, .svg, .pdf. Default: the picture's name as .png.",
)


@click.group()
def plot() -> None:
    """Draw pictures of a saved report, or of the activation functions."""


@plot.command()
@_output
def activations(output: str | None) -> int:
    """Draw the activation functions and their derivatives."""
    _need_matplotlib()
    from relucheck.pictures.activations import figure
    from relucheck.pictures.figures import save

    path = output or "activations.png"
    save(figure(), path)
    click.echo(f"drew {path}")
    return OK


def _command(picture: Picture) -> click.Command:
    """The subcommand that draws one picture of a report."""

    @click.command(
        picture.name,
        help=f"Draw {picture.shows}.\n\nREPORT is a JSON file of relucheck probe or relucheck run.",
        short_help=f"Draw {picture.shows}.",
    )
    @click.argument("report")
    @_output
    @click.option(
        "--network",
        "name",
        metavar="NAME",
        help="Which network, where the report has several (default: the first with something to draw).",
    )
    @click.option("--dark", is_flag=True, help="Draw on a dark ground.")
    def draw(report: str, output: str | None, name: str | None, dark: bool) -> int:
        _need_matplotlib()
        from relucheck.pictures.drawn import figure
        from relucheck.pictures.figures import save

        drawing = _drawing(picture, _chosen(_read(report), report, name), report)
        path = output or f"{picture.name}.png"
        save(figure(drawing, DARK if dark else LIGHT), path)
        click.echo(f"drew {path}")
        return OK

    return draw


def _drawing(picture: Picture, networks: tuple[Watched, ...], report: str) -> Drawing:
    """The picture of the first network that has something to show in it."""
    drawing = next((d for one in networks if (d := picture.draw(one)) is not None), None)
    if drawing is None:
        names = ", ".join(one.name for one in networks)
        raise UsageProblem(
            f"{report}: there is nothing to draw for {picture.name} of {names}: it needs {picture.needs}"
        )
    return drawing


def _read(path: str) -> tuple[Watched, ...]:
    try:
        content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        return networks_of(content)
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read ({error.strerror}); {_HOW}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageProblem(f"{path}: is not JSON ({error}); {_HOW}") from None
    except NotAReportError as error:
        raise UsageProblem(f"{path}: {error}; {_HOW}") from None


def _chosen(networks: tuple[Watched, ...], report: str, name: str | None) -> tuple[Watched, ...]:
    """The network of that name, or all of them where none is named."""
    names = ", ".join(one.name for one in networks)
    if not networks:
        raise UsageProblem(f"{report}: the report has no network")
    if name is None:
        return networks
    found = tuple(one for one in networks if one.name == name)
    if not found:
        raise UsageProblem(f"--network {name}: the report has {names}")
    return found[:1]


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageProblem(_MISSING) from None


for _picture in PICTURES:
    plot.add_command(_command(_picture))
