"""How far the net read from source agrees with the net of a real pass, over published models.

    python benchmarks/agreement.py torchvision
    python benchmarks/agreement.py timm

Prints a line for each model, then the totals: operations (affine layers and activations) that the
pass ran, that the source reader is certain of, that it has on a path that may not be taken, and
claims that are wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.agreement.compare import Agreement
from tests.agreement.models import (
    Model,
    agreement,
    timm_models,
    torchvision_models,
    transformers_models,
)


def main() -> int:
    """Compare the models of one package and print what agrees."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("package", choices=("torchvision", "timm", "transformers"))
    parser.add_argument("--limit", type=int, default=200, help="at most so many models")
    parser.add_argument("--only", default="", help="only models whose name contains this")
    parser.add_argument("--most", type=float, default=100, help="leave out models of more million parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {
        "torchvision": torchvision_models,
        "timm": lambda: timm_models(args.limit),
        "transformers": transformers_models,
    }[args.package]()
    results = [
        r for m in models[: args.limit] if args.only in m.name and (r := one(m, args.most)) is not None
    ]
    print(summary(results))
    return 1 if any(a.wrong or a.wrong_edges for a in results) else 0


def one(model: Model, most: float) -> Agreement | None:
    """The agreement on one model, printed; None where the model itself does not run here."""
    try:
        found = agreement(model, most)
    except (RuntimeError, ImportError, TypeError, ValueError, AssertionError) as error:
        print(f"{model.name:32} does not run here: {str(error)[:80]}", flush=True)
        return None
    print(line(model.name, found), flush=True)
    return found


def line(name: str, a: Agreement) -> str:
    """One model's figures, with the first wrong claims."""
    problems = "".join(f"\n    wrong: {claim}" for claim in (*a.wrong, *a.wrong_edges)[:3])
    return (
        f"{name:32} ran {a.seen:4}  known {a.agree:4}  maybe {a.maybe:4}  wrong {len(a.wrong):3}  "
        f"edges {a.edges:4}  wrong {len(a.wrong_edges):3}{problems}"
    )


def summary(results: list[Agreement]) -> str:
    """The totals over all models."""
    seen, agree = sum(a.seen for a in results), sum(a.agree for a in results)
    maybe = sum(a.maybe for a in results)
    wrong = sum(len(a.wrong) for a in results)
    edges, wrong_edges = sum(a.edges for a in results), sum(len(a.wrong_edges) for a in results)
    share = agree / seen if seen else 0.0
    return (
        f"\n{len(results)} models: {agree} of {seen} operations known ({share:.1%}), {maybe} maybe, "
        f"{wrong} wrong; "
        f"{edges} edges known, {wrong_edges} wrong"
    )


if __name__ == "__main__":
    sys.exit(main())
