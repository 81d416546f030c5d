"""What a shell offers for an argument that is being typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, which the shell itself knows."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def rules(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Codes and names of rules, behind the last comma of a list."""
    from click.shell_completion import CompletionItem

    from relucheck.cli_rules import summary
    from relucheck.engine import load_rules

    before, comma, word = incomplete.rpartition(",")
    found = [
        (name, summary(module)) for module in load_rules() for name in (module.rule.code, module.rule.name)
    ]
    return [
        CompletionItem(f"{before}{comma}{name}", help=text) for name, text in found if name.startswith(word)
    ]
