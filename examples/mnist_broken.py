"""The classifier with one line too many: a ReLU on its output, so that no logit can be negative."""

import torch
from mnist_classifier import accuracy, load_digits, train
from torch import nn
from torch.utils.data import DataLoader

import relucheck


class BrokenClassifier(nn.Module):
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
            nn.ReLU(),
        )

    def forward(self, x):
        return self.network(x)


def main(epochs=10):
    torch.manual_seed(0)
    train_data, test_data = load_digits()
    model = BrokenClassifier()
    train(model, train_data, epochs)
    print(f"accuracy on 1,000 unseen digits: {accuracy(model, test_data):.1%}\n")
    report = relucheck.probe(model, DataLoader(test_data, batch_size=100), nn.CrossEntropyLoss())
    print(report.table())
    return report


if __name__ == "__main__":
    main()
