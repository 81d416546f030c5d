"""SARIF 2.1.0, with ranges, the related places, fixes and each rule's page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relucheck.finding import Finding, RuleModule, Severity
from relucheck.report import TextEdit, View, url
from relucheck.span import Span
from relucheck.version import __version__

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.ADVICE: "note"}


def render(view: View) -> str:
    """A log with one run, whose rules are those that found something."""
    codes = {finding.code for finding in view.findings}
    rules = [module for module in view.rules if module.rule.code in codes]
    order = {module.rule.code: number for number, module in enumerate(rules)}
    run = {
        "tool": {"driver": _driver(rules)},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"uri": Path.cwd().as_uri() + "/"}},
        "results": [_result(finding, order, view) for finding in view.findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _driver(rules: Sequence[RuleModule]) -> dict[str, Any]:
    return {
        "name": "relucheck",
        "version": __version__,
        "informationUri": url("").rstrip("/"),
        "rules": [_rule(module) for module in rules],
    }


def _rule(module: RuleModule) -> dict[str, Any]:
    return {
        "id": module.rule.code,
        "name": module.rule.name,
        "shortDescription": {"text": module.page.split("\n", 1)[0] or module.rule.name},
        "fullDescription": {"text": module.page or module.rule.name},
        "help": {"text": module.page or module.rule.name, "markdown": module.page or module.rule.name},
        "helpUri": url(module.rule.name),
        "defaultConfiguration": {"level": _LEVELS[module.rule.severity]},
    }


def _result(finding: Finding, order: dict[str, int], view: View) -> dict[str, Any]:
    text = f"{finding.message}\n{finding.help}" if finding.help else finding.message
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": _LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [_location(finding.span)] if finding.span else [],
    }
    if finding.code in order:
        result["ruleIndex"] = order[finding.code]
    if finding.related:
        result["relatedLocations"] = [
            {"id": number, **_location(related.span), "message": {"text": related.message}}
            for number, related in enumerate(finding.related, 1)
        ]
    fix = _fix(finding, view)
    if fix:
        result["fixes"] = [fix]
    return result


def _fix(finding: Finding, view: View) -> dict[str, Any] | None:
    """A fix as replacements of regions (SARIF 2.1.0, 3.55 to 3.57); rows of a notebook's cells are none."""
    edits = sorted(view.edits(finding), key=lambda edit: edit.span.sort_key) if finding.fix else []
    if finding.fix is None or not edits or any(edit.span.cell is not None for edit in edits):
        return None
    files = groupby(edits, key=lambda edit: edit.span.path)
    return {
        "description": {"text": f"{finding.fix.message} ({finding.fix.safety.value})"},
        "artifactChanges": [
            {"artifactLocation": _artifact(path), "replacements": [_replacement(edit) for edit in group]}
            for path, group in files
        ],
    }


def _replacement(edit: TextEdit) -> dict[str, Any]:
    """Text put in place of a region; an empty region is where text is inserted."""
    return {"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.content}}


def _location(span: Span) -> dict[str, Any]:
    """A place; SARIF has no cells, so a notebook's rows go with the name of their cell."""
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": _artifact(span.path),
            "region": _region(span),
        }
    }
    if span.cell is not None:
        location["logicalLocations"] = [{"name": f"cell {span.cell}", "kind": "module"}]
    return location


def _region(span: Span) -> dict[str, int]:
    return {
        "startLine": span.row,
        "startColumn": span.column,
        "endLine": span.end_row,
        "endColumn": span.end_column,
    }


def _artifact(path: str) -> dict[str, str]:
    """A file by its path from the current folder, as code scanning wants it, else by its URI."""
    if os.path.isabs(path):
        return {"uri": Path(path).as_uri()}
    uri = quote(path.replace(os.sep, "/").encode("utf-8", "surrogateescape"))
    return {"uri": uri, "uriBaseId": "SRCROOT"}
