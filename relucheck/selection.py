"""Which findings are shown: codes, families of codes, names and ALL, the most specific wins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from relucheck.finding import Finding, Rule, Severity
from relucheck.problems import UsageProblem

ALL = "ALL"
SYNTAX_ERROR = "RLU000"
UNUSED_SUPPRESSION = "RLU001"

_EXACT = 1000
_NO_MATCH = -1
_CODE_LIKE = re.compile(r"(rlu\d*|all)", re.IGNORECASE)


def canonical(selector: str) -> str:
    """A selector as it is compared: codes and ALL in capitals, names in lower case."""
    selector = selector.strip()
    return selector.upper() if _CODE_LIKE.fullmatch(selector) else selector.lower()


def specificity(selector: str, code: str, name: str) -> int:
    """How closely a selector names a rule; -1 where it does not."""
    if selector == ALL:
        return 0
    if selector in (code, name):
        return _EXACT
    return len(selector) if selector.startswith("RLU") and code.startswith(selector) else _NO_MATCH


def _closest(selectors: Iterable[str], code: str, name: str) -> int:
    return max((specificity(s, code, name) for s in selectors), default=_NO_MATCH)


@dataclass(frozen=True, slots=True)
class Selection:
    """The selectors that hold for one file.

    An empty ``select`` stands for every error and warning; advice is shown only where its code,
    name, family or ALL is selected, or where the settings give it a severity of their own.
    """

    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    severity: tuple[tuple[str, Severity], ...] = ()

    def shows(self, finding: Finding, *, default: bool = True) -> bool:
        """Whether a finding is shown; ``default`` is False for rules that must be asked for."""
        code, name = finding.code, finding.name
        chosen = _closest((*self.select, *self.extend_select), code, name)
        chosen = max(chosen, self._by_default(finding, default))
        return chosen > _closest(self.ignore, code, name)

    def _by_default(self, finding: Finding, default: bool) -> int:
        if finding.code == SYNTAX_ERROR:  # a file that is not checked must not look checked
            return _EXACT - 1
        if self.select or not default:
            return _NO_MATCH
        loud = finding.severity is not Severity.ADVICE or self.override(finding.code, finding.name)
        return 0 if loud else _NO_MATCH

    def override(self, code: str, name: str) -> Severity | None:
        """The severity that the settings give to a rule, by the selector closest to it."""
        ranked = [(specificity(s, code, name), severity) for s, severity in self.severity]
        best = max(ranked, key=lambda pair: pair[0], default=(_NO_MATCH, None))
        return best[1] if best[0] > _NO_MATCH else None


@dataclass(frozen=True, slots=True)
class Known:
    """The codes and names that selectors may refer to."""

    codes: frozenset[str]
    names: frozenset[str]

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Known:
        """The codes and names of these rules."""
        rules = tuple(rules)
        return cls(frozenset(rule.code for rule in rules), frozenset(rule.name for rule in rules))

    def __contains__(self, selector: str) -> bool:
        if selector == ALL or selector in self.names:
            return True
        return selector.startswith("RLU") and any(code.startswith(selector) for code in self.codes)

    def checked(self, selectors: Iterable[str], where: str) -> tuple[str, ...]:
        """The selectors in canonical form; an unknown one is an error that names the nearest."""
        chosen = tuple(canonical(s) for s in selectors if s.strip())
        for selector in chosen:
            if selector not in self:
                known = (*self.names, *self.codes, ALL)
                raise UsageProblem(f"{where}: unknown rule {selector!r}{did_you_mean(selector, known)}")
        return chosen


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message about ``word``: the nearest known word, if any is near."""
    import difflib  # only a mistake needs it

    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
