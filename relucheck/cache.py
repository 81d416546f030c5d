"""The cache: what an unchanged project was answered with, without reading it again.

One entry holds one run. Its name is a hash of everything that the answer depends on: relucheck
itself, the Python that parses, the settings, and the name and content of every file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, get_args

from relucheck.config import OWN_FILES, Configuration
from relucheck.engine import LintResult, lint_documents
from relucheck.finding import Edit, Finding, Fix, Related, RuleModule, Safety, Severity
from relucheck.net import Unfinished
from relucheck.paths import shown
from relucheck.problems import Problem
from relucheck.source.files import Document, discover, from_bytes
from relucheck.span import Span
from relucheck.version import __version__
from relucheck.writing import write_whole

NAME = ".relucheck_cache"
KEPT = 64
"""Entries that are kept; the oldest go."""

_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of relucheck; see https://bford.info/cachedir/\n"
_EDITS: Mapping[str, type[Edit]] = {kind.__name__: kind for kind in get_args(Edit)}


@dataclass(frozen=True, slots=True)
class Contents(Mapping[str, Document]):
    """The documents of files that were read, each decoded when it is asked for."""

    content: Mapping[str, bytes]
    _decoded: dict[str, Document] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, path: str) -> Document:
        if path not in self._decoded:
            document = from_bytes(path, self.content[path])
            if isinstance(document, Problem):
                raise KeyError(path)
            self._decoded[path] = document
        return self._decoded[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)


def lint_cached(
    paths: Iterable[str],
    configuration: Configuration,
    rules: Sequence[RuleModule],
    folder: str,
    jobs: int = 1,
) -> LintResult:
    """The findings in files and folders, from the cache where nothing has changed."""
    discovery = discover(paths, configuration)
    content, unread = _read(discovery.files)
    problems = discovery.problems + unread
    entry = Path(folder, f"{_key(content, configuration)}.json")
    known = _load(entry)
    if known is not None:
        undecoded = frozenset(problem.path for problem in known.problems)
        documents = Contents({path: text for path, text in content.items() if path not in undecoded})
        return replace(known, problems=problems + known.problems, documents=documents)
    result = _lint(content, configuration, rules, jobs)
    if not result.crashes:
        _store(entry, result)
    return replace(result, problems=problems + result.problems)


def _read(files: Iterable[str]) -> tuple[dict[str, bytes], tuple[Problem, ...]]:
    """The content of each file, by its path as shown, and the problems of those that cannot be read."""
    content: dict[str, bytes] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            content[shown(file)] = Path(file).read_bytes()
        except OSError as error:
            problems.append(Problem(shown(file), f"cannot be read ({error.strerror or error})"))
    return content, tuple(problems)


def _lint(
    content: Mapping[str, bytes], configuration: Configuration, rules: Sequence[RuleModule], jobs: int
) -> LintResult:
    read = [from_bytes(path, text) for path, text in content.items()]
    documents = [document for document in read if isinstance(document, Document)]
    problems = tuple(problem for problem in read if isinstance(problem, Problem))
    return replace(lint_documents(documents, configuration, rules, jobs=jobs), problems=problems)


# ------------------------------------------------------------------------ keys


def _key(content: Mapping[str, bytes], configuration: Configuration) -> str:
    """The hash of everything that the findings depend on."""
    digest = blake2b(digest_size=20)
    folders = sorted({os.path.dirname(path) for path in content})
    settings = [(folder, configuration.at(folder)) for folder in folders]
    facts = (__version__, sys.version_info, os.getcwd(), own_state(), settings)
    digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    for path, text in sorted(content.items()):
        digest.update(repr((path, len(text))).encode("utf-8", "surrogatepass"))
        digest.update(text)
    return digest.hexdigest()


def own_state() -> tuple[tuple[str, int, int], ...]:
    """The size and time of relucheck's own files: whoever changes a rule must not get old answers."""
    here = Path(__file__).parent
    files = sorted((*here.glob("*.py"), *here.glob("rules/*.py"), *here.glob("source/*.py")))
    states = ((file.relative_to(here).as_posix(), file.stat()) for file in files)
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


# --------------------------------------------------------------------- entries


def _load(entry: Path) -> LintResult | None:
    """The result in an entry; None where there is none or it is damaged."""
    try:
        data = json.loads(entry.read_bytes())
        result = LintResult(
            findings=tuple(map(_finding, data["findings"])),
            silent=tuple(map(_finding, data["silent"])),
            problems=tuple(Problem(*problem) for problem in data["problems"]),
            unfinished=tuple(Unfinished(*code) for code in data["unfinished"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # the entries that are used are those that stay
    return result


def _store(entry: Path, result: LintResult) -> None:
    """Write an entry; a folder that cannot be written is a run without a cache."""
    data = {
        "findings": [_data(finding) for finding in result.findings],
        "silent": [_data(finding) for finding in result.silent],
        "problems": [(problem.path, problem.message, problem.fatal) for problem in result.problems],
        "unfinished": [(code.path, code.name) for code in result.unfinished],
    }
    with contextlib.suppress(OSError):
        _prepare(entry.parent)
        write_whole(entry, json.dumps(data).encode())
        _trim(entry.parent)


def _prepare(folder: Path) -> None:
    """Make the folder, and tell backups and git that it is a cache."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("CACHEDIR.TAG", _TAG), (".gitignore", "*\n")):
        if not (folder / name).exists():
            write_whole(folder / name, text.encode())


def _trim(folder: Path) -> None:
    """Remove the entries that were not used for longest; another run may have done so already."""
    entries = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in entries[KEPT:]:
        old.unlink(missing_ok=True)


def _data(finding: Finding) -> dict[str, Any]:
    """A finding as JSON; its subjects have done their work once it is settled."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        "span": _places(finding.span),
        "help": finding.help,
        "related": [(_places(related.span), related.message) for related in finding.related],
        "fix": _fix_data(finding.fix),
        "layer": finding.layer,
    }


def _fix_data(fix: Fix | None) -> Any:
    if fix is None:
        return None
    return (fix.message, fix.safety.value, [_edits_data(edits) for edits in (fix.edits, fix.tidy)])


def _edits_data(edits: Iterable[Edit]) -> Any:
    return [(type(e).__name__, [_value(getattr(e, name)) for name in e.__slots__]) for e in edits]


def _value(value: Any) -> Any:
    """A field of an edit as JSON: a place as an object, which nothing else is."""
    if isinstance(value, Span):
        return {"at": _places(value)}
    return [_value(item) for item in value] if isinstance(value, tuple) else value


def _places(span: Span | None) -> Any:
    if span is None:
        return None
    return (span.path, span.cell, span.row, span.column, span.end_row, span.end_column)


def _finding(data: Mapping[str, Any]) -> Finding:
    return Finding(
        code=data["code"],
        name=data["name"],
        severity=Severity(data["severity"]),
        message=data["message"],
        span=None if data["span"] is None else Span(*data["span"]),
        help=data["help"],
        related=tuple(Related(Span(*span), message) for span, message in data["related"]),
        fix=_fix(data["fix"]),
        layer=data["layer"],
    )


def _fix(data: Any) -> Fix | None:
    if data is None:
        return None
    message, safety, (edits, tidy) = data
    return Fix(message, Safety(safety), tuple(map(_edit, edits)), tuple(map(_edit, tidy)))


def _edit(data: Sequence[Any]) -> Edit:
    kind, values = data
    return _EDITS[kind](*map(_restored, values))


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return Span(*value["at"])
    return tuple(map(_restored, value)) if isinstance(value, list) else value


# ------------------------------------------------------------------- the folder


def folder_of(path: str) -> str:
    """The cache of the project that a path belongs to: beside its settings, else in the current folder."""
    folder = Path(path).absolute()
    for parent in (folder, *folder.parents):
        if any((parent / name).is_file() for name in ("pyproject.toml", *OWN_FILES)):
            return str(parent / NAME)
    return os.path.join(os.getcwd(), NAME)


def remove(folder: str) -> bool:
    """Remove a cache; False where there is none. A folder without our tag is not ours to remove."""
    try:
        ours = Path(folder, "CACHEDIR.TAG").read_text(encoding="utf-8") == _TAG
    except (OSError, ValueError):
        return False
    if ours:
        shutil.rmtree(folder)
    return ours
