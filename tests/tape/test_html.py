"""The HTML report: complete, self-contained, escaped."""

from __future__ import annotations

import html.parser
import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from relucheck import probe
from relucheck.cli_probe import probe as command
from relucheck.live import Report

pytest.importorskip("jinja2")


def measured() -> Report:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].bias[:12] = -25.0
    return probe(model, [torch.randn(100, 8) for _ in range(3)])


class Balanced(html.parser.HTMLParser):
    """Counts elements, and what is left open of those that must be closed."""

    VOID = frozenset({"meta", "link", "th", "td", "br", "line", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parsed(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_everything_is_on_the_page(tmp_path: Path) -> None:
    report = measured()
    text = report.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert "12 of 20 units (60%)" in text
    assert text.count("silent on all samples</title>") == 12
    assert "300 samples in 3 batches, training mode" in re.sub(r"\s+", " ", text)
    assert [tag for tag, _ in parsed(text).seen].count("circle") == 3


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = parsed(measured().to_html())
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.seen}
    assert not [a for _, a in page.seen if any(str(v).startswith("http") for v in a.values())]


def test_each_drawing_has_words_and_scrolling_parts_take_the_focus() -> None:
    page = parsed(measured().to_html())
    assert all(a.get("aria-label") for tag, a in page.seen if tag == "svg")
    assert all(a.get("tabindex") == "0" for tag, a in page.seen if a.get("class") == "scroll" or tag == "pre")


def test_source_is_shown_and_escaped(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text("a = 1\nif x < 3: print('<b>')\nc = 2\n")
    report = measured()
    finding = report.findings[0]
    from relucheck.span import Span

    marked = replace(finding, span=Span(str(source), None, 2, 1, 2, 5), message="<script>alert(1)</script>")
    text = replace(report, findings=(marked,)).to_html()
    assert "if x &lt; 3: print(&#39;&lt;b&gt;&#39;)" in text
    assert "<script>" not in text
    parsed(text)


def test_no_activation_and_no_finding() -> None:
    text = probe(nn.Linear(4, 2), [torch.randn(4, 4)]).to_html()
    assert "No findings" in text
    assert "<svg" not in text


def test_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models_for_html.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    args = ["models_for_html:make", "--input", "4,4", "--html", "out.html"]
    CliRunner().invoke(command, args, standalone_mode=False, catch_exceptions=False)
    assert "Sequential" in (tmp_path / "out.html").read_text()
    result = CliRunner().invoke(command, [*args[:-1], "no/such/folder.html"], standalone_mode=False)
    assert "--html no/such/folder.html" in str(result.exception)


def test_without_jinja_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    report = measured()
    monkeypatch.setattr("relucheck.report._html.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "relucheck\[report\]"'):
        report.to_html()
    assert importlib.util.find_spec("jinja2") is not None
