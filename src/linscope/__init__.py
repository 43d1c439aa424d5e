"""linscope: trace, profile, debug and see Linux.

    recording = linscope.open("perf.data")
    recording.samples.to_arrow()
    recording.flame().save("flame.html")
    linscope.record(["python3", "app.py"], call_graph="dwarf").flame()

Importing this package loads nothing heavy; names are imported when first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

    from linscope.analysis.filters import Filter as Filter
    from linscope.api import open as open
    from linscope.api import record as record
    from linscope.recording import Recording as Recording

_PLACES = {
    "open": "linscope.api",
    "record": "linscope.api",
    "Recording": "linscope.recording",
    "Filter": "linscope.analysis.filters",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'linscope' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(place), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
