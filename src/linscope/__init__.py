"""linscope: trace, profile, debug and see Linux.

    recording = linscope.open("perf.data")
    recording.samples.to_arrow()
    recording.flame().save("flame.html")
    linscope.record(["python3", "app.py"], call_graph="dwarf").flame()
    with linscope.trace('profile:hz:99 { @[comm] = count(); }', duration=5) as session: list(session)
    with linscope.open_kernel("vmcore") as session: session.rows("ps"), session.kernel.variable("init_task").comm
    linscope.bpf.verify(linscope.bpf.assemble_program("r0 = 2\\nexit"))

Importing this package loads nothing heavy; names are imported when first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

    from linscope import bpf as bpf
    from linscope.analysis.filters import Filter as Filter
    from linscope.api import open as open
    from linscope.api import open_kernel as open_kernel
    from linscope.api import record as record
    from linscope.api import trace as trace
    from linscope.recording import Recording as Recording

_PLACES = {
    "open": "linscope.api",
    "open_kernel": "linscope.api",
    "record": "linscope.api",
    "trace": "linscope.api",
    "Recording": "linscope.recording",
    "Filter": "linscope.analysis.filters",
}
_PACKAGES = ("bpf",)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"linscope.{name}")
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'linscope' has no attribute {name!r}")
    return getattr(importlib.import_module(place), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES, *_PACKAGES])
