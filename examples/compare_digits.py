"""Twenty hidden layers of ReLU that do not learn: what would help?

``relucheck compare examples/compare_digits.py:make_experiment`` trains them with one thing changed at a
time. With nn.Linear's default initialisation half of the units of a deep layer are silent and the others
always on, so that the last layers hardly see the image (RLU616). A slope for the silent side changes
nothing about that; an initialisation that keeps the signal's size, or a way around the layers, does.
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn

import relucheck


class Deep(nn.Module):
    """A classifier of 8 by 8 pixels with twenty hidden layers of 64 units."""

    def __init__(self, depth=20, width=64):
        super().__init__()
        layers = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.scores = nn.Linear(width, 10)

    def forward(self, x):
        return self.scores(self.hidden(x))


def digits():
    """The 1,797 images of scikit-learn, standardised, and their labels."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    return (x - x.mean(0)) / x.std(0).clamp(min=1e-3), y


def accuracy(scores, labels):
    return (scores.argmax(1) == labels).float().mean()


def make_experiment(seed):
    x, y = digits()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, held_out = order[:1437], order[1437:]
    dataset = torch.utils.data.TensorDataset(x[train], y[train])
    return relucheck.Experiment(
        model=Deep(),
        loss_fn=nn.CrossEntropyLoss(),
        optimiser=partial(torch.optim.Adam, lr=1e-3),
        training=torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True),
        held_out=[(x[held_out], y[held_out])],
        metric=accuracy,
    )


CHANGES = ("lr/10", "he-init", "leaky-relu", "gelu", "batch-norm", "residual")


def main(steps=300, seeds=3):
    """Some of the changes only; the command tries all of them."""
    comparison = relucheck.compare(make_experiment, steps, seeds, CHANGES)
    print(comparison.table())
    return comparison


if __name__ == "__main__":
    main()
