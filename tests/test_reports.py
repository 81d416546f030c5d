"""The reports of three findings in two files, a notebook and a measurement, as they are written."""

import dataclasses
import json
import xml.etree.ElementTree as ET

import pytest

from relucheck.finding import Drop, Finding, Fix, Related, Rule, RuleModule, Safety, Severity
from relucheck.net import Net
from relucheck.report import TextEdit, View, absolute, format_names, renderer
from relucheck.report._fixable import fixable
from relucheck.report._statistics import as_json, as_text
from relucheck.span import Span

FILES = {
    "net.py": [
        "class Net(nn.Module):",
        "    def forward(self, x):",
        "        return F.softmax(self.fc(x), dim=1)",
        "",
        "net = Net()",
    ],
    "train.py": ["loss = nn.CrossEntropyLoss()", "print('größe', '宽', net)", "\tloss(net(x), y)"],
}


def read_line(path, cell, row):
    lines = FILES.get(path, [])
    return lines[row - 1] if 0 < row <= len(lines) else None


SOFTMAX = Finding(
    "RLU102",
    "softmax-before-cross-entropy",
    Severity.ERROR,
    "softmax reaches CrossEntropyLoss",
    Span("net.py", None, 3, 16, 3, 44),
    help="return the raw scores",
    related=(
        Related(Span("train.py", None, 3, 2, 3, 17), "the loss receives it here"),
        Related(Span("net.py", None, 5, 7, 5, 12), "the network is made here"),
        Related(Span("train.py", None, 1, 8, 1, 29), "applies log-softmax itself"),
    ),
    fix=Fix("Drop the softmax", Safety.UNSAFE, (Drop(Span("net.py", None, 3, 16, 3, 44)),)),
)
WIDE = Finding(
    "RLU202", "double-activation", Severity.WARNING, "twice, 100%", Span("train.py", None, 2, 21, 2, 24)
)
IN_CELL = Finding("RLU401", "init-mismatch", Severity.ADVICE, "a\nb", Span("n.ipynb", 3, 2, 1, 4, 5))
MEASURED = Finding("RLU602", "dead-layer", Severity.ERROR, "silent", None, layer="net.1")
ALL = (SOFTMAX, WIDE, IN_CELL, MEASURED)
RULES = (
    RuleModule(
        Rule("RLU102", "softmax-before-cross-entropy", Severity.ERROR, Net), "One line.\n\nMore.", list
    ),
    RuleModule(Rule("RLU999", "not-found", Severity.ERROR, Net), "Never.", list),
)


def rendered(name, *findings, **kw):
    return renderer(name)(View(findings, read_line, rules=RULES, **kw))


def test_formats_are_the_modules():
    expected = {"full", "concise", "grouped", "json", "json-lines", "github", "gitlab", "sarif", "junit"}
    assert expected <= set(format_names())


@pytest.mark.parametrize("name", format_names())
def test_every_format_renders_anything_and_ends_its_last_line(name):
    for findings in ((), ALL, (MEASURED,)):
        text = rendered(name, *findings)
        assert text == "" or text.endswith("\n")


def test_concise():
    assert rendered("concise", *ALL) == (
        "net.py:3:16: RLU102 error: softmax reaches CrossEntropyLoss [softmax-before-cross-entropy]\n"
        "train.py:2:21: RLU202 warning: twice, 100% [double-activation]\n"
        "n.ipynb:cell 3:2:1: RLU401 advice: a b [init-mismatch]\n"
        "layer net.1: RLU602 error: silent [dead-layer]\n"
        "Found 2 errors, 1 warning and 1 advice in 3 files.\n"
    )
    assert rendered("concise") == "No mistakes found.\n"


SAFE = dataclasses.replace(WIDE, fix=Fix("Drop", Safety.SAFE, (Drop(Span("train.py", None, 2, 1, 2, 2)),)))
HIDDEN = "1 hidden fix can be enabled with the `--unsafe-fixes` option"


@pytest.mark.parametrize(
    ("findings", "unsafe", "fixed", "expected"),
    [
        ((WIDE, MEASURED), False, False, ""),
        ((SAFE, SAFE, WIDE), False, False, "[*] 2 fixable with the `--fix` option."),
        ((SAFE, SOFTMAX), False, False, f"[*] 1 fixable with the `--fix` option ({HIDDEN})."),
        ((SAFE, SOFTMAX), True, False, "[*] 2 fixable with the `--fix` option."),
        ((SOFTMAX,), False, False, f"No fixes available ({HIDDEN})."),
        ((SAFE, SOFTMAX), False, True, f"No fixes available ({HIDDEN})."),
        ((SAFE, SOFTMAX), True, True, ""),
    ],
)
def test_the_closing_line_about_fixes(findings, unsafe, fixed, expected):
    assert fixable(findings, unsafe=unsafe, fixed=fixed) == expected


def test_formats_for_people_end_with_the_closing_line():
    for name in format_names():
        people = name in ("full", "concise", "grouped")
        assert rendered(name, SOFTMAX, closing="So.").endswith("in 1 file.\nSo.\n") is people
    assert rendered("full", closing="So.") == "No mistakes found.\n"


def test_grouped():
    assert rendered("grouped", WIDE, MEASURED) == (
        "train.py:\n"
        "  2:21 RLU202 warning: twice, 100% [double-activation]\n"
        "\n"
        "(no source line):\n"
        "  layer net.1 RLU602 error: silent [dead-layer]\n"
        "\n"
        "Found 1 error and 1 warning in 1 file.\n"
    )


def test_full_shows_every_place_that_proves_the_finding():
    assert rendered("full", SOFTMAX) == (
        "error[RLU102] softmax-before-cross-entropy: softmax reaches CrossEntropyLoss\n"
        " --> net.py:3:16\n"
        "  |\n"
        "2 |     def forward(self, x):\n"
        "3 |         return F.softmax(self.fc(x), dim=1)\n"
        "  |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "....\n"
        "5 | net = Net()\n"
        "  |       ----- the network is made here\n"
        " ::: train.py:1:8\n"
        "  |\n"
        "1 | loss = nn.CrossEntropyLoss()\n"
        "  |        --------------------- applies log-softmax itself\n"
        "....\n"
        "3 |     loss(net(x), y)\n"
        "  |     --------------- the loss receives it here\n"
        "  |\n"
        "  = help: return the raw scores\n"
        "  = see: https://relucheck.readthedocs.io/rules/softmax-before-cross-entropy/\n"
        "\n"
        "Found 1 error in 1 file.\n"
    )


def test_full_underlines_behind_wide_characters():
    assert "print('größe', '宽', net)\n  |                      ^^^\n" in rendered("full", WIDE)


def test_full_without_source_or_place():
    assert rendered("full", MEASURED).startswith(
        "error[RLU602] dead-layer: silent\n --> layer net.1\n  = see: https://"
    )
    assert " --> n.ipynb:cell 3:2:1\n" in rendered("full", IN_CELL)


def test_full_cannot_steer_the_terminal():
    evil = Finding("RLU202", "double-activation", Severity.WARNING, "m", Span("evil.py", None, 1, 1, 1, 2))
    view = View((evil,), lambda path, cell, row: "\x1b]0;hi\x07" if row == 1 else None)
    assert "\x1b" not in renderer("full")(view)


def test_colours_only_where_they_are_wanted():
    assert "\x1b[" in rendered("full", SOFTMAX, colour=True)
    assert "\x1b[" not in rendered("full", SOFTMAX)


def test_json_is_ruffs_schema_and_more():
    record = json.loads(rendered("json", SOFTMAX))[0]
    assert record == {
        "code": "RLU102",
        "name": "softmax-before-cross-entropy",
        "severity": "error",
        "message": "softmax reaches CrossEntropyLoss",
        "help": "return the raw scores",
        "filename": absolute("net.py"),
        "cell": None,
        "location": {"row": 3, "column": 16},
        "end_location": {"row": 3, "column": 44},
        "layer": None,
        "related": [
            {
                "filename": absolute(r.span.path),
                "cell": None,
                "location": {"row": r.span.row, "column": r.span.column},
                "end_location": {"row": r.span.end_row, "column": r.span.end_column},
                "message": r.message,
            }
            for r in SOFTMAX.related
        ],
        "fix": None,
        "noqa_row": 3,
        "url": "https://relucheck.readthedocs.io/rules/softmax-before-cross-entropy/",
    }


def test_json_of_a_fix_whose_edits_are_known():
    edit = TextEdit(Span("net.py", None, 3, 16, 3, 44), "self.fc(x)")
    record = json.loads(rendered("json", SOFTMAX, edits=lambda finding: (edit,)))[0]
    assert record["fix"] == {
        "applicability": "unsafe",
        "message": "Drop the softmax",
        "edits": [
            {
                "filename": absolute("net.py"),
                "content": "self.fc(x)",
                "location": {"row": 3, "column": 16},
                "end_location": {"row": 3, "column": 44},
            }
        ],
    }


def test_json_of_cells_and_measurements():
    cell, measured = json.loads(rendered("json", IN_CELL, MEASURED))
    assert (cell["cell"], cell["location"]) == (3, {"row": 2, "column": 1})
    assert (measured["filename"], measured["location"], measured["layer"]) == (None, None, "net.1")


def test_json_lines():
    lines = rendered("json-lines", *ALL).splitlines()
    assert [json.loads(line) for line in lines] == json.loads(rendered("json", *ALL))


def test_github():
    assert rendered("github", WIDE, IN_CELL) == (
        "::warning title=relucheck (RLU202),file=train.py,line=2,endLine=2,col=21,endColumn=24"
        "::train.py:2:21: RLU202 twice, 100%25 [double-activation]\n"
        "::notice title=relucheck (RLU401),file=n.ipynb"
        "::n.ipynb:cell 3:2:1: RLU401 a%0Ab [init-mismatch]\n"
    )


def test_gitlab():
    issues = json.loads(rendered("gitlab", SOFTMAX, WIDE, WIDE))
    assert [issue["severity"] for issue in issues] == ["critical", "major", "major"]
    assert issues[0]["location"]["positions"]["begin"] == {"line": 3, "column": 16}
    assert len({issue["fingerprint"] for issue in issues}) == 3


def test_gitlab_fingerprints_do_not_depend_on_rows():
    moved = Finding(WIDE.code, WIDE.name, WIDE.severity, WIDE.message, Span("train.py", None, 9, 1, 9, 2))
    old, new = (json.loads(rendered("gitlab", finding))[0] for finding in (WIDE, moved))
    assert old["fingerprint"] == new["fingerprint"]


def test_sarif():
    log = json.loads(rendered("sarif", *ALL))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert (rule["id"], rule["shortDescription"]["text"]) == ("RLU102", "One line.")
    assert rule["help"]["text"] == "One line.\n\nMore."
    first = run["results"][0]
    assert (first["ruleId"], first["ruleIndex"], first["level"]) == ("RLU102", 0, "error")
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "net.py", "uriBaseId": "SRCROOT"}
    assert place["region"] == {"startLine": 3, "startColumn": 16, "endLine": 3, "endColumn": 44}
    assert [r["message"]["text"] for r in first["relatedLocations"]] == [r.message for r in SOFTMAX.related]
    assert [r["id"] for r in first["relatedLocations"]] == [1, 2, 3]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note", "error"]
    assert run["results"][2]["locations"][0]["logicalLocations"][0]["name"] == "cell 3"
    assert run["results"][3]["locations"] == []
    assert run["originalUriBaseIds"]["SRCROOT"]["uri"].endswith("/")
    assert run["columnKind"] == "unicodeCodePoints"


def test_sarif_of_fixes():
    edits = (
        TextEdit(Span("net.py", None, 3, 16, 3, 26), ""),
        TextEdit(Span("net.py", None, 3, 36, 3, 44), ""),
    )
    text = rendered("sarif", SOFTMAX, edits=lambda finding: edits[::-1])
    (fix,) = json.loads(text)["runs"][0]["results"][0]["fixes"]
    assert fix["description"] == {"text": "Drop the softmax (unsafe)"}
    (change,) = fix["artifactChanges"]
    assert change["artifactLocation"] == {"uri": "net.py", "uriBaseId": "SRCROOT"}
    assert [r["deletedRegion"]["startColumn"] for r in change["replacements"]] == [16, 36]
    assert {r["insertedContent"]["text"] for r in change["replacements"]} == {""}


def test_sarif_has_no_fixes_of_cells_whose_rows_are_no_rows_of_the_file():
    cell = Finding(**{**fields(SOFTMAX), "span": IN_CELL.span})
    edit = TextEdit(IN_CELL.span, "")
    assert (
        "fixes" not in json.loads(rendered("sarif", cell, edits=lambda f: (edit,)))["runs"][0]["results"][0]
    )


def fields(finding):
    return {field.name: getattr(finding, field.name) for field in dataclasses.fields(finding)}


def test_sarif_is_what_the_official_schema_asks_for():
    """pydantic_sarif is generated from OASIS's schema of 2.1.0; unknown keys and wrong values are errors."""
    model = pytest.importorskip("pydantic_sarif.model")
    log = model.StaticAnalysisResultsFormatSarifVersion210JsonSchema
    edit = TextEdit(SOFTMAX.span, "self.fc(x)")
    for findings in ((), ALL):
        text = rendered("sarif", *findings, edits=lambda f: (edit,) if f is SOFTMAX else ())
        assert len(log.model_validate_json(text).runs[0].results) == len(findings)
    with pytest.raises(ValueError, match=r"fixes.*replacements"):
        log.model_validate_json(text.replace('"replacements"', '"edits"'))


def test_sarif_quotes_paths():
    odd = Finding("RLU202", "double-activation", Severity.WARNING, "m", Span("a b/ö.py", None, 1, 1, 1, 2))
    result = json.loads(rendered("sarif", odd))["runs"][0]["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b/%C3%B6.py"


def test_junit():
    root = ET.fromstring(rendered("junit", *ALL).encode())
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "4", "4")
    assert [suite.get("name") for suite in root] == ["net.py", "train.py", "n.ipynb", "relucheck"]
    failure = root[0][0][0]
    assert failure.get("message") == "softmax reaches CrossEntropyLoss"
    assert failure.text.startswith("net.py:3:16: ")
    clean = ET.fromstring(rendered("junit").encode())
    assert (clean.get("tests"), clean.get("failures")) == ("1", "0")


def test_junit_writes_no_characters_that_xml_lacks():
    odd = Finding("RLU202", "double-activation", Severity.WARNING, '\x00<"&', Span("a.py", None, 1, 1, 1, 2))
    assert (
        ET.fromstring(rendered("junit", odd).encode())[0][0][0].get("message")
        == '\N{REPLACEMENT CHARACTER}<"&'
    )


def test_statistics():
    assert as_text((WIDE, SOFTMAX, WIDE)) == (
        "2  RLU202  warning  double-activation\n1  RLU102  error    softmax-before-cross-entropy\n"
    )
    assert json.loads(as_json((WIDE,))) == [
        {"code": "RLU202", "name": "double-activation", "severity": "warning", "count": 1}
    ]
