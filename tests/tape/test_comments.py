"""Suppression comments in the user's source hold for findings of real passes, as they do in lint."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

import relucheck

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(20, 64), nn.Linear(64, 8), nn.Linear(8, 3)
        with torch.no_grad():
            self.a.bias[:40] = -30.0

    def forward(self, x):
        x = torch.relu(self.a(x)){dead}
        return self.c(self.b(x)){stack}
"""


def net_with(folder: Path, dead: str = "", stack: str = "") -> nn.Module:
    """A network with dead units and a linear stack, whose lines end in these comments."""
    path = folder / "written.py"
    path.write_text(SOURCE.format(dead=dead, stack=stack), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("written", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    made = module.Net()
    assert isinstance(made, nn.Module)
    return made


def probed(model: nn.Module) -> set[str]:
    return {finding.code for finding in relucheck.probe(model, torch.randn(400, 20).split(100)).findings}


def watched(model: nn.Module) -> set[str]:
    with relucheck.watch(every=1) as watch:
        for _ in range(5):
            model(torch.randn(100, 20)).square().mean().backward()
    return {finding.code for finding in watch.findings}


@pytest.mark.parametrize("measured", [probed, watched])
def test_a_comment_suppresses_a_measured_and_a_structural_finding(measured, tmp_path):
    assert {"RLU601", "RLU201"} <= measured(net_with(tmp_path))
    silent = net_with(tmp_path, "  # relucheck: ignore[RLU601] pruned on purpose", "  # noqa: RLU201")
    assert not {"RLU601", "RLU201"} & measured(silent)


@pytest.mark.parametrize("measured", [probed, watched])
def test_a_comment_speaks_about_its_rule_alone(measured, tmp_path):
    model = net_with(tmp_path, "  # relucheck: ignore[RLU201]", "  # relucheck: ignore[RLU601]")
    assert {"RLU601", "RLU201"} <= measured(model)


def test_a_finding_names_the_file_of_its_own_network(tmp_path):
    """Code objects of equal functions are equal, also where they come from two files."""
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        report = relucheck.probe(net_with(folder), torch.randn(400, 20).split(100))
        paths = {finding.span.path for finding in report.findings if finding.span}
        assert paths == {str(folder / "written.py")}
