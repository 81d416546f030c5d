"""The HTML report: complete, self-contained, escaped."""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from relucheck import probe, watch
from relucheck.cli_probe import probe as command
from relucheck.live import Report
from relucheck.span import Span
from relucheck.training import TrainingReport

pytest.importorskip("jinja2")


def measured() -> Report:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].bias[:12] = -25.0
    return probe(model, [torch.randn(100, 8) for _ in range(3)])


def trained(*models: nn.Module, steps: int = 12) -> TrainingReport:
    torch.manual_seed(0)
    with watch(every=1) as watching:
        for model in models:
            optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(steps):
                x = torch.randn(150, 8)
                optimiser.zero_grad()
                functional.cross_entropy(model(x), torch.randint(0, 3, (150,))).backward()
                optimiser.step()
    return watching.report


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 20), nn.ReLU(), nn.Linear(20, 3))


class Balanced(html.parser.HTMLParser):
    """Counts elements, and what is left open of those that must be closed."""

    VOID = frozenset({"meta", "link", "br"})

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
    words = re.sub(r"\s+", " ", text)
    assert "12 of 20 units (60%)" in words
    assert "300 samples in 3 batches, training mode" in words
    assert "60 % silent" in words  # in the network and in the site's card
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", text)
    assert headings[1:] == [
        "Network",
        "Gradient flow",
        "Activations",
        "Activations as a table",
        "Layers as a table",
    ]
    assert words.count("Histogram of the pre-activations of") == 2
    assert words.count("silent on all samples</title>") == 1  # the cells of the twelve


def test_a_training_shows_its_steps(tmp_path: Path) -> None:
    text = trained(small()).to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    assert "A training of 12 steps (backward passes), 12 of them inspected." in text
    assert "Silent units of each layer over the steps" in text
    assert "Gradients of each layer over the steps" in text
    assert "linear, steps 0 to 1" in text
    assert "linear, steps 10 to 11" in text


def test_networks_of_one_training_have_sections_of_their_own() -> None:
    text = trained(small(), nn.Sequential(nn.Linear(8, 3), nn.Sigmoid())).to_html()
    page = parsed(text)
    assert [a["id"] for tag, a in page.seen if a.get("class") == "network"] == ["net1", "net2"]
    ids = [a["id"] for _, a in page.seen if "id" in a]
    assert len(ids) == len(set(ids))


def test_a_training_without_a_step_is_a_page_too() -> None:
    with watch() as watching:
        pass
    text = watching.report.to_html()
    assert "A training of 0 steps (backward passes), 0 of them inspected." in text
    parsed(text)


def test_links_lead_somewhere() -> None:
    page = parsed(measured().to_html())
    ids = {a["id"] for _, a in page.seen if "id" in a}
    targets = [str(a["href"]) for tag, a in page.seen if tag == "a"]
    assert len(targets) > 5
    assert {t.removeprefix("#") for t in targets} <= ids


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = measured().to_html()
    page = parsed(text)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.seen}
    assert not [a for _, a in page.seen if any(str(v).startswith("http") for v in a.values())]
    assert "url(" not in text
    assert "@import" not in text


def test_each_drawing_has_words_and_scrolling_parts_take_the_focus() -> None:
    page = parsed(measured().to_html())
    drawings = [a for tag, a in page.seen if tag == "svg"]
    assert all(a.get("aria-label") or a.get("aria-hidden") == "true" for a in drawings)
    scrolling = [a for tag, a in page.seen if "scroll" in str(a.get("class")).split() or tag == "pre"]
    assert len(scrolling) == 3
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in scrolling)


def test_source_is_shown_and_escaped(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text("a = 1\nif x < 3: print('<b>')\nc = 2\n")
    report = measured()
    finding = report.findings[0]
    marked = replace(finding, span=Span(str(source), None, 2, 1, 2, 5), message="<script>alert(1)</script>")
    text = replace(report, findings=(marked,)).to_html()
    assert "if x &lt; 3: print(&#39;&lt;b&gt;&#39;)" in text
    assert "<script>" not in text
    parsed(text)


def test_names_of_layers_are_escaped_in_text_and_in_drawings() -> None:
    model = nn.Module()
    inner = nn.Sequential()
    inner.add_module('a"<u>', nn.Linear(4, 4))
    inner.add_module("<act>&", nn.ReLU())
    inner.add_module("<c>", nn.Linear(4, 4))
    model.inner = inner
    model.forward = inner.forward  # type: ignore[method-assign]
    text = probe(model, [torch.randn(40, 4)]).to_html()
    for raw in ("<u>", "<act>", "<c>"):
        assert raw not in text
    parsed(text)


def test_no_activation_and_no_finding() -> None:
    text = probe(nn.Linear(4, 2), [torch.randn(4, 4)]).to_html()
    assert "No findings" in text
    assert "Gradient flow" not in text
    parsed(text)


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
