"""File formats: one file or folder each, and one line here; found by content, never by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linscope.errors import FormatError
from linscope.tables import Entry, Table

if TYPE_CHECKING:
    from linscope.columns.profile import Profile

FORMATS = Table(
    "file format",
    {
        "perf.data": Entry(
            "linscope.formats.perf_data.format:PERF_DATA", "recordings of perf and of linscope record"
        ),
        "perf script": Entry("linscope.formats.perf_script:PERF_SCRIPT", "the text that perf script prints"),
        "folded": Entry("linscope.formats.folded:FOLDED", "folded stacks: a;b;c 12"),
    },
)
_HEAD = 64 << 10  # bytes that detection may look at


def read_profile(path: Any, *, tables: bool = False, progress: Callable[[int], Any] | None = None) -> Profile:
    """Read a recording of any format; path: a name, or a binary file (it need not be seekable).

    tables: also the typed tables of tracepoints' fields.  Raises FormatError when no format knows it.
    """
    import io

    if isinstance(path, (str, os.PathLike)):
        where = os.fspath(path)
        if os.path.isdir(where):
            return FORMATS["perf.data"].read(where, tables=tables, progress=progress)  # type: ignore[no-any-return]
        with open(where, "rb") as source:
            return _read(source, where, tables, progress)
    buffered = path if isinstance(path, io.BufferedReader) else io.BufferedReader(path, _HEAD)
    return _read(buffered, getattr(path, "name", "<stream>"), tables, progress)


def _read(source: Any, where: str, tables: bool, progress: Callable[[int], Any] | None) -> Profile:
    head = source.peek(_HEAD)[:_HEAD]
    for name in FORMATS:
        form = FORMATS[name]
        if form.detect(head):
            return form.read(source, where=str(where), tables=tables, progress=progress)  # type: ignore[no-any-return]
    known = ", ".join(FORMATS)
    if not head:
        raise FormatError("an empty file", where=str(where))
    why = f"it starts with {bytes(head[:8])!r}; known: {known}"
    raise FormatError("no recording of a known format", where=str(where), offset=0, why=why)
