"""Published models for the comparison, each as the script that makes and runs it."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from relucheck.net import Net
from relucheck.source.files import Document, from_text, read
from relucheck.source.project import read_script
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


SMALL = (
    "atto",
    "femto",
    "pico",
    "nano",
    "tiny",
    "mini",
    "xxs",
    "_xs",
    "small",
    "lite",
    "_s",
    "_m0",
    "18",
    "_b0",
    "0",
)


def timm_models(limit: int, each: int = 2) -> list[Model]:
    """``each`` architectures of every model file of timm, small ones first as far as names tell."""
    load_torchvision()  # timm imports it
    timm = importlib.import_module("timm")
    chosen: list[Model] = []
    for module in timm.list_modules():
        names = sorted(timm.list_models(module=module), key=lambda n: (_size_by_name(n), len(n), n))
        for name in names[:each]:
            config = timm.get_pretrained_cfg(name)
            size = config.input_size if config else (3, 224, 224)
            imports = f"from timm.models.{module} import {name}"
            chosen.append(Model("timm", name, imports, f"{name}()", (2, *size)))
    return chosen[:limit]


def _size_by_name(name: str) -> int:
    return next((i for i, word in enumerate(SMALL) if word in name), len(SMALL))


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
def sources(package: str, part: str = "") -> tuple[tuple[Document, ast.Module], ...]:
    """The source files of an installed package, parsed; of transformers only one model and the core."""
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
    return tuple(found)


def source_net(model: Model) -> Net:
    """The net that the source reader makes of the model's script."""
    modules = sources(model.package, model.name if model.package == "transformers" else "")
    root = Path(modules[0][0].path).parent.parent
    script = from_text(str(root / "agreement_script.py"), model.script)
    assert isinstance(script, Document)
    return read_script((script, ast.parse(script.text)), modules, STEPS)


def tape_net(model: Model, most: float = float("inf")) -> Net:
    """The net that one real pass of the model leaves behind.

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
    return measure(made.eval(), [batch]).net


def agreements(models: list[Model]) -> Iterator[tuple[Model, Agreement]]:
    """The comparison for each model."""
    for model in models:
        yield model, compare(source_net(model), tape_net(model))
