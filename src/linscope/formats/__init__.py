"""File formats: one file or folder each, and one line here; found by content, never by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from linscope.contracts import ReadOptions
from linscope.errors import FormatError
from linscope.tables import Entry, Table

if TYPE_CHECKING:
    import io

    from linscope.columns.profile import Profile
    from linscope.contracts import Format

FORMATS = Table(
    "file format",
    {
        "perf.data": Entry("linscope.formats.perf_data.format:PERF_DATA", "recordings of perf and of linscope record"),
        "trace.dat": Entry("linscope.formats.trace_dat.reader:TRACE_DAT", "recordings of trace-cmd"),
        "perf script": Entry("linscope.formats.perf_script:PERF_SCRIPT", "the text that perf script prints"),
        "parquet": Entry("linscope.formats.parquet.format:PARQUET", "tables that linscope export --to parquet writes"),
        "folded": Entry("linscope.formats.folded:FOLDED", "folded stacks: a;b;c 12"),
    },
)
_HEAD = 64 << 10  # bytes that detection may look at
_DEFAULTS = ReadOptions()


def read_profile(path: Any, options: ReadOptions = _DEFAULTS) -> Profile:
    """Read a recording of any format; path: a name, or a binary file (it need not be seekable).

    Raises FormatError when no format knows it.
    """
    import io

    if isinstance(path, (str, os.PathLike)):
        options = options._replace(where=os.fspath(path))
        if os.path.isdir(path):
            from linscope.formats.parquet.format import is_folder_of_tables, read_tables

            if is_folder_of_tables(os.fspath(path)):
                return read_tables(os.fspath(path), options)
            from linscope.formats.perf_data.format import read_folder

            return read_folder(os.fspath(path), options)
        with open(path, "rb") as source:
            return _read(source, options)
    if not options.where:
        options = options._replace(where=str(getattr(path, "name", "<stream>")))
    return _read(path if isinstance(path, io.BufferedReader) else io.BufferedReader(path, _HEAD), options)


def _read(source: io.BufferedReader, options: ReadOptions) -> Profile:
    head = source.peek(_HEAD)[:_HEAD]
    for name in FORMATS:
        form: Format = FORMATS[name]
        if form.detect(head):
            return form.read(source, options)
    if not head:
        raise FormatError("an empty file", where=options.where)
    why = f"it starts with {bytes(head[:8])!r}; known: {', '.join(FORMATS)}"
    raise FormatError("no recording of a known format", where=options.where, offset=0, why=why)
