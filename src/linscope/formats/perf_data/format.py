"""perf.data as an entry of the table of formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from linscope.contracts import ReadOptions
from linscope.formats.perf_data.header import detect

if TYPE_CHECKING:
    from linscope.columns.profile import Profile


class PerfData:
    """Recordings of perf record and linscope record."""

    def detect(self, head: bytes) -> bool:
        """True if head, the first bytes of a file, is that of perf.data."""
        return detect(head)

    def read(self, source: BinaryIO, options: ReadOptions) -> Profile:
        """All tables of a recording.  Raises FormatError."""
        return _read(source, options)


def read_folder(path: str, options: ReadOptions) -> Profile:
    """All tables of a folder that perf record --threads made."""
    return _read(path, options)


def _read(source: str | BinaryIO, options: ReadOptions) -> Profile:
    from linscope.formats.perf_data.reader import open_perf_data
    from linscope.symbols.search import SearchPath

    with open_perf_data(source, where=options.where) as opened:
        search = SearchPath(root=options.symfs)
        return opened.read(tables=options.tables, progress=options.progress, search=search)


PERF_DATA = PerfData()
