"""The reader never fails on a Python file, and what it says does not depend on chance."""

from __future__ import annotations

import ast
import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucheck.source.files import Document, from_text, read
from relucheck.source.parse import parse
from relucheck.source.project import read_project
from tests.source.reading import read_files


def python_files(folder: Path, limit: int) -> list[Path]:
    """Some files of a folder, always the same ones."""
    return sorted(folder.rglob("*.py"))[:limit]


def modules_of(paths: list[Path]) -> list[tuple[Document, ast.Module]]:
    """The files that parse, made relevant so that the reader runs them although they use no torch."""
    modules = []
    for path in paths:
        document = read(str(path))
        if isinstance(document, Document):
            try:
                tree = ast.parse(document.text)
            except (SyntaxError, ValueError):
                continue
            modules.append((dataclasses.replace(document, text=document.text + "\n# torch\n"), tree))
    return modules


def test_the_standard_library_is_read_without_a_fault() -> None:
    modules = modules_of(python_files(Path(os.__file__).parent / "email", 60))
    modules += modules_of(python_files(Path(os.__file__).parent / "json", 60))
    assert len(modules) >= 15
    reading = read_project(modules)
    assert reading.crashes == ()
    assert len(reading.nets) == len(modules)


AXES = (
    *(
        "flatten()",
        "flatten(0)",
        "flatten(-1)",
        "flatten(-2, -1)",
        "unflatten(0, (1, 1))",
        "squeeze()",
        "squeeze(0)",
    ),
    *(
        "unsqueeze(-1)",
        "transpose(0, 1)",
        "transpose(-1, -2)",
        "permute(0)",
        "permute()",
        "movedim(0, 1)",
        "T",
        "mT",
    ),
    *(
        "view(-1)",
        "view(1, 1)",
        "reshape(0)",
        "reshape(-1, 0)",
        "softmax(dim=-1)",
        "softmax(0)",
        "mean(0)",
        "sum(-1)",
    ),
    *(
        "chunk(2)",
        "chunk(0)",
        "split(1)",
        "split(0, -1)",
        "unbind(0)",
        "size(0)",
        "size(-1)",
        "shape[0]",
        "shape[1:]",
    ),
    *(
        "expand(2, 3)",
        "repeat(2)",
        "max(0)",
        "max(-1)[0]",
        "argmax(-1)",
        "narrow(0, 0, 1)",
        "select(0, 0)",
        "t()",
    ),
    *("cumsum(0)", "norm(dim=0)", "ndim", "dim()", "numel()", "tolist()", "item() // 0", "item() % 0"),
    *(
        "permute(0, 7)",
        "permute(1, 0)",
        "transpose(0, 9)",
        "flatten(3, 1)",
        "chunk(2, 7)",
        "shape[9]",
        "softmax(9)",
    ),
)


@pytest.mark.parametrize("shape", ["()", "(6,)", "(2, 3)"])
@pytest.mark.parametrize("method", AXES)
def test_axes_that_tensors_do_not_have(method: str, shape: str) -> None:
    text = f"""
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        z = self.fc(torch.zeros(2, 4)).sum() if not {shape} else self.fc(torch.zeros(2, 4)).reshape({shape})
        return z.{method}
"""
    assert read_files({"m.py": text}).crashes == ()


@pytest.mark.corpus
@pytest.mark.parametrize("package", ["torchvision", "timm", "transformers", "torch"])
def test_installed_packages_are_read_without_a_fault(package: str) -> None:
    spec = pytest.importorskip("importlib.util").find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    modules = modules_of(python_files(Path(spec.submodule_search_locations[0]), 400))
    assert len(modules) >= 100
    reading = read_project(modules)
    assert reading.crashes == ()


NAMES = st.sampled_from(["x", "y", "h", "self", "layers", "n"])
ATOMS = st.one_of(
    NAMES,
    st.integers(-3, 40).map(str),
    st.sampled_from(
        ["None", "True", "'relu'", "[]", "{}", "()", "x.shape", "x.size(0)", "self.fc", "nn.ReLU()", "1.5"]
    ),
)


def _combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        pair.map(lambda p: f"({p[0]} + {p[1]})"),
        pair.map(lambda p: f"({p[0]} * {p[1]})"),
        pair.map(lambda p: f"({p[0]} // {p[1]})"),
        pair.map(lambda p: f"({p[0]} @ {p[1]})"),
        pair.map(lambda p: f"({p[0]} if {p[1]} else {p[0]})"),
        pair.map(lambda p: f"({p[0]} > {p[1]})"),
        pair.map(lambda p: f"({p[0]} or {p[1]})"),
        pair.map(lambda p: f"[{p[0]}, *{p[1]}]"),
        pair.map(lambda p: f"{p[0]}[{p[1]}]"),
        pair.map(lambda p: f"[i for i in {p[0]} if {p[1]}]"),
        inner.map(lambda e: f"F.relu({e})"),
        inner.map(lambda e: f"torch.cat([{e}, {e}], dim=1)"),
        inner.map(lambda e: f"nn.Sequential(*{e})"),
        inner.map(lambda e: f"nn.Linear({e}, 4)"),
        inner.map(lambda e: f"self.fc({e})"),
        inner.map(lambda e: f"({e}).view({e}, -1)"),
        inner.map(lambda e: f"({e}).softmax(dim=1)"),
        inner.map(lambda e: f"(lambda x: {e})(x)"),
        inner.map(lambda e: f"nn.CrossEntropyLoss()({e}, y)"),
    )


EXPRESSIONS = st.recursive(ATOMS, _combine, max_leaves=8)


def _block(lines: str) -> str:
    return "\n".join("    " + line for line in lines.splitlines())


def _nest(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(EXPRESSIONS, inner).map(lambda p: f"if {p[0]}:\n{_block(p[1])}"),
        st.tuples(EXPRESSIONS, inner, inner).map(
            lambda p: f"if {p[0]}:\n{_block(p[1])}\nelse:\n{_block(p[2])}"
        ),
        st.tuples(NAMES, EXPRESSIONS, inner).map(lambda p: f"for {p[0]} in {p[1]}:\n{_block(p[2])}"),
        st.tuples(EXPRESSIONS, inner).map(lambda p: f"while {p[0]}:\n{_block(p[1])}\n    break"),
        inner.map(lambda b: f"try:\n{_block(b)}\nexcept ValueError:\n    pass"),
        inner.map(lambda b: f"with torch.no_grad():\n{_block(b)}"),
    )


SIMPLE = st.one_of(
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"{p[0]} = {p[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"{p[0]} += {p[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"self.{p[0]} = {p[1]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"a, {p[0]} = {p[1]}"),
    EXPRESSIONS.map(lambda e: f"layers.append({e})"),
    EXPRESSIONS,
    st.sampled_from(["pass", "raise ValueError", "del x", "global n"]),
)
STATEMENTS = st.recursive(SIMPLE, _nest, max_leaves=5)
PROGRAMS = st.lists(STATEMENTS, min_size=1, max_size=6).map("\n".join)


def _program(init: str, forward: str) -> str:
    return (
        "import torch\nfrom torch import nn\nimport torch.nn.functional as F\nclass M(nn.Module):\n"
        f"    def __init__(self, n, layers=()):\n        super().__init__()\n"
        f"        x = y = h = n\n{_block(_block(init))}\n"
        f"    def forward(self, x, y=None):\n        h = n = layers = x\n{_block(_block(forward))}\n        return x\n"
    )


@settings(max_examples=150, deadline=None)
@given(PROGRAMS, PROGRAMS)
def test_generated_networks_are_read_without_a_fault_and_always_alike(init: str, forward: str) -> None:
    text = _program(init.replace("global n", "pass"), forward.replace("global n", "pass"))
    try:
        ast.parse(text)
    except SyntaxError:  # a starred or lambda expression in a place that Python does not allow
        return
    assert read_files({"m.py": text}) == read_files({"m.py": text})


def test_trees_are_kept_without_docstrings_and_annotations() -> None:
    text = (
        '"""About."""\n'
        'class A:\n    """Only this."""\n'
        'if True:\n    def f(x: int = 1, *, y: str) -> int:\n        """Adds."""\n        return x\n'
    )
    document = from_text("m.py", text)
    assert isinstance(document, Document)
    kept = ast.unparse(parse(document))
    assert kept == 'class A:\n    """Only this."""\nif True:\n\n    def f(x=1, *, y):\n        return x'
