"""A neuron with the weights -5, -3 and -2 on inputs that are never negative, behind six activations.

Behind ReLU it is dead: its output is 0, no gradient reaches it, and training cannot change that.
LeakyReLU and ELU bring it back. PReLU bends its own slope instead. GELU and SiLU do let a gradient
through, but so far down their slope is negative: it pushes the neuron further away.
"""

import copy

import torch
from torch import nn

import relucheck

ACTIVATIONS = {
    "ReLU": nn.ReLU(),
    "LeakyReLU": nn.LeakyReLU(0.01),
    "PReLU": nn.PReLU(),
    "ELU": nn.ELU(),
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
}


def neuron(activation):
    """One neuron on three inputs, its activation, and a read-out that is fixed."""
    model = nn.Sequential(nn.Linear(3, 1), copy.deepcopy(activation), nn.Linear(1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[-5.0, -3.0, -2.0]]))
        model[0].bias.zero_()
        model[2].weight.fill_(1.0)
        model[2].bias.zero_()
    model[2].requires_grad_(False)
    return model


def data():
    """Inputs between 0 and 1, as pixels are; the target is their mean."""
    x = torch.rand(320, 3, generator=torch.Generator().manual_seed(0))
    return x, x.mean(dim=1, keepdim=True)


def gradient(model):
    """The norm of the gradient that reaches the neuron's weights."""
    x, y = data()
    model.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    return model[0].weight.grad.norm().item()


def train(model, steps=800):
    """Train the neuron; returns the last loss."""
    x, y = data()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimiser.step()
    return loss.item()


def main():
    print("activation    dead   gradient   loss after training      weights after training")
    rows = {}
    for name, activation in ACTIVATIONS.items():
        model = neuron(activation)
        report = relucheck.probe(model, [data()], nn.MSELoss())
        dead = report.activations[0].dead
        before = gradient(model)
        loss = train(model)
        weights = model[0].weight[0].tolist()
        print(f"{name:12}{dead:6}{before:11.1e}{loss:22.1e}   ", *(f"{w:7.2f}" for w in weights))
        rows[name] = {"dead": dead, "gradient": before, "loss": loss, "report": report}
    return rows


if __name__ == "__main__":
    main()
