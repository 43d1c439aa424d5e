"""Physical memory of a kernel, whatever file it comes from: what all readers share.

A reader gives bytes of a range (``_load``); frames of 4 KB that were read are kept here, a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import NamedTuple, Protocol

from linscope.binfmt.notes import Note
from linscope.errors import MemoryFault, UsageError
from linscope.memory.registers import CpuRegisters

FRAME_SHIFT = 12
FRAME_SIZE = 1 << FRAME_SHIFT  # bytes; the unit of all caches, whatever the page size of the dump
_MAX_FRAMES = 4096  # 16 MB kept
_MAX_CACHED_READ = 8 * FRAME_SIZE  # longer reads are of tables that nobody reads twice
_CHUNK = 1 << 20  # bytes a step of a search
ADDRESS_END = 1 << 52  # x86-64 has no more physical address bits (Intel SDM 3A, 4.1.4)


class Utsname(NamedTuple):
    """struct new_utsname (include/uapi/linux/utsname.h) of the kernel that was dumped."""

    sysname: str
    nodename: str
    release: str
    version: str
    machine: str
    domainname: str


class Closable(Protocol):
    """What a memory closes in its end: files."""

    def close(self) -> None: ...


class PhysicalMemory:
    """The physical memory of one kernel.  ``with open_memory(path) as memory: memory.read(0x1000, 8)``."""

    format = ""  # for people: "kdump-compressed, lzo"
    machine = "x86_64"  # as uname -m says
    is_live = False  # True: it changes while it is read, nothing is kept
    dump_level: int | None = None  # makedumpfile's -d: 1 zero, 2 cache, 4 private cache, 8 user, 16 free
    utsname: Utsname | None = None
    partial_frames = True  # a frame may be there in part

    def __init__(self, where: str, files: Iterable[Closable] = ()) -> None:
        """where: its name in messages; files: closed with it."""
        self.where = where
        self.vmcoreinfo: bytes | None = None  # the text of the note; kernel_space() looks for one where there is none
        self.notes: list[Note] = []  # as they came with it
        self.cpus: list[CpuRegisters] = []
        self._files = list(files)
        self._frames: dict[int, bytes] = {}
        self._ranges: list[tuple[int, int]] | None = None
        self._is_incomplete = False

    def __enter__(self) -> PhysicalMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<physical memory {self.where}: {self.format}>"

    def close(self) -> None:
        """Close its files; harmless when repeated."""
        for file in self._files:
            file.close()
        self._frames.clear()

    @property
    def is_incomplete(self) -> bool:
        """True if its writer says that it could not write all, or the file ends early."""
        return self._is_incomplete

    @property
    def size(self) -> int:
        """Bytes from address 0 to behind the last one."""
        return self.ranges[-1][1] if self.ranges else 0

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """(first, behind the last) addresses that the machine had, in order; some of it may be filtered out."""
        if self._ranges is None:
            self._ranges = list(self._iter_ranges())
        return self._ranges

    def read(self, address: int, size: int) -> bytes:
        """All size bytes at a physical address.  Raises MemoryFault for the first that cannot be read."""
        frame = self._frames.get(address >> FRAME_SHIFT)
        if frame is not None:
            offset = address & (FRAME_SIZE - 1)
            if 0 <= size <= FRAME_SIZE - offset:
                return frame[offset : offset + size]
        return self._read(address, size)

    def read_frame(self, number: int) -> bytes:
        """The 4 KB at physical address number * 4096.  Raises MemoryFault."""
        frame = self._frames.get(number)
        if frame is None:
            frame = self._load(number << FRAME_SHIFT, FRAME_SIZE)
            if not self.is_live:
                self._keep(number, frame)
        return frame

    def read_pages(self, numbers: Iterable[int]) -> Iterator[bytes | None]:
        """The 4 KB of each frame number, None for what cannot be read whole; nothing is kept."""
        for number in numbers:
            try:
                yield self._frames.get(number) or self._load(number << FRAME_SHIFT, FRAME_SIZE)
            except MemoryFault:
                yield None

    def has(self, address: int) -> bool:
        """True if the file has the byte at a physical address (its page may still be damaged)."""
        raise NotImplementedError

    def iter_chunks(self, start: int = 0, end: int = ADDRESS_END) -> Iterator[tuple[int, bytes]]:
        """(address, bytes) of all memory that can be read, in order, at most 1 MB at once."""
        yield from self._iter_chunks(self.iter_present(start, end))

    def _iter_chunks(self, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
        for first, behind in ranges:
            at = first
            while at < behind:
                size = min(_CHUNK, behind - at)
                try:
                    yield at, self._load(at, size)
                except MemoryFault as fault:  # what is before it, then what is behind its page
                    if fault.address > at:
                        yield at, self._load(at, fault.address - at)
                    size = (fault.address | (FRAME_SIZE - 1)) + 1 - at
                at += size

    def find(self, pattern: bytes, start: int = 0, end: int = ADDRESS_END) -> Iterator[int]:
        """The physical addresses of a pattern in order, also across pages.  Raises UsageError for an empty one."""
        if not pattern:
            raise UsageError("nothing to look for")
        tail, tail_end = b"", -1
        ranges = self._iter_stored(start, end, len(pattern)) if any(pattern) else self.iter_present(start, end)
        for address, chunk in self._iter_chunks(ranges):
            data = tail + chunk if address == tail_end else chunk
            base = address + len(chunk) - len(data)
            at = data.find(pattern)
            while at >= 0:
                yield base + at
                at = data.find(pattern, at + 1)
            tail = data[max(len(data) - len(pattern) + 1, 0) :]
            tail_end = address + len(chunk)

    def fault(self, address: int, reason: str, *, offset: int | None = None, why: str = "") -> MemoryFault:
        """A MemoryFault of this memory; see there."""
        return MemoryFault(address, "physical", reason, where=self.where, offset=offset, why=why)

    def _read(self, address: int, size: int) -> bytes:
        if size < 0:
            raise UsageError(f"a read of {size} bytes")
        if not 0 <= address <= ADDRESS_END - size:
            raise self.fault(max(address, ADDRESS_END) if address >= 0 else address, MemoryFault.WIDTH)
        if self.is_live or size > _MAX_CACHED_READ:
            return self._load(address, size)
        last = (address + size - 1) >> FRAME_SHIFT
        try:
            frames = [self.read_frame(number) for number in range(address >> FRAME_SHIFT, last + 1)]
        except MemoryFault as fault:
            if self.partial_frames:
                return self._load(address, size)
            at = max(fault.address, address)
            raise self.fault(at, fault.reason, offset=fault.offset, why=fault.detail) from None
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        offset = address & (FRAME_SIZE - 1)
        return data[offset : offset + size]

    def _keep(self, number: int, frame: bytes) -> None:
        frames = self._frames
        if len(frames) >= _MAX_FRAMES:
            for old in list(islice(frames, _MAX_FRAMES // 2)):
                del frames[old]
        frames[number] = frame

    def _load(self, address: int, size: int) -> bytes:
        """Bytes of the file, nothing kept.  Raises MemoryFault with the first address that cannot be read."""
        raise NotImplementedError

    def _iter_ranges(self) -> Iterator[tuple[int, int]]:
        raise NotImplementedError

    def iter_present(self, start: int = 0, end: int = ADDRESS_END) -> Iterator[tuple[int, int]]:
        """(first, behind the last) of what the file has, clipped to start..end."""
        raise NotImplementedError

    def _iter_stored(self, start: int, end: int, margin: int) -> Iterator[tuple[int, int]]:
        """As iter_present; what the file only says to be zero may be left out, but for margin bytes beside the rest."""
        return self.iter_present(start, end)


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same ranges in order, none touching another.

    [(4, 6), (0, 2), (1, 4)] -> [(0, 6)]
    """
    merged: list[tuple[int, int]] = []
    for first, behind in sorted(ranges):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], behind)
        elif first < behind:
            merged.append((first, behind))
    assert all(one[1] < other[0] for one, other in pairwise(merged))
    return merged
