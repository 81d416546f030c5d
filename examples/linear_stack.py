"""Two linear layers with nothing between them are one linear layer."""

import torch
from torch import nn

import relucheck


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(10, 20)
        self.layer2 = nn.Linear(20, 5)

    def forward(self, x):
        x = self.layer1(x)
        return self.layer2(x)


def collapsed(first, second):
    """The one layer that computes second(first(x))."""
    layer = nn.Linear(first.in_features, second.out_features)
    with torch.no_grad():
        layer.weight.copy_(second.weight @ first.weight)
        layer.bias.copy_(second.weight @ first.bias + second.bias)
    return layer


def main():
    torch.manual_seed(0)
    model = TwoLayers()
    one_layer = collapsed(model.layer1, model.layer2)
    x = torch.randn(1000, 10)
    with torch.no_grad():
        difference = (model(x) - one_layer(x)).abs().max().item()

    print(f"two layers: {sum(p.numel() for p in model.parameters())} parameters")
    print(f"one layer:  {sum(p.numel() for p in one_layer.parameters())} parameters")
    print(f"largest |difference| of their outputs: {difference:.1e}")
    print()
    report = relucheck.probe(model, x.split(250))
    print(report.table())
    return difference, report


if __name__ == "__main__":
    main()
