"""The pages of the rules, made from their docstrings while the site is built: git holds no copies."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from mkdocs.structure.files import File

from relucheck.cli_rules import summary
from relucheck.engine import load_rules
from relucheck.pages import page

TABLE = "<!-- the table of rules -->"
FAMILIES = {
    "RLU0": "The file itself",
    "RLU1": "What leaves the network",
    "RLU2": "Missing, doubled and unused non-linearity",
    "RLU3": "Recurrence",
    "RLU4": "Parameters and initialisation",
    "RLU5": "Order, modes and the path of gradients",
    "RLU6": "Measured on real passes",
}


def on_config(config: Any) -> Any:
    """Add the rules, by family, to the navigation."""
    for entry in config["nav"]:
        if isinstance(entry, dict) and "Rules" in entry:
            entry["Rules"] += [{FAMILIES[family]: pages} for family, pages in _pages_by_family()]
    return config


def _pages_by_family() -> list[tuple[str, list[dict[str, str]]]]:
    families = groupby((module.rule for module in load_rules()), key=lambda rule: rule.code[:4])
    return [(f, [{f"{r.code} {r.name}": f"rules/{r.name}.md"} for r in rules]) for f, rules in families]


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each rule."""
    for module in load_rules():
        files.append(File.generated(config, f"rules/{module.rule.name}.md", content=page(module)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the table of rules where a page asks for it."""
    return markdown.replace(TABLE, table()) if TABLE in markdown else markdown


def table() -> str:
    """All rules with a link to the page of each, family by family."""
    parts = []
    for family, modules in groupby(load_rules(), key=lambda module: module.rule.code[:4]):
        rows = (
            f"| {m.rule.code} | [{m.rule.name}]({m.rule.name}.md) | {m.rule.severity.value} | {_cell(summary(m))} |"
            for m in modules
        )
        parts.append(
            "\n".join(
                [f"## {FAMILIES[family]}\n", "| code | name | severity | |", "|---|---|---|---|", *rows]
            )
        )
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
