"""HeatMap and what stands behind it -> one HTML page that needs nothing else: no network, no other file.

The page's script and style are built from ``frontend/src/heat`` (and, for the flame graph, ``frontend/src/flame``)
into ``assets/``.  ``frontend/src/heat/data.ts`` reads the data; change both together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linscope.picture.heat_map import HeatDetails, HeatMap, format_value
from linscope.render._page import fill_page, html_notes, html_text, pack, planes
from linscope.render.flame_html import pack_graph

_X_ROOMS = (3, 6, 10, 16, 24)  # labels of the time axis; the page takes what fits
_Y_ROOM = 16


def render_html(picture: HeatMap, details: HeatDetails) -> str:
    """The page, as text that is to be written in UTF-8."""
    fields = {
        "title": html_text(picture.title),
        "subtitle": html_text(picture.subtitle),
        "notes": html_notes(picture.notes),
        "fallback": _fallback(picture),
        "heat_data": _pack(picture, details),
        "data": pack_graph(details.graph) if details.graph is not None else "",
    }
    return fill_page("heat", fields)


def _fallback(picture: HeatMap) -> str:
    """The percentiles for readers without scripts."""
    cells = "".join(
        f'<tr><td>{html_text(name)}</td><td class="number">{html_text(format_value(value, picture.unit))}</td></tr>'
        for name, value in picture.summary
    )
    return (
        '<table class="fallback"><caption>The picture needs JavaScript. '
        f"{picture.total():,} {html_text(picture.noun)}, their {html_text(picture.what)}:</caption>"
        f"<tbody>{cells}</tbody></table>"
    )


def _pack(picture: HeatMap, details: HeatDetails) -> str:
    rows, columns = picture.counts.shape
    events = details.events
    header: dict[str, Any] = {
        "what": picture.what,
        "unit": picture.unit,
        "noun": picture.noun,
        "log": picture.log,
        "counted": details.counted,
        "exact": details.exact,
        "perCell": details.per_cell,
        "start": str(picture.x_start_ns),
        "step": picture.x_step_ns,
        "columns": columns,
        "rows": rows,
        "edges": picture.y_edges.tolist(),
        "lines": {
            name: [None if math.isnan(value) else value for value in line.tolist()]
            for name, line in picture.lines.items()
        },
        "lineColumns": picture.line_columns,
        "lost": picture.lost.tolist(),
        "xTicks": [picture.x_ticks(room) for room in _X_ROOMS],
        "yTicks": picture.y_ticks(_Y_ROOM),
        "tasks": details.tasks,
        "texts": details.texts,
        "groups": len(details.cell),
        "events": len(events["cell"]),
        "entries": len(details.node),
        "flame": details.graph is not None,
        "command": details.command,
    }
    start = np.int64(picture.x_start_ns)
    parts = [planes(details.cell, 4), planes(details.value, 8), planes(details.task, 4), planes(details.count, 4)]
    parts += [planes(events["cell"], 4), planes(events["start"] - start, 8), planes(events["end"] - start, 8)]
    parts += [planes(events["value"], 8), planes(events["task"], 4), planes(events["cpu"], 4)]
    parts += [planes(details.node, 4), planes(details.group, 4), planes(details.weight, 8)]
    return pack(header, parts)
