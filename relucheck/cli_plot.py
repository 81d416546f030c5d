"""``relucheck plot``: pictures, drawn with matplotlib, which only the ``report`` extra installs."""

from __future__ import annotations

import click

from relucheck.cli import OK
from relucheck.problems import UsageProblem

_MISSING = 'drawing needs matplotlib: pip install "relucheck[report]"'


@click.group()
def plot() -> None:
    """Draw pictures."""


@plot.command()
@click.option(
    "--output",
    default="activations.png",
    show_default=True,
    metavar="FILE",
    help="Where to draw; the ending decides the format: .png, .svg, .pdf.",
)
def activations(output: str) -> int:
    """Draw the activation functions and their derivatives."""
    _need_matplotlib()
    from relucheck.pictures.activations import figure
    from relucheck.pictures.figures import save

    save(figure(), output)
    click.echo(f"drew {output}")
    return OK


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageProblem(_MISSING) from None
