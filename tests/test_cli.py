"""The command line as a user meets it: options, exit statuses, what goes to stdout and what to stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import relucheck
from relucheck.engine import load_rules

BROKEN_TEXT = "net = (\n"
CLEAN = "import math\n"
IDLE = "x = 1  # relucheck: ignore\n"  # the one warning that needs no rule of the network


def run(*arguments, cwd=None, text=None, env=None):
    """A process of its own, since exit statuses and streams are what is tested."""
    root = Path(relucheck.__file__).parent.parent
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [sys.executable, "-m", "relucheck", *arguments],
        cwd=cwd,
        input=text.encode() if isinstance(text, str) else text,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
        check=False,
    )


def lint(folder, *arguments, **kw):
    done = run("lint", *arguments, cwd=folder, **kw)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def codes(stdout):
    return [item["code"] for item in json.loads(stdout)]


@pytest.fixture
def folder(tmp_path):
    """A folder with a clean, a broken and a complaining file."""
    for name, text in (("clean.py", CLEAN), ("broken.py", BROKEN_TEXT), ("idle.py", IDLE)):
        (tmp_path / name).write_text(text)
    return tmp_path


# ------------------------------------------------------------ exit statuses


def test_clean_is_0(folder):
    assert lint(folder, "clean.py") == (0, "No mistakes found.\n", "")


def test_findings_are_1_and_the_other_files_are_read(folder):
    status, out, err = lint(folder, "--output-format", "json")
    assert (status, codes(out), err) == (1, ["RLU000", "RLU001"], "")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), 1),
        (("--fail-on", "advice"), 1),
        (("--fail-on", "error"), 0),
        (("--fail-on", "never"), 0),
        (("--exit-zero",), 0),
        (("--ignore", "RLU001"), 0),
        (("--select", "RLU000"), 0),
    ],
)
def test_what_makes_the_run_fail(folder, options, status):
    assert lint(folder, "idle.py", *options)[0] == status


def test_a_missing_file_is_2_and_the_others_are_reported(folder):
    status, out, err = lint(folder, "none.py", "idle.py", "--output-format", "json")
    assert (status, codes(out)) == (2, ["RLU001"])
    assert err == "error: none.py: no such file or folder\n"


def test_nothing_is_called_free_of_mistakes_that_was_not_read(folder):
    status, out, err = lint(folder, "none.py")
    assert (status, out) == (2, "No mistakes found in what could be read.\n")
    assert err == "error: none.py: no such file or folder\n"


def test_an_undecodable_file_is_2(folder):
    (folder / "latin.py").write_bytes(b"s = '\xe9'\n")
    status, _, err = lint(folder, ".", "--exit-zero")
    assert status == 2
    assert err.startswith("error: latin.py: is not utf-8: byte 0xe9 in line 1; save it as UTF-8")


def test_a_folder_without_python_is_said_and_is_0(tmp_path):
    assert lint(tmp_path) == (
        0,
        "No mistakes found.\n",
        "warning: .: holds no Python file or notebook to read\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--select", "RLU9999"), "--select: unknown rule 'RLU9999'"),
        (("--ignore", "syntax-eror"), "--ignore: unknown rule 'syntax-eror'; did you mean 'syntax-error'?"),
        (("--fail-on", "panic"), "'panic' is not one of"),
        (("--output-format", "yaml"), "'yaml' is not one of"),
        (("--nonsense",), "No such option"),
        (("-", "clean.py"), "stands alone"),
        (("--stdin-filename", "a.py"), "give '-' as the path"),
        (("--config", "none.toml"), "none.toml: cannot be read"),
        (("--isolated", "--config", "a.toml"), "exclude each other"),
        (("--output-file", "no/such/folder"), "no/such/folder: cannot be written"),
        (("--statistics", "--output-format", "sarif"), "--statistics has no format 'sarif'"),
    ],
)
def test_wrong_usage_is_2(folder, arguments, message):
    status, _, err = lint(folder, *arguments)
    assert (status, message in err) == (2, True), err


def test_bad_settings_are_2(folder):
    (folder / "pyproject.toml").write_text('[tool.relucheck]\nselekt = ["RLU1"]\n')
    status, _, err = lint(folder)
    assert status == 2
    assert "pyproject.toml:2: unknown key 'selekt'; did you mean 'select'?" in err


def test_no_such_command_is_2():
    done = run("lnt")
    assert (done.returncode, b"No such command 'lnt'" in done.stderr) == (2, True)


INTERNAL = """
import relucheck.source.project as project
def read_project(modules, only):
    raise KeyError("x")
project.read_project = read_project
from relucheck.cli import main
main()
"""


def test_an_internal_error_is_2_and_one_line(folder):
    root = str(Path(relucheck.__file__).parent.parent)
    for options, lines in (((), 2), (("--verbose",), 5)):
        done = subprocess.run(
            [sys.executable, "-c", INTERNAL, "lint", "broken.py", "clean.py", *options],
            cwd=folder,
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": root},
            check=False,
        )
        err = done.stderr.decode()
        assert done.returncode == 2
        assert b"RLU000" in done.stdout
        assert err.startswith("internal error: clean.py: reading the project failed: KeyError: 'x'\n")
        assert "please report it" in err
        assert len(err.splitlines()) == lines or (lines == 5 and "Traceback" in err)


# ------------------------------------------------------------------- input


def test_stdin(tmp_path):
    status, out, _ = lint(tmp_path, "-", "--output-format", "concise", text=BROKEN_TEXT)
    assert (status, out.split(" ")[0]) == (1, "<stdin>:1:7:")


def test_stdin_has_the_name_and_the_settings_of_its_file(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "relucheck.toml").write_text('ignore = ["RLU001"]\n')
    assert lint(tmp_path, "-", "--stdin-filename", "pkg/a.py", text=IDLE)[0] == 0
    assert lint(tmp_path, "-", "--stdin-filename", "a.py", text=IDLE)[0] == 1


def test_stdin_may_be_a_notebook(tmp_path):
    text = json.dumps({"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "source": BROKEN_TEXT}]})
    _, out, _ = lint(tmp_path, "-", "--stdin-filename", "n.ipynb", "--output-format", "json", text=text)
    assert [(item["cell"], item["location"]["row"]) for item in json.loads(out)] == [(2, 1)]


def test_stdin_that_is_not_text(tmp_path):
    status, _, err = lint(tmp_path, "-", text=b"\xff\xfe\x00")
    assert (status, err.startswith("error: <stdin>: is not utf-8")) == (2, True)


# ---------------------------------------------------------------- settings


def test_settings_are_those_of_each_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text(IDLE)
    (tmp_path / "pyproject.toml").write_text('[tool.relucheck]\nextend-exclude = ["c"]\n')
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.relucheck]\nignore = ["RLU001"]\n')
    _, out, _ = lint(tmp_path, "--output-format", "json")
    assert [Path(item["filename"]).parent.name for item in json.loads(out)] == ["b"]
    _, out, _ = lint(tmp_path, "--output-format", "json", "--isolated")
    assert codes(out) == ["RLU001", "RLU001"]


def test_per_file_ignores_and_fail_on(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "m.py").write_text(IDLE)
    (tmp_path / "m.py").write_text(IDLE)
    settings = 'fail-on = "error"\n[per-file-ignores]\n"tests/*" = ["RLU001"]\n'
    (tmp_path / "relucheck.toml").write_text(settings)
    status, out, _ = lint(tmp_path, "--output-format", "json")
    assert (status, [Path(item["filename"]).parent for item in json.loads(out)]) == (0, [tmp_path])


def test_a_named_settings_file(folder):
    (folder / "other.toml").write_text('ignore = ["RLU001"]\n')
    assert lint(folder, "idle.py", "--config", "other.toml")[0] == 0


def test_config_shows_what_holds_and_from_where(tmp_path):
    (tmp_path / "relucheck.toml").write_text('ignore = ["RLU001"]\nseverity = {RLU000 = "advice"}\n')
    out = run("config", cwd=tmp_path).stdout.decode()
    assert out.startswith(f"# {tmp_path / 'relucheck.toml'}\n")
    assert 'ignore = ["RLU001"]\n' in out
    assert 'severity = { "RLU000" = "advice" }\n' in out
    assert "the defaults" in run("config", "--isolated", cwd=tmp_path).stdout.decode()


def test_config_prints_toml_that_is_read_again(tmp_path):
    first = run("config", cwd=tmp_path).stdout
    (tmp_path / "relucheck.toml").write_bytes(first)
    assert run("config", cwd=tmp_path).stdout.splitlines()[1:] == first.splitlines()[1:]


# ------------------------------------------------------------------ output


def test_output_file(folder):
    status, out, _ = lint(folder, "--output-format", "json", "--output-file", "report.json")
    assert (status, out) == (1, "")
    assert codes((folder / "report.json").read_text()) == ["RLU000", "RLU001"]


def test_statistics(folder):
    _, out, _ = lint(folder, "--statistics")
    assert out == "1  RLU000  error    syntax-error\n1  RLU001  warning  unused-suppression\n"


def test_paths_are_shown_as_they_are_seen_from_here(folder):
    (folder / "sub").mkdir()
    _, out, _ = lint(folder / "sub", "../broken.py", "--output-format", "concise")
    assert out.startswith(f"{Path('../broken.py')}:")
    _, out, _ = lint(folder, str(folder / "broken.py"), "--output-format", "concise")
    assert out.startswith("broken.py:")


def test_colour_is_forced_or_refused(folder):
    assert "\x1b[" not in lint(folder)[1]
    assert "\x1b[" in lint(folder, env={"FORCE_COLOR": "1"})[1]
    assert "\x1b[" not in lint(folder, env={"FORCE_COLOR": "1", "NO_COLOR": "1"})[1]


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_file_name_that_is_no_text(tmp_path):
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).write_text(BROKEN_TEXT)
    except OSError:
        pytest.skip("the file system refuses such names")
    for name in ("full", "json", "sarif", "gitlab", "junit"):
        status, _, err = lint(tmp_path, "--output-format", name)
        assert (status, err) == (1, "")


@pytest.mark.skipif(os.name == "nt", reason="needs /dev/full and pipes")
def test_a_closed_pipe_is_quiet(folder):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "relucheck", "lint", "--isolated"],
        cwd=folder,
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(relucheck.__file__).parent.parent)},
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_is_130(monkeypatch, capsys):
    from relucheck import cli

    def interrupted(*args, **kw):
        raise KeyboardInterrupt

    monkeypatch.setattr("relucheck.cli_lint._run", interrupted)
    monkeypatch.setattr(sys, "argv", ["relucheck", "lint"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


# ------------------------------------------------------------------- rules


def test_rule_by_code_and_by_name():
    by_code, by_name = run("rule", "rlu001"), run("rule", "unused-suppression")
    assert by_code.stdout == by_name.stdout
    assert by_code.stdout.startswith(b"RLU001 unused-suppression (warning)\n====")


def test_rule_as_json():
    one = json.loads(run("rule", "RLU000", "--output-format", "json").stdout)
    assert (one["code"], one["severity"], one["summary"]) == (
        "RLU000",
        "error",
        "Text that Python's parser does not take.",
    )
    every = json.loads(run("rule", "--all", "--output-format", "json").stdout)
    assert [record["code"] for record in every] == [module.rule.code for module in load_rules()]
    assert all(record["explanation"] and record["summary"] for record in every)


@pytest.mark.parametrize("arguments", [(), ("RLU001", "--all"), ("RLU998",)])
def test_rule_wants_one_or_all(arguments):
    done = run("rule", *arguments)
    assert (done.returncode, done.stderr.startswith(b"error: ")) == (2, True)


def test_rules_lists_each():
    lines = run("rules").stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == [module.rule.code for module in load_rules()]


def test_version_and_help():
    assert run("--version").stdout.decode().strip() == f"relucheck, version {relucheck.__version__}"
    out = run("--help").stdout.decode()
    assert all(name in out for name in ("lint", "rule", "rules", "config"))
    assert "..." not in out.split("Commands:")[1]  # no description is cut off in a terminal of 80 columns


# ------------------------------------------------------------------ help and completion


def commands(group=None, path=()):
    """Every command with its words, those of groups included."""
    from relucheck.cli import cli

    group = group or cli
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("words", "command"), list(commands()), ids=str)
def test_help_says_what_each_command_and_option_does(words, command):
    assert command.help
    assert command.help.split("\n")[0].endswith(".")
    options = (option for option in command.params if isinstance(option, click.Option))
    assert [option.name for option in options if not option.help] == []


def completed(*words):
    """What bash is offered for the last of these words: pairs of a type and a text."""
    program = "import sys; sys.argv = ['relucheck']; from relucheck.cli import main; main()"
    env = {
        "_RELUCHECK_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["relucheck", *words]),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": str(Path(relucheck.__file__).parent.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    return [tuple(line.split(",", 1)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ru",), [("plain", "rule"), ("plain", "rules"), ("plain", "run")]),
        (("lint", "--output-fo"), [("plain", "--output-format")]),
        (("lint", "--output-format", "js"), [("plain", "json"), ("plain", "json-lines")]),
        (("lint", "--fail-on", "n"), [("plain", "never")]),
        (("lint", "models/"), [("file", "models/")]),
        (("lint", "--baseline", "kn"), [("file", "kn")]),
        (("lint", "--select", "RLU2,linear-s"), [("plain", "RLU2,linear-stack")]),
        (("rule", "relu-r"), [("plain", "relu-rnn")]),
        (("rule", "RLU30"), [("plain", "RLU301")]),
    ],
)
def test_a_shell_is_offered_what_fits(words, offered):
    assert completed(*words) == offered


# ------------------------------------------------------------------ python


def test_lint_from_python(folder):
    findings = relucheck.lint(folder / "idle.py", folder / "broken.py")
    assert [finding.code for finding in findings] == ["RLU000", "RLU001"]
    assert all(isinstance(finding, relucheck.Finding) for finding in findings)


def test_lint_from_python_hides_nothing(folder):
    from relucheck.api import LintError

    with pytest.raises(LintError, match="no such file or folder"):
        relucheck.lint(folder / "none.py")


def test_the_live_half_without_torch():
    text = (
        "import sys; sys.modules['torch'] = None\n"
        "import relucheck\n"
        "try: relucheck.probe\n"
        "except ImportError as error: print(error)\n"
    )
    root = str(Path(relucheck.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, env=env, check=False)
    assert done.stdout.decode().strip() == 'relucheck.probe needs PyTorch: pip install "relucheck[torch]"'


def test_one_version():
    pyproject = Path(relucheck.__file__).parent.parent / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("installed without its pyproject.toml")
    assert f'version = "{relucheck.__version__}"' in pyproject.read_text(encoding="utf-8")


def test_unknown_attributes_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'lnt'"):
        relucheck.lnt  # noqa: B018
