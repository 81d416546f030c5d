"""The README as a program: its files are written, its commands run, and their output compared.

``python -m tests.readme`` writes the real output and the table of rules into the README.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
INSTALLED = any(point.name == "relucheck" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "relucheck.pytest_plugin")
SCRIPT = "import sys; sys.argv[0] = 'relucheck'; from relucheck.cli import main; main()"
"""What the installed command does, whose name stands in its help."""

PROGRAMS = {
    "relucheck": ("-c", SCRIPT),
    "pytest": ("-m", "pytest", "-p", "no:cacheprovider", *PLUGIN),
    "python": (),
}
ENVIRONMENT = {"NO_COLOR": "1", "COLUMNS": "100", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
ELISION = "..."
TABLE = re.compile(r"(<!-- rules -->\n).*?(<!-- end of rules -->)", re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MEASURED = re.compile(r"\d\.\de[+-]\d\d|(?<= in )\d+\.\d+s$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where that begins and ends."""

    language: str
    text: str
    start: int
    end: int

    @property
    def file_name(self):
        """The name that the first line gives the block, as in ``# network.py``."""
        named = re.match(r"# ([\w./-]+\.\w+)$", self.text.split("\n", 1)[0])
        return named.group(1) if named else None

    @property
    def command(self):
        """The command of a console block, without its prompt."""
        return self.text.split("\n", 1)[0].removeprefix("$ ")

    @property
    def output(self):
        return self.text.split("\n", 1)[1]


def blocks(text):
    return [Block(found[1], found[2], found.start(2), found.end(2)) for found in _BLOCK.finditer(text)]


def of_language(text, language):
    return [block for block in blocks(text) if block.language == language]


def prepare(folder, text):
    """Lay out a folder as a reader of the README would have it: its files beside the examples."""
    for block in blocks(text):
        if block.file_name is not None:
            (folder / block.file_name).write_text(block.text, encoding="utf-8")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))


def run(command, folder):
    """What a command prints on both streams, in the order of a terminal; and its exit status."""
    program, *arguments = command.split()
    environment = {**os.environ, **ENVIRONMENT}
    environment.pop("FORCE_COLOR", None)
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program], *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    lines = [line.rstrip() for line in done.stdout.strip("\n").split("\n")]
    return "\n".join(lines) + "\n", done.returncode


def unmeasured(text):
    """The text without the digits of measured figures, which differ a little between processors and runs."""
    return _MEASURED.sub("#.#e±##", text)


def agrees(expected, printed):
    """Whether the output is as shown; a line ``...`` stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^\.\.\.\n", unmeasured(expected), flags=re.MULTILINE)]
    return re.fullmatch(r"(?:.*\n)*?".join(parts), unmeasured(printed)) is not None


def shortened(shown, printed):
    """The output with the same parts left out: each part starts with the same line and is as long."""
    if ELISION not in shown.splitlines():
        return printed
    lines, kept = printed.splitlines(keepends=True), []
    for part in re.split(r"^(\.\.\.\n)", shown, flags=re.MULTILINE):
        rows = part.splitlines(keepends=True)
        if part in ("", f"{ELISION}\n"):
            kept += rows
        elif rows[0] in lines:
            start = lines.index(rows[0])
            kept += lines[start : start + len(rows)]
        else:
            return printed
    return "".join(kept)


def rules():
    """The rules as ``relucheck rules --output-format json`` lists them."""
    listed, _ = run("relucheck rules --output-format json", ROOT)
    return json.loads(listed)


def table():
    """The table of rules, each linked to the module whose docstring is its page."""
    files = {}
    for path in sorted((ROOT / "relucheck" / "rules").glob("[!_]*.py")):
        code = re.search(r'Rule\(\s*"(RLU\d+)"', path.read_text(encoding="utf-8"))
        files[code[1]] = path.relative_to(ROOT).as_posix()
    rows = ["| rule | name | severity | what it finds |", "|---|---|---|---|"]
    for rule in rules():
        link = f"[{rule['code']}]({files[rule['code']]})"
        summary = rule["summary"].replace("|", "\\|")
        rows.append(f"| {link} | `{rule['name']}` | {rule['severity']} | {summary} |")
    return "\n".join(rows) + "\n"


def refreshed(text):
    """The README with the output that its commands print now."""
    text = TABLE.sub(lambda found: found[1] + table() + found[2], text)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, text)
        for block in reversed(of_language(text, "console")):
            printed, _ = run(block.command, folder)
            if not agrees(block.output, printed):
                printed = shortened(block.output, printed)
                text = f"{text[: block.start]}$ {block.command}\n{printed}{text[block.end :]}"
    return text


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
