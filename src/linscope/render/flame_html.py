"""FlameGraph -> one HTML page that needs nothing else: no network, no other file.

The page's script and style are built from ``frontend/src/flame`` into ``assets/``.  The data is base64 of raw
deflate of: u32 length, JSON header of that length, then the arrays as byte planes (all lowest bytes first,
which deflates better than interleaved bytes).  ``frontend/src/flame/data.ts`` reads it; change both together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from linscope.picture.flame_graph import FlameGraph
from linscope.render._format import format_share, format_weight, short_object
from linscope.render._page import fill_page, html_notes, html_text, pack, planes

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
    event = f" of {shown.event}" if shown.event and shown.event != shown.unit else ""
    fields = {
        "title": html_text(shown.title),
        "subtitle": html_text(shown.subtitle),
        "total": f"<strong>{html_text(format_weight(shown.total(), shown.unit))}</strong>{html_text(event)}",
        "notes": html_notes(notes),
        "fallback": _fallback(graph),
        "data": pack_graph(shown, icicle, reverse),
    }
    return fill_page("flame", fields)


def _fallback(graph: FlameGraph) -> str:
    """The table of the top 50 functions for readers without scripts."""
    whole = graph.total()
    lines = [
        f'<tr><td class="number">{format_share(row.self_weight, whole).replace("<", "&lt;")}</td>'
        f'<td class="number">{format_share(row.total_weight, whole).replace("<", "&lt;")}</td>'
        f"<td>{html_text(graph.names[row.name])}</td>"
        f"<td>{html_text(short_object(graph.details[row.name]))}</td></tr>"
        for row in graph.top_functions(50)
    ]
    return (
        '<table class="fallback"><caption>The picture needs JavaScript. The functions that used most '
        'themselves:</caption><thead><tr><th class="number">Self</th><th class="number">Total</th>'
        f"<th>Function</th><th>Object</th></tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def pack_graph(graph: FlameGraph, icicle: bool = False, reverse: bool = False) -> str:
    """The graph as the page's script reads it."""
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
    parts = [planes(up, 4), planes(graph.name, 4)]
    parts.append(planes(graph.self_weight, 8))
    for split in graph.splits.values():
        parts += [planes(split.node, 4), planes(split.label, 4), planes(split.weight, 8)]
    return pack(header, parts)
