"""The same recurrent weights over 200 steps: with ReLU the state explodes, with tanh it cannot."""

import torch
from torch import nn

import relucheck

STEPS = 200


class ReLURNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(4, 32, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.head(states[:, -1])


class TanhRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(4, 32, nonlinearity="tanh", batch_first=True)
        self.head = nn.Linear(32, 1)

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.head(states[:, -1])


def weights():
    """Recurrent weights that are a little too large: each step grows the state by about an eighth."""
    torch.manual_seed(0)
    model = ReLURNN()
    nn.init.uniform_(model.rnn.weight_hh_l0, 0.0, 0.07)
    return model.state_dict()


def data():
    """Sequences, and the sum of their first step, which has to be remembered to the end."""
    x = torch.randn(64, STEPS, 4, generator=torch.Generator().manual_seed(0))
    return x, x[:, 0].sum(dim=1, keepdim=True)


@torch.no_grad()
def state_sizes(model):
    """The norm of the hidden state at some time steps."""
    states, _ = model.rnn(data()[0])
    return [states[:, t - 1].norm(dim=1).mean().item() for t in (1, 10, 50, 100, STEPS)]


def main():
    reports = {}
    print("norm of the state after    1 step   10 steps   50 steps  100 steps  200 steps")
    for name, network in (("ReLU", ReLURNN), ("tanh", TanhRNN)):
        model = network()
        model.load_state_dict(weights())
        print(f"{name:22}" + "".join(f"{size:11.1e}" for size in state_sizes(model)))
        reports[name] = relucheck.probe(model, [data()], nn.MSELoss())
    for name, report in reports.items():
        print(f"\n{report.table()}")
    return reports


if __name__ == "__main__":
    main()
