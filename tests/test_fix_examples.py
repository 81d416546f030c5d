"""The fixes of every rule, on the example of its own page and on the acceptance cases."""

import ast
import re
import shutil
from pathlib import Path

import pytest

import relucheck
from relucheck.config import Settings
from relucheck.engine import lint_documents, lint_paths, load_rules
from relucheck.fixing import fix
from relucheck.source.files import from_text

RULES = load_rules()
ALL = Settings(select=("ALL",))
PAGES = {module.rule.name: module.page for module in RULES}
CASES = Path(relucheck.__file__).parent.parent.parent / "shared" / "cases" / "static"

AS_WRITTEN = (
    "activation-called-on-tensor",
    "bool-slope",
    "discarded-activation",
    "functional-dropout-always-on",
    "inplace-overwrites",
    "norm-eps-positional",
    "relu-before-squash",
    "relu-in-transformer",
    "relu-output",
    "softmax-before-cross-entropy",
)
"""Rules whose example, fixed, is what the page recommends; others recommend what only a person can choose."""

GONE = ("double-activation", "dropout-on-logits", "linear-stack", "relu-rnn", "sigmoid-before-bce-logits")
"""Rules whose example is fixed in another way than the page shows, or in part."""


def block(page, title):
    """The Python code under a heading of a page."""
    return re.search(rf"## {title}\n.*?```python\n(.*?)```", page, re.DOTALL).group(1)


def fixed(text):
    """The fixed text of one file, and the result."""
    document = from_text("m.py", text)
    lint = lambda documents: lint_documents(documents, ALL, RULES)  # noqa: E731
    result = fix(lint([document]), lint, lambda path: text.encode(), unsafe=True)
    return result.contents.get("m.py", text.encode()).decode(), result


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_the_fixed_example_is_what_the_page_recommends(name):
    text, _ = fixed(block(PAGES[name], "Example"))
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(block(PAGES[name], "Use instead")))


@pytest.mark.parametrize("name", GONE)
def test_the_finding_is_gone_from_the_fixed_example(name):
    text, result = fixed(block(PAGES[name], "Example"))
    assert name in [finding.name for finding in result.fixed], result.rejected
    ast.parse(text)


@pytest.mark.parametrize("name", [*AS_WRITTEN, *GONE])
def test_the_fixed_example_runs(name):
    pytest.importorskip("torch")
    text, _ = fixed(block(PAGES[name], "Example"))
    exec(compile(text, name, "exec"), {"__name__": "example", "x": _input(name)})


def _input(name):
    """What the examples leave to the reader: an input."""
    import torch

    return torch.randn(4, 10 if name == "linear-stack" else 8)


def test_a_fixed_stack_is_no_longer_affine():
    torch = pytest.importorskip("torch")
    text = (
        "import torch\nfrom torch import nn\n"
        "net = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 8), nn.Linear(8, 2))\nnet(torch.randn(3, 4))\n"
    )
    names = {}
    exec(fixed(text)[0], names)
    a, b = torch.randn(64, 4), torch.randn(64, 4)
    with torch.no_grad():
        whole, parts = names["net"]((a + b) / 2), (names["net"](a) + names["net"](b)) / 2
    assert (whole - parts).abs().max() > 1e-3


def test_a_fixed_output_is_no_longer_one_sided_or_squashed():
    torch = pytest.importorskip("torch")
    for name in ("relu-output", "softmax-before-cross-entropy"):
        names = {}
        exec(fixed(block(PAGES[name], "Example"))[0], names)
        net = names["Net"]() if "Net" in names else names["model"]
        scores = net(torch.randn(64, 8 if "Net" in names else 4))
        assert scores.min() < 0


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_example_is_broken_by_fixing(name):
    if "## Example\n" not in PAGES[name] or "```python" not in PAGES[name]:
        pytest.skip("a page without code")
    text = block(PAGES[name], "Example")
    if name == "syntax-error":
        pytest.skip("not Python")
    after, result = fixed(text)
    ast.parse(after)
    assert len(result.lint.findings) <= len(lint_documents([from_text("m.py", text)], ALL, RULES).findings)


@pytest.mark.skipif(not CASES.is_dir(), reason="no acceptance cases beside the project")
def test_the_acceptance_cases_are_fixed_without_new_findings(tmp_path, monkeypatch):
    shutil.copytree(CASES, tmp_path / "static")
    monkeypatch.chdir(tmp_path / "static")
    before = lint_paths(["."], ALL, RULES)
    lint = lambda documents: lint_documents(documents, ALL, RULES)  # noqa: E731
    result = fix(before, lint, lambda path: Path(path).read_bytes(), unsafe=True)
    assert len(result.contents) > 20
    assert not [finding for finding in result.lint.findings if finding.name == "syntax-error"]
    known = {(f.span.path, f.code) for f in (*before.findings, *before.silent)}
    assert {(f.span.path, f.code) for f in result.lint.findings} <= known
