"""The command line: a table of subcommands, each imported when it is called, and exit statuses."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NoReturn, cast

import click

from relucheck.boundary import guarded
from relucheck.problems import UsageProblem
from relucheck.version import __version__

COMMANDS = {
    "lint": "relucheck.cli_lint:lint",
    "rule": "relucheck.cli_rules:rule",
    "rules": "relucheck.cli_rules:rules",
    "config": "relucheck.cli_config:config",
    "clean": "relucheck.cli_clean:clean",
    "probe": "relucheck.cli_probe:probe",
    "run": "relucheck.cli_run:run",
    "compare": "relucheck.cli_compare:compare",
    "plot": "relucheck.cli_plot:plot",
    "server": "relucheck.cli_server:server",
}
"""Where each subcommand lives; only the one that is called is imported."""

OK, FOUND, BROKEN, INTERRUPTED = 0, 1, 2, 130


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand of a name, or None."""
        module, _, attribute = COMMANDS.get(cmd_name, "").partition(":")
        if not module or find_spec(module) is None:
            return None
        return cast(click.Command, getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``."""
        commands = ((name, self.get_command(ctx, name)) for name in COMMANDS)
        width = formatter.width - 12
        rows = [(name, command.get_short_help_str(width)) for name, command in commands if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relucheck")
def cli() -> None:
    """Find activation and gradient-flow mistakes in PyTorch networks."""


def main() -> NoReturn:
    """The console script: runs the command line and exits with its status."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        _forgiving(stream)
    outcome = guarded(_status, "", "relucheck failed")
    if isinstance(outcome, int):
        sys.exit(outcome)
    click.echo(f"internal error: {outcome.message}\n{outcome.traceback}{REPORT_IT}", err=True)
    sys.exit(BROKEN)


REPORT_IT = "This is a fault of relucheck, not of your code; please report it with the lines above."


def _status() -> int:
    """The exit status of the command line, with its errors said on stderr."""
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return BROKEN
    except UsageProblem as problem:
        click.echo(f"error: {problem}", err=True)
        return BROKEN
    except BrokenPipeError:
        silence_stdout()
        return OK
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        silence_stdout()
        click.echo(f"error: standard output cannot be written ({error.strerror})", err=True)
        return BROKEN
    return status if isinstance(status, int) else OK


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What a full or broken disk behind standard output says."""


def _open_missing_streams() -> None:
    """Stand-ins for standard streams that the caller has closed (``>&-``): Python leaves None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole run


def silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail on a closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _forgiving(stream: Any) -> None:
    """Let characters that the terminal cannot show be written as escapes."""
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
