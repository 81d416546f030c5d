"""The language server, talked to by a real client over standard input and output."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import relucheck

ROOT = Path(relucheck.__file__).parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
NET = """\
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 256), nn.Linear(256, 10)
        self.act = nn.LeakyReLU(True)

    def forward(self, x):
        return F.softmax(self.fc2(self.act(self.fc1(x))), dim=1)
"""
SOFTMAX = (11, 15)
LOSS = """\
from network import Net
from torch.nn import functional as F


def step(images, labels):
    return F.cross_entropy(Net()(images), labels)
"""


def test_without_its_library_it_says_what_to_install(tmp_path):
    missing = "import sys; sys.modules['pygls'] = None; from relucheck.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", missing, "server"],
        env=ENV, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    message = 'error: the language server needs pygls: pip install "relucheck[server]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


pytest.importorskip("pygls")
from lsprotocol import types  # noqa: E402
from pygls.lsp.client import LanguageClient  # noqa: E402


class Editor:
    """A client with one folder, and what the server has published about each file."""

    def __init__(self, folder):
        self.folder = folder
        self.client = LanguageClient("tests", "1")
        self.published = asyncio.Queue()
        tell = partial(self.published.put_nowait)
        self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(tell)

    def uri(self, name):
        return (self.folder / name).as_uri()

    def open(self, name, text, version=1):
        item = types.TextDocumentItem(self.uri(name), "python", version, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def open_notebook(self, name, *sources):
        """Open a notebook whose cells have these sources; those that start with # are text."""
        cells, items = [], []
        for number, source in enumerate(sources):
            kind = types.NotebookCellKind.Markup if source.startswith("#") else types.NotebookCellKind.Code
            cells.append(types.NotebookCell(kind, self.cell(name, number)))
            items.append(types.TextDocumentItem(self.cell(name, number), "python", 1, source))
        notebook = types.NotebookDocument(self.uri(name), "jupyter-notebook", 1, cells)
        params = types.DidOpenNotebookDocumentParams(notebook, items)
        self.client.notebook_document_did_open(params)

    def cell(self, name, number):
        return f"vscode-notebook-cell:{self.folder.as_posix()}/{name}#{number}"

    def change_notebook(self, name, version, cells):
        notebook = types.VersionedNotebookDocumentIdentifier(version, self.uri(name))
        change = types.NotebookDocumentChangeEvent(cells=cells)
        params = types.DidChangeNotebookDocumentParams(notebook, change)
        self.client.notebook_document_did_change(params)

    async def told_of(self, number):
        """The next diagnostics of so many documents: their codes with the rows, by address."""
        told = [await self.told() for _ in range(number)]
        return {t.uri: [(d.code, d.range.start.line) for d in t.diagnostics] for t in told}

    async def pull(self, name):
        params = types.DocumentDiagnosticParams(self.document(name))
        return list((await self.client.text_document_diagnostic_async(params)).items)

    def change(self, name, text, version):
        document = types.VersionedTextDocumentIdentifier(version, self.uri(name))
        whole = types.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(document, [whole]))

    def document(self, name):
        return types.TextDocumentIdentifier(self.uri(name))

    async def told(self):
        """The next diagnostics."""
        return await asyncio.wait_for(self.published.get(), 30)

    async def actions(self, name, row, column, only=None):
        place = types.Position(row, column)
        context = types.CodeActionContext([], only=only)
        params = types.CodeActionParams(self.document(name), types.Range(place, place), context)
        return await self.client.text_document_code_action_async(params) or []

    async def hover(self, name, row, column):
        params = types.HoverParams(self.document(name), types.Position(row, column))
        return await self.client.text_document_hover_async(params)


@asynccontextmanager
async def editing(folder, encodings=None, pulls=False):
    editor = Editor(folder)
    client = editor.client
    await client.start_io(sys.executable, "-m", "relucheck", "server", cwd=folder, env=ENV)
    general = types.GeneralClientCapabilities(position_encodings=encodings)
    text = types.TextDocumentClientCapabilities(
        diagnostic=types.DiagnosticClientCapabilities() if pulls else None
    )
    refreshing = types.WorkspaceClientCapabilities(
        diagnostics=types.DiagnosticWorkspaceClientCapabilities(pulls)
    )
    notebooks = types.NotebookDocumentClientCapabilities(types.NotebookDocumentSyncClientCapabilities())
    capabilities = types.ClientCapabilities(
        general=general, text_document=text, workspace=refreshing, notebook_document=notebooks
    )
    params = types.InitializeParams(capabilities, root_uri=folder.as_uri())
    editor.capabilities = (await client.initialize_async(params)).capabilities
    client.initialized(types.InitializedParams())
    try:
        yield editor
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        editor.status = await asyncio.wait_for(client._server.wait(), 30)
        await client.stop()


def session(folder, work, **kw):
    """What ``work`` makes of an editor, once the server has gone."""

    async def run():
        async with editing(folder, **kw) as editor:
            outcome = await work(editor)
        assert editor.status == 0
        return outcome

    return asyncio.run(run())


def codes(params):
    return [diagnostic.code for diagnostic in params.diagnostics]


def edited(text, edits):
    """A text with the client's edits made, from the last one on."""
    lines = text.split("\n")
    offset = lambda p: sum(len(line) + 1 for line in lines[: p.line]) + p.character  # noqa: E731
    for edit in sorted(edits, key=lambda e: offset(e.range.start), reverse=True):
        text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
    return text


def test_a_file_is_judged_when_it_is_opened(tmp_path):
    async def work(editor):
        editor.open("network.py", NET, version=7)
        return await editor.told()

    told = session(tmp_path, work)
    assert (told.version, codes(told)) == (7, ["RLU404"])
    (finding,) = told.diagnostics
    assert (finding.range.start.line, finding.source) == (8, "relucheck")
    assert finding.severity is types.DiagnosticSeverity.Error
    assert finding.code_description.href == "https://relucheck.readthedocs.io/rules/bool-slope/"


def test_the_text_in_the_editor_counts_and_its_imports_are_read(tmp_path):
    """The class is on disk, the loss is not; then the class is open too, without its mistake."""
    (tmp_path / "network.py").write_text(NET)

    async def work(editor):
        editor.open("train.py", LOSS)
        first = await editor.told()
        editor.open("network.py", NET + "\n\nloss = F.cross_entropy(Net()(x), y)\n")
        return first, await editor.told()

    first, second = session(tmp_path, work)
    assert codes(first) == []  # the finding is in the other file
    assert "RLU102" in codes(second)
    related = next(d for d in second.diagnostics if d.code == "RLU102").related_information
    places = {(r.location.uri, r.location.range.start.line) for r in related}
    assert places == {((tmp_path / "network.py").as_uri(), 14)}


def test_what_is_imported_is_read_from_disk(tmp_path):
    (tmp_path / "losses.py").write_text("from torch import nn\n\nloss = nn.CrossEntropyLoss()\n")
    text = NET + "\n\nfrom losses import loss\n\nloss(Net()(x), y)\n"

    async def work(editor):
        editor.open("network.py", text)
        return await editor.told()

    told = session(tmp_path, work)
    finding = next(d for d in told.diagnostics if d.code == "RLU102")
    assert finding.severity is types.DiagnosticSeverity.Error
    assert (finding.range.start.line, finding.range.start.character) == SOFTMAX


def test_changes_are_judged_once_their_writer_pauses(tmp_path):
    async def work(editor):
        editor.open("network.py", "x = 1\n")
        first = await editor.told()
        for version in range(2, 9):
            editor.change("network.py", NET + "#" * version, version)
        second = await editor.told()
        await asyncio.sleep(0.6)
        return first, second, editor.published.empty()

    first, second, quiet = session(tmp_path, work)
    assert codes(first) == []
    assert (codes(second), second.version, quiet) == (["RLU404"], 8, True)


def test_saving_reads_the_settings_again_and_closing_clears(tmp_path):
    async def work(editor):
        editor.open("network.py", NET)
        told = [await editor.told()]
        (tmp_path / "relucheck.toml").write_text('ignore = ["RLU404"]\n')
        editor.client.text_document_did_save(types.DidSaveTextDocumentParams(editor.document("network.py")))
        told.append(await editor.told())
        (tmp_path / "relucheck.toml").write_text("ignore = 3\n")
        editor.client.text_document_did_save(types.DidSaveTextDocumentParams(editor.document("network.py")))
        told.append(await editor.told())
        editor.client.text_document_did_close(types.DidCloseTextDocumentParams(editor.document("network.py")))
        told.append(await editor.told())
        return told

    first, second, third, last = session(tmp_path, work)
    assert (codes(first), codes(second), codes(last)) == (["RLU404"], [], [])
    (wrong,) = third.diagnostics
    assert "relucheck.toml:1: ignore: must be a list of strings" in wrong.message


def test_a_syntax_error_is_shown_at_its_place_and_goes(tmp_path):
    async def work(editor):
        editor.open("m.py", "import torch\nnet = (\n")
        first = await editor.told()
        editor.change("m.py", "import torch\nnet = ()\n", 2)
        return first, await editor.told()

    first, second = session(tmp_path, work)
    assert [(d.code, d.range.start.line) for d in first.diagnostics] == [("RLU000", 1)]
    assert codes(second) == []


def test_quick_fixes(tmp_path):
    async def work(editor):
        editor.open("network.py", NET)
        await editor.told()
        elsewhere = await editor.actions("network.py", 0, 0)
        return elsewhere, await editor.actions("network.py", 8, 25)

    elsewhere, (fix, suppress) = session(tmp_path, work)
    assert elsewhere == []
    assert fix.is_preferred
    assert fix.kind == "quickfix"
    assert [d.code for d in fix.diagnostics] == ["RLU404"]
    (edits,) = fix.edit.changes.values()
    assert "nn.LeakyReLU(inplace=True)" in edited(NET, edits)
    (edits,) = suppress.edit.changes.values()
    assert "nn.LeakyReLU(True)  # relucheck: ignore[RLU404]\n" in edited(NET, edits)


def test_what_changes_the_result_says_so_and_is_not_preferred(tmp_path):
    text = NET + "\n\nF.cross_entropy(Net()(x), y)\n"

    async def work(editor):
        editor.open("network.py", text)
        await editor.told()
        return await editor.actions("network.py", *SOFTMAX)

    fix, _ = session(tmp_path, work)
    assert fix.title.endswith("(changes what is computed)")
    assert not fix.is_preferred
    (edits,) = fix.edit.changes.values()
    assert "return self.fc2(self.act(self.fc1(x)))\n" in edited(text, edits)


def test_fix_all_makes_the_safe_fixes_when_asked(tmp_path):
    async def work(editor):
        editor.open("network.py", NET)
        await editor.told()
        return await editor.actions("network.py", 0, 0, only=[types.CodeActionKind.SourceFixAll])

    (action,) = session(tmp_path, work)
    assert action.kind == "source.fixAll.relucheck"
    (edits,) = action.edit.changes.values()
    assert edited(NET, edits) == NET.replace("(True)", "(inplace=True)")


def test_hovering_a_finding_shows_the_page_of_its_rule(tmp_path):
    async def work(editor):
        editor.open("network.py", NET)
        await editor.told()
        return await editor.hover("network.py", 8, 25), await editor.hover("network.py", 0, 0)

    page, nothing = session(tmp_path, work)
    assert nothing is None
    assert page.contents.kind is types.MarkupKind.Markdown
    assert page.contents.value.startswith("**[bool-slope (RLU404)](https://")
    assert "## Why is this bad?" in page.contents.value
    assert page.range.start.line == 8


@pytest.mark.parametrize(
    ("encodings", "column"),
    [(None, 10), ([types.PositionEncodingKind.Utf32], 9), ([types.PositionEncodingKind.Utf8], 12)],
)
def test_columns_are_counted_as_the_client_counts(tmp_path, encodings, column):
    async def work(editor):
        editor.open("m.py", "from torch import nn\n'😀'; a = nn.LeakyReLU(True)\na(x)\n")
        return await editor.told()

    (finding,) = session(tmp_path, work, encodings=encodings).diagnostics
    assert (finding.range.start.line, finding.range.start.character) == (1, column)


def test_a_text_without_a_file_is_judged(tmp_path):
    async def work(editor):
        item = types.TextDocumentItem("untitled:Untitled-1", "python", 1, NET)
        editor.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return await editor.told()

    told = session(tmp_path, work)
    assert (told.uri, codes(told)) == ("untitled:Untitled-1", ["RLU404"])


IMPORTS = "from torch import nn\nfrom torch.nn import functional as F\n%matplotlib inline\n"
CLASS = NET.split("\n\n\n")[1]
USE = "F.cross_entropy(Net()(images), labels)\n"
CELLS = ("# A network\n", IMPORTS, CLASS, USE)


def test_the_cells_of_a_notebook_are_one_module(tmp_path):
    async def work(editor):
        editor.open_notebook("n.ipynb", *CELLS)
        return await editor.told_of(4), [editor.cell("n.ipynb", n) for n in range(4)]

    told, uris = session(tmp_path, work)
    assert sorted(told) == sorted(uris)
    assert [told[uri] for uri in uris] == [[], [], [("RLU404", 4), ("RLU102", 7)], []]


def test_related_places_lead_to_other_cells(tmp_path):
    async def work(editor):
        editor.open_notebook("n.ipynb", *CELLS)
        told = [await editor.told() for _ in range(4)]
        return told, editor.cell("n.ipynb", 3)

    told, loss = session(tmp_path, work)
    related = [
        r.location.uri
        for t in told
        for d in t.diagnostics
        if d.code == "RLU102"
        for r in d.related_information
    ]
    assert loss in related


def test_changes_of_cells_and_of_their_order_are_followed(tmp_path):
    async def work(editor):
        name, uri = "n.ipynb", partial(editor.cell, "n.ipynb")
        editor.open_notebook(name, *CELLS)
        told = [await editor.told_of(4)]
        whole = types.TextDocumentContentChangeWholeDocument(CLASS.replace("True", "0.1"))
        document = types.VersionedTextDocumentIdentifier(2, uri(2))
        content = types.NotebookDocumentCellContentChanges(document, [whole])
        editor.change_notebook(name, 2, types.NotebookDocumentCellChanges(text_content=[content]))
        told.append(await editor.told_of(4))
        gone = types.NotebookDocumentCellChangeStructure(
            types.NotebookCellArrayChange(3, 1, []), did_close=[types.TextDocumentIdentifier(uri(3))]
        )
        editor.change_notebook(name, 3, types.NotebookDocumentCellChanges(structure=gone))
        told.append(await editor.told_of(4))
        return [(t[uri(2)], t[uri(3)]) for t in told]

    assert session(tmp_path, work) == [
        ([("RLU404", 4), ("RLU102", 7)], []),
        ([("RLU102", 7)], []),
        ([], []),
    ]


def test_closing_a_notebook_clears_its_cells(tmp_path):
    async def work(editor):
        editor.open_notebook("n.ipynb", *CELLS)
        await editor.told_of(4)
        notebook = types.NotebookDocumentIdentifier(editor.uri("n.ipynb"))
        cells = [types.TextDocumentIdentifier(editor.cell("n.ipynb", n)) for n in range(4)]
        params = types.DidCloseNotebookDocumentParams(notebook, cells)
        editor.client.notebook_document_did_close(params)
        return await editor.told_of(4)

    assert set(map(tuple, session(tmp_path, work).values())) == {()}


def test_actions_and_pages_in_cells(tmp_path):
    async def work(editor):
        name = "n.ipynb"
        editor.open_notebook(name, *CELLS)
        await editor.told_of(4)
        editor.uri = lambda _: editor.cell(name, 2)
        quick = await editor.actions(name, 4, 25)
        whole = await editor.actions(name, 0, 0, only=[types.CodeActionKind.SourceFixAll])
        page = await editor.hover(name, 4, 25)
        editor.uri = lambda _: editor.cell(name, 3)
        return quick, whole, page, await editor.actions(name, 0, 0), editor.cell(name, 2)

    (fix, suppress), (whole,), page, elsewhere, uri = session(tmp_path, work)
    fixed = CLASS.replace("(True)", "(inplace=True)")
    assert edited(CLASS, fix.edit.changes[uri]) == fixed
    assert whole.edit.changes == {uri: whole.edit.changes[uri]}  # the cell with IPython's line stays
    assert edited(CLASS, whole.edit.changes[uri]) == fixed
    assert "ignore[RLU404]" in edited(CLASS, suppress.edit.changes[uri])
    assert page.contents.value.startswith("**[bool-slope (RLU404)]")
    assert elsewhere == []


def test_a_client_that_asks_is_answered_and_not_told(tmp_path):
    async def work(editor):
        editor.open("network.py", NET)
        first = await editor.pull("network.py")
        editor.change("network.py", NET.replace("True", "0.1"), 2)
        second = await editor.pull("network.py")
        nothing = await editor.pull("unknown.py")
        editor.open_notebook("n.ipynb", *CELLS)
        return first, second, nothing, await editor.told_of(4), editor.capabilities

    first, second, nothing, cells, capabilities = session(tmp_path, work, pulls=True)
    assert [(d.code, d.range.start.line) for d in first] == [("RLU404", 8)]
    assert (second, nothing) == ([], [])
    assert all("n.ipynb" in uri for uri in cells)
    assert capabilities.diagnostic_provider.inter_file_dependencies
    assert capabilities.notebook_document_sync.notebook_selector


def test_saving_makes_a_client_that_asks_ask_again(tmp_path):
    async def work(editor):
        asked = asyncio.Event()
        editor.client.feature(types.WORKSPACE_DIAGNOSTIC_REFRESH)(lambda _: asked.set())
        editor.open("network.py", NET)
        await editor.pull("network.py")
        (tmp_path / "relucheck.toml").write_text('ignore = ["RLU404"]\n')
        editor.client.text_document_did_save(types.DidSaveTextDocumentParams(editor.document("network.py")))
        await asyncio.wait_for(asked.wait(), 30)
        return await editor.pull("network.py")

    assert session(tmp_path, work, pulls=True) == []


def test_the_server_imports_no_torch(tmp_path):
    text = "import sys, relucheck.server; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", text], env=ENV, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
