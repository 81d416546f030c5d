"""Settings: where they are found, what they may say, and the command line on top."""

import os

import pytest

from relucheck.config import Discovered, Overrides, Settings, from_file
from relucheck.finding import Finding, Severity
from relucheck.problems import UsageProblem
from relucheck.selection import Known, Selection

KNOWN = Known(
    frozenset({"RLU000", "RLU101", "RLU201", "RLU301", "RLU401"}),
    frozenset({"syntax-error", "relu-output", "linear-stack", "relu-rnn", "init-mismatch"}),
)


def finding(code, name="x", severity=Severity.WARNING):
    return Finding(code, name, severity, "m", None)


def pyproject(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)


def settings_of(tmp_path, text):
    (tmp_path / "relucheck.toml").write_text(text)
    return from_file(str(tmp_path / "relucheck.toml"), KNOWN)


# ---------------------------------------------------------------- selection


@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        (Selection(), True),
        (Selection(select=("RLU2",)), True),
        (Selection(select=("linear-stack",)), True),
        (Selection(select=("ALL",)), True),
        (Selection(select=("RLU1",)), False),
        (Selection(select=("RLU1",), extend_select=("RLU201",)), True),
        (Selection(ignore=("RLU2",)), False),
        (Selection(ignore=("ALL",)), False),
        (Selection(select=("RLU201",), ignore=("RLU2",)), True),
        (Selection(select=("RLU2",), ignore=("RLU201",)), False),
        (Selection(select=("RLU201",), ignore=("linear-stack",)), False),
    ],
)
def test_the_most_specific_selector_wins(selection, shown):
    assert selection.shows(finding("RLU201", "linear-stack")) is shown


def test_advice_is_shown_only_where_it_is_asked_for():
    advice = finding("RLU401", "init-mismatch", Severity.ADVICE)
    assert not Selection().shows(advice)
    assert not Selection(ignore=("RLU1",)).shows(advice)
    for selector in ("ALL", "RLU4", "RLU401", "init-mismatch"):
        assert Selection(extend_select=(selector,)).shows(advice)
    assert Selection(severity=(("RLU4", Severity.ADVICE),)).shows(advice)


def test_a_rule_that_must_be_asked_for():
    assert not Selection().shows(finding("RLU201"), default=False)
    assert Selection(select=("ALL",)).shows(finding("RLU201"), default=False)


def test_syntax_errors_are_shown_unless_their_code_is_ignored():
    error = finding("RLU000", "syntax-error", Severity.ERROR)
    assert Selection(select=("RLU2",)).shows(error)
    assert Selection(ignore=("ALL",)).shows(error)
    assert not Selection(ignore=("RLU000",)).shows(error)


def test_unknown_selectors_name_the_nearest():
    with pytest.raises(UsageProblem, match=r"--select: unknown rule 'relu-rn'; did you mean 'relu-rnn'\?"):
        KNOWN.checked(["relu-rn"], "--select")
    with pytest.raises(UsageProblem, match="RLU9"):
        KNOWN.checked(["RLU9"], "--select")
    assert KNOWN.checked([" rlu2", "all", "Relu-RNN", ""], "--select") == ("RLU2", "ALL", "relu-rnn")


# --------------------------------------------------------------- discovery


def test_the_nearest_file_holds_alone(tmp_path):
    pyproject(tmp_path, '[tool.relucheck]\nselect = ["RLU1"]\nfail-on = "error"\n')
    pyproject(tmp_path / "a", '[tool.relucheck]\nignore = ["RLU2"]\n')
    pyproject(tmp_path / "b", "[tool.other]\nname = 'relucheck'\n")
    config = Discovered(KNOWN)
    assert config.at(str(tmp_path)).select == ("RLU1",)
    assert (config.at(str(tmp_path / "a")).select, config.at(str(tmp_path / "a")).ignore) == ((), ("RLU2",))
    assert config.at(str(tmp_path / "b" / "c")).fail_on == "error"
    assert config.at(str(tmp_path / "a")).source == str(tmp_path / "a" / "pyproject.toml")


def test_own_file_before_pyproject(tmp_path):
    pyproject(tmp_path, '[tool.relucheck]\nselect = ["RLU1"]\n')
    (tmp_path / "relucheck.toml").write_text('select = ["RLU2"]\n')
    assert Discovered(KNOWN).at(str(tmp_path)).select == ("RLU2",)


def test_all_keys(tmp_path):
    settings = settings_of(
        tmp_path,
        """
        select = ["RLU1", "linear-stack"]
        extend-select = ["RLU4"]
        ignore = ["RLU101"]
        exclude = ["old"]
        extend-exclude = ["gen"]
        respect-gitignore = false
        fail-on = "never"
        [per-file-ignores]
        "tests/*" = ["RLU2"]
        [severity]
        RLU4 = "error"
        """,
    )
    assert settings.select == ("RLU1", "linear-stack")
    assert settings.extend_select == ("RLU4",)
    assert settings.ignore == ("RLU101",)
    assert (settings.exclude, settings.extend_exclude) == (("old",), ("gen",))
    assert (settings.respect_gitignore, settings.fail_on) == (False, "never")
    assert settings.severity == (("RLU4", Severity.ERROR),)
    assert settings.selection(str(tmp_path / "tests" / "t.py")).ignore == ("RLU101", "RLU2")
    assert settings.selection(str(tmp_path / "src" / "t.py")).ignore == ("RLU101",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('selct = ["RLU1"]', "unknown key 'selct'; did you mean 'select'?"),
        ('select = "RLU1"', "select: must be a list of strings, not 'RLU1'"),
        ("ignore = [1]", "ignore: must be a list of strings"),
        ('ignore = ["RLU7"]', "ignore: unknown rule 'RLU7'"),
        (
            'fail-on = "warn"',
            "must be one of error, warning, advice, never, not 'warn'; did you mean 'warning'?",
        ),
        ("respect-gitignore = 1", "must be true or false, not 1"),
        ("per-file-ignores = 3", "per-file-ignores: must be a table, not 3"),
        ('severity = {RLU2 = "fatal"}', "severity.RLU2: must be one of advice, warning, error, not 'fatal'"),
        ("= 3", "not valid TOML"),
    ],
)
def test_mistakes_in_settings_name_file_key_and_value(tmp_path, text, message):
    with pytest.raises(UsageProblem) as caught:
        settings_of(tmp_path, text)
    assert str(tmp_path / "relucheck.toml") in str(caught.value)
    assert message in str(caught.value)


def test_a_named_file_that_has_no_settings(tmp_path):
    pyproject(tmp_path, "[tool.other]\n")
    with pytest.raises(UsageProblem, match=r"has no \[tool.relucheck\] table"):
        from_file(str(tmp_path / "pyproject.toml"), KNOWN)
    with pytest.raises(UsageProblem, match="cannot be read"):
        from_file(str(tmp_path / "none.toml"), KNOWN)


# --------------------------------------------------------------- overrides


def test_select_on_the_command_line_replaces_the_choice_of_the_file():
    file = Settings(select=("RLU1",), ignore=("RLU201",), extend_select=("RLU4",))
    held = Overrides(select=("RLU2",)).over(file)
    assert (held.select, held.ignore, held.extend_select) == (("RLU2",), (), ())


def test_the_other_options_add_to_the_file():
    file = Settings(select=("RLU1",), ignore=("RLU201",), fail_on="error")
    held = Overrides(extend_select=("RLU201",), ignore=("RLU101",)).over(file)
    assert (held.select, held.extend_select, held.ignore) == (("RLU1",), ("RLU201",), ("RLU101",))
    assert held.fail_on == "error"
    assert Overrides(fail_on="advice").over(file).fail_on == "advice"


def test_overrides_reach_every_folder(tmp_path):
    pyproject(tmp_path, "[tool.relucheck]\n")
    config = Discovered(KNOWN, Overrides(select=("RLU2",)))
    assert config.at(str(tmp_path / "a")).select == ("RLU2",)
    assert config.at("/").select == ("RLU2",)


def test_fail_rank():
    assert Settings(fail_on="never").fail_rank > Severity.ERROR.rank
    assert Settings().fail_rank == Severity.WARNING.rank


def test_a_mistake_is_said_with_its_row(tmp_path):
    text = """[project]
name = "x"

[tool.relucheck]
select = ["RLU2"]
"fail-on" = "never"
ignroe = []

[tool.relucheck.per-file-ignores]
"a/*" = ["RLU9"]
"""
    pyproject(tmp_path, text)
    file = str(tmp_path / "pyproject.toml")
    with pytest.raises(UsageProblem, match=r"pyproject\.toml:7: unknown key 'ignroe'; did you mean 'ignore'"):
        from_file(file, KNOWN)
    pyproject(tmp_path, text.replace("ignroe = []\n", ""))
    with pytest.raises(UsageProblem, match=r"pyproject\.toml:8: per-file-ignores\.'a/\*'"):
        from_file(file, KNOWN)
    pyproject(tmp_path, text.replace("ignroe", "ignore").replace('"never"', '"nevr"'))
    with pytest.raises(UsageProblem, match=r"pyproject\.toml:6: fail-on: must be one of .*'never'"):
        from_file(file, KNOWN)


def test_the_baseline_is_a_string_and_relative_to_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    settings = settings_of(tmp_path / "sub", 'baseline = "known.json"\n')
    assert settings.baseline_file == os.path.join("sub", "known.json")
    assert Settings().baseline_file is None
    with pytest.raises(UsageProblem, match=r"relucheck\.toml:1: baseline: must be a string, not 3"):
        settings_of(tmp_path, "baseline = 3\n")
