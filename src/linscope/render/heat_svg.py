"""HeatMap -> a static SVG 1.1 picture for any viewer; hovering over a cell shows its ``<title>``."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from linscope.picture.heat_map import HeatMap, format_value
from linscope.render._format import clean, format_share

_LEFT, _RIGHT, _BELOW = 78, 62, 78
_HEIGHT = 400  # of the map, about
_CELL = 4  # pixels of a cell at least
# one hue, from one point to the fullest cell; also frontend/src/heat/color.ts
_RAMP = ("#d3e4f5", "#b1cfec", "#8ab8e2", "#629fd5", "#3e84c3", "#2368a8", "#124d86", "#083260")
_LINES = {"p50": "#1d8a5c", "p90": "#b8860b", "p99": "#d4511b"}  # the largest values are seen as cells
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#16181d;font-size:12px}"
    ".q{fill:#5b6473}.n{fill:#8a4b00}.g{stroke:#16181d;stroke-opacity:.1}.c rect:hover{stroke:#16181d;stroke-width:1}"
    ".l{fill:none;stroke-width:1.5;stroke-linejoin:round}.h{stroke:#fff;stroke-width:3.5;stroke-opacity:.75}"
)
_TITLED_CELLS = 30_000


def plot_cells(width: int) -> tuple[int, int]:
    """(columns, rows) of the map that fits into that many pixels."""
    return max(10, (max(width, 300) - _LEFT - _RIGHT) // _CELL), _HEIGHT // _CELL


def render_svg(picture: HeatMap, width: int = 1200) -> str:
    """The picture, as text that is to be written in UTF-8.  width: pixels, at least 300."""
    width = max(width, 300)
    rows, columns = picture.counts.shape
    inner = width - _LEFT - _RIGHT
    tall = max(2, min(round(_HEIGHT / rows), 40))
    head, top = _head(picture, width)
    bottom = top + rows * tall
    height = bottom + _BELOW
    scale = inner / columns
    parts = [
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" version="1.1" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{_text(picture.title)}</title>\n<style>{_STYLE}</style>\n"
        '<defs><pattern id="lost" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="2" height="6" fill="#8a4b00" fill-opacity=".35"/></pattern></defs>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n',
        *head,
    ]
    parts += _axes(picture, inner, scale, tall, top, bottom)
    parts += _cells(picture, scale, tall, bottom)
    parts += _losses(picture, scale, top, bottom)
    parts += _lines(picture, scale, tall, bottom, inner)
    parts += _foot(picture, width, bottom)
    parts.append("</svg>\n")
    return "".join(parts)


def _text(text: str) -> str:
    return escape(clean(text))


def _cut(text: str, room: float, letter: float = 6.6) -> str:
    letters = max(int(room / letter), 4)
    return _text(text if len(text) <= letters else text[: letters - 2] + "..")


def _head(picture: HeatMap, width: int) -> tuple[list[str], int]:
    """Title, subtitle and notes; and the y where the map begins."""
    room = width - 24
    parts = [f'<text x="12" y="28" style="font-size:18px;font-weight:600">{_cut(picture.title, room, 10)}</text>\n']
    y = 28
    for style, line in [("q", picture.subtitle), *(("n", note) for note in picture.notes)]:
        if line:
            y += 18
            parts.append(f'<text class="{style}" x="12" y="{y}">{_cut(line, room)}</text>\n')
    return parts, y + 20


def _axes(picture: HeatMap, inner: int, scale: float, tall: int, top: int, bottom: int) -> list[str]:
    parts = [f'<rect x="{_LEFT}" y="{top}" width="{inner}" height="{bottom - top}" fill="#f6f7f9"/>\n']
    for place, label in picture.y_ticks((bottom - top) // 26):
        y = bottom - place * tall
        parts.append(
            f'<line class="g" x1="{_LEFT}" x2="{_LEFT + inner}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_text(label)}</text>\n'
        )
    for place, label in picture.x_ticks(max(2, inner // 90)):
        x = _LEFT + place * scale
        parts.append(
            f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" style="stroke-opacity:.6"/>'
            f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{_text(label)}</text>\n'
        )
    return parts


def _cells(picture: HeatMap, scale: float, tall: int, bottom: int) -> list[str]:
    counts, shade = picture.counts, picture.shade()
    in_column = counts.sum(axis=0)
    edges = picture.y_edges.tolist()
    parts = ['<g class="c" shape-rendering="crispEdges">\n']
    filled = np.argwhere(counts > 0)
    titled = len(filled) <= _TITLED_CELLS
    for row, column in filled.tolist():
        left, right = round(_LEFT + column * scale, 1), round(_LEFT + (column + 1) * scale, 1)
        color = _RAMP[min(int(shade[row, column] * len(_RAMP)), len(_RAMP) - 1)]
        rect = (
            f'<rect x="{left:g}" y="{bottom - (row + 1) * tall}" width="{right - left:.1f}" '
            f'height="{tall}" fill="{color}"'
        )
        if titled:
            count, begin = int(counts[row, column]), picture.cell_times(column)[0] - picture.clock_start_ns
            span = f"{format_value(edges[row], picture.unit)} to {format_value(edges[row + 1], picture.unit)}"
            share = format_share(count, int(in_column[column]))
            at = f"{begin / 1e9:.6g} s"
            parts.append(f"{rect}><title>{at}, {span}: {count:,}, {share} of the column</title></rect>\n")
        else:
            parts.append(f"{rect}/>\n")
    parts.append("</g>\n")
    return parts


def _losses(picture: HeatMap, scale: float, top: int, bottom: int) -> list[str]:
    return [
        f'<rect x="{_LEFT + column * scale:.1f}" y="{top}" width="{max(scale, 3):.1f}" height="{bottom - top}" '
        f'fill="url(#lost)"><title>{int(picture.lost[column]):,} events lost</title></rect>\n'
        for column in np.flatnonzero(picture.lost).tolist()
    ]


def _lines(picture: HeatMap, scale: float, tall: int, bottom: int, inner: int) -> list[str]:
    parts: list[str] = []
    labels: list[tuple[float, str]] = []
    for name, values in picture.lines.items():
        if name not in _LINES:
            continue
        places = picture.y_of(values)
        steps = ""
        for column, place in enumerate(places.tolist()):
            if place != place:
                continue
            x, y = _LEFT + (column + 0.5) * scale, bottom - place * tall
            joined = column > 0 and places[column - 1] == places[column - 1]
            alone = not joined and not (column + 1 < len(places) and places[column + 1] == places[column + 1])
            steps += f"{'L' if joined else 'M'}{x:.1f} {y:.1f}" + (f"h{max(scale / 2, 1.5):.1f}" if alone else "")
        if not steps:
            continue
        parts.append(
            f'<path class="l h" d="{steps}"/><path class="l" d="{steps}" stroke="{_LINES[name]}">'
            f"<title>{name} of each column</title></path>\n"
        )
        last = places[~np.isnan(places)][-1]
        labels.append((bottom - float(last) * tall, name))
    lowest = bottom + 14.0
    top = bottom - picture.counts.shape[0] * tall
    for place, (y, name) in enumerate(sorted(labels, reverse=True)):
        lowest = max(min(y + 4, lowest - 13), top + 8 + 13 * (len(labels) - 1 - place))
        x = _LEFT + inner + 6
        parts.append(f'<text x="{x}" y="{lowest:.1f}" style="fill:{_LINES[name]};font-weight:600">{name}</text>\n')
    return parts


def _foot(picture: HeatMap, width: int, bottom: int) -> list[str]:
    """What the colors mean, and the percentiles of all points."""
    y = bottom + 44
    most = int(picture.counts.max())
    parts = [f'<text class="q" x="{_LEFT}" y="{y}">1</text>']
    x = _LEFT + 12
    for color in _RAMP:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="16" height="11" fill="{color}"/>')
        x += 16
    step = format_value(picture.x_step_ns, "ns")
    total = picture.total()
    words = [f"{most:,} a cell", f"a column is {step}"]
    parts.append(f'<text class="q" x="{x + 6}" y="{y}">{_cut(" · ".join(words), width - x - 12)}</text>\n')
    facts = [f"{total:,} {picture.noun}"]
    if picture.duration_ns and total > 1:
        facts.append(f"{format_value(total * 1e9 / picture.duration_ns, '')}/s")
    facts += [f"{name} {format_value(value, picture.unit)}" for name, value in picture.summary]
    parts.append(f'<text x="{_LEFT}" y="{y + 22}">{_cut(" · ".join(facts), width - _LEFT - 12)}</text>\n')
    return parts
