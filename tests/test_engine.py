"""The engine with made-up rules: selection, one mistake one finding, order, and the error boundary."""

import random

from relucheck.config import Overrides, Settings
from relucheck.engine import known_rules, lint_documents, load_rules, run_rules, without_commented
from relucheck.finding import Finding, Rule, RuleModule, Severity
from relucheck.net import Crash, ModuleClass, Net, Reading
from relucheck.source.files import from_text
from relucheck.span import Span

NET = Net("Model", "m.py", (), ())


def at(row, path="m.py", column=1):
    return Span(path, None, row, column, row, column + 4)


def module(code, findings=(), *, subject=Net, severity=Severity.WARNING, yields_to=(), default=True):
    """A rule that says prepared things: pairs of a span and keywords for ``Rule.at``."""
    rule = Rule(code, f"rule-{code[3:]}", severity, subject, yields_to, default)
    return RuleModule(
        rule, f"Page of {code}.", lambda _: [rule.at(span, code, **kw) for span, kw in findings]
    )


def codes(outcome):
    return [f.code for f in outcome.findings]


def run(*rules, settings=None, reading=None, measurements=()):
    return run_rules(reading or Reading(nets=(NET,)), rules, measurements, settings or Settings())


def lint(text, *rules, settings=None, read=None):
    own = [r for r in load_rules() if r.rule.code in ("RLU000", "RLU001")]
    reader = read or (lambda modules, paths: Reading(nets=(NET,)))
    return lint_documents([from_text("m.py", text)], settings or Settings(), [*own, *rules], reader)


def test_a_rule_is_asked_about_subjects_of_its_type_only():
    class Measured:
        path = ""

    rules = (
        module("RLU201", [(at(1), {})]),
        module("RLU203", [(at(2), {})], subject=ModuleClass),
        module("RLU601", [(None, {"layer": "fc1"})], subject=Measured),
    )
    assert codes(run(*rules)) == ["RLU201"]
    reading = Reading(classes=(ModuleClass("Model", at(1)),))
    assert codes(run(*rules, reading=reading)) == ["RLU203"]
    assert codes(run(*rules, measurements=[Measured()])) == ["RLU601", "RLU201"]


def test_the_more_specific_rule_speaks():
    rules = (
        module("RLU106", [(at(5), {"subjects": [at(4)]})]),
        module("RLU202", [(at(4), {}), (at(9), {})], yields_to=("RLU106",)),
    )
    assert [(f.code, f.span.row) for f in run(*rules).findings] == [("RLU106", 5), ("RLU202", 9)]


def test_a_rule_that_is_not_selected_silences_nobody():
    rules = (module("RLU106", [(at(4), {})]), module("RLU202", [(at(4), {})], yields_to=("RLU106",)))
    assert codes(run(*rules, settings=Settings(ignore=("RLU106",)))) == ["RLU202"]
    advice = module("RLU106", [(at(4), {})], severity=Severity.ADVICE)
    assert codes(run(advice, rules[1])) == ["RLU202"]


def test_one_finding_for_a_code_and_a_place_and_the_gravest_stays():
    said = [
        (at(1), {"severity": Severity.WARNING}),
        (at(1), {"severity": Severity.ERROR}),
        (at(1, column=9), {}),
    ]
    outcome = run(module("RLU101", said))
    assert [(f.span.column, f.severity.value) for f in outcome.findings] == [(1, "error"), (9, "warning")]


def test_measured_findings_without_a_line_are_kept_apart_by_their_layer():
    said = [(None, {"layer": "fc1"}), (None, {"layer": "fc2"}), (None, {"layer": "fc2"})]
    assert [f.layer for f in run(module("RLU601", said)).findings] == ["fc1", "fc2"]


def test_the_order_does_not_depend_on_the_order_of_the_rules():
    rules = [module(f"RLU{n}", [(at(row), {}) for row in (7, 3)]) for n in (509, 101, 201)]
    expected = run(*rules).findings
    assert [(f.span.row, f.code) for f in expected] == sorted((f.span.row, f.code) for f in expected)
    for _ in range(5):
        random.Random(0).shuffle(rules)
        assert run(*rules).findings == expected


def test_severities_from_the_settings():
    rules = (module("RLU201", [(at(1), {})]), module("RLU401", [(at(2), {})], severity=Severity.ADVICE))
    settings = Settings(severity=(("RLU2", Severity.ERROR), ("RLU401", Severity.WARNING)))
    outcome = run(*rules, settings=settings)
    assert [(f.code, f.severity.value) for f in outcome.findings] == [
        ("RLU201", "error"),
        ("RLU401", "warning"),
    ]


def test_advice_is_decided_for_each_finding():
    said = [(at(1), {"severity": Severity.ADVICE}), (at(2), {})]
    assert [f.span.row for f in run(module("RLU102", said)).findings] == [2]
    everything = Overrides(select=("ALL",)).over(Settings())
    assert [f.span.row for f in run(module("RLU102", said), settings=everything).findings] == [1, 2]


def test_settings_are_those_of_each_file(tmp_path):
    class TwoProjects:
        def at(self, folder):
            return Settings(ignore=("RLU2",)) if folder == "a" else Settings()

    rule = module("RLU201", [(at(1, "a/m.py"), {}), (at(1, "b/m.py"), {})])
    outcome = run_rules(Reading(nets=(NET,)), [rule], (), TwoProjects())
    assert [f.span.path for f in outcome.findings] == ["b/m.py"]


# ----------------------------------------------------------- error boundary


def broken_rule(code="RLU301"):
    def check(net):
        yield Finding(code, "broken", Severity.ERROR, "first", at(1))
        raise KeyError("x")

    return RuleModule(Rule(code, "broken", Severity.ERROR, Net), "", check)


def test_a_rule_that_fails_costs_its_own_findings_only():
    outcome = run(broken_rule(), module("RLU201", [(at(1), {})]))
    assert codes(outcome) == ["RLU201"]
    (crash,) = outcome.crashes
    assert (crash.path, crash.message) == ("m.py", "RLU301 (broken) failed: KeyError: 'x'")
    assert "raise KeyError" in crash.traceback


def test_a_reader_that_fails_is_a_crash_and_syntax_errors_are_still_reported():
    def read(modules, paths):
        raise RecursionError("deep")

    result = lint("x = 1\n", read=read)
    assert [c.message for c in result.crashes] == ["reading the project failed: RecursionError: deep"]
    documents = [from_text("a.py", "x = (\n"), from_text("b.py", "y = 1\n")]
    own = [r for r in load_rules() if r.rule.code == "RLU000"]
    result = lint_documents(documents, Settings(), own, read)
    assert codes(result) == ["RLU000"]
    assert len(result.crashes) == 1


def test_crashes_of_the_reader_are_passed_on():
    crash = Crash("m.py", "reading failed", "")
    assert lint("x = 1\n", read=lambda modules, paths: Reading(crashes=(crash,))).crashes == (crash,)


# ------------------------------------------------------------- suppressions


def test_a_suppressed_finding_does_not_let_the_other_speak():
    rules = (module("RLU106", [(at(1), {})]), module("RLU202", [(at(1), {})], yields_to=("RLU106",)))
    assert codes(lint("x = f()  # noqa: RLU106\n", *rules)) == []


def test_unused_suppressions_are_reported():
    result = lint("x = f()  # relucheck: ignore[RLU201]\n", module("RLU201"))
    assert [(f.code, f.severity.value, f.span.row) for f in result.findings] == [("RLU001", "warning", 1)]


def test_a_suppression_of_a_finding_that_is_not_selected_is_used():
    rule = module("RLU201", [(at(1), {})])
    text = "x = f()  # relucheck: ignore[RLU201]\n"
    assert codes(lint(text, rule, settings=Settings(ignore=("RLU201",)))) == []
    assert codes(lint(text, rule, settings=Settings(select=("ALL",)))) == []


def test_nothing_is_said_about_suppressions_in_a_file_that_was_not_judged():
    assert codes(lint("x = f()  # relucheck: ignore[RLU201]\n", broken_rule(), module("RLU201"))) == []


def test_code_without_suppressions_has_no_unused_ones():
    assert codes(lint("x = 1\n")) == []


def test_comments_hold_for_findings_of_real_passes(tmp_path, monkeypatch):
    (tmp_path / "m.py").write_text("x = f()  # relucheck: ignore[RLU601]\ny = f()\n")
    monkeypatch.chdir(tmp_path)
    paths = (str(tmp_path / "m.py"), "m.py", "gone.py")
    findings = [
        Finding("RLU601", "dead-units", Severity.ERROR, "m", at(row, p)) for p in paths for row in (1, 2)
    ]
    findings.append(Finding("RLU601", "dead-units", Severity.ERROR, "m", None))
    left = [(f.span.path, f.span.row) if f.span else None for f in without_commented(findings)]
    assert left == [(paths[0], 2), ("m.py", 2), ("gone.py", 1), ("gone.py", 2), None]


def test_the_garbage_collector_is_as_it_was():
    import gc

    lint("x = 1\n")
    assert gc.isenabled()


# -------------------------------------------------------------- real rules


def test_rules_are_found_by_module_and_are_unique():
    rules = [module.rule for module in load_rules()]
    assert {"RLU000", "RLU001"} <= {rule.code for rule in rules}
    assert len({rule.code for rule in rules}) == len({rule.name for rule in rules}) == len(rules)
    assert [rule.code for rule in rules] == sorted(rule.code for rule in rules)


def test_rules_yield_to_rules_that_exist_and_not_in_a_circle():
    first = {module.rule.code: set(module.rule.yields_to) for module in load_rules()}
    known = known_rules(load_rules()).codes
    for code, others in first.items():
        assert others <= known, code
        reached, todo = set(), list(others)
        while todo:
            other = todo.pop()
            if other not in reached:
                reached.add(other)
                todo += first[other]
        assert code not in reached


def test_every_rule_has_a_page():
    for module in load_rules():
        assert len(module.page.splitlines()) > 5, module.rule.code
