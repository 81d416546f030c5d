"""Findings left out: by a baseline, by git's changes, and by comments that relucheck writes itself."""

import json
import os
import shutil
import subprocess

import pytest

from relucheck.finding import Rule, Severity
from relucheck.ignoring import ignores
from relucheck.net import Net
from relucheck.source.files import from_text
from relucheck.source.splices import spliced
from tests.test_cli import codes, lint, run

LEAKY = "nn.LeakyReLU(True)"
HEAD = "from torch import nn\n"
ONE = HEAD + f"a = {LEAKY}\n"
TWO = ONE + f"b = {LEAKY}\n"
JSON = ("--output-format", "json")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m.py").write_text(ONE)
    return tmp_path


# ----------------------------------------------------------------- baseline


@pytest.fixture
def known(folder):
    """A folder whose one finding is known."""
    assert lint(folder, "--baseline", "known.json", "--write-baseline") == (
        0,
        "",
        "known.json: 1 known finding\n",
    )
    return folder


def test_known_findings_are_left_out(known):
    assert lint(known, "--baseline", "known.json") == (0, "No mistakes found.\n", "")


def test_settings_name_the_baseline_relative_to_their_folder(folder):
    (folder / "pyproject.toml").write_text('[tool.relucheck]\nbaseline = "ci/known.json"\n')
    (folder / "ci").mkdir()
    message = f"{os.path.join('ci', 'known.json')}: 1 known finding\n"
    assert lint(folder, "--write-baseline") == (0, "", message)
    assert lint(folder) == (0, "No mistakes found.\n", "")
    (folder / "sub").mkdir()
    shutil.copy(folder / "m.py", folder / "sub" / "n.py")
    assert codes(lint(folder / "sub", "..", *JSON)[1]) == ["RLU404"]
    assert codes(lint(folder, "--isolated", "m.py", *JSON)[1]) == ["RLU404"]
    assert b'baseline = "ci/known.json"\n' in run("config", cwd=folder).stdout


def test_a_baseline_of_the_settings_that_is_not_there_is_said(folder):
    (folder / "relucheck.toml").write_text('baseline = "known.json"\n')
    status, out, err = lint(folder)
    assert (status, out) == (2, "")
    assert err == (
        "error: known.json: cannot be read (No such file or directory); create it with --write-baseline\n"
    )


def test_a_moved_line_stays_known_and_a_new_one_is_found(known):
    (known / "m.py").write_text(
        "# moved\n\n" + ONE.replace("a =", "    a =").replace("    ", "") + f"new = {LEAKY}\n"
    )
    status, out, err = lint(known, "--baseline", "known.json", *JSON)
    assert (status, codes(out), err) == (1, ["RLU404"], "")
    assert json.loads(out)[0]["location"]["row"] == 5


def test_a_second_copy_of_a_known_line_is_new(known):
    (known / "m.py").write_text(ONE + f"a = {LEAKY}\n")
    assert codes(lint(known, "--baseline", "known.json", *JSON)[1]) == ["RLU404"]


def test_stale_entries_are_said(known):
    (known / "m.py").write_text(HEAD)
    status, _, err = lint(known, "--baseline", "known.json")
    assert status == 0
    assert err.startswith("warning: known.json: 1 entry is stale, their findings are gone; write it anew")
    assert f"  m.py: RLU404: a = {LEAKY}\n" in err


def test_what_was_not_read_is_not_stale(known):
    (known / "other.py").write_text("x = 1\n")
    assert lint(known, "other.py", "--baseline", "known.json")[2] == ""


def test_a_baseline_is_found_from_another_folder(known):
    (known / "sub").mkdir()
    assert lint(known / "sub", "..", "--baseline", "../known.json")[0] == 0


def test_a_syntax_error_is_never_known(folder):
    (folder / "m.py").write_text("x = (\n")
    lint(folder, "--baseline", "known.json", "--write-baseline")
    assert lint(folder, "--baseline", "known.json")[0] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory); create it with --write-baseline"),
        ("{", "not a baseline"),
        ("[]", "not a baseline"),
        ('{"version": 9, "findings": {}}', "not a baseline (its version is 9)"),
        ('{"version": 1, "findings": {"m.py": [{"code": 3, "line": "", "count": 1}]}}', "not a baseline"),
    ],
)
def test_a_bad_baseline_is_2(folder, content, message):
    if content is not None:
        (folder / "known.json").write_text(content)
    status, _, err = lint(folder, "--baseline", "known.json")
    assert (status, message in err) == (2, True), err


def test_a_baseline_needs_a_file(folder):
    assert lint(folder, "--write-baseline")[0] == 2


def test_known_findings_are_not_fixed(known):
    (known / "m.py").write_text(TWO)
    assert lint(known, "--baseline", "known.json", "--fix")[0] == 0
    assert (known / "m.py").read_text() == TWO.replace(
        "b = nn.LeakyReLU(True)", "b = nn.LeakyReLU(inplace=True)"
    )


# ------------------------------------------------------------- changed lines


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(folder):
    if shutil.which("git") is None:
        pytest.skip("needs git")
    git(folder, "init", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    return folder


def rows(folder, *options):
    return [
        item["location"]["row"] for item in json.loads(lint(folder, "--changed-only", *options, *JSON)[1])
    ]


def test_only_changed_lines_are_shown(repository):
    assert rows(repository) == []
    (repository / "m.py").write_text(TWO)
    assert rows(repository) == [3]
    git(repository, "add", ".")
    assert rows(repository) == [3]
    git(repository, "commit", "-m", "two")
    assert rows(repository) == []
    assert rows(repository, "--base", "HEAD~1") == [3]


def test_a_branch_is_compared_with_where_it_left(repository):
    git(repository, "checkout", "-b", "branch")
    (repository / "m.py").write_text(TWO)
    git(repository, "commit", "-am", "two")
    git(repository, "checkout", "main")
    (repository / "n.py").write_text(ONE)
    git(repository, "add", ".")
    git(repository, "commit", "-m", "elsewhere")
    git(repository, "checkout", "branch")
    assert rows(repository, "--base", "main") == [3]


def test_new_files_are_changed_whole_and_folders_do_not_matter(repository):
    (repository / "sub").mkdir()
    (repository / "sub" / 'näu "1".py').write_text(ONE)
    assert rows(repository) == [2]
    assert rows(repository / "sub") == [2]
    git(repository, "add", ".")
    assert rows(repository / "sub") == [2]


def test_a_finding_whose_evidence_changed_is_shown(repository):
    text = (
        "import torch\nfrom torch import nn\nnet = nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=1))\n"
        "loss = nn.{}()(net(torch.randn(4, 3)), torch.zeros(4).long())\n"
    )
    (repository / "m.py").write_text(text.format("KLDivLoss"))
    git(repository, "commit", "-am", "a loss")
    (repository / "m.py").write_text(text.format("CrossEntropyLoss"))
    assert rows(repository) == [3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--changed-only", "--base", "nowhere"), "git merge-base failed"),
        (("--base", "main"), "give both"),
    ],
)
def test_wrong_usage_is_2(repository, options, message):
    status, _, err = lint(repository, *options)
    assert (status, message in err) == (2, True), err


def test_no_repository_is_2(folder):
    status, _, err = lint(folder, "--changed-only", env={"GIT_CEILING_DIRECTORIES": str(folder.parent)})
    assert (status, "--changed-only: git rev-parse failed" in err) == (2, True)


# ---------------------------------------------------------------- add-ignore


def test_ignores_are_added_and_hold(folder):
    assert lint(folder, "--add-ignore=as published") == (0, "", "Added 1 suppression in 1 file.\n")
    assert (folder / "m.py").read_text() == HEAD + f"a = {LEAKY}  # relucheck: ignore[RLU404] as published\n"
    assert lint(folder, "--select", "RLU404,RLU001")[0] == 0


def test_the_reason_may_be_left_out_and_the_path_is_no_reason(folder):
    (folder / "n.py").write_text(ONE)
    assert lint(folder, "--add-ignore", "n.py")[0] == 0
    assert (folder / "m.py").read_text() == ONE
    assert (folder / "n.py").read_text().endswith("# relucheck: ignore[RLU404]\n")


def test_what_cannot_be_suppressed_is_left_alone(folder):
    (folder / "m.py").write_text("x = (\n")
    assert lint(folder, "--add-ignore")[0] == 0
    assert (folder / "m.py").read_text() == "x = (\n"


def test_add_ignore_writes_into_files(folder):
    assert lint(folder, "-", "--add-ignore", text=ONE)[0] == 2
    assert lint(folder, "--fix", "--add-ignore")[0] == 2


A, B = Rule("RLU101", "a", Severity.ERROR, Net), Rule("RLU202", "b", Severity.ERROR, Net)


def ignored(text, *places):
    document = from_text("m.py", text)
    made = ignores(document, [rule.at(document.place(*place), "") for rule, *place in places], "why")
    return spliced(document.text, made.splices), len(made.unplaced)


@pytest.mark.parametrize(
    ("text", "places", "expected"),
    [
        ("x = 1\n", [(A, 1, 0, 1, 1), (B, 1, 0, 1, 1)], "x = 1  # relucheck: ignore[RLU101, RLU202] why\n"),
        ("x = 1  \n", [(A, 1, 0, 1, 1)], "x = 1  # relucheck: ignore[RLU101] why\n"),
        ("x = 1  # one\n", [(A, 1, 0, 1, 1)], "x = 1  # one  # relucheck: ignore[RLU101] why\n"),
        (
            "x = 1  # relucheck: ignore[RLU202] old\n",
            [(A, 1, 0, 1, 1)],
            "x = 1  # relucheck: ignore[RLU202, RLU101] old\n",
        ),
        ('x = f("""\n""")\n', [(A, 1, 4, 2, 4)], 'x = f("""\n""")  # relucheck: ignore[RLU101] why\n'),
        ("x = \\\n  1\n", [(A, 1, 0, 2, 3)], "x = \\\n  1  # relucheck: ignore[RLU101] why\n"),
        ("x = f(\n  a,\n)\n", [(A, 1, 4, 3, 1)], "x = f(  # relucheck: ignore[RLU101] why\n  a,\n)\n"),
    ],
)
def test_where_comments_go(text, places, expected):
    assert ignored(text, *places) == (expected, 0)


def test_a_line_that_cannot_hold_a_comment():
    text = 'x = f"""\n{a}\n"""\n'
    assert ignored(text, (A, 2, 1, 2, 2)) == (text, 1)
