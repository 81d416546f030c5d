"""Ten hidden layers: behind sigmoids the gradient vanishes, behind ReLU with He initialisation it does not."""

import torch
from torch import nn

import relucheck

DEPTH = 10
WIDTH = 100


class DeepSigmoid(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(20, WIDTH), nn.Sigmoid()]
        for _ in range(DEPTH - 1):
            layers += [nn.Linear(WIDTH, WIDTH), nn.Sigmoid()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x):
        return self.head(self.hidden(x))


class DeepReLU(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Linear(20, WIDTH), nn.ReLU()]
        for _ in range(DEPTH - 1):
            layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, 2)
        for layer in self.hidden:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.head(self.hidden(x))


def batches():
    """Two classes: whether the first ten inputs have a larger sum than the last ten."""
    x = torch.randn(320, 20, generator=torch.Generator().manual_seed(0))
    y = (x[:, :10].sum(dim=1) > x[:, 10:].sum(dim=1)).long()
    return list(zip(x.split(64), y.split(64)))


def main():
    torch.manual_seed(0)
    sigmoid = relucheck.probe(DeepSigmoid(), batches(), nn.CrossEntropyLoss())
    relu = relucheck.probe(DeepReLU(), batches(), nn.CrossEntropyLoss())

    print(f"{'layer':12}{'sigmoid: dL/dW':>16}{'ReLU, He: dL/dW':>18}")
    for a, b in zip(sigmoid.gradients, relu.gradients):
        print(f"{a.name:12}{a.norm:16.1e}{b.norm:18.1e}")
    for name, report in (("sigmoid", sigmoid), ("ReLU", relu)):
        print(f"\n{name}:")
        for finding in report.findings:
            print(f"  {finding.code} {finding.severity.value}: {finding.message}")
        if not report.findings:
            print("  no mistakes found")
    return sigmoid, relu


if __name__ == "__main__":
    main()
