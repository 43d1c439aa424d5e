"""FlameGraph -> one HTML page that needs nothing else: no network, no other file.

The page's script and style are built from ``frontend/src/flame`` into ``assets/``.  The data is base64 of raw
deflate of: u32 length, JSON header of that length, then the arrays as byte planes (all lowest bytes first,
which deflates better than interleaved bytes).  ``frontend/src/flame/data.ts`` reads it; change both together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from linscope.picture.flame_graph import FlameGraph, Ints
from linscope.render._format import clean, format_share, format_weight, short_object

MAX_NODES = 250_000
"""More nodes than this are not written: at 4,000 pixels most of them would be narrower than a pixel."""


def render_html(graph: FlameGraph, *, icicle: bool = False, reverse: bool = False) -> str:
    """The page, as text that is to be written in UTF-8.

    icicle, reverse: how the page opens; the reader can change both.  Of a graph with more than MAX_NODES
    nodes the lightest are counted in their callers, which a note in the page says.
    """
    shown = graph.pruned(MAX_NODES)
    notes = [*graph.notes]
    removed = len(graph) - len(shown)
    if removed and len(graph) > MAX_NODES:
        notes.append(
            f"{removed:,} of {len(graph):,} frames are too small to draw and are counted in their callers"
        )
    shown = replace(shown, notes=notes)
    script, style = _asset("flame.js"), _asset("flame-page.css")
    policy = (
        f"default-src 'none'; script-src {_hash_source(script)}; style-src {_hash_source(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    event = f" of {shown.event}" if shown.event and shown.event != shown.unit else ""
    fields = {
        "policy": policy,
        "title": _html(shown.title),
        "subtitle": _html(shown.subtitle),
        "total": f"<strong>{_html(format_weight(shown.total(), shown.unit))}</strong>{_html(event)}",
        "notes": _notes(notes),
        "style": style,
        "script": script,
        "fallback": _fallback(graph),
        "data": _pack(shown, icicle, reverse),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], _asset("flame-page.html"))


@cache
def _asset(name: str) -> str:
    return (resources.files("linscope.render") / "assets" / name).read_text(encoding="utf-8").strip()


def _hash_source(text: str) -> str:
    """Content-Security-Policy source that allows exactly this inline script or style (CSP level 3, 2.3.1)."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _html(text: str) -> str:
    return escape(clean(text))


def _notes(notes: list[str]) -> str:
    if not notes:
        return ""
    return f'<ul class="notes" aria-label="Notes">{"".join(f"<li>{_html(note)}</li>" for note in notes)}</ul>'


def _fallback(graph: FlameGraph) -> str:
    """The table of the top 50 functions for readers without scripts."""
    whole = graph.total()
    lines = [
        f'<tr><td class="number">{format_share(row.self_weight, whole).replace("<", "&lt;")}</td>'
        f'<td class="number">{format_share(row.total_weight, whole).replace("<", "&lt;")}</td>'
        f"<td>{_html(graph.names[row.name])}</td>"
        f"<td>{_html(short_object(graph.details[row.name]))}</td></tr>"
        for row in graph.top_functions(50)
    ]
    return (
        '<table class="fallback"><caption>The picture needs JavaScript. The functions that used most '
        'themselves:</caption><thead><tr><th class="number">Self</th><th class="number">Total</th>'
        f"<th>Function</th><th>Object</th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _planes(values: Ints, width: int) -> bytes:
    """Unsigned little-endian integers of width bytes, byte plane after byte plane."""
    array = np.ascontiguousarray(values, dtype=f"<u{width}")
    return array.view(np.uint8).reshape(-1, width).T.tobytes()


def _pack(graph: FlameGraph, icicle: bool, reverse: bool) -> str:
    header: dict[str, Any] = {
        "title": graph.title,
        "unit": graph.unit,
        "event": graph.event,
        "names": graph.names,
        "details": graph.details,
        "kinds": graph.kinds.tolist(),
        "nodes": len(graph),
        "splits": [
            {"title": title, "labels": split.labels, "entries": len(split.node)}
            for title, split in graph.splits.items()
        ],
        "options": {"icicle": icicle, "reversed": reverse},
    }
    up = np.arange(len(graph)) - graph.parent
    up[0] = 0
    text = json.dumps(header, separators=(",", ":")).encode()
    parts = [len(text).to_bytes(4, "little"), text, _planes(up, 4), _planes(graph.name, 4)]
    parts.append(_planes(graph.self_weight, 8))
    for split in graph.splits.values():
        parts += [_planes(split.node, 4), _planes(split.label, 4), _planes(split.weight, 8)]
    deflate = zlib.compressobj(level=1, wbits=-15)
    packed = b"".join([*(deflate.compress(part) for part in parts), deflate.flush()])
    return base64.b64encode(packed).decode()
