"""The net read from source agrees with the net of a real pass, on published models."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from tests.agreement.compare import Label, alike, compare, keys_of, matched
from tests.agreement.models import Model, agreement, torchvision_models
from tests.source.reading import forward


def test_a_common_subsequence_is_a_longest_one() -> None:
    a, b = ([Label(op) for op in word] for word in ("abcbd", "xbcd"))
    assert matched(a, b, [True] * 5) == [(1, 1), (2, 2), (4, 3)]


def test_equal_operations_of_different_modules_are_not_paired() -> None:
    said = Label("conv", 8, ("Net", "stages", "stages", "1", "conv"))
    assert alike(said, Label("conv", 8, ("stages", "1", "conv")))
    assert not alike(said, Label("conv", 8, ("stages", "2", "conv")))
    assert not alike(said, Label("conv", 16, ("stages", "1", "conv")))
    assert alike(said, Label("conv", 8, ("shared", "conv")), {"shared": ("shared", "stages.1")})
    assert alike(Label("linear", None, ("Net", "attn"), True), Label("linear", 8, ("attn", "qkv")))


def test_a_missing_operation_is_unknown_and_an_invented_one_is_wrong() -> None:
    init = "self.fc = nn.Linear(4, 4)\nself.out = nn.Linear(4, 2)"
    full = forward("return self.out(torch.relu(self.fc(x)))", init)
    less = forward("return self.out(self.fc(x))", init)
    missing, invented = compare(less, full), compare(full, less)
    assert (missing.seen, missing.agree, missing.unknown, missing.wrong) == (3, 2, 1, ())
    assert len(missing.wrong_edges) == 1
    assert len(invented.wrong) == 1
    assert len(keys_of(full)) == 3


TORCHVISION = (
    "resnet18",
    "mobilenet_v2",
    "vgg11_bn",
    "efficientnet_b0",
    "vit_b_16",
    "densenet121",
    "googlenet",
    "convnext_tiny",
    "swin_t",
    "regnet_y_400mf",
    "maxvit_t",
)


@pytest.mark.corpus
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_is_read_to_the_last_operation(name: str) -> None:
    pytest.importorskip("importlib.util")
    model = next(m for m in torchvision_models() if m.name == name)
    found = agreement(model)
    assert found.wrong == ()
    assert found.wrong_edges == ()
    assert found.agree == found.seen


def test_models_are_scripts() -> None:
    model = Model(
        "torchvision", "resnet18", "from torchvision.models import resnet18", "resnet18()", (1, 3, 8, 8)
    )
    compile(model.script, "script", "exec")
