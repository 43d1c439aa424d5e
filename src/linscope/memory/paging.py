"""Virtual memory through the page tables of x86-64: four or five levels, pages of 4 KB, 2 MB and 1 GB.

Source: Intel SDM volume 3A, chapter 4, "Paging"; arch/x86/include/asm/pgtable_types.h for what Linux keeps in entries
that are not present, arch/x86/include/asm/pgtable-invert.h (v4.19) for PROT_NONE, pgtable_64.h for swap entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from linscope.errors import MemoryFault, UsageError
from linscope.memory.physical import FRAME_SHIFT, FRAME_SIZE, PhysicalMemory

PRESENT, WRITABLE, USER, ACCESSED, DIRTY, HUGE, GLOBAL = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
PROT_NONE = GLOBAL  # in an entry that is not present
NO_EXECUTE = 1 << 63
_FLAG_NAMES = (
    (PRESENT, "PRESENT"), (WRITABLE, "RW"), (USER, "USER"), (8, "PWT"), (0x10, "PCD"), (ACCESSED, "ACCESSED"),
    (DIRTY, "DIRTY"), (HUGE, "PSE"), (GLOBAL, "GLOBAL"), (NO_EXECUTE, "NX"),
)  # fmt: skip
_SHIFTS = {4: (39, 30, 21, 12), 5: (48, 39, 30, 21, 12)}
_NAMES = {48: "PGD", 39: "P4D", 30: "PUD", 21: "PMD", 12: "PTE"}  # Linux's; with four levels the first is the PGD
_HUGE_SHIFTS = (30, 21)
_ADDRESS = 0x000F_FFFF_FFFF_F000
_WORD = struct.Struct("<Q")
_MAX_KEPT = 4096  # frames, and as many translations
_LOW = FRAME_SIZE - 1
# Numbers of swap types that are no swap area, with all options on (include/linux/swap.h and swapops.h of v6.1)
_SWAP_TYPES = {23: "poisoned page", 24: "migration", 25: "migration", 26: "migration", 31: "marker"}
_FIRST_SPECIAL = 23


class Entry(NamedTuple):
    """One step of a walk: an entry of a page table."""

    level: str  # PGD, P4D, PUD, PMD or PTE
    address: int  # physical, of the entry itself
    value: int
    is_leaf: bool  # the next thing is memory, not a table
    target: int  # physical address that it leads to, without flags and encryption bit
    size: int  # bytes that one entry of this level covers

    @property
    def flags(self) -> list[str]:
        """Names of the set flags, as crash prints them."""
        known = self.value & ~HUGE if self.size == FRAME_SIZE else self.value  # there, the bit is PAT
        return [name for flag, name in _FLAG_NAMES if known & flag]


class Mapping(NamedTuple):
    """A range of virtual addresses that lies in one stretch of physical memory, with the same rights."""

    start: int
    end: int
    physical: int
    writable: bool
    user: bool
    executable: bool


class AddressSpace:
    """Virtual memory as one set of page tables maps it; the kernel's, or a process's."""

    def __init__(
        self, physical: PhysicalMemory, root: int, *, levels: int = 4, encryption_mask: int = 0, where: str = ""
    ) -> None:
        """root: physical address of the top table (flags in its low 12 bits are ignored); levels: 4 or 5.

        encryption_mask: the bit of SME or SEV in entries (NUMBER(sme_mask) of VMCOREINFO), 0 without.
        """
        if levels not in _SHIFTS:
            raise UsageError(f"page tables of {levels} levels")
        self.physical = physical
        self.root = root & _ADDRESS & ~encryption_mask
        self.levels = levels
        self.encryption_mask = encryption_mask
        self.where = where or physical.where
        self._mask = _ADDRESS & ~encryption_mask
        self._shifts = _SHIFTS[levels]
        self._lower_end = 1 << self._shifts[0] + 8  # behind the last address of the lower half
        self._frames: dict[int, bytes] = {}  # by virtual frame number
        self._small: dict[int, int] = {}  # virtual frame number -> physical address
        self._huge: dict[int, int] = {}  # the same in units of 2 MB

    def __repr__(self) -> str:
        return f"<address space {self.root:#x} of {self.where}: {self.levels} levels>"

    def read(self, address: int, size: int) -> bytes:
        """All size bytes at a virtual address.  Raises MemoryFault for the first that cannot be read."""
        frame = self._frames.get(address >> FRAME_SHIFT)
        if frame is not None:
            offset = address & _LOW
            if 0 <= size <= FRAME_SIZE - offset:
                return frame[offset : offset + size]
        return self._read(address, size)

    def translate(self, address: int) -> int:
        """The physical address of a virtual one.  Raises MemoryFault with the reason when it has none."""
        base = self._small.get(address >> FRAME_SHIFT)
        if base is not None:
            return base + (address & _LOW)
        base = self._huge.get(address >> 21)
        if base is not None:
            return base + (address & 0x1F_FFFF)
        return self._translate(address)

    def walk(self, address: int) -> list[Entry]:
        """The entries that lead to an address, top first, up to the first that is not present.

        Raises MemoryFault when a table cannot be read, or the address is not canonical.
        """
        self._check(address)
        table, entries = self.root, []
        for shift in self._shifts:
            at = table + (address >> shift & 511) * 8
            value = self._entry(at, address)
            leaf = shift == FRAME_SHIFT or (shift in _HUGE_SHIFTS and bool(value & HUGE and value & PRESENT))
            target = value & self._mask & -(1 << shift) if leaf else value & self._mask
            name = "PGD" if shift == self._shifts[0] else _NAMES[shift]
            entries.append(Entry(name, at, value, leaf, target, 1 << shift))
            if leaf or not value & PRESENT:
                break
            table = target
        return entries

    def ranges(self, start: int = 0, end: int = 1 << 64, *, max_tables: int = 1 << 18) -> Iterator[Mapping]:
        """All that is mapped between start and end, in order, as few ranges as there can be.

        max_tables: page tables to read at most (each maps 2 MB or more); then a MemoryFault is raised, as it is not
        for tables that cannot be read: what they map is left out.
        """
        last: Mapping | None = None
        for one in self._iter_leaves(start, end, max_tables):
            if last and one == (last.end, one.end, last.physical + last.end - last.start, *last[3:]):
                last = last._replace(end=one.end)
                continue
            if last:
                yield last
            last = one
        if last:
            yield last

    def forget(self) -> None:
        """Drop what is kept of pages and translations."""
        self._frames.clear()
        self._small.clear()
        self._huge.clear()

    def fault(self, address: int, reason: str, why: str = "", *, offset: int | None = None) -> MemoryFault:
        """A MemoryFault of this address space; see there."""
        return MemoryFault(address, "virtual", reason, where=self.where, offset=offset, why=why)

    def _read(self, address: int, size: int) -> bytes:
        if size < 0:
            raise UsageError(f"a read of {size} bytes")
        offset = address & _LOW
        if offset + size <= FRAME_SIZE and not self.physical.is_live:
            frame = self._frame(address, size)
            return frame[offset : offset + size]
        parts, end = [], address + size
        while address < end:  # as many bytes at once as are together in physical memory
            physical = self.translate(address)
            count = min(FRAME_SIZE - (address & _LOW), end - address)
            while address + count < end:
                try:
                    if self.translate(address + count) != physical + count:
                        break
                except MemoryFault:
                    break
                count += min(FRAME_SIZE, end - address - count)
            try:
                parts.append(self.physical.read(physical, count))
            except MemoryFault as fault:
                raise self._behind(address + fault.address - physical, fault) from None
            address += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _frame(self, address: int, size: int) -> bytes:
        """The page of an address, of which size bytes from there on are needed."""
        physical = self.translate(address)
        try:
            frame = self.physical.read_frame(physical >> FRAME_SHIFT)
        except MemoryFault:
            try:  # a part of it may be there; else this fault tells the first byte that is not
                return bytes(physical & _LOW) + self.physical.read(physical, size)
            except MemoryFault as fault:
                raise self._behind(address + fault.address - physical, fault) from None
        frames = self._frames
        if len(frames) >= _MAX_KEPT:
            for old in list(islice(frames, _MAX_KEPT // 2)):
                del frames[old]
        frames[address >> FRAME_SHIFT] = frame
        return frame

    def _behind(self, address: int, fault: MemoryFault) -> MemoryFault:
        """The fault of a virtual address whose physical memory cannot be read."""
        detail = f"physical {fault.address:#x}" + (f", {fault.detail}" if fault.detail else "")
        return self.fault(address, fault.reason, detail, offset=fault.offset)

    def _check(self, address: int) -> None:
        if not (0 <= address < self._lower_end or (1 << 64) - self._lower_end <= address < 1 << 64):
            why = f"not canonical with {self.levels} levels" if 0 <= address < 1 << 64 else ""
            raise self.fault(address, MemoryFault.WIDTH, why)

    def _entry(self, at: int, address: int) -> int:
        try:
            value: int = _WORD.unpack(self.physical.read(at, 8))[0]
        except MemoryFault as fault:
            detail = f"its page table at physical {at:#x}" + (f", {fault.detail}" if fault.detail else "")
            raise self.fault(address, fault.reason, detail, offset=fault.offset) from None
        return value

    def _translate(self, address: int) -> int:
        self._check(address)
        table, mask = self.root, self._mask
        for shift in self._shifts:
            value = self._entry(table + (address >> shift & 511) * 8, address)
            if not value & PRESENT:
                return self._absent(address, value, shift)
            if shift == FRAME_SHIFT or (value & HUGE and shift in _HUGE_SHIFTS):
                break
            table = value & mask
        base = value & mask & -(1 << shift)
        physical = base + (address & (1 << shift) - 1)
        if not self.physical.is_live or shift != FRAME_SHIFT:  # the direct map is not torn down while a kernel runs
            kept, unit = (self._small, FRAME_SHIFT) if shift == FRAME_SHIFT else (self._huge, 21)
            if len(kept) >= _MAX_KEPT:
                for old in list(islice(kept, _MAX_KEPT // 2)):
                    del kept[old]
            kept[address >> unit] = physical & -(1 << unit)
        return physical

    def _absent(self, address: int, value: int, shift: int) -> int:
        """The address behind an entry without the present bit, if it has one (PROT_NONE).  Raises MemoryFault."""
        if value & PROT_NONE and shift <= 21:
            base = self._prot_none(value, shift)
            if self.physical.has(base):
                return base + (address & (1 << shift) - 1)
        raise self.fault(address, MemoryFault.UNMAPPED, describe_absent(value, shift))

    def _prot_none(self, value: int, shift: int) -> int:
        """Linux keeps the address of a PROT_NONE page inverted (since v4.19); memory tells which of the two it is."""
        inverted = ~value & self._mask & -(1 << shift)
        return inverted if self.physical.has(inverted) else value & self._mask & -(1 << shift)

    def _iter_leaves(self, start: int, end: int, max_tables: int) -> Iterator[Mapping]:
        left = max_tables
        # What comes next is the last: a leaf, or a table to read with its place in shifts, the virtual address of its
        # first entry, and the rights of those above.
        pending: list[Mapping | tuple[int, int, int, int]] = [(self.root, 0, 0, WRITABLE | USER)]
        path: list[int] = []
        while pending:
            one = pending.pop()
            if isinstance(one, Mapping):
                yield one
                continue
            table, depth, base, rights = one
            del path[depth:]
            shift = self._shifts[depth]
            if table in path:
                continue  # a table that is its own ancestor
            path.append(table)
            left -= 1
            if left < 0:
                raise self.fault(base, MemoryFault.DAMAGED, f"more than {max_tables} page tables")
            try:
                entries = struct.unpack("<512Q", self.physical.read(table, FRAME_SIZE))
            except MemoryFault:
                continue
            below: list[Mapping | tuple[int, int, int, int]] = []
            for index, value in enumerate(entries):
                if not value & PRESENT:
                    continue
                first = base + (index << shift)
                if depth == 0 and index >= 256:
                    first |= (1 << 64) - self._lower_end  # the upper half
                if first >= end or first + (1 << shift) <= start:
                    continue
                allowed = value & rights | (value | rights) & NO_EXECUTE
                if shift == FRAME_SHIFT or (value & HUGE and shift in _HUGE_SHIFTS):
                    target = value & self._mask & -(1 << shift)
                    allowed_to = bool(allowed & WRITABLE), bool(allowed & USER), not allowed & NO_EXECUTE
                    below.append(Mapping(first, first + (1 << shift), target, *allowed_to))
                else:
                    below.append((value & self._mask, depth + 1, first, allowed))
            pending += reversed(below)


def swap_entry(value: int) -> tuple[int, int]:
    """(type, offset) of an entry that is neither present nor PROT_NONE: a swap area and a page in it, or something
    special from type 23 on.  Source: arch/x86/include/asm/pgtable_64.h: the offset is inverted since v4.19.
    """
    return value >> 59, (~value << 5 & (1 << 64) - 1) >> 14


def describe_absent(value: int, shift: int = FRAME_SHIFT) -> str:
    """What an entry without the present bit says, in words; "" for an empty one.

    value: the entry; shift: of its level.
    """
    if value == 0:
        return ""
    level = _NAMES[shift]
    if value & PROT_NONE:
        return f"{level} {value:#x}: no access allowed"
    kind, offset = swap_entry(value)
    if kind >= _FIRST_SPECIAL:
        return f"{level} {value:#x}: {_SWAP_TYPES.get(kind, 'device memory')} entry, page {offset:#x}"
    return f"{level} {value:#x}: swapped out to area {kind}, page {offset:#x}"
