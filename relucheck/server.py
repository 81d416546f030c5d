"""The language server: what an editor shows while a file is written.

It judges the text as it is in the editor, unsaved changes included, together with the files that the text
imports, which are open too or read from disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from relucheck.checked import Checked, Checker, suppressing
from relucheck.config import Configuration
from relucheck.engine import load_rules
from relucheck.finding import Finding, RuleModule, Safety
from relucheck.lsp import FIX_ALL, Places, diagnostic, failure, fix_all, meets, quick_fixes
from relucheck.neighbours import from_disk
from relucheck.pages import hover
from relucheck.source.files import Document, from_text
from relucheck.version import __version__

PAUSE = 0.3
"""Seconds without a change after which a text that is being written is judged."""


def serve(settings: Callable[[], Configuration]) -> None:
    """Answer the client on standard input and output until it says goodbye."""
    server = LanguageServer("relucheck", __version__)
    rules = load_rules()
    session = Session(server, {module.rule.code: module for module in rules})
    session.checker = Checker(rules, settings, session.read)
    handlers: dict[str, Callable[..., object]] = {
        types.TEXT_DOCUMENT_DID_OPEN: session.opened,
        types.TEXT_DOCUMENT_DID_CHANGE: session.changed,
        types.TEXT_DOCUMENT_DID_SAVE: session.saved,
        types.TEXT_DOCUMENT_DID_CLOSE: session.closed,
        types.TEXT_DOCUMENT_HOVER: session.hover,
    }
    for name, handler in handlers.items():
        server.feature(name)(partial(handler))  # which pygls notes its own things on
    kinds = [types.CodeActionKind.QuickFix, FIX_ALL]
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(kinds))(partial(session.actions))
    server.start_io()


@dataclass(slots=True)
class Session:
    """One client: its open files, what was found in each version of them, and what waits to be judged."""

    server: LanguageServer
    rules: dict[str, RuleModule]
    checker: Checker = field(init=False)
    known: dict[str, tuple[int | None, Checked]] = field(default_factory=dict)
    waiting: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    def opened(self, params: types.DidOpenTextDocumentParams) -> None:
        self.publish(params.text_document.uri)

    def changed(self, params: types.DidChangeTextDocumentParams) -> None:
        """Judge the text once its writer pauses."""
        uri = params.text_document.uri
        self._stop_waiting(uri)
        self.waiting[uri] = asyncio.get_running_loop().call_later(PAUSE, self.publish, uri)

    def saved(self, params: types.DidSaveTextDocumentParams) -> None:
        """Judge every open file again: others may import this one, and it may hold settings."""
        self.known.clear()
        for uri in tuple(self.server.workspace.text_documents):
            self.publish(uri)

    def closed(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        self._stop_waiting(uri)
        self.known.pop(uri, None)
        self.server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))

    def hover(self, params: types.HoverParams) -> types.Hover | None:
        """The pages of the rules whose findings are under the cursor."""
        uri = params.text_document.uri
        place = types.Range(params.position, params.position)
        found = tuple(self._findings_at(uri, place))
        if not found:
            return None
        pages = dict.fromkeys(hover(self.rules[finding.code]) for finding in found)
        text = types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(pages))
        return types.Hover(text, diagnostic(found[0], self.places(uri)).range)

    def actions(self, params: types.CodeActionParams) -> list[types.CodeAction]:
        """What can be done at a place, and about the whole file where that is asked for."""
        uri, only = params.text_document.uri, params.context.only
        made: list[types.CodeAction] = []
        if _wanted(types.CodeActionKind.QuickFix.value, only):
            for finding in self._findings_at(uri, params.range):
                made += self._quick_fixes(uri, finding)
        if only is not None and _wanted(FIX_ALL, only):
            made += self._fix_all(uri)
        return made

    def publish(self, uri: str) -> None:
        """Judge a file and send the client what was found."""
        self._stop_waiting(uri)
        if uri not in self.server.workspace.text_documents:
            return
        checked, places = self.checked(uri), self.places(uri)
        found = [diagnostic(finding, places) for finding in checked.result.findings]
        version = self.server.workspace.get_text_document(uri).version
        self.server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, [*map(failure, checked.failures), *found], version)
        )

    def checked(self, uri: str) -> Checked:
        """What there is to say about the present version of an open file."""
        document = self.server.workspace.get_text_document(uri)
        version, checked = self.known.get(uri, (None, None))
        if checked is None or version != document.version:
            checked = self.checker.check(path_of(uri), document.source)
            self.known[uri] = (document.version, checked)
        return checked

    def places(self, uri: str) -> Places:
        """The way from places in a file, and in those that it imports, to the client's."""
        open_files = {path_of(known): known for known in self.server.workspace.text_documents}
        units = self.server.workspace.position_codec.client_num_units
        return Places(self.checked(uri).result.documents, units, open_files)

    def read(self, path: str) -> Document | None:
        """A file as it is open in the editor, else as it is on disk; None where it cannot be read."""
        for uri, document in self.server.workspace.text_documents.items():
            if path_of(uri) == path:
                made = from_text(path, document.source)
                return made if isinstance(made, Document) else None
        return from_disk(path)

    def _findings_at(self, uri: str, place: types.Range) -> Iterator[Finding]:
        places = self.places(uri)
        for finding in self.checked(uri).result.findings:
            if meets(diagnostic(finding, places).range, place):
                yield finding

    def _quick_fixes(self, uri: str, finding: Finding) -> Iterator[types.CodeAction]:
        from relucheck.cli_fix import text_edits

        result = self.checked(uri).result
        document = result.documents[path_of(uri)]
        fix = text_edits(result)(finding)
        yield from quick_fixes(finding, fix, suppressing(finding, document), self.places(uri))

    def _fix_all(self, uri: str) -> Iterator[types.CodeAction]:
        checked, path = self.checked(uri), path_of(uri)
        if any(f.fix and f.fix.safety is Safety.SAFE for f in checked.result.findings):
            after = self.checker.fixed(checked, path)
            if after is not None:
                yield fix_all(after, checked.result.documents[path], self.places(uri))

    def _stop_waiting(self, uri: str) -> None:
        handle = self.waiting.pop(uri, None)
        if handle is not None:
            handle.cancel()


def path_of(uri: str) -> str:
    """The path of an address; an address that is no file's, as of a text without a name, is its own path."""
    return (to_fs_path(uri) if uri.startswith("file:") else None) or uri


def _wanted(kind: str, only: object) -> bool:
    """Whether a client that may want some kinds only wants this one, or a kind that it belongs to."""
    if not isinstance(only, list | tuple):
        return only is None
    return any(kind == asked or kind.startswith(f"{asked}.") for asked in map(_text_of, only))


def _text_of(kind: object) -> str:
    return str(getattr(kind, "value", kind))
