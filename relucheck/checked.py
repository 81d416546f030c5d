"""One open file, judged as its text is now, with the files that it imports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from relucheck.boundary import guarded
from relucheck.config import Configuration
from relucheck.engine import LintResult, lint_documents
from relucheck.finding import Finding, RuleModule
from relucheck.ignoring import ignores
from relucheck.neighbours import Read, with_imports
from relucheck.net import Crash
from relucheck.problems import Problem, UsageProblem
from relucheck.report import TextEdit
from relucheck.source.files import Document, from_text
from relucheck.source.splices import Rows


@dataclass(frozen=True, slots=True)
class Checked:
    """The findings in one file, and what kept it from being judged.

    ``result`` holds the findings of that file alone, and the documents of all that were read.
    """

    result: LintResult
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checker:
    """What judges open files: the rules, the settings as they are now, and how other files are read."""

    rules: Sequence[RuleModule]
    settings: Callable[[], Configuration]
    read: Read

    def check(self, path: str, text: str) -> Checked:
        """The findings in a file with this text; ``path`` is absolute."""
        document = from_text(path, text)
        if isinstance(document, Problem):
            return Checked(LintResult(), (document.message,))
        checked = guarded(lambda: self._check(document), path, "checking failed")
        return Checked(LintResult(), (checked.message,)) if isinstance(checked, Crash) else checked

    def _check(self, document: Document) -> Checked:
        documents = with_imports(document, self.read) if document.relevant else (document,)
        try:
            result = self.lint(documents, self.settings(), document.path)
        except UsageProblem as problem:
            return Checked(LintResult(), (str(problem),))
        crashes = (f"internal error of relucheck: {crash.message}" for crash in result.crashes)
        return Checked(result, tuple(dict.fromkeys(crashes)))

    def lint(self, documents: Sequence[Document], settings: Configuration, path: str) -> LintResult:
        """The findings in one of these files, read as one project."""
        result = lint_documents(documents, settings, self.rules)
        return replace(
            result,
            findings=tuple(f for f in result.findings if f.span and f.span.path == path),
            crashes=tuple(crash for crash in result.crashes if crash.path == path),
        )

    def fixed(self, checked: Checked, path: str, text: str) -> str | None:
        """The text of a file with all safe fixes made, each of them checked; None where there is none."""
        from relucheck.fixing import fix

        content = text.encode("utf-8", "surrogatepass")
        settings = self.settings()
        done = fix(
            checked.result,
            lambda documents: self.lint(tuple(documents), settings, path),
            lambda _: content,
            unsafe=False,
        )
        after = done.contents.get(path)
        return None if after is None else after.decode("utf-8", "surrogatepass")


def suppressing(finding: Finding, document: Document) -> tuple[TextEdit, ...]:
    """The edit that writes a suppression comment for a finding; none where its line can hold none."""
    rows = Rows.of(document.lines)
    return tuple(
        TextEdit(document.place(*rows.place(splice.start), *rows.place(splice.end)), splice.text)
        for splice in ignores(document, [finding], "").splices
    )
