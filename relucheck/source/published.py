"""Networks of torchvision: which attribute holds the last layer, the one that users replace.

``model = resnet18(); model.fc = nn.Linear(512, 10)`` is how most people classify their own images. What comes before
that layer is not followed, but that its result leaves the network is published (torchvision 0.28, ``models/*.py``;
one network of each family was run with its last layer replaced).
"""

from __future__ import annotations

import re

from relucheck.source.machine import Machine
from relucheck.source.objects import new_instance
from relucheck.source.values import UNK, Instance, seq

# Attribute, number of elements where it is a Sequential (0: one layer), and the functions that make such a network.
_ENDS = (
    ("fc", 0, r"(wide_)?resne(x)?t\d+\w*|regnet_\w+|shufflenet_v2_\w+"),
    ("classifier", 0, r"densenet\d+"),
    ("classifier", 7, r"alexnet|vgg\d+(_bn)?"),
    ("classifier", 2, r"mobilenet_v2|efficientnet_\w+|mnasnet\w+"),
    ("classifier", 3, r"convnext_\w+"),
    ("classifier", 4, r"mobilenet_v3_\w+"),
    ("heads", 1, r"vit_[a-z]_\d+"),
    ("head", 0, r"swin_\w+"),
)
_FUNCTION = re.compile(r"torchvision\.models\.(?:\w+\.)?(\w+)")
_TASKS = ("segmentation", "detection", "quantization", "video", "optical_flow")


def network_of(m: Machine, name: str) -> Instance | None:
    """The network that a function of ``torchvision.models`` makes, if its last layer is one of those above."""
    called = _FUNCTION.fullmatch(name)
    if called is None or any(f".{task}." in name for task in _TASKS):
        return None
    return next(
        (_network(m, attribute, size) for attribute, size, names in _ENDS if re.fullmatch(names, called[1])),
        None,
    )


def _network(m: Machine, attribute: str, size: int) -> Instance:
    network = new_instance(m, None)
    network.is_module = network.opaque = True
    m.instances.append(network)
    network.last = attribute
    if size:
        row = new_instance(m, None, "Sequential")
        row.attrs["_items"] = seq([UNK] * size)
        row.stored = True
        network.attrs[attribute] = row
    return network
