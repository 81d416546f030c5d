"""``relucheck server``: the language server, once its library is there."""

from __future__ import annotations

from importlib.util import find_spec

import click

from relucheck.cli import OK
from relucheck.config import Configuration, Overrides
from relucheck.problems import UsageProblem


@click.command()
@click.option("--config", "config_file", metavar="FILE", help="Use the settings of this file alone.")
@click.option("--isolated", is_flag=True, help="Use no settings files.")
def server(config_file: str | None, isolated: bool) -> int:
    """Serve editors: findings while you type, quick fixes, explanations.

    Speaks the language server protocol on standard input and output; editors start it. It needs the
    library pygls: pip install "relucheck[server]".
    """
    if find_spec("pygls") is None or find_spec("lsprotocol") is None:
        raise UsageProblem('the language server needs pygls: pip install "relucheck[server]"')
    from relucheck.cli_lint import configured
    from relucheck.engine import known_rules, load_rules
    from relucheck.server import serve

    known = known_rules(load_rules())

    def settings() -> Configuration:
        """The settings as they are now: files that hold them are edited while the server runs."""
        return configured(config_file, isolated, known, Overrides())

    settings()  # a wrong --config is said at once
    serve(settings)
    return OK
