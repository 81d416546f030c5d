"""``relucheck rule`` and ``relucheck rules``: what the rules are and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relucheck.cli import OK
from relucheck.completion import rules as rules_offered
from relucheck.problems import UsageProblem
from relucheck.selection import canonical, did_you_mean

if TYPE_CHECKING:
    from relucheck.finding import RuleModule

_FORMAT = click.option(
    "--output-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="For people or for programs.",
)


@click.command()
@click.argument("rule", required=False, metavar="[CODE|NAME]", shell_complete=rules_offered)
@click.option("--all", "every", is_flag=True, help="Explain every rule.")
@_FORMAT
def rule(rule: str | None, every: bool, output_format: str) -> int:
    """Explain a rule: why it matters, an example, what to write instead."""
    from relucheck.engine import load_rules

    if every == (rule is not None):
        raise UsageProblem("give the code or the name of a rule, or --all; `relucheck rules` lists them")
    modules = load_rules()
    chosen = modules if rule is None else (_named(rule, modules),)
    if output_format == "json":
        _echo_json([_record(module) for module in chosen] if every else _record(chosen[0]))
    else:
        click.echo("\n\n".join(_page(module) for module in chosen))
    return OK


@click.command()
@_FORMAT
def rules(output_format: str) -> int:
    """List the rules: code, name, severity, summary."""
    from relucheck.engine import load_rules

    modules = load_rules()
    if output_format == "json":
        _echo_json([_record(module) for module in modules])
        return OK
    width = max(len(module.rule.name) for module in modules)
    for module in modules:
        facts = module.rule
        click.echo(f"{facts.code}  {facts.name:{width}}  {facts.severity.value:7}  {summary(module)}")
    return OK


def _named(name: str, modules: tuple[RuleModule, ...]) -> RuleModule:
    wanted = canonical(name)
    for module in modules:
        if wanted in (module.rule.code, module.rule.name):
            return module
    known = [word for module in modules for word in (module.rule.code, module.rule.name)]
    raise UsageProblem(f"there is no rule {name!r}{did_you_mean(wanted, known)}")


def summary(module: RuleModule) -> str:
    """The first sentence of a rule's page."""
    return " ".join(module.page.split("\n\n", 1)[0].split())


def _page(module: RuleModule) -> str:
    from relucheck.report import url

    facts = module.rule
    title = f"{facts.code} {facts.name} ({facts.severity.value})"
    return f"{title}\n{'=' * len(title)}\n\n{module.page}\n\n{url(facts.name)}"


def _record(module: RuleModule) -> dict[str, Any]:
    from relucheck.finding import Severity
    from relucheck.report import url

    facts = module.rule
    return {
        "code": facts.code,
        "name": facts.name,
        "severity": facts.severity.value,
        "default": facts.default and facts.severity is not Severity.ADVICE,
        "summary": summary(module),
        "explanation": module.page,
        "yields_to": list(facts.yields_to),
        "url": url(facts.name),
    }


def _echo_json(data: Any) -> None:
    import json

    click.echo(json.dumps(data, indent=2))
