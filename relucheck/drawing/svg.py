"""Drawings as SVG. Looks become classes, so that a page's style decides colours in light, dark and print."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from relucheck.drawing.looks import DARK, LIGHT, LOOKS, Look
from relucheck.drawing.shapes import Anchor, Bend, Boxes, Disc, Drawing, Path, Shape, Text


def svg(drawing: Drawing, *, hidden: bool = False) -> str:
    """The element; ``hidden`` from screen readers where text beside it says the same."""
    said = 'aria-hidden="true"' if hidden else f'role="img" aria-label="{escape(drawing.label)}"'
    size = f'width="{_n(drawing.width)}" height="{_n(drawing.height)}"'
    box = f'viewBox="0 0 {_n(drawing.width)} {_n(drawing.height)}"'
    return f"<svg {size} {box} {said}>{''.join(map(_element, drawing.shapes))}</svg>"


def style() -> str:
    """The rules of CSS for all looks."""
    return "\n".join(f"svg .{name} {{ {_declared(look)} }}" for name, look in LOOKS.items())


def palettes() -> str:
    """The colours as custom properties; dark ones where the reader prefers them, on screens only."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_properties(DARK)} }} }}"
    return f":root {{ {_properties(LIGHT)} }}\n{dark}"


def _properties(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def _declared(look: Look) -> str:
    parts = [f"fill: {f'var(--{look.fill})' if look.fill else 'none'};"]
    if look.stroke:
        parts += [f"stroke: var(--{look.stroke}); stroke-width: {_n(look.width)};"]
    if look.dash:
        parts += [f"stroke-dasharray: {' '.join(map(_n, look.dash))};"]
    if look.size and look.stroke:
        parts += ["paint-order: stroke;"]  # a seam around the letters
    if look.size:
        parts += [f"font-size: {_n(look.size)}px; font-weight: {600 if look.bold else 400};"]
    if look.opacity < 1:
        parts += [f"fill-opacity: {look.opacity:.2f};"]
    return " ".join(parts)


def _element(shape: Shape) -> str:
    if isinstance(shape, Text):
        return _text(shape)
    if isinstance(shape, Disc):
        at = f'cx="{_n(shape.at[0])}" cy="{_n(shape.at[1])}" r="{_n(shape.radius)}"'
        return f'<circle class="{shape.look}" {at}{_closed("circle", shape.title)}'
    if isinstance(shape, Boxes):
        return f'<path class="{shape.look}" d="{_boxes(shape)}"{_closed("path", shape.title)}'
    if isinstance(shape, Bend):
        return f'<path class="{shape.look}" d="{_bend(shape)}"/>'
    return f'<path class="{shape.look}" d="{_path(shape)}"/>'


def _closed(tag: str, title: str) -> str:
    return f"><title>{escape(title)}</title></{tag}>" if title else "/>"


def _text(shape: Text) -> str:
    x, y = map(_n, shape.at)
    anchor = "" if shape.anchor is Anchor.START else f' text-anchor="{shape.anchor.value}"'
    turn = f' transform="rotate({_n(shape.turn)} {x} {y})"' if shape.turn else ""
    return f'<text class="{shape.look}" x="{x}" y="{y}"{anchor}{turn}>{escape(shape.words)}</text>'


def _boxes(shape: Boxes) -> str:
    return "".join(f"M{_n(x)} {_n(y)}h{_n(w)}v{_n(h)}h{_n(-w)}z" for x, y, w, h in shape.boxes)


def _bend(shape: Bend) -> str:
    (x1, y1), (x2, y2) = shape.start, shape.end
    middle = _n((y1 + y2) / 2)
    return f"M{_n(x1)} {_n(y1)}C{_n(x1)} {middle} {_n(x2)} {middle} {_n(x2)} {_n(y2)}"


def _path(shape: Path) -> str:
    points = "L".join(f"{_n(x)} {_n(y)}" for x, y in shape.points)
    return f"M{points}{'z' if shape.closed else ''}"


def _n(value: float) -> str:
    """A number without digits that nobody sees."""
    return f"{value:.1f}".removesuffix(".0")
