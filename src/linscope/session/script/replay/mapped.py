"""The records of a plain perf.data where they lie: mapped, not copied."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from linscope.abi import perf_file as pf
from linscope.errors import FormatError
from linscope.formats.perf_data.stream import CHUNK_SIZE, Chunk, RecordStream, ToolRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.formats.perf_data.reader import PerfDataFile

_AHEAD = 64 << 20  # bytes that the kernel is asked to read ahead


class MappedStream(RecordStream):
    """A RecordStream whose chunks are views of the file: their bytes stay valid as long as the mapping does."""

    view: memoryview

    def __iter__(self) -> Iterator[Chunk | ToolRecord]:
        at, step = self.start, self.chunk_size
        end = len(self.view) if self.end is None else min(self.end, len(self.view))
        asked = at
        while at < end:
            if asked < at + _AHEAD // 2:
                os.posix_fadvise(self.source.fileno(), asked, _AHEAD, os.POSIX_FADV_WILLNEED)
                asked += _AHEAD
            self._position = at
            used = yield from self._consume(self.view[at : min(at + step, end)])
            if used < 0:
                return
            if used:
                at, step = at + used, self.chunk_size
            elif at + step >= end:
                self.problem = FormatError("the file ends inside a record", where=self.where, offset=at)
                return
            else:
                step *= 2  # one record, with what follows it, is larger


def map_file(file: PerfDataFile) -> memoryview | None:
    """The whole file, mapped; None where its records are not in it as they are (a pipe, compressed, a directory)."""
    if file.header.pipe or file.parts or pf.HEADER_COMPRESSED in file.header.features:
        return None
    try:
        return memoryview(mmap.mmap(file.source.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None


def mapped_stream(file: PerfDataFile, view: memoryview) -> MappedStream:
    """The records of a mapped file."""
    start, size = file.header.data
    end = start + size if size else None
    stream = MappedStream(file.source, start, end, file.header.big_endian, file.scanner, file.where)
    stream.view = view
    stream.chunk_size = CHUNK_SIZE
    return stream
