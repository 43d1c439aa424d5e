"""kdump-compressed dumps: makedumpfile's (also split over several files) and QEMU's.

Two bitmaps say which pages the machine had and which of them are in the file; a page's descriptor is the one with as
many before it as there are pages before it in the second bitmap.
Source: makedumpfile's IMPLEMENTATION and diskdump_mod.h; docs of QEMU's dump-guest-memory.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from linscope.binfmt.notes import iter_notes
from linscope.errors import FormatError, MemoryFault
from linscope.memory._bitmap import Bitmap
from linscope.memory._kdump_header import INCOMPLETE, KdumpHeader, read_kdump_header
from linscope.memory._pieces import Source
from linscope.memory._unpack import COMPRESSIONS, Unpack, find_unpacker
from linscope.memory.physical import ADDRESS_END, FRAME_SIZE, PhysicalMemory, merge_ranges
from linscope.memory.registers import find_vmcoreinfo_note, read_cpus

_DESCRIPTOR = struct.Struct("<QIIQ")  # offset, size, flags, page_flags
_GROUP = 128  # descriptors read at once
_MAX_GROUPS = 1024  # 3 MB kept
_AHEAD = 128 << 10  # bytes of pages that a long read takes at once
_MAX_NOTES = 64 << 20


class _Part(NamedTuple):
    """One file: the pages from first to behind."""

    file: Source
    first: int
    behind: int
    before: int  # set bits in the second bitmap before first
    descriptors: int  # offset


class _Ahead:
    """What a long read takes of a file at once: pages follow each other there."""

    def __init__(self) -> None:
        self._file: Source | None = None
        self._offset = 0
        self._data = b""

    def read(self, file: Source, offset: int, size: int) -> bytes:
        """Up to size bytes at an offset of a file."""
        at = offset - self._offset
        if file is not self._file or at < 0 or at + size > len(self._data):
            self._file, self._offset, at = file, offset, 0
            self._data = file.peek(offset, max(size, _AHEAD))
        return self._data[at : at + size]


class KdumpMemory(PhysicalMemory):
    """Physical memory of a kdump-compressed dump in one or more files."""

    partial_frames = False

    def __init__(self, files: Sequence[Source]) -> None:
        """files: all that there is of the dump, in any order.  Raises FormatError, UnsupportedError."""
        headers = [read_kdump_header(file) for file in files]
        main, file = headers[0], files[0]
        super().__init__(file.where, files)
        self.header = main
        self.utsname = main.utsname
        self.machine = main.utsname.machine or self.machine
        self.block_size = main.block_size
        self._is_incomplete = any(one.status & INCOMPLETE for one in headers) or any(file.is_cut for file in files)
        self.dump_level = main.sub.get("dump_level") if main.version >= 1 else None
        kind = [name for flag, name in COMPRESSIONS.items() if main.status & flag]
        self.format = ", ".join(["kdump-compressed", *kind, *(["split"] if main.is_split else [])])
        self._shift = main.block_size.bit_length() - 1
        self._had = Bitmap(file, main.bitmap_offset, main.pages)
        self._stored = Bitmap(file, main.bitmap_offset + main.bitmap_size, main.pages)
        self._parts = sorted(self._make_parts(files, headers), key=lambda part: part.first)
        for one, other in pairwise(self._parts):
            if other.first < one.behind:
                raise FormatError(f"a part with pages that {one.file.where} has", where=other.file.where)
        self._firsts = [part.first for part in self._parts]
        self._groups: dict[tuple[int, int], bytes] = {}
        self._unpackers: dict[int, Unpack | None] = {}
        self._read_notes(files, headers)

    def _make_parts(self, files: Sequence[Source], headers: Sequence[KdumpHeader]) -> Iterator[_Part]:
        main = headers[0]
        for file, header in zip(files, headers, strict=True):
            if header is not main and not header.is_part_of(main):
                raise FormatError("a part of another dump", where=file.where)
            first, behind = header.span
            if not first <= behind:
                raise FormatError(f"a part with the pages {first} to {behind}", where=file.where)
            before = self._stored.rank(first)
            yield _Part(file, first, min(behind, header.pages), before, header.descriptors_offset)

    def _read_notes(self, files: Sequence[Source], headers: Sequence[KdumpHeader]) -> None:
        for file, header in zip(files, headers, strict=True):
            sub = header.sub
            notes = list(iter_notes(file.peek(sub.get("offset_note", 0), min(sub.get("size_note", 0), _MAX_NOTES))))
            if notes and not self.notes:
                self.notes = notes
                if self.machine == "x86_64":
                    self.cpus = read_cpus(notes)
            if self.vmcoreinfo is None:
                size = min(sub.get("size_vmcoreinfo", 0), _MAX_NOTES)
                text = file.peek(sub.get("offset_vmcoreinfo", 0), size).rstrip(b"\0")
                self.vmcoreinfo = text or find_vmcoreinfo_note(notes)

    @property
    def is_incomplete(self) -> bool:
        """True if its writer says so, or a file ends before its last page."""
        return self._is_incomplete or any(map(self._ends_early, self._parts))

    def _ends_early(self, part: _Part) -> bool:
        """True if the last page of a part is not in its file."""
        count = self._stored.rank(part.behind) - part.before
        last = self._descriptor(part, count - 1) if count > 0 else (1, 0)
        return last is None or last[0] == 0 or last[0] + last[1] > part.file.size

    def has(self, address: int) -> bool:
        """True if the page of a physical address is in the dump."""
        return self._stored.test(address >> self._shift) and self._part(address >> self._shift) is not None

    def is_excluded(self, address: int) -> bool:
        """True if the machine had memory there, and its page was filtered out."""
        page = address >> self._shift
        return self._had.test(page) and not self._stored.test(page)

    def _part(self, page: int) -> _Part | None:
        index = bisect_right(self._firsts, page) - 1
        part = self._parts[index] if index >= 0 else None
        return part if part and page < part.behind else None

    def _load(self, address: int, size: int) -> bytes:
        shift = self._shift
        first, last = address >> shift, (address + size - 1) >> shift
        if first == last or size == 0:
            data = self._load_page(first)
        else:
            parts = []
            ahead = _Ahead()
            for page in range(first, last + 1):
                try:
                    parts.append(self._load_page(page, ahead))
                except MemoryFault as fault:
                    if fault.address >= address:
                        raise
                    raise self.fault(address, fault.reason, offset=fault.offset, why=fault.detail) from None
            data = b"".join(parts)
        offset = address - (first << shift)
        return data if offset == 0 and len(data) == size else data[offset : offset + size]

    def _load_page(self, page: int, ahead: _Ahead | None = None) -> bytes:
        """A page, unpacked.  ahead: what is already read of its file, or will be."""
        offset, size, flags, file = self._describe(page)
        data = ahead.read(file, offset, size) if ahead else file.peek(offset, size)
        address = page << self._shift
        if len(data) != size:
            raise self.fault(address, MemoryFault.CUT, offset=offset)
        if flags == 0:
            return data
        try:
            unpack = self._unpackers[flags]
        except KeyError:
            unpack = self._unpackers[flags] = find_unpacker(flags)
        if unpack is None:
            raise self.fault(address, MemoryFault.DAMAGED, offset=offset, why=f"flags {flags:#x}")
        try:
            return unpack(data, self.block_size)
        except ValueError as error:
            raise self.fault(address, MemoryFault.DAMAGED, offset=offset, why=str(error)) from None

    def _describe(self, page: int) -> tuple[int, int, int, Source]:
        """(file offset, bytes there, compression, file) of a page.  Raises MemoryFault."""
        address = page << self._shift
        if not self._stored.test(page):
            raise self.fault(address, MemoryFault.EXCLUDED if self._had.test(page) else MemoryFault.HOLE)
        part = self._part(page)
        if part is None:
            raise self.fault(address, MemoryFault.HOLE, why="a part of the split dump is missing")
        rank = self._stored.rank(page) - part.before
        found = self._descriptor(part, rank)
        if found is None:
            raise self.fault(address, MemoryFault.CUT)
        offset, size, flags = found
        if offset == 0:
            raise self.fault(address, MemoryFault.CUT, why="its place was never written")
        if size > self.block_size or size == 0 or (flags == 0 and size != self.block_size):
            place = part.descriptors + rank * _DESCRIPTOR.size
            raise self.fault(address, MemoryFault.DAMAGED, offset=place, why=f"{size} bytes for a page")
        if offset + size > part.file.size:
            raise self.fault(address, MemoryFault.CUT, offset=offset)
        return offset, size, flags, part.file

    def _descriptor(self, part: _Part, index: int) -> tuple[int, int, int] | None:
        """(offset, size, flags) of the page descriptor with a number in a part, None where the file ends before it."""
        key = part.first, index // _GROUP
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _MAX_GROUPS:
                self._groups.clear()
            size = _GROUP * _DESCRIPTOR.size
            group = self._groups[key] = part.file.peek(part.descriptors + key[1] * size, size)
        at = index % _GROUP * _DESCRIPTOR.size
        if at + _DESCRIPTOR.size > len(group):
            return None
        offset, size, flags, _ = _DESCRIPTOR.unpack_from(group, at)
        return offset, size, flags

    def read_frame(self, number: int) -> bytes:
        """The 4 KB at physical address number * 4096.  Raises MemoryFault."""
        frame = self._frames.get(number)
        if frame is not None:
            return frame
        if self.block_size == FRAME_SIZE:
            frame = self._load_page(number)
            self._keep(number, frame)
            return frame
        return super().read_frame(number)

    def _iter_ranges(self) -> Iterator[tuple[int, int]]:
        shift = self._shift
        yield from merge_ranges((first << shift, behind << shift) for first, behind in self._had.iter_runs())

    def iter_present(self, start: int = 0, end: int = ADDRESS_END) -> Iterator[tuple[int, int]]:
        """See PhysicalMemory."""
        shift = self._shift
        for part in self._parts:
            low, high = max(part.first, start >> shift), min(part.behind, (end + self.block_size - 1) >> shift)
            for first, behind in self._stored.iter_runs(low, high):
                yield max(first << shift, start), min(behind << shift, end)
