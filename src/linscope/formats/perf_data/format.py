"""perf.data as an entry of the table of formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

from linscope.columns.profile import Profile
from linscope.formats.perf_data.header import detect
from linscope.formats.perf_data.reader import open_perf_data


class PerfData:
    """Recordings of perf record and linscope record."""

    @staticmethod
    def detect(head: bytes) -> bool:
        """True if head, the first bytes of a file, is that of perf.data."""
        return detect(head)

    @staticmethod
    def read(
        source: str | BinaryIO,
        *,
        where: str = "",
        tables: bool = False,
        progress: Callable[[int], Any] | None = None,
    ) -> Profile:
        """All tables of a recording; tables: with those of tracepoints' fields.  Raises FormatError."""
        with open_perf_data(source, where=where) as opened:
            return opened.read(tables=tables, progress=progress)


PERF_DATA = PerfData()
