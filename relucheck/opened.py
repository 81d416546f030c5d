"""What a client has open: files and notebooks, each of which is judged as one module."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lsprotocol import types
from pygls.uris import to_fs_path
from pygls.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file, or an open notebook: ``cells`` are the addresses of its cells in their order.

    ``text`` is what the file would hold, a notebook's JSON included; ``version`` tells one state of it
    from another, and ``number`` is the client's version of the whole.
    """

    uri: str
    path: str
    text: str
    version: tuple[int | None, ...]
    cells: tuple[str, ...] = ()

    @property
    def number(self) -> int | None:
        """The version as the client counts it."""
        return self.version[0]

    @property
    def pages(self) -> dict[int | None, str]:
        """The addresses of its documents by the position of the cell; None is that of a file."""
        return dict(enumerate(self.cells, 1)) if self.cells else {None: self.uri}

    def cell(self, uri: str) -> int | None:
        """The position of a cell, counted from 1; None for a file."""
        return self.cells.index(uri) + 1 if uri in self.cells else None


def opened(workspace: Workspace, uri: str) -> Opened | None:
    """What is open under an address, or the notebook that the cell of this address belongs to."""
    notebook = workspace.get_notebook_document(notebook_uri=uri)
    notebook = notebook or workspace.get_notebook_document(cell_uri=uri)
    if notebook is not None:
        return _notebook(workspace, notebook)
    document = workspace.text_documents.get(uri)
    return None if document is None else Opened(uri, path_of(uri), document.source, (document.version,))


def all_opened(workspace: Workspace) -> Iterator[Opened]:
    """Everything that is open, each notebook once."""
    addresses = [*workspace.notebook_documents, *workspace.text_documents]
    found = (opened(workspace, uri) for uri in addresses)
    yield from {one.uri: one for one in found if one is not None}.values()


def _notebook(workspace: Workspace, notebook: types.NotebookDocument) -> Opened:
    documents = workspace.text_documents
    cells = [
        {"cell_type": _KINDS[cell.kind], "source": documents[cell.document].source}
        for cell in notebook.cells
        if cell.document in documents
    ]
    known = [cell.document for cell in notebook.cells if cell.document in documents]
    path = path_of(notebook.uri)
    return Opened(
        notebook.uri,
        path if path.lower().endswith(".ipynb") else f"{path}.ipynb",
        json.dumps({"cells": cells}),
        (notebook.version, *(documents[uri].version for uri in known)),
        tuple(known),
    )


_KINDS: Mapping[types.NotebookCellKind, str] = {
    types.NotebookCellKind.Code: "code",
    types.NotebookCellKind.Markup: "markdown",
}


def path_of(uri: str) -> str:
    """The path of an address; an address that is no file's, as of a text without a name, is its own path."""
    return (to_fs_path(uri) if uri.startswith("file:") else None) or uri
