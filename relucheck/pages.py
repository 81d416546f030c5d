"""The rules' pages as Markdown: for the documentation, and for editors."""

from __future__ import annotations

from relucheck.finding import RuleModule, Severity
from relucheck.report import url


def title(module: RuleModule) -> str:
    """What a page is called: the name and the code of its rule."""
    return f"{module.rule.name} ({module.rule.code})"


def page(module: RuleModule) -> str:
    """The page of a rule as a document of its own."""
    return f"# {title(module)}\n\n{facts(module)}\n\n{module.page}\n"


def hover(module: RuleModule) -> str:
    """The page of a rule as an editor shows it beside the code."""
    link = f"[{title(module)}]({url(module.rule.name)})"
    return f"**{link}**\n\n{module.page}\n"


def facts(module: RuleModule) -> str:
    """A line about a rule: how grave it is, and whether it is on."""
    rule = module.rule
    shown = rule.default and rule.severity is not Severity.ADVICE
    asked = f"shown only where it is asked for: `--extend-select {rule.code}`"
    return f"Severity: **{rule.severity.value}**, {'shown by default' if shown else asked}."
