"""The flattened form of makedumpfile -F and of QEMU: a dump as a stream of (place, bytes), read where it lies.

The stream is looked through once, its heads only; what lies at an offset is then found by its index.  Where two
records write the same place, the later one holds.
Source: makedumpfile's makedumpfile.h, struct makedumpfile_header and makedumpfile_data_header (big-endian).
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from heapq import heappop, heappush

from linscope.errors import FormatError, UnsupportedError
from linscope.memory._pieces import Source

SIGNATURE = b"makedumpfile\0\0\0\0"
_HEADER_SIZE = 4096
_HEADER = struct.Struct(">16sqq")  # signature, type, version
_RECORD = struct.Struct(">qq")  # offset, size; both -1: the end


class FlattenedFile:
    """A dump in flattened form, as the file that makedumpfile -R would make of it."""

    def __init__(self, file: Source) -> None:
        """file: closed with it.  Raises FormatError; a stream that is cut short is read up to there (is_cut)."""
        self.file = file
        self.where = file.where
        _, kind, version = _HEADER.unpack(file.read(0, _HEADER.size, "head of the flattened form"))
        if (kind, version) != (1, 1):
            raise UnsupportedError(f"flattened form of type {kind}, version {version}", where=file.where, offset=16)
        targets, sizes, sources, self.is_cut = self._scan()
        self._starts, self._ends, self._sources = _without_overlaps(targets, sizes, sources)
        self.size = self._ends[-1] if self._ends else 0

    def _scan(self) -> tuple[array[int], array[int], array[int], bool]:
        """(place in the dump, size, place in the stream) of each record, and whether the end is missing."""
        targets, sizes, sources = array("q"), array("q"), array("q")
        at = _HEADER_SIZE
        while True:
            head = self.file.peek(at, _RECORD.size)
            if len(head) < _RECORD.size:
                return targets, sizes, sources, True
            target, size = _RECORD.unpack(head)
            if target == size == -1:
                return targets, sizes, sources, False
            if target < 0 or size <= 0 or target + size >= 1 << 62:
                raise FormatError(f"a record of {size} bytes for {target:#x}", where=self.where, offset=at)
            at += _RECORD.size
            inside = min(size, self.file.size - at)
            if inside > 0:
                targets.append(target)
                sizes.append(inside)
                sources.append(at)
            at += size

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        self.file.close()

    def peek(self, offset: int, size: int) -> bytes:
        """Up to size bytes at an offset of the dump; zeros where no record is, fewer bytes where the dump ends."""
        end = min(offset + size, self.size)
        if offset < 0 or offset >= end:
            return b""
        parts = []
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while offset < end:
            if index < len(self._starts) and offset >= self._ends[index]:
                index += 1
            start = self._starts[index] if index < len(self._starts) else end
            if offset < start:
                count = min(start, end) - offset
                parts.append(bytes(count))
            else:
                count = min(self._ends[index], end) - offset
                data = self.file.peek(self._sources[index] + offset - start, count)
                parts.append(data)
                if len(data) != count:
                    break
            offset += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Exactly size bytes.  Raises FormatError, which names what was looked for, when they are not there."""
        data = self.peek(offset, size) if size >= 0 else b""
        if len(data) != size:
            raise FormatError(f"{what} beyond the end of the flattened dump", where=self.where, offset=offset)
        return data


def _without_overlaps(
    targets: array[int], sizes: array[int], sources: array[int]
) -> tuple[array[int], array[int], array[int]]:
    """(start, end, place in the stream) in the order of start; of several for one place, the last.

    [0, 2], [8, 3], [100, 200] -> [0, 2, 5], [2, 5, 8], [100, 200, 105]
    """
    count = len(targets)
    order = sorted(range(count), key=targets.__getitem__)
    starts, ends, places = array("q"), array("q"), array("q")

    def add(start: int, end: int, number: int) -> None:
        if start < end:
            starts.append(start)
            ends.append(end)
            places.append(sources[number] + start - targets[number])

    open_: list[int] = []  # records that reach beyond `at`, the latest first (by -number)
    at = 0
    for next_ in [*order, -1]:
        limit = targets[next_] if next_ >= 0 else 1 << 62
        while open_ and at < limit:
            number = -open_[0]
            end = min(targets[number] + sizes[number], limit)
            if end > at:
                add(at, end, number)
                at = end
            if at < limit or targets[number] + sizes[number] <= at:
                heappop(open_)
        at = limit
        if next_ >= 0:
            heappush(open_, -next_)
    return starts, ends, places
