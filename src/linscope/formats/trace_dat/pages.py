"""The pages of a trace.dat, some megabytes at a time: read, unpacked where they are compressed, in whole pages."""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope.errors import FormatError
from linscope.formats.trace_dat.container import LARGEST_PIECE, Buffer, Container, CpuData, unpack, unpack_into

_CHUNK = 4 << 20  # bytes decoded at once
_SMALLEST, _LARGEST = 64, 1 << 26  # bytes of a page


class Pages(NamedTuple):
    """Whole pages of one CPU, one behind the other."""

    data: NDArray[np.uint8]  # valid until the next ones are asked for
    page_size: int
    starts: list[int]  # where parts of data begin ...
    offsets: list[int]  # ... and what their offset in the file is
    packed: bool

    def offset(self, at: int) -> int:
        """Where a byte of data is in the file; of compressed ones, where the piece that holds it begins."""
        part = bisect_right(self.starts, at) - 1
        return self.offsets[part] + (0 if self.packed else at - self.starts[part])


class PageReader:
    """Reads the pages of a file."""

    def __init__(self, data: bytes | mmap.mmap, fd: int, container: Container) -> None:
        """data: the whole file; fd: it is open there too, -1: it is not.  Reading touches less memory than mapping."""
        self._data = data
        self._fd = fd
        self._container = container

    def pages(self, buffer: Buffer, cpu: CpuData) -> Iterator[Pages]:
        """In the order of the file.  Raises FormatError after the last whole page before damage."""
        size = buffer.page_size or self._container.tracing.page_size
        if not _SMALLEST <= size <= _LARGEST:
            raise FormatError(f"pages of {size} bytes", offset=cpu.offset)
        return self._packed(cpu, size) if buffer.compressed else self._plain(cpu, size)

    def text(self, buffer: Buffer) -> str:
        """What a latency tracer wrote; as much of it as there is.  Raises FormatError for damaged pieces."""
        offset, size = buffer.text or (0, 0)
        if not buffer.compressed:
            return bytes(self._data[offset : offset + size]).decode(errors="replace")
        algorithm = self._container.algorithm
        pieces = [unpack(algorithm, *piece) for piece in self._pieces(CpuData(0, offset, size))]
        return b"".join(pieces).decode(errors="replace")

    def _plain(self, cpu: CpuData, page_size: int) -> Iterator[Pages]:
        end = min(cpu.offset + cpu.size, len(self._data))
        step = max(_CHUNK // page_size, 1) * page_size
        kept = np.empty(min(step, max(end - cpu.offset, 0)), np.uint8)
        for at in range(cpu.offset, end, step):
            size = min(step, end - at) // page_size * page_size
            if self._fd < 0:
                chunk = np.frombuffer(self._data, np.uint8, size, at)
            else:
                chunk = kept[: os.preadv(self._fd, [kept[:size].data], at) // page_size * page_size]
            yield Pages(chunk, page_size, [0], [at], False)
        if end < cpu.offset + cpu.size:
            what = f"the file ends {cpu.offset + cpu.size - end} bytes before the end of CPU {cpu.cpu}'s pages"
            raise FormatError(what, offset=len(self._data))

    def _packed(self, cpu: CpuData, page_size: int) -> Iterator[Pages]:
        room = np.empty(_CHUNK, np.uint8)
        starts: list[int] = []
        offsets: list[int] = []
        used = 0
        problem = None
        try:
            for packed, size, offset in self._pieces(cpu):
                if used + size > len(room) and used:
                    yield Pages(room[:used], page_size, starts, offsets, True)
                    starts, offsets, used = [], [], 0
                if size > len(room):
                    room = np.empty(size, np.uint8)
                unpack_into(self._container.algorithm, packed, room[used : used + size].data, offset)
                starts.append(used)
                offsets.append(offset)
                used += size // page_size * page_size
        except FormatError as error:
            problem = error
        if used:
            yield Pages(room[:used], page_size, starts, offsets, True)
        if problem is not None:
            raise problem

    def _pieces(self, cpu: CpuData) -> Iterator[tuple[bytes, int, int]]:
        """Each compressed piece, the bytes it unpacks to, and its offset."""
        order = self._container.order()
        at = cpu.offset
        (count,) = self._unpack(order + "I", at)
        at += 4
        for _ in range(count):
            packed, size = self._unpack(order + "II", at)
            at += 8
            if at + packed > len(self._data):
                raise FormatError("the file ends in compressed pages", offset=len(self._data))
            if size > LARGEST_PIECE:
                raise FormatError(f"a compressed piece of {size} bytes", offset=at)
            yield bytes(self._data[at : at + packed]), size, at
            at += packed

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        if at + struct.calcsize(form) > len(self._data):
            raise FormatError("the file ends before its pages", offset=min(at, len(self._data)))
        return struct.unpack_from(form, self._data, at)
