"""FlameGraph -> a static SVG 1.1 picture for any viewer; hovering over a frame shows its ``<title>``."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from linscope.picture.flame_graph import FlameGraph, Kind
from linscope.render._format import clean, format_share, format_weight

_ROW = 17  # pixels from one level to the next
_LETTER = 6.4  # mean width of a letter of that size, rounded up so that cut text stays in its frame
_MARGIN = 12
_MIN_WIDTH = 0.1  # pixels; narrower frames are left out
_TITLE_LETTERS = 2000

# the HTML page's colors (frontend/src/flame/color.ts) as sRGB: two shades a kind, chosen by the name
_COLORS = {
    Kind.ROOT: ("#ced3d9", "#ced3d9"),
    Kind.GROUP: ("#bdc7d4", "#c7d1de"),
    Kind.KERNEL: ("#e27b66", "#ea8a70"),
    Kind.NATIVE: ("#f2b863", "#f6c678"),
    Kind.INLINED: ("#efe494", "#f3eca8"),
    Kind.JIT: ("#aa82c4", "#b892ca"),
    Kind.PYTHON: ("#6fb6e4", "#8cc3f2"),
    Kind.UNKNOWN: ("#b6b9be", "#c0c3c8"),
}
_LEGEND = {
    Kind.KERNEL: "kernel",
    Kind.NATIVE: "native",
    Kind.INLINED: "inlined",
    Kind.JIT: "JIT",
    Kind.PYTHON: "Python",
    Kind.UNKNOWN: "unknown",
}
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#16181d}"
    ".f text{font-size:11px;pointer-events:none}.f g:hover rect{stroke:#16181d;stroke-width:1}"
    ".q{fill:#5b6473;font-size:12px}.n{fill:#8a4b00;font-size:12px}"
)


def render_svg(graph: FlameGraph, width: int = 1200, *, icicle: bool = False) -> str:
    """The picture, as text that is to be written in UTF-8.

    width: pixels, at least 200.  icicle: the root is at the top.  Frames narrower than 0.1 pixel are left
    out; a line under the title says how many.
    """
    width = max(width, 200)
    inner = width - 2 * _MARGIN
    whole = graph.total()
    children = graph.children("name", max(1, math.ceil(whole * _MIN_WIDTH / inner)))
    depth = graph.depth()[list(children)]
    levels = int(depth.max()) + 1
    head, top = _head(graph, len(graph) - len(children), width)
    height = top + levels * _ROW + _MARGIN + 22
    parts = [
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" version="1.1" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{_text(graph.title)}</title>\n<style>{_STYLE}</style>\n"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n',
        *head,
        '<g class="f">\n',
    ]
    parts += _frames(graph, children, inner, top, levels, icicle)
    parts.append("</g>\n")
    parts += _legend(graph, whole, width, height - _MARGIN - 4)
    parts.append("</svg>\n")
    return "".join(parts)


def _text(text: str) -> str:
    return escape(clean(text))


def _cut(text: str, room: float, letter: float = _LETTER) -> str:
    """The text cut to room pixels with two dots, as XML; empty when not even three letters of it fit."""
    letters = int(room / letter)
    if len(text) <= letters:
        return _text(text)
    return _text(text[: letters - 2]) + ".." if letters >= 5 else ""


def _head(graph: FlameGraph, missing: int, width: int) -> tuple[list[str], int]:
    """Title, subtitle, total and notes; and the y where the frames begin."""
    event = f" of {graph.event}" if graph.event and graph.event != graph.unit else ""
    lines = [("q", graph.subtitle), ("q", format_weight(graph.total(), graph.unit) + event)]
    lines += [("n", note) for note in graph.notes]
    if missing:
        text = f"{missing:,} of {len(graph):,} frames are narrower than {_MIN_WIDTH} pixels: not drawn"
        lines.append(("q", text))
    room = width - 2 * _MARGIN
    title = _cut(graph.title, room, 10.5)
    parts = [f'<text x="{_MARGIN}" y="28" font-size="18" font-weight="600">{title}</text>\n']
    y = 28
    for style, line in lines:
        if line:
            y += 18
            parts.append(f'<text class="{style}" x="{_MARGIN}" y="{y}">{_cut(line, room, 7)}</text>\n')
    return parts, y + 14


def _frames(
    graph: FlameGraph, children: dict[int, list[int]], inner: int, top: int, levels: int, icicle: bool
) -> list[str]:
    """The frames, each a group of title, rectangle and, where it fits, text."""
    totals, names, selfs = graph.totals(), graph.name, graph.self_weight
    whole = int(totals[0])
    if whole <= 0:
        return []
    scale = inner / whole
    parts: list[str] = []
    stack = [(0, 0, 0)]  # node, its level, weight to the left of it
    while stack:
        node, level, left = stack.pop()
        total, own, frame = int(totals[node]), int(selfs[node]), int(names[node])
        name, kind, detail = graph.names[frame], int(graph.kinds[frame]), graph.details[frame]
        x, wide = _MARGIN + left * scale, total * scale
        y = top + (level if icicle else levels - 1 - level) * _ROW
        used = f"{format_weight(total, graph.unit)}, {format_share(total, whole)}"
        if own:
            used += f", self {format_share(own, whole)}"
        where = f" ({detail.replace(chr(9), ', ')})" if detail else ""
        color = _COLORS[Kind(kind) if kind in _COLORS else Kind.UNKNOWN][len(name) & 1]
        gap = 0.5 if wide > 2 else 0
        title = _text(f"{name[:_TITLE_LETTERS]}{where[:_TITLE_LETTERS]}: {used}")
        parts.append(
            f'<g><title>{title}</title><rect x="{x:.2f}" y="{y}" width="{wide - gap:.2f}" '
            f'height="{_ROW - 1}" fill="{color}"/>'
        )
        label = _cut(name, wide - 6) if wide > 30 else ""
        if label:
            parts.append(f'<text x="{x + 3:.2f}" y="{y + 12}">{label}</text>')
        parts.append("</g>\n")
        for child in children[node]:
            stack.append((child, level + 1, left))
            left += int(totals[child])
    return parts


def _legend(graph: FlameGraph, whole: int, width: int, y: int) -> list[str]:
    """A swatch and the share of self weight for each kind that occurs."""
    kinds = graph.kinds[graph.name]
    weights = {kind: int(graph.self_weight[kinds == kind].sum()) for kind in _LEGEND}
    parts: list[str] = []
    x = _MARGIN
    for kind, label in _LEGEND.items():
        if not weights[kind]:
            continue
        text = f"{label} {format_share(weights[kind], whole)}"
        if x + 22 + len(text) * 7 > width:
            break
        parts.append(
            f'<rect x="{x}" y="{y - 10}" width="11" height="11" rx="2" fill="{_COLORS[kind][0]}"/>'
            f'<text class="q" x="{x + 16}" y="{y}">{_text(text)}</text>\n'
        )
        x += 30 + len(text) * 7
    return parts
