"""Write a kdump-compressed file of any physical memory, leaving pages out as makedumpfile's -d does.

The memory is gone through twice, 128 MB at a time: first the struct pages, which tell what to leave out and thereby
where the data begins; then the pages that stay.  No more is held than such a window, however large the memory is.
What is written is a valid, incomplete dump at every moment: a page without a descriptor counts as cut off.
Source: makedumpfile's IMPLEMENTATION and diskdump_mod.h.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from linscope.errors import FormatError, MemoryFault, OutputError, UnsupportedError, UsageError
from linscope.memory._kdump_header import INCOMPLETE, SUB_HEADER_SIZE, KdumpHeader, pack_kdump_header
from linscope.memory._pack import find_packer
from linscope.memory.kernel_image import kernel_space
from linscope.memory.page_kinds import KIND_NAMES, ZERO_LEVEL, PageKinds, excluded_kinds
from linscope.memory.physical import FRAME_SHIFT, FRAME_SIZE, PhysicalMemory, Utsname
from linscope.memory.registers import NT_PRSTATUS
from linscope.memory.vmcoreinfo import VmcoreInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from linscope.contracts import Memory

MAX_LEVEL = 31
_WINDOW = 1 << 15  # pages; their bits are one block of a bitmap
_BITS = _WINDOW // 8  # bytes
_BATCH = 512  # pages compressed at once
_DESCRIPTOR = struct.Struct("<QIIQ")  # offset, size, flags, page_flags
_ZERO = bytes(FRAME_SIZE)
_NAME_SIZE = 65  # of each in struct new_utsname
_NOTE = struct.Struct("<III")  # sizes of name and description, type


class WriteOptions(NamedTuple):
    """How a dump is written."""

    level: int = MAX_LEVEL  # makedumpfile's -d: 2 cache, 4 private cache, 8 user, 16 free, their sum; 1 changes nothing
    compression: str = "zstd"  # zstd, zlib, lzo, none
    threads: int = 1
    progress: Callable[[int, int], object] | None = None  # told (pages done, pages in all)


class Written(NamedTuple):
    """What became of the pages."""

    pages: int  # that the machine had
    stored: int
    zero: int  # of those: all zero, they share one page of the file
    excluded: dict[str, int]  # left out by kind, only those with any: "free", "user"...
    missing: int  # not in the source: filtered out there already, or cut off
    lost: int  # that could not be read
    size_bytes: int  # of the file

    @property
    def memory_bytes(self) -> int:
        """Size of the machine's memory."""
        return self.pages << FRAME_SHIFT


def write_kdump(memory: PhysicalMemory, target: str, options: WriteOptions | None = None) -> Written:
    """Write a dump; it has the name target when it is whole.  Killed, it leaves target.part, which can be read so far.

    When the disk is full, what fits is kept as target.incomplete.  Raises OutputError, UsageError; FormatError and
    UnsupportedError when the source does not tell what its pages are used for and the level needs that.
    """
    options = options or WriteOptions()
    if not 0 <= options.level <= MAX_LEVEL:
        raise UsageError(f"no dump level {options.level}", next_step="a sum of 1, 2, 4, 8 and 16, at most 31")
    if not memory.ranges:
        raise FormatError("a source without memory", where=memory.where)
    if os.path.isdir(target):
        raise OutputError("cannot write the dump", where=target, why="it is a folder")
    plan = _Plan(memory, options)
    part = f"{target}.part"
    try:
        with _Output(part) as output:
            writer = _Writer(memory, output, plan, options)
            try:
                written = writer.write()
            except OSError as error:
                with contextlib.suppress(OSError):
                    output.sync()
                Path(part).rename(f"{target}.incomplete")
                raise _full(target, error) from None
        Path(part).rename(target)
        return written
    except OSError as error:
        raise OutputError("cannot write the dump", where=target, why=error.strerror or "") from None
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _full(target: str, error: OSError) -> OutputError:
    return OutputError(
        "the dump is not whole", where=target, why=error.strerror or "",
        next_step=f"what could be written is in {target}.incomplete, and can be read",
    )  # fmt: skip


class _Output:
    """The file that grows: written anywhere, buffered nowhere."""

    def __init__(self, path: str) -> None:
        """Raises OSError."""
        # What was in memory is nobody else's business.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def write(self, offset: int, data: bytes) -> None:
        """All of data.  Raises OSError."""
        done = os.pwrite(self._fd, data, offset)
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], offset + done)

    def read(self, offset: int, size: int) -> bytes:
        """What was written; zeros where nothing was."""
        return os.pread(self._fd, size, offset).ljust(size, b"\0")

    def sync(self) -> None:
        """Until it is on the disk.  Raises OSError."""
        os.fsync(self._fd)


class _Plan:
    """What the source says of itself, and which pages are for what."""

    def __init__(self, memory: PhysicalMemory, options: WriteOptions) -> None:
        self.kinds: PageKinds | None = None
        self.utsname = memory.utsname
        self.info = VmcoreInfo(memory.vmcoreinfo or b"")
        try:
            space = kernel_space(memory)
            self.info = VmcoreInfo(memory.vmcoreinfo or b"")
            self.utsname = self.utsname or _read_utsname(space, self.info)
        except FormatError:
            if options.level > ZERO_LEVEL:
                raise
        else:
            if options.level > ZERO_LEVEL:
                self.kinds = PageKinds(space, self.info)
        page_size = self.info.lines.get("PAGESIZE", str(getattr(memory, "block_size", FRAME_SIZE)))
        if page_size != str(FRAME_SIZE):
            raise UnsupportedError(f"writing a dump with pages of {page_size} bytes", where=memory.where)
        if self.utsname is None:
            self.utsname = Utsname("Linux", "", self.info.release, "", memory.machine, "")
        self.notes, self.info_at, self.info_size = _pack_notes(memory)


def _read_utsname(space: Memory, info: VmcoreInfo) -> Utsname | None:
    """The kernel's struct new_utsname, None when it does not tell where that is."""
    address, offset = info.symbol("init_uts_ns"), info.offset("uts_namespace.name")
    if address is None or offset is None:
        return None
    try:
        data = space.read(address + offset, 6 * _NAME_SIZE)
    except MemoryFault:
        return None
    return Utsname(*(
        data[at : at + _NAME_SIZE].partition(b"\0")[0].decode("utf-8", "replace")
        for at in range(0, len(data), _NAME_SIZE)
    ))  # fmt: skip


def _pack_notes(memory: PhysicalMemory) -> tuple[bytes, int, int]:
    """The notes of the source, VMCOREINFO among them; where its text is in them, and its size."""
    made, at, size = b"", 0, 0
    notes = [(note.name, note.kind, note.description) for note in memory.notes if note.name != b"VMCOREINFO"]
    if memory.vmcoreinfo:
        notes.append((b"VMCOREINFO", 0, memory.vmcoreinfo))
    for name, kind, description in notes:
        made += _NOTE.pack(len(name) + 1, len(description), kind) + name + b"\0"
        made += bytes(-len(made) % 4)
        if name == b"VMCOREINFO":
            at, size = len(made), len(description)
        made += description + bytes(-len(description) % 4)
    return made, at, size


class _Writer:
    """One dump in the making."""

    def __init__(self, memory: PhysicalMemory, output: _Output, plan: _Plan, options: WriteOptions) -> None:
        self._memory = memory
        self._output = output
        self._plan = plan
        self._options = options
        self._flag, self._pack = find_packer(options.compression, options.threads)
        self._excluded = np.zeros(len(KIND_NAMES), bool)
        self._excluded[list(excluded_kinds(options.level))] = True
        pages = memory.size + FRAME_SIZE - 1 >> FRAME_SHIFT
        bitmap = -(-pages // _WINDOW) * _BITS
        heads = -(-(SUB_HEADER_SIZE + len(plan.notes)) // FRAME_SIZE) + 1
        notes_at = FRAME_SIZE + SUB_HEADER_SIZE
        level = options.level | (memory.dump_level or 0)  # what the source left out is not here either
        assert plan.utsname is not None
        self._header = KdumpHeader(
            version=6, utsname=plan.utsname, time_s=int(time.time()), status=self._flag | INCOMPLETE,
            block_size=FRAME_SIZE, bitmap_offset=heads * FRAME_SIZE, bitmap_size=bitmap, pages=pages,
            cpus=max(sum(note.kind == NT_PRSTATUS for note in memory.notes), 1),
            sub={
                "phys_base": (plan.info.number("phys_base") or 0) & (1 << 64) - 1, "dump_level": level,
                "end_pfn": pages & (1 << 64) - 1, "end_pfn_64": pages, "max_mapnr_64": pages,
                "offset_vmcoreinfo": notes_at + plan.info_at if plan.info_size else 0,
                "size_vmcoreinfo": plan.info_size, "offset_note": notes_at, "size_note": len(plan.notes),
            },
        )  # fmt: skip
        self._windows: list[int] = []  # those with pages to store
        self._counts = np.zeros(len(KIND_NAMES), np.int64)
        self._had = self._present = self._planned = self._stored = self._zeros = self._lost = 0
        self._descriptors = self._header.descriptors_offset  # where the next one goes
        self._end = 0  # of the file: where the next page goes
        self._zero_page = b""  # its descriptor, once it is stored

    def write(self) -> Written:
        """Raises OSError, MemoryFault."""
        self._output.write(0, pack_kdump_header(self._header) + self._plan.notes)
        for window, had, present in _iter_windows(self._memory):
            self._plan_window(window, had, present)
        self._end = self._descriptors + _DESCRIPTOR.size * self._planned
        self._output.write(self._end - 1 if self._planned else self._end, b"\0")
        done = 0
        for window in self._windows:
            done += self._write_window(window)
            if self._options.progress:
                self._options.progress(done, self._planned)
        self._output.sync()
        self._header = self._header._replace(status=self._flag)
        self._output.write(0, pack_kdump_header(self._header))
        self._output.sync()
        kinds = {name: int(count) for name, count in zip(KIND_NAMES, self._counts, strict=True) if count}
        return Written(
            self._had, self._stored, self._zeros, kinds, self._had - self._present, self._lost, self._end
        )

    def _plan_window(self, window: int, had: NDArray[np.bool_], present: NDArray[np.bool_]) -> None:
        """Bits of both bitmaps for a window."""
        keep = present
        if self._plan.kinds is not None and present.any():
            kinds = self._plan.kinds.of(window * _WINDOW, _WINDOW)
            drop = self._excluded[kinds] & present
            self._counts += np.bincount(kinds[drop], minlength=len(KIND_NAMES))
            keep = present & ~drop
        self._had += int(np.count_nonzero(had))
        self._present += int(np.count_nonzero(present))
        self._put_bits(self._header.bitmap_offset, window, had)
        count = int(np.count_nonzero(keep))
        if count:
            self._put_bits(self._header.bitmap_offset + self._header.bitmap_size, window, keep)
            self._windows.append(window)
            self._planned += count

    def _put_bits(self, bitmap: int, window: int, bits: NDArray[np.bool_]) -> None:
        self._output.write(bitmap + window * _BITS, np.packbits(bits, bitorder="little").tobytes())

    def _write_window(self, window: int) -> int:
        """Store the pages of a window; returns how many it was about."""
        bitmap = self._header.bitmap_offset + self._header.bitmap_size
        packed = np.frombuffer(self._output.read(bitmap + window * _BITS, _BITS), np.uint8)
        keep = np.unpackbits(packed, bitorder="little").astype(bool)
        stored = np.zeros(_WINDOW, bool)
        first = window * _WINDOW
        descriptors: list[bytes] = []
        batch: list[bytes] = []
        for number, page in _iter_pages(self._memory, first, keep):
            stored[number - first] = True
            batch.append(page)
            if len(batch) == _BATCH:
                descriptors += self._store(batch)
                batch = []
        descriptors += self._store(batch)
        # First what is there, then where: a reader that comes between finds pages cut off, and none at a wrong place.
        self._put_bits(bitmap, window, stored)
        self._output.write(self._descriptors, b"".join(descriptors))
        self._descriptors += _DESCRIPTOR.size * len(descriptors)
        count = int(np.count_nonzero(keep))
        self._stored += len(descriptors)
        self._lost += count - len(descriptors)
        return count

    def _store(self, pages: list[bytes]) -> list[bytes]:
        """Write pages; their descriptors.  All zero pages are one, as makedumpfile and QEMU write them."""
        others = [page for page in pages if page != _ZERO]
        made = iter(self._append(others))
        if len(others) == len(pages):
            return list(made)
        if not self._zero_page:
            (self._zero_page,) = self._append([_ZERO])
        self._zeros += len(pages) - len(others)
        return [self._zero_page if page == _ZERO else next(made) for page in pages]

    def _append(self, pages: list[bytes]) -> list[bytes]:
        """Write pages behind the others; their descriptors."""
        made, data = [], []
        at = self._end
        for page, packed in zip(pages, self._pack(pages), strict=True):
            flag, content = (self._flag, packed) if len(packed) < FRAME_SIZE else (0, page)
            made.append(_DESCRIPTOR.pack(at, len(content), flag, 0))
            data.append(content)
            at += len(content)
        self._output.write(self._end, b"".join(data))
        self._end = at
        return made


def _iter_windows(memory: PhysicalMemory) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.bool_]]]:
    """(number, pages that the machine had, pages of which something is in the source) of windows with any, in order."""
    had, present = _Bits(iter(memory.ranges)), _Bits(memory.iter_present())
    window = had.next_window(0)
    while window is not None:
        yield window, had.take(window), present.take(window)
        window = had.next_window(window + 1)


class _Bits:
    """Ranges of addresses in order, as bits of the frames that they touch, a window at a time."""

    def __init__(self, ranges: Iterator[tuple[int, int]]) -> None:
        self._ranges = (
            (first >> FRAME_SHIFT, behind + FRAME_SIZE - 1 >> FRAME_SHIFT) for first, behind in ranges if first < behind
        )
        self._next = next(self._ranges, None)

    def next_window(self, window: int) -> int | None:
        """The first window from this one on that has any, None when there are no more."""
        return max(self._next[0] // _WINDOW, window) if self._next else None

    def take(self, window: int) -> NDArray[np.bool_]:
        """The bits of a window; none before it are left."""
        bits = np.zeros(_WINDOW, bool)
        start, end = window * _WINDOW, (window + 1) * _WINDOW
        while self._next and self._next[0] < end:
            first, behind = self._next
            bits[max(first - start, 0) : min(behind, end) - start] = True
            self._next = (end, behind) if behind > end else next(self._ranges, None)
        return bits


def _iter_pages(memory: PhysicalMemory, first: int, keep: NDArray[np.bool_]) -> Iterator[tuple[int, bytes]]:
    """(frame number, 4 KB) of the frames of a window that are to be kept and can be read, in order.

    Of a frame that is in the source in part, the rest is zero.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], keep, [False])).astype(np.int8)))
    last = -1
    for start, end in edges.reshape(-1, 2).tolist():
        for address, chunk in memory.iter_chunks(first + start << FRAME_SHIFT, first + end << FRAME_SHIFT):
            behind = address + len(chunk)
            whole, rest = address + FRAME_SIZE - 1 >> FRAME_SHIFT, behind >> FRAME_SHIFT  # frames that lie within it
            if address & (FRAME_SIZE - 1) and address >> FRAME_SHIFT != last:
                last = address >> FRAME_SHIFT
                yield last, _whole_frame(memory, last)
            for number in range(whole, rest):
                at = (number << FRAME_SHIFT) - address
                yield number, chunk[at : at + FRAME_SIZE]
            if behind & (FRAME_SIZE - 1) and rest != last:
                last = rest
                yield last, _whole_frame(memory, last)


def _whole_frame(memory: PhysicalMemory, number: int) -> bytes:
    """A frame of which parts are in the source."""
    frame = bytearray(FRAME_SIZE)
    start = number << FRAME_SHIFT
    for address, chunk in memory.iter_chunks(start, start + FRAME_SIZE):
        frame[address - start : address - start + len(chunk)] = chunk
    return bytes(frame)
