"""``relucheck config``: the settings that hold for a path, and the file that they come from."""

from __future__ import annotations

import dataclasses
import json
import os
from enum import Enum
from typing import Any

import click

from relucheck.cli import OK
from relucheck.completion import files
from relucheck.config import Settings


@click.command()
@click.argument("path", default=".", shell_complete=files)
@click.option("--config", "config_file", metavar="FILE", help="Use the settings of this file alone.")
@click.option("--isolated", is_flag=True, help="Use no settings files.")
def config(path: str, config_file: str | None, isolated: bool) -> int:
    """Show the settings that hold for a path and their file.

    The output is TOML, as in [tool.relucheck].
    """
    from relucheck.cli_lint import configured
    from relucheck.config import Overrides
    from relucheck.engine import known_rules, load_rules

    configuration = configured(config_file, isolated, known_rules(load_rules()), Overrides())
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    click.echo(described(configuration.at(folder)))
    return OK


def described(settings: Settings) -> str:
    """The settings as a TOML table below the name of their file."""
    fields = [field.name for field in dataclasses.fields(settings) if field.name not in ("source", "root")]
    values = {name.replace("_", "-"): getattr(settings, name) for name in fields}
    values |= {key: dict(values[key]) for key in ("per-file-ignores", "severity")}
    lines = [f"# {settings.source or 'the defaults: no settings file applies'}"]
    return "\n".join([*lines, *(f"{key} = {_toml(value)}" for key, value in values.items())])


def _toml(value: Any) -> str:
    if isinstance(value, Enum):
        return json.dumps(value.value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)
