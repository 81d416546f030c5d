"""The structural rules on the net that a real pass leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relucheck.live import probe
from relucheck.tape.probe import measure

torch.manual_seed(0)  # the networks below are made when this file is imported
X = torch.randn(320, 8)
LABELS, SHARES = torch.randint(0, 3, (320,)), torch.rand(320, 3)


def net(*end: nn.Module, middle: tuple[nn.Module, ...] = (nn.ReLU(),)) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 20), *middle, nn.Linear(20, 3), *end)


CASES: dict[str, tuple[nn.Module, Tensor, Any]] = {
    "RLU101": (net(nn.ReLU()), LABELS, nn.CrossEntropyLoss()),
    "RLU102": (net(nn.Softmax(-1)), LABELS, F.cross_entropy),
    "RLU103": (net(nn.Sigmoid()), SHARES, nn.BCEWithLogitsLoss()),
    "RLU105": (net(), LABELS, nn.NLLLoss()),
    "RLU106": (net(middle=(nn.ReLU(), nn.Sigmoid())), LABELS, nn.CrossEntropyLoss()),
    "RLU108": (net(nn.Softmax(0)), SHARES, nn.MSELoss()),
    "RLU109": (net(nn.Dropout()), LABELS, nn.CrossEntropyLoss()),
    "RLU202": (net(middle=(nn.ReLU(), nn.ReLU())), LABELS, nn.CrossEntropyLoss()),
    "RLU621": (net(middle=(nn.Dropout(),)), LABELS, nn.CrossEntropyLoss()),
    "": (net(), LABELS, nn.CrossEntropyLoss()),
    "log_softmax": (net(nn.LogSoftmax(-1)), LABELS, nn.NLLLoss()),
    "sigmoid": (net(nn.Sigmoid()), SHARES, nn.BCELoss()),
}


@pytest.mark.parametrize("code", CASES)
def test_each_mistake_is_one_finding(code: str) -> None:
    model, targets, loss = CASES[code]
    report = probe(model, [(X, targets)], loss)
    assert [f.code for f in report.findings] == ([code] if code.startswith("RLU") else [])
    assert report.crashes == ()


def test_the_log_softmax_of_cross_entropy_is_not_the_models() -> None:
    nodes = measure(net(), [(X, LABELS)], nn.CrossEntropyLoss()).net.nodes
    assert [n.op for n in nodes] == ["input", "linear", "relu", "linear", "constant", "cross_entropy"]
    assert nodes[nodes[-1].inputs[0]].op == "linear"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.relu(self.fc(x)))


def test_one_line_run_by_many_blocks_is_one_finding_at_its_place() -> None:
    report = probe(
        nn.Sequential(*(Block() for _ in range(4)), nn.Linear(8, 3)), [(X, LABELS)], F.cross_entropy
    )
    (finding,) = (f for f in report.findings if f.code == "RLU202")
    assert finding.span is not None
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[finding.span.row - 1]
    assert line[finding.span.column - 1 : finding.span.end_column - 1] == "F.relu(F.relu(self.fc(x)))"
