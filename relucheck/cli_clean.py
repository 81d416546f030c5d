"""``relucheck clean``: the cache removed."""

from __future__ import annotations

import os

import click

from relucheck.cli import OK
from relucheck.completion import files


@click.command()
@click.argument("path", default=".", shell_complete=files)
@click.option(
    "--cache-dir",
    metavar="FOLDER",
    envvar="RELUCHECK_CACHE_DIR",
    help="Where the cache is, if not in the project.",
)
def clean(path: str, cache_dir: str | None) -> int:
    """Remove the cache of the project that PATH belongs to."""
    from relucheck.cache import folder_of, remove
    from relucheck.problems import UsageProblem

    folder = cache_dir or folder_of(path)
    try:
        removed = remove(folder)
    except OSError as error:
        raise UsageProblem(f"{folder}: cannot be removed ({error.strerror})") from None
    click.echo(
        f"Removed {os.path.normpath(folder)}" if removed else f"{os.path.normpath(folder)}: no cache here"
    )
    return OK
