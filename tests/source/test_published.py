"""Which of torchvision's networks end in a layer that users replace."""

from relucheck.source.calls import call
from relucheck.source.expressions import evaluate
from relucheck.source.machine import Machine
from relucheck.source.published import network_of
from relucheck.source.roots import load
from relucheck.source.statements import define, execute, put
from relucheck.source.values import Instance, Seq


def network(name: str) -> Instance | None:
    return network_of(Machine(evaluate, execute, call, define, put, load), f"torchvision.models.{name}")


def test_the_network_of_a_family_ends_in_its_attribute() -> None:
    assert [(n.last if (n := network(name)) else None) for name in ("resnet18", "vgg16_bn", "vit_b_16")] == [
        "fc",
        "classifier",
        "heads",
    ]


def test_a_network_of_several_results_or_of_another_task_is_not_known() -> None:
    for name in (
        "inception_v3",
        "googlenet",
        "squeezenet1_0",
        "video.r3d_18",
        "detection.resnet_fpn_backbone",
    ):
        assert network(name) is None


def test_a_classifier_of_several_layers_has_as_many_elements() -> None:
    known = network("vgg16")
    assert known is not None
    row = known.attrs["classifier"]
    assert isinstance(row, Instance)
    items = row.attrs["_items"]
    assert isinstance(items, Seq)
    assert len(items.items) == 7
