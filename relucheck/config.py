"""Settings: what ``[tool.relucheck]`` says, what the command line adds, and where each comes from."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from relucheck.finding import Severity
from relucheck.problems import UsageProblem
from relucheck.selection import Known, Selection, did_you_mean

DEFAULT_EXCLUDE = (
    ".*",
    "__pycache__",
    "__pypackages__",
    "_build",
    "build",
    "dist",
    "env",
    "node_modules",
    "site-packages",
    "venv",
)
OWN_FILES = ("relucheck.toml", ".relucheck.toml")
FAIL_ON = ("error", "warning", "advice", "never")


def check_fail_on(fail_on: str) -> None:
    """Raises ValueError for a word that is no severity, and not ``never``."""
    __tracebackhide__ = True  # pytest shows the caller's line instead
    if fail_on not in FAIL_ON:
        raise ValueError(f"fail_on is one of {', '.join(FAIL_ON)}, not {fail_on!r}")


def rank_to_fail_on(fail_on: str) -> int:
    """The rank from which findings fail; ``never`` is above all of them. Raises ValueError for other words."""
    check_fail_on(fail_on)
    return max(severity.rank for severity in Severity) + 1 if fail_on == "never" else Severity(fail_on).rank


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that hold for the files of one folder.

    ``source`` is the file that they come from ("" for the defaults) and ``root`` the folder that
    its patterns, and the ``baseline`` file, are relative to.
    """

    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    severity: tuple[tuple[str, Severity], ...] = ()
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    respect_gitignore: bool = True
    fail_on: str = "warning"
    baseline: str = ""
    source: str = ""
    root: str = ""

    def at(self, folder: str) -> Settings:
        """These settings, for any folder: a Settings is the configuration of one project."""
        return self

    def selection(self, path: str) -> Selection:
        """The selectors that hold for one file, its per-file ignores included."""
        own = tuple(s for pattern, codes in self.per_file_ignores for s in codes if self.names(pattern, path))
        return Selection(self.select, self.extend_select, self.ignore + own, self.severity)

    def names(self, pattern: str, path: str) -> bool:
        """Whether a pattern of these settings, as .gitignore writes them, matches a file."""
        absolute = Path(path).absolute()
        root = Path(self.root).absolute() if self.root else Path.cwd()
        shown = absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else absolute.name
        return bool(_pattern(pattern).match_file(shown))

    @property
    def baseline_file(self) -> str | None:
        """The path of the baseline, or None where no settings name one."""
        return os.path.relpath(os.path.join(self.root, self.baseline)) if self.baseline else None

    @property
    def fail_rank(self) -> int:
        """The rank from which a finding makes the run fail; beyond every rank for ``never``."""
        return rank_to_fail_on(self.fail_on)


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Any:
    """A pattern, compiled once: it is asked about every file."""
    import pathspec  # most runs have no patterns to match

    return pathspec.GitIgnoreSpec.from_lines([pattern])


class Configuration(Protocol):
    """Whatever knows the settings of a folder."""

    def at(self, folder: str) -> Settings:
        """The settings that hold for the files of a folder."""
        ...


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says; None and empty where it says nothing."""

    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: str | None = None

    def over(self, settings: Settings) -> Settings:
        """The settings with these on top: ``--select`` replaces every choice of the file."""
        fail_on = self.fail_on or settings.fail_on
        if self.select:
            return replace(
                settings,
                select=self.select,
                extend_select=self.extend_select,
                ignore=self.ignore,
                fail_on=fail_on,
            )
        return replace(
            settings,
            extend_select=settings.extend_select + self.extend_select,
            ignore=tuple(s for s in settings.ignore if s not in self.extend_select) + self.ignore,
            fail_on=fail_on,
        )


@dataclass(frozen=True, slots=True)
class Discovered:
    """Settings found as ruff does it: the nearest file upward from each folder holds, alone."""

    known: Known
    overrides: Overrides = field(default_factory=Overrides)
    _seen: dict[str, Settings] = field(default_factory=dict, repr=False, compare=False)

    def at(self, folder: str) -> Settings:
        """The settings of a folder; each folder is looked up once."""
        key = str(Path(folder or ".").absolute())
        if key not in self._seen:
            self._seen[key] = self._find(key)
        return self._seen[key]

    def _find(self, folder: str) -> Settings:
        table = _own_table(folder)
        if table is not None:
            return self.overrides.over(read_table(*table, self.known))
        parent = str(Path(folder).parent)
        return self.overrides.over(Settings()) if parent == folder else self.at(parent)


def from_file(path: str, known: Known) -> Settings:
    """The settings of one named file (``--config``): its patterns are relative to its folder."""
    file = Path(path)
    data = _toml(file)
    table = data.get("tool", {}).get("relucheck") if file.name == "pyproject.toml" else data
    if table is None:
        raise UsageProblem(f"{path}: has no [tool.relucheck] table")
    return read_table(file, table, known)


def _own_table(folder: str) -> tuple[Path, Any] | None:
    """The settings file that a folder itself holds, with its table."""
    for name in OWN_FILES:
        file = Path(folder, name)
        if file.is_file():
            return file, _toml(file)
    file = Path(folder, "pyproject.toml")
    if not file.is_file() or b"relucheck" not in file.read_bytes():
        return None
    tool = _toml(file).get("tool", {})
    return (file, tool["relucheck"]) if "relucheck" in tool else None


def _toml(file: Path) -> Any:
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageProblem(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both
        raise UsageProblem(f"{file}: not valid TOML: {error}") from None


def read_table(file: Path, table: Any, known: Known) -> Settings:
    """The settings that a table spells; unknown keys and bad values are errors."""
    if not isinstance(table, Mapping):
        raise UsageProblem(f"{file}: [tool.relucheck] must be a table")
    readers, rows = _readers(known), _rows_of_keys(file)
    values = {}
    for key, value in table.items():
        where = f"{file}:{rows[key]}" if key in rows else str(file)
        if key not in readers:
            raise UsageProblem(f"{where}: unknown key {key!r}{did_you_mean(key, readers)}")
        values[key.replace("-", "_")] = readers[key](value, f"{where}: {key}")
    return replace(Settings(source=str(file), root=str(file.parent.absolute())), **values)


_HEADER = re.compile(r"\s*\[\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*["']?([A-Za-z_-]+)["']?\s*[.=]""")


def _rows_of_keys(file: Path) -> dict[str, int]:
    """The row of each key of our table, or of the header of the table that it is; for messages alone."""
    try:
        rows = file.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return {}
    found: dict[str, int] = {}
    prefix = ["tool", "relucheck"] if file.name == "pyproject.toml" else []
    section: list[str] = []
    for number, row in enumerate(rows, 1):
        header, key = _HEADER.match(row), _KEY.match(row)
        if header:
            section = [part.strip(" \"'") for part in header.group(1).split(".")]
        names = section if header else [*section, key.group(1)] if key else []
        if names[: len(prefix)] == prefix and len(names) > len(prefix):
            found.setdefault(names[len(prefix)], number)
    return found


def _readers(known: Known) -> dict[str, Callable[[Any, str], Any]]:
    """What reads each key's value; the keys are the fields of Settings with hyphens."""

    def selectors(value: Any, where: str) -> tuple[str, ...]:
        return known.checked(_strings(value, where), where)

    def ignores(value: Any, where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple((p, selectors(v, f"{where}.{p!r}")) for p, v in _table(value, where))

    def severities(value: Any, where: str) -> tuple[tuple[str, Severity], ...]:
        return tuple(
            (known.checked([s], where)[0], Severity(_choice(v, _SEVERITIES, f"{where}.{s}")))
            for s, v in _table(value, where)
        )

    return {
        "select": selectors,
        "extend-select": selectors,
        "ignore": selectors,
        "per-file-ignores": ignores,
        "severity": severities,
        "exclude": _strings,
        "extend-exclude": _strings,
        "respect-gitignore": _bool,
        "fail-on": lambda value, where: _choice(value, FAIL_ON, where),
        "baseline": _string,
    }


_SEVERITIES = tuple(severity.value for severity in Severity)


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageProblem(f"{where}: must be a list of strings, not {_shown(value)}")
    return tuple(value)


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageProblem(f"{where}: must be a string, not {_shown(value)}")
    return value


def _table(value: Any, where: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise UsageProblem(f"{where}: must be a table, not {_shown(value)}")
    return value.items()


def _bool(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UsageProblem(f"{where}: must be true or false, not {_shown(value)}")
    return value


def _choice(value: Any, choices: tuple[str, ...], where: str) -> str:
    if value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        raise UsageProblem(f"{where}: must be one of {', '.join(choices)}, not {_shown(value)}{hint}")
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
