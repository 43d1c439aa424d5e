"""Write a perf.data file while it is being recorded.

Header, attrs and the sections known from the start come first; each ``checkpoint`` puts the table of
sections behind the data and its place into the header, so that a file whose writer was killed opens up to
the last one.  Layout: linscope.abi.perf_file.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Sequence

from linscope.abi import perf_file as pf
from linscope.errors import OutputError

_HEADER = struct.Struct("=" + pf.FILE_HEADER_FORMAT)
_SECTION = struct.Struct("=" + pf.SECTION_FORMAT)
FINISHED_ROUND = struct.pack("=IHH", pf.PERF_RECORD_FINISHED_ROUND, 0, 8)
_IOV_MAX = 1024


def native_magic() -> bytes:
    """The magic as this machine's byte order stores it."""
    return pf.PERF_MAGIC if sys.byteorder == "little" else pf.PERF_MAGIC_SWAPPED


class Writer:
    """An open perf.data file (or pipe).  ``written``: bytes of the data section so far."""

    def __init__(self, fd: int, path: str, pipe: bool = False) -> None:
        """fd: open for writing; it stays the caller's to close.  path: for messages."""
        self.fd = fd
        self.path = path
        self.pipe = pipe
        self.data_offset = 0
        self.written = 0
        self._attrs: list[tuple[bytes, Sequence[int]]] = []
        self._header_sections = (0, 0, 0)
        self._features: dict[int, tuple[int, int]] = {}  # bit -> (offset, size), of what start wrote
        self._features_stand = False

    def start(self, attrs: list[tuple[bytes, Sequence[int]]], features: dict[int, bytes]) -> None:
        """Write header, attrs and the feature sections that are known from the start.

        attrs: packed perf_event_attr (one size for all) and the ids of its descriptors.
        features: bit -> content.  Raises OutputError.
        """
        self._attrs = attrs
        if self.pipe:
            parts = [native_magic() + struct.pack("=Q", pf.PIPE_HEADER_SIZE)]
            for attr, ids in attrs:
                body = attr + struct.pack(f"={len(ids)}Q", *ids)
                parts.append(struct.pack("=IHH", pf.PERF_RECORD_HEADER_ATTR, 0, 8 + len(body)) + body)
            self.write(parts)
            return
        ids_offset = pf.FILE_HEADER_SIZE
        ids_blob = b"".join(struct.pack(f"={len(ids)}Q", *ids) for _attr, ids in attrs)
        attrs_offset = ids_offset + len(ids_blob)
        entry_size = len(attrs[0][0]) + pf.SECTION_SIZE
        table = []
        for attr, ids in attrs:
            table.append(attr + _SECTION.pack(ids_offset, len(ids) * 8))
            ids_offset += len(ids) * 8
        self._header_sections = (entry_size, attrs_offset, entry_size * len(attrs))
        offset = attrs_offset + entry_size * len(attrs)
        for bit, content in features.items():
            self._features[bit] = (offset, len(content))
            offset += len(content)
        padding = bytes(-offset % 8)
        self.data_offset = offset + len(padding)
        self._write_all([self._header(0), ids_blob, *table, *features.values(), padding])

    def _header(self, features: int) -> bytes:
        entry_size, attrs_offset, attrs_size = self._header_sections
        return _HEADER.pack(
            native_magic(),
            pf.FILE_HEADER_SIZE,
            entry_size,
            attrs_offset,
            attrs_size,
            self.data_offset,
            self.written,
            0,
            0,
            *(features >> shift & (1 << 64) - 1 for shift in (0, 64, 128, 192)),
        )

    def write(self, parts: Sequence[bytes | memoryview]) -> None:
        """Append whole records (or pieces that make whole records) to the data.  Raises OutputError."""
        self.written += self._write_all(parts)

    def _write_all(self, parts: Sequence[bytes | memoryview]) -> int:
        total = 0
        views: list[bytes | memoryview] = [part for part in parts if len(part)]
        try:
            self._take_back_features()
            while views:
                count = os.writev(self.fd, views[:_IOV_MAX])
                total += count
                while views and count >= len(views[0]):
                    count -= len(views.pop(0))
                if count:
                    views[0] = memoryview(views[0])[count:]
        except OSError as error:
            raise self._error(error) from error
        return total

    def _error(self, error: OSError) -> OutputError:
        return OutputError(
            "cannot write the recording",
            where=self.path,
            why=os.strerror(error.errno or 0),
            next_step="free some space, or name another place with -o, or limit it with --max-size",
        )

    def checkpoint(self, features: dict[int, bytes] | None = None) -> None:
        """Make the file whole up to here: the table of sections behind the data, sizes in the header.

        features: more sections (bit -> content), to go behind the table.  The next ``write`` goes over both;
        from then to the next checkpoint the header says there are no sections.  A pipe has none.
        Raises OutputError.
        """
        if self.pipe:
            return
        end = self.data_offset + self.written
        places = dict(self._features)
        offset = end + pf.SECTION_SIZE * len(places.keys() | (features or {}).keys())
        for bit, content in (features or {}).items():
            places[bit] = (offset, len(content))
            offset += len(content)
        tail = b"".join(_SECTION.pack(*places[bit]) for bit in sorted(places))
        try:
            self._pwrite_all(tail + b"".join((features or {}).values()), end)
            os.ftruncate(self.fd, offset)
            os.pwrite(self.fd, self._header(sum(1 << bit for bit in places)), 0)
        except OSError as error:
            raise self._error(error) from error
        self._features_stand = bool(places)

    def _pwrite_all(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self.fd, view, offset)
            offset += count
            view = view[count:]

    def _take_back_features(self) -> None:
        """Clear the feature bits, before new data goes over the sections."""
        if self._features_stand:
            self._features_stand = False
            os.pwrite(self.fd, bytes(32), pf.FILE_HEADER_SIZE - 32)

    def section(self, bit: int) -> tuple[int, int]:
        """(offset in the file, size) of a section that ``start`` was given."""
        return self._features[bit]

    def discard_tail(self, size: int) -> None:
        """Cut the data back to its first size bytes (the end of a record); a pipe cannot be."""
        if self.pipe:
            return
        self.written = size
        os.ftruncate(self.fd, self.data_offset + size)
        os.lseek(self.fd, self.data_offset + size, os.SEEK_SET)

    def read_back(self, offset: int, size: int) -> bytes:
        """Bytes of the data section, for what is computed from it at the end."""
        return os.pread(self.fd, size, self.data_offset + offset)


def feature_record(bit: int, content: bytes) -> bytes:
    """A HEADER_FEATURE record for a pipe; empty when the content does not fit into one."""
    size = 16 + len(content) + (-len(content)) % 8
    if size > 0xFFF8:
        return b""
    padding = bytes(size - 16 - len(content))
    return struct.pack("=IHHQ", pf.PERF_RECORD_HEADER_FEATURE, 0, size, bit) + content + padding


def event_name_record(identifier: int, name: str) -> bytes:
    """An EVENT_UPDATE record that gives the event of an id its name, for a pipe."""
    data = name.encode("utf-8", "surrogateescape") + b"\0"
    data = data.ljust(len(data) + (-len(data)) % 8, b"\0")
    head = struct.pack(
        "=IHHQQ", pf.PERF_RECORD_EVENT_UPDATE, 0, 24 + len(data), pf.PERF_EVENT_UPDATE_NAME, identifier
    )
    return head + data
