"""The HTML report in headless Chromium: it draws something, fits the window, asks for nothing, and breaks nothing."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from relucheck import probe, watch

pytest.importorskip("jinja2")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [Residual(40) for _ in range(18)]
    model = nn.Sequential(nn.Linear(8, 40), nn.Tanh(), *blocks, nn.Linear(40, 3))
    with torch.no_grad():
        blocks[0].inner[0].bias[:30] = -25.0
    return model


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a probe and of a training, whose network is long and has names that do not break."""
    folder = tmp_path_factory.mktemp("pages")
    model = network()
    report = probe(model, [torch.randn(100, 8) for _ in range(3)])
    report.to_html(folder / "probe.html")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    with watch(every=1) as watching:
        for _ in range(9):
            x = torch.randn(150, 8)
            optimiser.zero_grad()
            functional.cross_entropy(model(x), torch.randint(0, 3, (150,))).backward()
            optimiser.step()
    watching.report.to_html(folder / "training.html")
    return {"probe": folder / "probe.html", "training": folder / "training.html"}


def chromium(tmp_path: Path, url: str, *flags: str, window: str = "1280,1600") -> subprocess.CompletedProcess:
    profile = tmp_path / f"profile{len(list(tmp_path.iterdir()))}"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", f"--window-size={window}", *flags, url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


MEASURE = """<script>
addEventListener("load", () => {
  const root = document.documentElement, wide = [];
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect();
    const inside = e.closest(".scroll, .chart, pre, .skip");
    if (box.right > innerWidth + 1 && (!inside || inside === e)) wide.push(e.outerHTML.slice(0, 80));
  }
  const texts = [...document.querySelectorAll("svg text")].filter(t => {
    const b = t.getBoundingClientRect(), s = t.ownerSVGElement.getBoundingClientRect();
    return b.left < s.left - 1 || b.right > s.right + 1 || b.top < s.top - 1 || b.bottom > s.bottom + 1;
  }).map(t => t.textContent);
  const crossing = [];
  for (const svg of document.querySelectorAll("svg[role=img]")) {
    const boxes = [...svg.querySelectorAll("text:not([transform])")].map(t => [t, t.getBoundingClientRect()]);
    boxes.forEach(([t, a], i) => boxes.slice(i + 1).forEach(([u, b]) => {
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
        crossing.push(t.textContent + " | " + u.textContent);
    }));
  }
  const focus = [...document.querySelectorAll("a[href], summary, [tabindex='0']")].length;
  parent.document.title = JSON.stringify({width: root.scrollWidth, inner: innerWidth, wide, texts, crossing, focus});
});
</script></body>"""


def measured(text: str, tmp_path: Path, width: int) -> dict[str, Any]:
    """What a script in the page sees of its layout; the page itself has none.

    It stands in a frame, since a window of Chromium is 500 pixels wide at least.
    """
    inner = html.escape(text.replace("</body>", MEASURE))
    frame = (
        f'<title></title><iframe style="width:{width}px;height:1600px;border:0" srcdoc="{inner}"></iframe>'
    )
    copy = tmp_path / "measured.html"
    copy.write_text(f"<!doctype html><meta charset=utf-8>{frame}", encoding="utf-8")
    dom = chromium(tmp_path, copy.as_uri(), "--dump-dom").stdout
    found = re.search(r"<title>(\{.*?\})</title>", dom)
    assert found is not None
    seen: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return seen


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["probe", "training"])
def test_nothing_is_wider_than_the_window_and_no_text_is_cut(
    name: str, width: int, pages: dict[str, Path], tmp_path: Path
) -> None:
    seen = measured(pages[name].read_text(encoding="utf-8"), tmp_path, width)
    assert seen["inner"] == width
    assert seen["width"] <= width, seen["wide"]
    assert seen["wide"] == []
    assert seen["texts"] == []
    assert seen["crossing"] == []
    assert seen["focus"] > 40


def test_what_is_too_wide_or_in_the_way_would_be_seen(tmp_path: Path) -> None:
    drawing = '<svg role="img" width="90" height="30"><text y="20">one</text><text x="8" y="20">two</text>'
    cut = '<text x="80" y="20">three</text></svg>'
    text = f'<!doctype html><body>{drawing}{cut}<div style="width:700px" class="w">x</div></body>'
    seen = measured(text, tmp_path, 390)
    assert seen["width"] > 390
    assert any('class="w"' in element for element in seen["wide"])
    assert seen["texts"] == ["three"]
    assert seen["crossing"] == ["one | two"]


def colours(path: Path) -> tuple[Any, float]:
    """The colour of a screenshot's corner, and the share of pixels that differ from it."""
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    image = imread(path)[:, :, :3]
    return image[0, 0], float((abs(image - image[0, 0]) > 0.1).any(-1).mean())


@pytest.mark.parametrize(
    ("flag", "light"), [((), True), (("--blink-settings=preferredColorScheme=0",), False)]
)
def test_the_page_is_drawn_in_light_and_in_dark(
    flag: tuple[str, ...], light: bool, pages: dict[str, Path], tmp_path: Path
) -> None:
    picture = tmp_path / "page.png"
    done = chromium(
        tmp_path, pages["training"].as_uri(), f"--screenshot={picture}", *flag, window="1280,3000"
    )
    corner, drawn = colours(picture)
    assert bool(corner.mean() > 0.9) is light
    assert drawn > 0.05
    assert "CONSOLE" not in done.stderr


def test_it_prints_on_few_pages(pages: dict[str, Path], tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    chromium(tmp_path, pages["training"].as_uri(), f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    count = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    assert 3 <= count <= 20


class Counting(BaseHTTPRequestHandler):
    """Serves one page and notes every path that is asked for."""

    def __init__(self, text: bytes, asked: list[str], *args: Any) -> None:
        self.text, self.asked = text, asked
        super().__init__(*args)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(text: str) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, text.encode(), asked))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/report", asked
    finally:
        server.shutdown()
        server.server_close()


def test_the_page_asks_for_nothing_else(pages: dict[str, Path], tmp_path: Path) -> None:
    with served(pages["probe"].read_text(encoding="utf-8")) as (url, asked):
        chromium(
            tmp_path, url, f"--screenshot={tmp_path / 'page.png'}", "--host-resolver-rules=MAP * 127.0.0.1"
        )
    assert [path for path in asked if path != "/favicon.ico"] == ["/report"]
