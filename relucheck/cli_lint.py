"""``relucheck lint``: options in, report and exit status out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from relucheck.cli import BROKEN, FOUND, OK, REPORT_IT, silence_stdout
from relucheck.completion import files, rules
from relucheck.config import FAIL_ON, Configuration, Discovered, Overrides, Settings, from_file
from relucheck.problems import Problem, UsageProblem
from relucheck.progress import progress
from relucheck.report import View, format_names, renderer
from relucheck.selection import Known

if TYPE_CHECKING:
    from relucheck.baseline import Baseline
    from relucheck.engine import LintResult
    from relucheck.finding import Fix, RuleModule

_EDIT_FORMATS = ("json", "json-lines", "sarif")
_TEXT_FORMATS = ("concise", "full", "grouped")


class LintCommand(click.Command):
    """``lint``, where ``--add-ignore`` may stand alone: click would take the next path for its reason."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, parsed."""
        options = args.index("--") if "--" in args else len(args)
        spelled = ["--add-ignore=" if arg == "--add-ignore" else arg for arg in args[:options]]
        return super().parse_args(ctx, [*spelled, *args[options:]])


@click.command(cls=LintCommand)
@click.argument("paths", nargs=-1, shell_complete=files)
@click.option(
    "--select",
    multiple=True,
    metavar="RULES",
    shell_complete=rules,
    help="Show these rules only: codes, families (RLU1), names, ALL.",
)
@click.option("--ignore", multiple=True, metavar="RULES", shell_complete=rules, help="Hide these rules.")
@click.option(
    "--extend-select",
    multiple=True,
    metavar="RULES",
    shell_complete=rules,
    help="Show these rules too, advice for example.",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    help="Least severity that makes the exit status 1 (default: warning).",
)
@click.option("--fix", is_flag=True, help="Make the fixes that do what the code plainly meant.")
@click.option(
    "--unsafe-fixes",
    is_flag=True,
    help="With --fix or --diff: also make those that decide between designs. Alone: show all fixes.",
)
@click.option("--diff", is_flag=True, help="Show what --fix would change, and change nothing.")
@click.option("--fix-only", is_flag=True, help="Fix, and report nothing that is left.")
@click.option(
    "--baseline",
    metavar="FILE",
    shell_complete=files,
    help="Leave out the findings that this file knows (default: the baseline of the settings, if any).",
)
@click.option("--write-baseline", is_flag=True, help="Write all that is found into the --baseline file.")
@click.option(
    "--changed-only",
    is_flag=True,
    help="Show only findings about lines that git says have changed (in notebooks: changed files).",
)
@click.option(
    "--base", metavar="REF", help="With --changed-only: changed since HEAD left this branch or commit."
)
@click.option("--add-ignore", metavar="[=REASON]", help="Write a suppression comment for everything found.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever is found.")
@click.option(
    "--output-format",
    type=click.Choice(format_names()),
    default="full",
    show_default=True,
    help="How to report.",
)
@click.option(
    "--output-file",
    metavar="FILE",
    shell_complete=files,
    help="Write the report here instead of to the terminal.",
)
@click.option("--statistics", is_flag=True, help="Count the findings of each rule instead of listing them.")
@click.option(
    "--stdin-filename", metavar="NAME", help="The name of the text that '-' reads from standard input."
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    shell_complete=files,
    help="Use the settings of this file alone.",
)
@click.option("--isolated", is_flag=True, help="Use no settings files.")
@click.option("--no-cache", is_flag=True, help="Read every file again, and remember nothing.")
@click.option(
    "--cache-dir",
    metavar="FOLDER",
    envvar="RELUCHECK_CACHE_DIR",
    help="Where to remember (default: in the project).",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes at most (default: one for each core); files that import each other stay together.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Name all that lint does not read to its end, and show the traceback of internal errors.",
)
def lint(**given: Any) -> int:
    """Find mistakes in Python files, notebooks and folders.

    Without PATHS, the current folder is read; '-' reads standard input.

    Exit status: 0 nothing found, 1 findings at or above --fail-on, 2 wrong usage, an unreadable
    file or an internal error.
    """
    return _run(Options(**given))


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of ``lint``, as click hands it over."""

    paths: tuple[str, ...]
    select: tuple[str, ...]
    ignore: tuple[str, ...]
    extend_select: tuple[str, ...]
    fail_on: str | None
    fix: bool
    unsafe_fixes: bool
    diff: bool
    fix_only: bool
    baseline: str | None
    write_baseline: bool
    changed_only: bool
    base: str | None
    add_ignore: str | None
    exit_zero: bool
    output_format: str
    output_file: str | None
    statistics: bool
    stdin_filename: str | None
    config_file: str | None
    isolated: bool
    no_cache: bool
    cache_dir: str | None
    jobs: int | None
    verbose: bool

    @property
    def wants_fixes(self) -> bool:
        return self.fix or self.diff or self.fix_only

    def shows(self, fix: Fix | None) -> bool:
        """Whether the report holds the text of a fix, for which its file is parsed again."""
        if fix is None:
            return False
        if self.output_format in _EDIT_FORMATS or self.wants_fixes or self.unsafe_fixes:
            return True
        return self.output_format == "full" and fix.safety.value == "safe"

    @property
    def text_on_stdout(self) -> bool:
        """Whether standard output is taken by the fixed text of standard input."""
        return self.wants_fixes and "-" in self.paths and not self.output_file

    def overrides(self, known: Known) -> Overrides:
        """What the command line selects, checked."""
        return Overrides(
            _selectors(self.select, "--select", known),
            _selectors(self.extend_select, "--extend-select", known),
            _selectors(self.ignore, "--ignore", known),
            self.fail_on,
        )


def _run(options: Options) -> int:
    """Lint, report, and the exit status."""
    from relucheck.engine import known_rules, load_rules

    rules = load_rules()
    known = known_rules(rules)
    configuration = configured(options.config_file, options.isolated, known, options.overrides(known))
    options = replace(options, baseline=options.baseline or configuration.at("").baseline_file)
    stdin = _stdin(options)
    with progress("Reading", sys.stderr):
        everything = _result(options, stdin, configuration, rules)
    if options.write_baseline:
        return _baseline_written(options, everything)
    left_out = _left_out(options, everything)
    result = left_out.unknown(everything) if left_out else everything
    if options.add_ignore is not None:
        return _ignored(options, result, options.add_ignore)
    if options.wants_fixes:
        return _fixed(options, stdin, result, left_out, configuration=configuration, rules=rules)
    return _reported(options, result, configuration, rules)


def _baseline_written(options: Options, result: LintResult) -> int:
    """Write the baseline, and the exit status."""
    from relucheck import cli_known

    cli_known.write_baseline(result, options.baseline)
    return _status(options, result, found=False)


def _left_out(options: Options, result: LintResult) -> Baseline | None:
    """The findings that the options leave out, if they may leave out any."""
    if options.baseline is None and options.base is None and not options.changed_only:
        return None
    from relucheck import cli_known

    return cli_known.known(result, options.baseline, options.changed_only, options.base)


def _ignored(options: Options, result: LintResult, reason: str) -> int:
    """Suppress everything found, and the exit status."""
    from relucheck import cli_known

    if "-" in options.paths or options.wants_fixes:
        raise UsageProblem("--add-ignore writes into files; give paths, and neither '-' nor --fix")
    problems = cli_known.add_ignores(result, reason)
    return _status(options, replace(result, problems=(*result.problems, *problems)), found=False)


def _fixed(
    options: Options,
    stdin: bytes | None,
    found: LintResult,
    left_out: Baseline | None,
    *,
    configuration: Configuration,
    rules: Sequence[RuleModule],
) -> int:
    """Fix or show the fixes, report what is left, and the exit status."""
    from relucheck import cli_fix

    inputs = cli_fix.Inputs(options.stdin_filename or STDIN, stdin)
    with progress("Fixing", sys.stderr):
        result = cli_fix.fixed(found, inputs, left_out, configuration, rules, unsafe=options.unsafe_fixes)
    if options.diff:
        _write(cli_fix.diff(result, inputs), options.output_file)
        cli_fix.say(result, would=True)
        return _status(options, result.lint, found=bool(result.contents))
    left = cli_fix.written(result, found, inputs)
    cli_fix.say(left, would=False)
    if options.fix_only:
        return _status(options, left.lint, found=False)
    return _reported(options, left.lint, configuration, rules)


def _reported(
    options: Options, result: LintResult, configuration: Configuration, rules: Sequence[RuleModule]
) -> int:
    """Report, and the exit status."""
    from relucheck.engine import failing

    report = _report(result, options, rules)
    if options.text_on_stdout:
        click.echo(report, err=True, nl=False)
    else:
        _write(report, options.output_file)
    return _status(options, result, found=failing(result.findings, configuration))


def _status(options: Options, result: LintResult, *, found: bool) -> int:
    """The exit status, after saying what went wrong."""
    _say(result, options.verbose)
    if _broken(result):
        return BROKEN
    return FOUND if found and not options.exit_zero else OK


def _broken(result: LintResult) -> bool:
    """Whether something that was to be judged was not."""
    return bool(result.crashes) or any(problem.fatal for problem in result.problems)


def _selectors(options: tuple[str, ...], name: str, known: Known) -> tuple[str, ...]:
    """The selectors of an option that may be repeated and may hold commas."""
    return known.checked((part for option in options for part in option.split(",")), name)


def configured(config_file: str | None, isolated: bool, known: Known, overrides: Overrides) -> Configuration:
    """The configuration that the options ask for."""
    if config_file and isolated:
        raise UsageProblem("--config and --isolated exclude each other")
    if isolated:
        return overrides.over(Settings())
    if config_file:
        return overrides.over(from_file(config_file, known))
    return Discovered(known, overrides)


STDIN = "<stdin>"


def _stdin(options: Options) -> bytes | None:
    """What standard input holds, where '-' asks for it."""
    if "-" not in options.paths:
        if options.stdin_filename:
            raise UsageProblem("--stdin-filename names what '-' reads; give '-' as the path")
        return None
    if len(options.paths) > 1:
        raise UsageProblem("'-' reads standard input and stands alone; give no other paths with it")
    return sys.stdin.buffer.read()


def _result(
    options: Options, stdin: bytes | None, configuration: Configuration, rules: Sequence[RuleModule]
) -> LintResult:
    """The findings in what the paths name: standard input, or files and folders."""
    from relucheck.engine import lint_documents, lint_paths
    from relucheck.parallel import cores

    paths, jobs = options.paths or (".",), options.jobs or cores()
    if stdin is None and options.no_cache:
        return lint_paths(paths, configuration, rules, jobs=jobs)
    if stdin is None:
        from relucheck.cache import folder_of, lint_cached

        return lint_cached(paths, configuration, rules, options.cache_dir or folder_of("."), jobs)
    from relucheck.source.files import from_bytes

    document = from_bytes(options.stdin_filename or STDIN, stdin)
    if isinstance(document, Problem):
        return replace(lint_documents((), configuration, rules), problems=(document,))
    return lint_documents((document,), configuration, rules)


def _report(result: LintResult, options: Options, rules: Sequence[RuleModule]) -> str:
    """The report as text."""

    def read_line(path: str, cell: int | None, row: int) -> str | None:
        document = result.documents.get(path)
        return document.line(cell, row) if document else None

    if options.statistics:
        return _statistics(result, options.output_format)
    colour = not options.output_file and _colour_wanted()
    from relucheck.report._fixable import fixable

    closing = fixable(result.findings, unsafe=options.unsafe_fixes, fixed=options.wants_fixes)
    view = View(
        result.findings, read_line, rules=rules, colour=colour, closing=closing, partial=_broken(result)
    )
    shown = tuple(finding for finding in result.findings if options.shows(finding.fix))
    if shown:
        from relucheck.cli_fix import text_edits

        view = replace(view, edits=text_edits(replace(result, findings=shown)))
    return renderer(options.output_format)(view)


def _colour_wanted() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


def _statistics(result: LintResult, output_format: str) -> str:
    from relucheck.report import _statistics as statistics

    if output_format == "json":
        return statistics.as_json(result.findings)
    if output_format in _TEXT_FORMATS:
        return statistics.as_text(result.findings)
    raise UsageProblem(f"--statistics has no format {output_format!r}; use full or json")


def _write(report: str, output_file: str | None) -> None:
    """Write the report where it was asked for; a closed pipe is no error."""
    if output_file is None:
        try:
            sys.stdout.write(report)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
        return
    try:
        with open(output_file, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(report)
    except OSError as error:
        raise UsageProblem(f"{output_file}: cannot be written ({error.strerror})") from None


def _say(result: LintResult, verbose: bool) -> None:
    """Say on stderr what could not be read, or not to its end, and where relucheck failed."""
    for problem in result.problems:
        click.echo(f"{'error' if problem.fatal else 'warning'}: {problem}", err=True)
    if result.unfinished:
        from relucheck.unfinished import told

        for line in told(result.unfinished, everything=verbose):
            click.echo(f"warning: {line}", err=True)
    for crash in result.crashes:
        where = f"{crash.path}: " if crash.path else ""
        click.echo(f"internal error: {where}{crash.message}", err=True)
        if verbose:
            click.echo(crash.traceback, err=True)
    if result.crashes:
        hint = "" if verbose else " (--verbose shows the traceback)"
        click.echo(f"{REPORT_IT}{hint}", err=True)
