"""The language server: what an editor shows while a file is written.

It judges the text as it is in the editor, unsaved changes included, together with the files that the text
imports, which are open too or read from disk. The cells of a notebook are one module. Clients that ask for
diagnostics are answered, the others are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from relucheck.checked import Checked, Checker, suppressing
from relucheck.config import Configuration
from relucheck.engine import load_rules
from relucheck.finding import Finding, RuleModule, Safety
from relucheck.lsp import FIX_ALL, Places, diagnostic, failure, fix_all, meets, quick_fixes
from relucheck.neighbours import from_disk
from relucheck.opened import Opened, all_opened, opened
from relucheck.pages import hover
from relucheck.source.files import Document, from_text
from relucheck.version import __version__

PAUSE = 0.3
"""Seconds without a change after which a text that is being written is judged."""


def serve(settings: Callable[[], Configuration]) -> None:
    """Answer the client on standard input and output until it says goodbye."""
    server = LanguageServer("relucheck", __version__, notebook_document_sync=NOTEBOOKS)
    rules = load_rules()
    session = Session(server, {module.rule.code: module for module in rules})
    session.checker = Checker(rules, settings, session.read)
    handlers: dict[str, Callable[..., object]] = {
        types.TEXT_DOCUMENT_DID_OPEN: session.opened,
        types.TEXT_DOCUMENT_DID_CHANGE: session.changed,
        types.TEXT_DOCUMENT_DID_SAVE: session.saved,
        types.TEXT_DOCUMENT_DID_CLOSE: session.closed,
        types.NOTEBOOK_DOCUMENT_DID_OPEN: session.notebook_opened,
        types.NOTEBOOK_DOCUMENT_DID_CHANGE: session.notebook_changed,
        types.NOTEBOOK_DOCUMENT_DID_SAVE: session.saved,
        types.NOTEBOOK_DOCUMENT_DID_CLOSE: session.notebook_closed,
        types.TEXT_DOCUMENT_HOVER: session.hover,
    }
    for name, handler in handlers.items():
        server.feature(name)(partial(handler))  # which pygls notes its own things on
    kinds = [types.CodeActionKind.QuickFix, FIX_ALL]
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(kinds))(partial(session.actions))
    pulled = types.DiagnosticOptions(
        inter_file_dependencies=True, workspace_diagnostics=False, identifier="relucheck"
    )
    server.feature(types.TEXT_DOCUMENT_DIAGNOSTIC, pulled)(partial(session.pulled))
    server.start_io()


NOTEBOOKS = types.NotebookDocumentSyncOptions(
    [
        types.NotebookDocumentFilterWithNotebook(
            notebook="jupyter-notebook", cells=[types.NotebookCellLanguage("python")]
        )
    ],
    save=True,
)
"""What is asked of the client: the Python cells of Jupyter's notebooks."""


@dataclass(slots=True)
class Session:
    """One client: its open files, what was found in each version of them, and what waits to be judged."""

    server: LanguageServer
    rules: dict[str, RuleModule]
    checker: Checker = field(init=False)
    known: dict[str, tuple[object, Checked]] = field(default_factory=dict)
    waiting: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def opened(self, params: types.DidOpenTextDocumentParams) -> None:
        self.publish(params.text_document.uri)

    def notebook_opened(self, params: types.DidOpenNotebookDocumentParams) -> None:
        self.publish(params.notebook_document.uri)

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        """Judge the text once its writer pauses."""
        self._wait(params.text_document.uri)

    def notebook_changed(self, params: types.DidChangeNotebookDocumentParams) -> None:
        """Judge the notebook once its writer pauses; cells that went have no findings any more."""
        structure = params.change.cells.structure if params.change.cells else None
        for cell in (structure.did_close if structure else None) or ():
            self._show(cell.uri, [])
        self._wait(params.notebook_document.uri)

    def saved(self, params: types.DidSaveTextDocumentParams | types.DidSaveNotebookDocumentParams) -> None:
        """Judge every open file again: others may import this one, and it may hold settings."""
        self.known.clear()
        for one in tuple(all_opened(self.server.workspace)):
            self.publish(one.uri)
        if self._pulls and _refreshes(self.server.client_capabilities):
            self.server.workspace_diagnostic_refresh(None)

    def closed(self, params: types.DidCloseTextDocumentParams) -> None:
        self._forget(params.text_document.uri)
        self._show(params.text_document.uri, [])

    def notebook_closed(self, params: types.DidCloseNotebookDocumentParams) -> None:
        self._forget(params.notebook_document.uri)
        for cell in params.cell_text_documents:
            self._show(cell.uri, [])

    def pulled(self, params: types.DocumentDiagnosticParams) -> types.RelatedFullDocumentDiagnosticReport:
        """The findings in a file, for a client that asks; those in cells are told as they are found."""
        one = opened(self.server.workspace, params.text_document.uri)
        items = [] if one is None or one.cells else self._diagnostics(one)[None]
        return types.RelatedFullDocumentDiagnosticReport(items)

    def hover(self, params: types.HoverParams) -> types.Hover | None:
        """The pages of the rules whose findings are under the cursor."""
        uri = params.text_document.uri
        one = opened(self.server.workspace, uri)
        place = types.Range(params.position, params.position)
        found = tuple(self._findings_at(one, uri, place)) if one else ()
        if not found or one is None:
            return None
        pages = dict.fromkeys(hover(self.rules[finding.code]) for finding in found)
        text = types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(pages))
        return types.Hover(text, diagnostic(found[0], self.places(one)).range)

    def actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """What can be done at a place, and about the whole file where that is asked for."""
        uri, only = params.text_document.uri, params.context.only
        one = opened(self.server.workspace, uri)
        if one is None:
            return []
        made: list[types.CodeAction] = []
        if _wanted(types.CodeActionKind.QuickFix.value, only):
            for finding in self._findings_at(one, uri, params.range):
                made += self._quick_fixes(one, finding)
        if only is not None and _wanted(FIX_ALL, only):
            made += self._fix_all(one)
        return made

    def publish(self, uri: str) -> None:
        """Judge a file or notebook and send the client what was found, unless the client asks for it."""
        self._stop_waiting(uri)
        one = opened(self.server.workspace, uri)
        if one is None or (self._pulls and not one.cells):
            return
        for cell, items in self._diagnostics(one).items():
            self._show(one.pages[cell], items, None if one.cells else one.number)

    def _diagnostics(self, one: Opened) -> dict[int | None, list[types.Diagnostic]]:
        """What was found, by cell; what kept all from being judged stands in the first one."""
        checked, places = self.checked(one), self.places(one)
        found: dict[int | None, list[types.Diagnostic]] = {cell: [] for cell in one.pages}
        if found:
            next(iter(found.values())).extend(map(failure, checked.failures))
        for finding in checked.result.findings:
            found[finding.span.cell if finding.span else None].append(diagnostic(finding, places))
        return found

    def checked(self, one: Opened) -> Checked:
        """What there is to say about the present version of an open file."""
        version, checked = self.known.get(one.uri, (None, None))
        if checked is None or version != one.version:
            checked = self.checker.check(one.path, one.text)
            self.known[one.uri] = (one.version, checked)
        return checked

    def places(self, one: Opened) -> Places:
        """The way from places in a file, and in those that it imports, to the client's."""
        open_files = {
            (known.path, cell): uri
            for known in all_opened(self.server.workspace)
            for cell, uri in known.pages.items()
        }
        units = self.server.workspace.position_codec.client_num_units
        return Places(self.checked(one).result.documents, units, open_files)

    def read(self, path: str) -> Document | None:
        """A file as it is open in the editor, else as it is on disk; None where it cannot be read."""
        for one in all_opened(self.server.workspace):
            if one.path == path:
                made = from_text(path, one.text)
                return made if isinstance(made, Document) else None
        return from_disk(path)

    def _findings_at(self, one: Opened, uri: str, place: types.Range) -> Iterator[Finding]:
        places, cell = self.places(one), one.cell(uri)
        for finding in self.checked(one).result.findings:
            here = finding.span is None or finding.span.cell == cell
            if here and meets(diagnostic(finding, places).range, place):
                yield finding

    def _quick_fixes(self, one: Opened, finding: Finding) -> Iterator[types.CodeAction]:
        from relucheck.cli_fix import text_edits

        result = self.checked(one).result
        document = result.documents[one.path]
        fix = text_edits(result)(finding)
        yield from quick_fixes(finding, fix, suppressing(finding, document), self.places(one))

    def _fix_all(self, one: Opened) -> Iterator[types.CodeAction]:
        checked = self.checked(one)
        if any(f.fix and f.fix.safety is Safety.SAFE for f in checked.result.findings):
            after = self.checker.fixed(checked, one.path, one.text)
            if after is not None:
                yield fix_all(after, one.text, checked.result.documents[one.path], self.places(one))

    @property
    def _pulls(self) -> bool:
        """Whether the client asks for diagnostics itself: telling it as well would show each twice."""
        capabilities = self.server.client_capabilities.text_document
        return capabilities is not None and capabilities.diagnostic is not None

    def _show(self, uri: str, items: list[types.Diagnostic], version: int | None = None) -> None:
        params = types.PublishDiagnosticsParams(uri, items, version)
        self.server.text_document_publish_diagnostics(params)

    def _forget(self, uri: str) -> None:
        self._stop_waiting(uri)
        self.known.pop(uri, None)

    def _wait(self, uri: str) -> None:
        self._stop_waiting(uri)
        self.waiting[uri] = asyncio.get_running_loop().call_later(PAUSE, self.publish, uri)

    def _stop_waiting(self, uri: str) -> None:
        handle = self.waiting.pop(uri, None)
        if handle is not None:
            handle.cancel()


def _refreshes(capabilities: types.ClientCapabilities) -> bool:
    """Whether a client asks again when it is told to."""
    workspace = capabilities.workspace
    return bool(workspace and workspace.diagnostics and workspace.diagnostics.refresh_support)


def _wanted(kind: str, only: object) -> bool:
    """Whether a client that may want some kinds only wants this one, or a kind that it belongs to."""
    if not isinstance(only, list | tuple):
        return only is None
    return any(kind == asked or kind.startswith(f"{asked}.") for asked in map(_text_of, only))


def _text_of(kind: object) -> str:
    return str(getattr(kind, "value", kind))
