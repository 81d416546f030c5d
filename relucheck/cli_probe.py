"""``relucheck probe``: a factory of models and shapes in, the table of real passes and an exit status out."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from relucheck.chosen import chosen
from relucheck.cli import BROKEN, FOUND, OK, REPORT_IT
from relucheck.config import FAIL_ON, Settings
from relucheck.problems import UsageProblem
from relucheck.saving import page_ready, write_page
from relucheck.targets import carefully, kind_of, load

if TYPE_CHECKING:
    from relucheck.live import Report

_LOSSES = {
    "cross_entropy": "cross_entropy",
    "nll_loss": "nll_loss",
    "mse_loss": "mse_loss",
    "l1_loss": "l1_loss",
    "smooth_l1_loss": "smooth_l1_loss",
    "bce_with_logits": "binary_cross_entropy_with_logits",
    "bce_loss": "binary_cross_entropy",
}
"""The losses of ``--loss``, by the function of torch.nn.functional that computes them."""

_ENOUGH = 299  # samples that bound a silent unit's activation probability by 1 % (Clopper-Pearson)
_MOST = 32  # batches by default, whatever the batch size


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of one input; with ``below``, integers below that number, else normal noise."""

    sizes: tuple[int, ...]
    below: int | None = None


@click.command(epilog="Example: relucheck probe shop.models:make_model --input 32,784 --target classes:10")
@click.argument("model")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="SHAPE",
    help="Shape of an input, batch first: 32,784; for integers below 1000: 32,128:1000. May be repeated.",
)
@click.option("--target", metavar="KIND", help="classes:10 for labels, values:3 for numbers; default: none.")
@click.option("--loss", type=click.Choice(sorted(_LOSSES)), help="The loss (default: by the target).")
@click.option("--batches", type=click.IntRange(min=1), help="Number of batches (default: for 299 samples).")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the model and the inputs.")
@click.option("--optimiser", metavar="NAME", default="", help="SGD, Adam ...: some verdicts depend on it.")
@click.option("--select", multiple=True, metavar="RULES", help="Show these rules only: codes, RLU6, ALL.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Hide these rules.")
@click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="For people or for programs.",
)
@click.option("--html", type=click.Path(dir_okay=False), help="Write the report as one HTML page as well.")
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    default="warning",
    show_default=True,
    help="Least severity that makes the exit status 1.",
)
def probe(model: str, inputs: tuple[str, ...], **given: Any) -> int:
    """Measure the activations and gradients of a network on real passes.

    MODEL is package.module:factory or file.py:factory. The factory is called without arguments and returns
    an nn.Module; a class or an instance does too.
    """
    shapes = tuple(shape_of(text) for text in inputs)
    page_ready("--html", given["html"])
    report = _report(model, shapes, given)
    click.echo(report.to_json() if given["output_format"] == "json" else report.table())
    if given["html"]:
        write_page(report, given["html"])
    for crash in report.crashes:
        click.echo(f"internal error: {crash.message}\n{REPORT_IT}", err=True)
    if report.crashes:
        return BROKEN
    return FOUND if report.failing(given["fail_on"]) else OK


def shape_of(text: str) -> Shape:
    """The shape written as ``32,784`` or ``32,128:1000``."""
    sizes, colon, below = text.partition(":")
    try:
        shape = Shape(tuple(int(size) for size in sizes.split(",")), int(below) if colon else None)
    except ValueError:
        raise UsageProblem(
            f"--input {text}: write sizes with commas, batch first, such as 32,3,224,224; for integers below "
            "1000 add :1000"
        ) from None
    if min(shape.sizes) < 1 or (shape.below is not None and shape.below < 1):
        raise UsageProblem(f"--input {text}: sizes are positive numbers")
    return shape


def _report(model: str, shapes: tuple[Shape, ...], given: dict[str, Any]) -> Report:
    """The probe's report; everything that the user can mend becomes a UsageProblem."""
    torch = _torch()
    from relucheck.live import ProbeError
    from relucheck.live import probe as run

    torch.manual_seed(given["seed"])
    network = load_model(model)
    count = given["batches"] or min(_MOST, math.ceil(_ENOUGH / shapes[0].sizes[0]))
    make = _target_of(given["target"], given["loss"], shapes[0].sizes[0])
    batches = [_batch(torch, shapes, make) for _ in range(count)]
    settings = Settings(
        select=chosen(given["select"], "--select"), ignore=chosen(given["ignore"], "--ignore")
    )
    loss = _loss_of(given["target"], given["loss"])
    try:
        return run(network, batches, loss, optimiser=given["optimiser"], configuration=settings)
    except ProbeError as error:
        raise UsageProblem(f"{model}: {error}") from error


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        raise UsageProblem('relucheck probe needs PyTorch: pip install "relucheck[torch]"') from None


def load_model(target: str) -> Any:
    """The nn.Module that ``package.module:name`` makes, is, or is the class of."""
    from torch import nn

    found = load(target, "package.module:make_model")
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise UsageProblem(
            f"{target} is {kind_of(found)}, not a factory, a class or an instance of nn.Module"
        )
    made = carefully(found, f"{target}()")
    if not isinstance(made, nn.Module):
        raise UsageProblem(f"{target}() returned {kind_of(made)}, not an nn.Module")
    return made


def _target_of(target: str | None, loss: str | None, samples: int) -> Callable[[Any], Any] | None:
    """A function of torch that makes the targets of one batch, or None without targets."""
    if target is None:
        if loss is not None:
            raise UsageProblem(f"--loss {loss} needs --target, such as --target classes:10 or values:3")
        return None
    kind, _, number = target.partition(":")
    if kind == "classes" and number.isdecimal() and int(number) > 0:
        return lambda torch: torch.randint(0, int(number), (samples,))
    if kind == "values" and all(part.isdecimal() for part in number.split(",")):
        sizes = [int(part) for part in number.split(",")]
        return lambda torch: torch.rand(samples, *sizes)
    raise UsageProblem(f"--target {target}: write classes:10 for labels below 10, or values:3 for 3 numbers")


def _loss_of(target: str | None, loss: str | None) -> Any:
    if target is None:
        return None
    from torch.nn import functional

    default = "cross_entropy" if target.startswith("classes") else "mse_loss"
    return getattr(functional, _LOSSES[loss or default])


def _batch(torch: Any, shapes: tuple[Shape, ...], target: Callable[[Any], Any] | None) -> Any:
    inputs = tuple(_noise(torch, shape) for shape in shapes)
    return (inputs, target(torch) if target is not None else None)


def _noise(torch: Any, shape: Shape) -> Any:
    if shape.below is not None:
        return torch.randint(0, shape.below, shape.sizes)
    return torch.randn(shape.sizes)
