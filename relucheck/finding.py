"""Findings: what a rule says, where, how sure and how bad, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from relucheck.span import Span


class Severity(Enum):
    """How bad a finding is, from a better choice to a network that cannot do what its code says."""

    ADVICE = "advice"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return ("advice", "warning", "error").index(self.value)


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that makes a finding believable: made here, applied here, loss here."""

    span: Span
    message: str


class Safety(Enum):
    """Whether a fix does what the code plainly meant (safe), or decides for the author (unsafe).

    A safe fix may change what the program computes: an activation whose result was thrown away is
    applied, dropout follows the module's mode. An unsafe one makes a choice between designs.
    """

    SAFE = "safe"
    UNSAFE = "unsafe"


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove a call: an element of a container, or an application ``f(x)`` that becomes ``x``."""

    span: Span


@dataclass(frozen=True, slots=True)
class Swap:
    """Replace the callee of a call: ``nn.RNN`` stays, ``F.relu(x)`` becomes ``F.gelu(x)``."""

    span: Span
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class SetArg:
    """Set or add the keyword ``name`` of a call to the Python text ``value``.

    ``position`` names a positional argument that the keyword replaces, counted from 0.
    """

    span: Span
    name: str
    value: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Insert:
    """Put a new element, the Python text ``code``, before the container element at ``span``.

    Where ``span`` is an application ``f(x)``, ``code`` names a function and the call becomes
    ``f(code(x))``. ``code`` is written with the usual names ``nn``, ``F`` and ``torch``, whatever
    the file calls them.
    """

    span: Span
    code: str


@dataclass(frozen=True, slots=True)
class Assign:
    """Keep a discarded result: the expression statement at ``span`` becomes ``target = ...``.

    Without a ``target``, it is the name of the value that is called with.
    """

    span: Span
    target: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """Call another function in place of the one at ``span``: ``code(value, name=text, ...)``.

    ``value`` is what the old one is applied to, also where it is the tensor whose method is called;
    its other arguments go. Where not ``keep``, ``code`` makes a module and takes the named arguments
    alone. ``code`` is written with the usual names ``nn`` and ``F``.
    """

    span: Span
    code: str
    arguments: tuple[tuple[str, str], ...] = ()
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Exchange:
    """Change the order of two steps: two neighbours of one container, or ``f(g(x))`` to ``g(f(x))``."""

    span: Span
    other: Span


@dataclass(frozen=True, slots=True)
class Omit:
    """Remove an argument of a call: the one of that ``position``, counted from 0."""

    span: Span
    position: int


@dataclass(frozen=True, slots=True)
class Unwrap:
    """Put the tensor itself in place of a copy that is cut off: ``torch.tensor(x.item())``, ``x.detach()``."""

    span: Span


@dataclass(frozen=True, slots=True)
class Register:
    """Give ``self.name`` of the class around ``span`` a ``container`` of ``nn`` in place of a list or dict."""

    span: Span
    name: str
    container: str


@dataclass(frozen=True, slots=True)
class Renew:
    """Make an element anew for every place: ``[layer(...)] * n`` in the call at ``span``."""

    span: Span


@dataclass(frozen=True, slots=True)
class Inline:
    """Call a function in place of a module that is made and applied at once: ``nn.Dropout(p)(x)``.

    ``span`` is the constructor; its arguments follow the value, then the named ``arguments``.
    """

    span: Span
    code: str
    arguments: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the statement ``self.name = ...`` whose value is at ``span``."""

    span: Span


@dataclass(frozen=True, slots=True)
class Unlist:
    """Remove ``codes`` from the suppression comment at ``span``, and all of it if none is left."""

    span: Span
    codes: tuple[str, ...] = ()


Edit = (
    Drop
    | Swap
    | SetArg
    | Insert
    | Assign
    | Recall
    | Exchange
    | Omit
    | Unwrap
    | Register
    | Renew
    | Inline
    | Forget
    | Unlist
)


@dataclass(frozen=True, slots=True)
class Fix:
    """Edits, stated on the network, that remove one finding when all are applied.

    ``tidy`` takes out what nothing reads once the edits are made; it is tried where they alone would
    leave a new finding.
    """

    message: str
    safety: Safety
    edits: tuple[Edit, ...]
    tidy: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake at one place.

    ``span`` is where the expression to change starts; it is None for a measured finding whose
    source line is not known. ``subjects`` are the places of everything that the finding is about:
    two rules that speak about the same subject speak about the same mistake.
    """

    code: str
    name: str
    severity: Severity
    message: str
    span: Span | None
    help: str = ""
    related: tuple[Related, ...] = ()
    subjects: frozenset[Span] = frozenset()
    fix: Fix | None = None
    layer: str = ""

    @property
    def sort_key(self) -> tuple[tuple[str, int, int, int], str, str]:
        where = self.span.sort_key if self.span else ("", 0, 0, 0)
        return (where, self.code, self.message)


@dataclass(frozen=True, slots=True)
class Rule:
    """The constant facts of a rule; each module of ``relucheck.rules`` holds one as ``RULE``.

    ``subject`` is the type whose instances ``check`` reads: Net, ModuleClass or Measurements.
    ``yields_to`` lists codes that speak first when both are about the same place, since one
    mistake is one finding.
    """

    code: str
    name: str
    severity: Severity
    subject: type
    yields_to: tuple[str, ...] = ()
    default: bool = True

    def at(
        self,
        span: Span | None,
        message: str,
        *,
        severity: Severity | None = None,
        help: str = "",
        related: Iterable[Related | None] = (),
        subjects: Iterable[Span | None] = (),
        fix: Fix | None = None,
        layer: str = "",
    ) -> Finding:
        """A finding of this rule at ``span``; related places that are None are left out."""
        return Finding(
            code=self.code,
            name=self.name,
            severity=severity or self.severity,
            message=message,
            span=span,
            help=help,
            related=tuple(r for r in related if r is not None),
            subjects=frozenset(s for s in (span, *subjects) if s is not None),
            fix=fix,
            layer=layer,
        )


@dataclass(frozen=True, slots=True)
class RuleModule:
    """A rule as the engine uses it: its facts, its page and its function."""

    rule: Rule
    page: str
    check: Callable[[Any], Iterable[Finding]] = field(repr=False)


def here(span: Span | None, message: str) -> Related | None:
    """A related place, or None where the place is not known."""
    return None if span is None else Related(span, message)
