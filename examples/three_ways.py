"""The same network with ReLU written in five ways: relucheck counts the same units in each."""

import torch
import torch.nn.functional as F
from torch import nn

import relucheck


class WithLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 64)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(64, 3)

    def forward(self, x):
        return self.fc2(self.relu(self.fc1(x)))


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 64)
        self.fc2 = nn.Linear(64, 3)


class WithFunctional(TwoLayers):
    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x)))


class WithTorch(TwoLayers):
    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


class WithMask(TwoLayers):
    def forward(self, x):
        x = self.fc1(x)
        x = x * (x > 0)
        return self.fc2(x)


class WithMaximum(TwoLayers):
    def forward(self, x):
        x = self.fc1(x)
        x = torch.maximum(x, torch.zeros_like(x))
        return self.fc2(x)


SPELLINGS = {
    "nn.ReLU()": WithLayer,
    "F.relu(x)": WithFunctional,
    "torch.relu(x)": WithTorch,
    "x * (x > 0)": WithMask,
    "torch.maximum(x, 0)": WithMaximum,
}


def reports():
    """A report on each network, all with the same weights and the same data."""
    torch.manual_seed(0)
    weights = WithLayer().state_dict()
    with_dead_units(weights)
    batches = torch.randn(400, 20).split(100)
    found = {}
    for spelling, network in SPELLINGS.items():
        model = network()
        model.load_state_dict(weights)
        found[spelling] = relucheck.probe(model, batches)
    return found


def with_dead_units(weights):
    """A large negative bias, as a learning rate that was too high leaves behind."""
    weights["fc1.bias"][:5] = -30.0


def main():
    found = reports()
    print(f"{'spelling':22}{'read as':10}{'layer':12}{'units':>6}{'dead':>6}{'always on':>11}")
    for spelling, report in found.items():
        (site,) = report.activations
        print(f"{spelling:22}{site.function:10}{site.name:12}{site.units:6}{site.dead:6}{site.linear:11}")
    return found


if __name__ == "__main__":
    main()
