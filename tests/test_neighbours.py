"""Which files a file imports: what an editor and flake8 read beside the one that they are about."""

import pytest

from relucheck import neighbours
from relucheck.neighbours import from_disk, with_imports


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def write(folder, **texts):
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read_for(folder, name):
    """The names of the files that are read for one."""
    documents = with_imports(from_disk(str(folder / name)), from_disk)
    return [str(document.path)[len(str(folder)) + 1 :] for document in documents]


@pytest.mark.parametrize(
    "line",
    [
        "import layers",
        "import layers as l",
        "from layers import Net",
        "from . import layers",
        "from .layers import Net",
        "def f():\n    import layers",
    ],
)
def test_a_module_beside_the_file(folder, line):
    write(folder, m=line, layers="")
    assert read_for(folder, "m.py") == ["m.py", "layers.py"]


def test_imports_of_imports_and_circles(folder):
    write(folder, a="import b", b="import c", c="import a")
    assert read_for(folder, "a.py") == ["a.py", "b.py", "c.py"]


def test_packages_and_folders_above(folder):
    write(folder, scripts__train="from nets.parts import block\nfrom nets import big", util="")
    write(folder, nets__big="from ..util import x\nimport util", nets__parts="")
    (folder / "nets" / "__init__.py").write_text("")
    assert read_for(folder, "scripts/train.py") == [
        "scripts/train.py",
        "nets/parts.py",
        "nets/__init__.py",
        "nets/big.py",
        "util.py",
    ]


def test_nothing_above_the_project_is_read(folder):
    write(folder, common="", project__m="import common")
    assert read_for(folder, "project/m.py") == ["project/m.py", "common.py"]
    (folder / "project" / ".git").mkdir()
    assert read_for(folder, "project/m.py") == ["project/m.py"]


def test_torch_is_not_read(folder):
    write(folder, m="import torch.nn\nfrom torch import nn", torch="")
    assert read_for(folder, "m.py") == ["m.py"]


def test_what_cannot_be_read_or_parsed_is_passed_over(folder):
    write(folder, m="import bad, latin, gone, fine", bad="(", fine="")
    (folder / "latin.py").write_bytes(b"'\xe9'")
    assert read_for(folder, "m.py") == ["m.py", "bad.py", "fine.py"]


def test_there_is_a_limit(folder, monkeypatch):
    monkeypatch.setattr(neighbours, "LIMIT", 3)
    write(folder, m="import a, b, c, d", a="", b="", c="", d="")
    assert read_for(folder, "m.py") == ["m.py", "a.py", "b.py"]
