"""Reading source text in tests: one file or a small project, to a Net or to its operations."""

from __future__ import annotations

import ast
from textwrap import dedent

from relucheck.net import Net, Reading
from relucheck.source.files import Document, from_text
from relucheck.source.project import read_project

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def read_files(files: dict[str, str]) -> Reading:
    """The reading of a project given as {path: text}."""
    modules = []
    for path, text in files.items():
        document = from_text(path, dedent(text))
        assert isinstance(document, Document), document
        modules.append((document, ast.parse(document.text)))
    reading = read_project(modules)
    assert not reading.crashes, reading.crashes[0].traceback
    return reading


def read(text: str) -> Net:
    """The Net of one file; torch is imported for it."""
    reading = read_files({"model.py": HEADER + dedent(text)})
    assert len(reading.nets) == 1
    return reading.nets[0]


def chain(net: Net, *, keep: frozenset[str] = frozenset({"input", "random"})) -> list[str]:
    """The operations in order, with layer names, without inputs: ``linear[fc1]``."""
    steps = []
    for node in net.nodes:
        if node.op in keep:
            continue
        layer = net.layer_of(node)
        steps.append(f"{node.op}[{layer.name}]" if layer is not None and layer.name else node.op)
    return steps


def forward(body: str, init: str = "pass", extra: str = "") -> Net:
    """The Net of a module with this ``__init__`` and forward."""
    lines = [
        "class M(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *[f"        {line}" for line in dedent(init).strip().splitlines()],
        "    def forward(self, x):",
        *[f"        {line}" for line in dedent(body).strip().splitlines()],
    ]
    return read("\n".join(lines) + "\n" + dedent(extra))
