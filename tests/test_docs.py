"""The documentation: its commands print what it shows, its site builds, and every rule has its page.

``python -m tests.test_docs`` writes the output that the commands print now into the pages.
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from relucheck.engine import load_rules
from tests import readme

DOCS = readme.ROOT / "docs"
PACKAGE = readme.ROOT / "relucheck"
EXECUTED = {
    "commands.md": (),
    "tutorial.md": ("torch",),
    "suppressing.md": ("torch",),
    "api.md": ("torch",),
    "distributed.md": ("torch",),
    "pictures.md": ("torch", "matplotlib", "jinja2"),
    "integrations.md": ("torch", "lightning", "transformers", "accelerate", "tensorboard"),
}
"""The pages whose commands are run, and the libraries that they need."""

REFRESH = "the page is out of date: python -m tests.test_docs writes what is printed now"

if not (readme.ROOT / "mkdocs.yml").is_file():
    pytest.skip("needs the repository", allow_module_level=True)


def printed(text):
    """What each command of a page prints, in order: they work on the same files, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        readme.prepare(Path(name), text)
        return [readme.run(block.command, Path(name))[0] for block in readme.of_language(text, "console")]


def refreshed(text):
    """A page with the output that its commands print now."""
    pairs = list(zip(readme.of_language(text, "console"), printed(text), strict=True))
    for block, output in reversed(pairs):
        shown = output if readme.agrees(block.output, output) else readme.shortened(block.output, output)
        kept = block.output if readme.agrees(block.output, output) else shown
        text = f"{text[: block.start]}$ {block.command}\n{kept}{text[block.end :]}"
    return text


@pytest.mark.parametrize("name", EXECUTED)
def test_commands_print_what_is_shown(name):
    for library in EXECUTED[name]:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}")
    text = (DOCS / name).read_text(encoding="utf-8")
    blocks = readme.of_language(text, "console")
    assert blocks
    for block, output in zip(blocks, printed(text), strict=True):
        assert readme.agrees(block.output, output), f"{REFRESH}\n$ {block.command}\n{output}"
        assert not block.command.startswith("pytest") or "1 passed in" in output, output


def test_the_settings_that_are_shown_are_valid(tmp_path):
    (block,) = readme.of_language((DOCS / "configuration.md").read_text(encoding="utf-8"), "toml")
    (tmp_path / "pyproject.toml").write_text(block.text, encoding="utf-8")
    (tmp_path / "clean.py").write_text("", encoding="utf-8")
    assert readme.run("relucheck lint clean.py", tmp_path) == ("No mistakes found.\n", 0)


def test_every_setting_is_described():
    from relucheck.config import _readers

    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert described == set(_readers(None))


def test_every_option_of_pytest_is_described():
    options = re.findall(r'"(--relucheck[\w-]*)"', (PACKAGE / "pytest_plugin.py").read_text(encoding="utf-8"))
    described = re.findall(
        r"^\| `(--[\w-]+)", (DOCS / "commands.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(described) == sorted(set(options))
    assert "--relucheck" in options
    settings = re.findall(r'addini\("(\w+)"', (PACKAGE / "pytest_plugin.py").read_text(encoding="utf-8"))
    assert "relucheck_select" in settings
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert [setting for setting in settings if f"`{setting}`" not in text] == []


def test_every_command_is_described():
    from relucheck.cli import COMMANDS

    blocks = readme.of_language((DOCS / "commands.md").read_text(encoding="utf-8"), "console")
    assert {block.command.split()[1] for block in blocks} == set(COMMANDS)


@pytest.mark.parametrize("part", ["source", "tape"])
def test_the_design_names_every_module(part):
    design = (DOCS / "design.md").read_text(encoding="utf-8")
    tables = "".join(re.findall(r"^\| `.*? \|", design, re.MULTILINE))
    modules = {path.stem for path in (PACKAGE / part).glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"`(\w+)`", tables)) == set()


@pytest.mark.parametrize("name", ["ci.md"])
def test_yaml_that_is_shown_is_yaml(name):
    yaml = pytest.importorskip("yaml")
    blocks = readme.of_language((DOCS / name).read_text(encoding="utf-8"), "yaml")
    assert blocks
    assert all(yaml.safe_load(block.text) for block in blocks)


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_shell_completion_as_it_is_shown(shell, word):
    variable = f"_RELUCHECK_COMPLETE={shell}_source"
    assert variable in (DOCS / "editors.md").read_text(encoding="utf-8")
    # click names the variable after the program, which here must not be called __main__.py
    program = "import sys; sys.argv = ['relucheck']; from relucheck.cli import main; main()"
    name, value = variable.split("=")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(readme.ROOT), name: value, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, word in done.stdout) == (0, True), done.stderr


# ------------------------------------------------------------------ the site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for library in ("mkdocs", "material"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=readme.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def words(text):
    """The words of a text, whatever marks it up."""
    return re.findall(r"\w+", re.sub(r"^```\w*", "", text, flags=re.MULTILINE))


def words_of_page(path):
    """The words of a page's article, as a browser shows them."""
    html = pytest.importorskip("html")
    article = re.search(r"<article.*?>(.*?)</article>", path.read_text(encoding="utf-8"), re.DOTALL)[1]
    return words(html.unescape(re.sub(r"<[^>]*>", "", article)))


def test_every_rule_has_the_page_that_its_findings_name(site):
    for module in load_rules():
        assert (site / "rules" / module.rule.name / "index.html").is_file(), module.rule.code


@pytest.mark.parametrize("module", load_rules(), ids=lambda module: module.rule.code)
def test_the_command_shows_the_same_page(site, module):
    shown = words_of_page(site / "rules" / module.rule.name / "index.html")
    told = words(module.page)
    start = shown.index(told[0], 1)
    missing = [word for word in told if word not in shown[start:]]
    assert missing == []


def test_the_table_of_rules_is_there(site):
    text = (site / "rules" / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{module.rule.name}/"' in text.replace("../", "") for module in load_rules())


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:[^\"]*)", path.read_text(encoding="utf-8")
        )
        assert [url for url in loaded if "relucheck.readthedocs.io" not in url] == [], path


if __name__ == "__main__":
    for page_name in EXECUTED:
        page = DOCS / page_name
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
