"""Published models for the comparison, each as the script that makes and runs it."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from relucheck.net import Net
from relucheck.source.files import Document, from_text, read
from relucheck.source.project import ScriptReader
from relucheck.tape.probe import measure
from tests.agreement.compare import Agreement, compare

STEPS = 3_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a package: the import, the expression that makes it, and the shape of its input."""

    package: str
    name: str
    imports: str
    make: str
    shape: tuple[int, ...]

    @property
    def script(self) -> str:
        """A program that makes the model and runs it once."""
        data = f"torch.randn{self.shape}" if len(self.shape) > 2 else f"torch.randint(0, 9, {self.shape})"
        return f"import torch\n{self.imports}\nmodel = {self.make}\nout = model({data})\n"


def load_torchvision() -> ModuleType:
    """torchvision, with the operators of its binary half declared where only its sources are there."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(50):
        try:
            return importlib.import_module("torchvision.models")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library.define(f"{missing.group(1)}() -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
    raise RuntimeError("torchvision needs more operators than expected")


TORCHVISION = (
    "alexnet",
    "vgg11_bn",
    "densenet121",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "squeezenet1_0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "regnet_x_400mf",
    "convnext_tiny",
    "swin_t",
    "swin_v2_t",
    "vit_b_16",
    "maxvit_t",
    "googlenet",
)


def torchvision_models() -> list[Model]:
    """One or more of each family of torchvision's classifiers."""
    load_torchvision()
    return [
        Model(
            "torchvision",
            name,
            f"from torchvision.models import {name}",
            f"{name}({'aux_logits=False, init_weights=False' if name == 'googlenet' else ''})",
            (2, 3, 224, 224),
        )
        for name in TORCHVISION
    ]


def timm_models(limit: int) -> list[Model]:
    """The smallest architecture of every family of every model file of timm.

    A family is what the names of a file's architectures begin with, up to the first digit or
    underscore: ``mobilenetv`` and ``lcnet`` of ``mobilenetv3.py``.
    """
    load_torchvision()  # timm imports it
    timm = importlib.import_module("timm")
    chosen: list[Model] = []
    for module in timm.list_modules():
        for names in _families(timm.list_models(module=module)):
            name = min(names, key=lambda n: (_parameters(timm, n), len(n), n))
            config = timm.get_pretrained_cfg(name)
            size = config.input_size if config else (3, 224, 224)
            imports = f"from timm.models.{module} import {name}"
            chosen.append(Model("timm", name, imports, f"{name}()", (2, *size)))
            if len(chosen) == limit:
                return chosen
    return chosen


def _families(names: list[str]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        word = re.match("[a-z]*", name)
        found.setdefault(word.group(0) if word else "", []).append(name)
    return list(found.values())


def _parameters(timm: ModuleType, name: str) -> int:
    """How many parameters a model has; it is built without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in timm.create_model(name).parameters())


TRANSFORMERS = {
    "bert": ("BertModel", "BertConfig", "hidden_size=32, num_attention_heads=4, intermediate_size=64"),
    "roberta": (
        "RobertaModel",
        "RobertaConfig",
        "hidden_size=32, num_attention_heads=4, intermediate_size=64",
    ),
    "distilbert": ("DistilBertModel", "DistilBertConfig", "dim=32, n_heads=4, hidden_dim=64, n_layers=2"),
    "electra": (
        "ElectraModel",
        "ElectraConfig",
        "hidden_size=32, num_attention_heads=4, intermediate_size=64",
    ),
    "gpt2": ("GPT2Model", "GPT2Config", "n_embd=32, n_head=4, n_layer=2"),
    "llama": (
        "LlamaModel",
        "LlamaConfig",
        "hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64",
    ),
    "vit": ("ViTModel", "ViTConfig", "hidden_size=32, num_attention_heads=4, intermediate_size=64"),
    "resnet": ("ResNetModel", "ResNetConfig", ""),
    "convnext": ("ConvNextModel", "ConvNextConfig", ""),
    "mobilenet_v2": ("MobileNetV2Model", "MobileNetV2Config", ""),
}
"""Architectures of transformers with small random configurations: model, configuration, arguments."""

IMAGES = ("vit", "resnet", "convnext", "mobilenet_v2")


def transformers_models() -> list[Model]:
    """Ten architectures of transformers, text and images."""
    load_torchvision()  # transformers imports it where it is installed
    found = []
    for name, (model, config, arguments) in TRANSFORMERS.items():
        base = f"transformers.models.{name}"
        imports = (
            f"from {base}.modeling_{name} import {model}\nfrom {base}.configuration_{name} import {config}"
        )
        shape = (2, 3, 224, 224) if name in IMAGES else (2, 8)
        found.append(Model("transformers", name, imports, f"{model}({config}({arguments}))", shape))
    return found


@lru_cache(maxsize=16)
def reader_of(package: str, part: str = "") -> tuple[ScriptReader, Path]:
    """A reader of scripts that import an installed package, and where the package is installed.

    Of transformers only one model and the core are read.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    found = []
    paths = root.rglob("*.py") if not part else [*root.glob("*.py"), *(root / "models" / part).glob("*.py")]
    for path in sorted(paths):
        document = read(str(path))
        if isinstance(document, Document):
            found.append((document, ast.parse(document.text)))
    return ScriptReader(found, STEPS), root.parent


def source_net(model: Model) -> Net:
    """The net that the source reader makes of the model's script."""
    reader, folder = reader_of(model.package, model.name if model.package == "transformers" else "")
    script = from_text(str(folder / f"agreement_{model.name}.py"), model.script)
    assert isinstance(script, Document)
    return reader.read(script, ast.parse(script.text))


@dataclass(frozen=True, slots=True)
class Ran:
    """The net that one real pass of a model left behind, and its modules that have several paths."""

    net: Net
    aliases: Mapping[str, tuple[str, ...]]


def run(model: Model, most: float = float("inf")) -> Ran:
    """One real pass of the model.

    Raises ValueError for a model of more than ``most`` million parameters.
    """
    names: dict[str, object] = {"torch": torch}
    exec(model.imports, names)  # the scripts are written above
    made = eval(model.make, names)
    assert isinstance(made, nn.Module)
    millions = sum(p.numel() for p in made.parameters()) / 1e6
    if millions > most:
        raise ValueError(f"{millions:.0f} million parameters are more than {most:g}")
    images = len(model.shape) > 2
    batch = torch.randn(model.shape) if images else torch.randint(0, 9, model.shape)
    return Ran(measure(made.eval(), [batch]).net, aliases_of(made))


def aliases_of(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """All paths of every submodule that has several, by each of them."""
    paths: dict[nn.Module, list[str]] = {}
    for path, inner in module.named_modules(remove_duplicate=False):
        paths.setdefault(inner, []).append(path)
    return {path: tuple(row) for row in paths.values() if len(row) > 1 for path in row}


def agreement(model: Model, most: float = float("inf")) -> Agreement:
    """The comparison for one model; see ``run`` for its errors."""
    ran = run(model, most)
    return compare(source_net(model), ran.net, ran.aliases)
