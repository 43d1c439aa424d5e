"""TreeMap -> SVG, a page that holds it, or lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from linscope.picture.tree_map import Area, Box, TreeMap, lay_out
from linscope.render._format import clean, format_share
from linscope.units import format_bytes

# of areas side by side; parts are lighter
_COLORS = ("#cfd6df", "#e5785d", "#f2b564", "#7fb3d5", "#8fc49a", "#b9a3d0", "#d9a6b5", "#c3bda4")
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#16181d;font-size:12px}"
    ".t{font-size:18px;font-weight:600}.q{fill:#5b6473}.b{font-weight:600}rect{stroke:#fff}"
    "g rect:hover{stroke:#16181d}"
)
_HEAD, _MARGIN, _CAPTION = 64, 20, 20
_CHARACTER, _BOLD_CHARACTER = 7.0, 7.8  # pixels, about
_LEAST = 0.5  # pixels of a side that are drawn


def render_svg(picture: TreeMap, width: int = 1200, height: int = 760) -> str:
    """The picture, as text that is to be written in UTF-8; pixels."""
    width, height = max(width, 300), max(height, 200)
    total = sum(area.size for area in picture.areas)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n<title>{_text(picture.title)}</title>\n<style>{_STYLE}</style>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<text class="t" x="{_MARGIN}" y="28">{_text(picture.title)}</text>\n'
        f'<text class="q" x="{_MARGIN}" y="48">{_text(picture.subtitle)}</text>\n'
        f'<text class="b" x="{width - _MARGIN}" y="28" text-anchor="end">{_size(picture, total)}</text>\n'
    ]
    boxes = lay_out(picture.areas, _MARGIN, _HEAD, width - 2 * _MARGIN, height - _HEAD - _MARGIN)
    for place, box in enumerate(boxes):
        parts += _area(picture, box, _COLORS[place % len(_COLORS)], total)
    return "".join([*parts, "</svg>\n"])


def _area(picture: TreeMap, box: Box, color: str, total: int) -> Iterator[str]:
    area, left, top, width, height = box
    yield "<g>" + _box(picture, box, color, total, bold=True)
    inner = height - _CAPTION - 2
    known = sum(part.size for part in area.parts)
    if known and inner > _CAPTION and width > 40:
        # parts that are known are no more than the whole; where they are, they overlap
        share = min(known / area.size, 1.0)
        for one in lay_out(area.parts, left + 2, top + _CAPTION, (width - 4) * share, inner):
            if one.width >= _LEAST and one.height >= _LEAST:
                yield _box(picture, one, color, total, opacity=0.55, of=area)
    yield "</g>\n"


def _box(
    picture: TreeMap,
    box: Box,
    color: str,
    total: int,
    *,
    bold: bool = False,
    opacity: float = 1,
    of: Area | None = None,
) -> str:
    area, left, top, width, height = box
    name = area.name if of is None else f"{of.name}: {area.name}"
    told = f"{name}: {_size(picture, area.size)}, {format_share(area.size, total)}"
    fill = color if of is None else "#ffffff"
    shown = (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"'
        f' fill-opacity="{opacity}"><title>{_text(told)}</title></rect>'
    )
    room = int((width - 8) / (_BOLD_CHARACTER if bold else _CHARACTER))
    if height >= 16 and room >= 4:
        label = f"{area.name}  {_size(picture, area.size)}"
        label = label if len(label) <= room else area.name if len(area.name) <= room else area.name[: room - 1] + "…"
        shown += (
            f'<text{" class=" + chr(34) + "b" + chr(34) if bold else ""} x="{left + 5:.1f}" y="{top + 14:.1f}"'
            f' pointer-events="none">{_text(label)}</text>'
        )
    return shown


def _size(picture: TreeMap, size: int) -> str:
    return format_bytes(size) if picture.unit == "bytes" else f"{size:,} {picture.unit}"


def _text(text: str) -> str:
    return escape(clean(text))


def render_html(picture: TreeMap) -> str:
    """A page without scripts: hovering tells names and sizes."""
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<title>{_text(picture.title)}</title>\n<style>body{{margin:0;background:#fff}}svg{{width:100%;height:auto}}"
        f"</style>\n{render_svg(picture)}</html>\n"
    )


def render_text(picture: TreeMap, *, parts: int = 8) -> str:
    """Lines of names, sizes and shares; so many of the parts of each at most."""
    total = sum(area.size for area in picture.areas)
    lines = [clean(f"{picture.title}: {_size(picture, total)}"), clean(picture.subtitle)]
    for area in sorted(picture.areas, key=lambda one: -one.size):
        lines.append(f"{_size(picture, area.size):>12} {format_share(area.size, total):>7}  {clean(area.name)}")
        for one in sorted(area.parts, key=lambda one: -one.size)[:parts]:
            lines.append(f"{_size(picture, one.size):>12} {format_share(one.size, total):>7}    {clean(one.name)}")
    return "\n".join([*lines, ""])
