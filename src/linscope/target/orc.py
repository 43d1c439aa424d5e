"""ORC: what the kernel knows, for each of its instructions, of where the frame's caller is to be found.

Two tables side by side: 32-bit distances from each element to an instruction, sorted; and what holds from there on.
Source: Documentation/arch/x86/orc-unwinder.rst; arch/x86/include/asm/orc_types.h, arch/x86/kernel/unwind_orc.c; the
layout of an entry changed in v6.3 (ffb1b4a41016) and v6.4 (fb799447ae29): it is taken from BTF.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from linscope.errors import FormatError, UnknownNameError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.contracts import Memory
    from linscope.target.types import Types
else:
    from linscope.binfmt.records import NamedTuple

# where a frame's registers are counted from (ORC_REG_*)
UNDEFINED, PREV_SP, DX, DI, BP, SP, R10, R13, BP_INDIRECT, SP_INDIRECT = range(10)
# what lies at a frame's end, in our numbers: those of the kernel changed in v6.4
NOTHING, END, CALL, REGS, REGS_PARTIAL = range(5)
_BLOCK = 1024  # distances that are read at once
_MOST_ROWS = 1 << 24


class Row(NamedTuple):
    """What holds for some instructions."""

    sp_register: int  # ORC_REG_* that the caller's stack pointer is counted from
    sp_offset: int  # bytes
    bp_register: int  # UNDEFINED: the caller's rbp is the same
    bp_offset: int  # bytes
    kind: int  # CALL, REGS ...
    signal: bool  # the address of the frame above is of an instruction that was interrupted, not of a call


class _Layout:
    """Bits of struct orc_entry."""

    def __init__(self, types: Types) -> None:
        owner = types.get("struct orc_entry")
        self.size = owner.size

        def bits(name: str) -> tuple[int, int]:
            place = types.place(owner, name)
            return place.bit_offset, (1 << (place.bitfield_size or 16)) - 1

        self.sp_offset, self.bp_offset = bits("sp_offset"), bits("bp_offset")
        self.sp_register, self.bp_register = bits("sp_reg"), bits("bp_reg")
        self.kind = bits("type")
        self.signal = self._optional(types, bits, "signal")
        self.end = self._optional(types, bits, "end")

    @staticmethod
    def _optional(types: Types, bits: object, name: str) -> tuple[int, int] | None:
        if not types.has_member("struct orc_entry", name):
            return None
        return bits(name)  # type: ignore[operator, no-any-return]

    def decode(self, data: bytes) -> Row:
        word = int.from_bytes(data, "little")

        def take(place: tuple[int, int]) -> int:
            return word >> place[0] & place[1]

        sp_offset, bp_offset = (number - (number >> 15 << 16) for number in map(take, (self.sp_offset, self.bp_offset)))
        kind = take(self.kind)
        if self.end is not None:  # before v6.4: call, registers, some registers; and a bit for the end
            kind = END if take(self.end) else kind + CALL
        signal = bool(take(self.signal)) if self.signal is not None else kind in (REGS, REGS_PARTIAL)
        return Row(take(self.sp_register), sp_offset, take(self.bp_register), bp_offset, kind, signal)


class _Table:
    """The rows of vmlinux or of one module, read where they are needed."""

    def __init__(self, memory: Memory, distances: int, rows: int, count: int) -> None:
        """Addresses of the two tables, and their length."""
        self.memory = memory
        self.distances, self.rows, self.count = distances, rows, count
        self.blocks: dict[int, array[int]] = {}

    def address(self, place: int) -> int:
        """Of the first instruction that a row is for."""
        block = place // _BLOCK
        found = self.blocks.get(block)
        if found is None:
            first = block * _BLOCK
            size = min(_BLOCK, self.count - first)
            found = array("i", self.memory.read(self.distances + 4 * first, 4 * size))
            self.blocks[block] = found
        return self.distances + 4 * place + found[place % _BLOCK]

    def find(self, address: int) -> int:
        """Place of the last row at or before an address; -1: none."""
        return bisect_right(range(self.count), address, key=self.address) - 1


class Orc:
    """The rows of a kernel and its modules."""

    def __init__(self, memory: Memory, types: Types) -> None:
        """Raises UnknownNameError for a kernel without ORC."""
        self.memory = memory
        self._layout = _Layout(types)
        self._tables: list[tuple[int, int, _Table]] = []  # (first address, first behind) of the code
        self._found: dict[int, Row | None] = {}

    def __repr__(self) -> str:
        return f"<Orc: {sum(table.count for _, _, table in self._tables):,} rows>"

    def add(self, start: int, end: int, distances: int, rows: int, count: int) -> None:
        """The tables of the code between two addresses.  Raises FormatError for absurd sizes."""
        if not 0 <= count <= _MOST_ROWS:
            raise FormatError(f"{count} rows of ORC for the code at {start:#x}")
        if count:
            self._tables.append((start, end, _Table(self.memory, distances, rows, count)))

    def find(self, address: int) -> Row | None:
        """What holds at an instruction; None: nothing is known there.  Raises MemoryFault."""
        if address not in self._found:
            self._found[address] = self._find(address)
        return self._found[address]

    def _find(self, address: int) -> Row | None:
        for start, end, table in self._tables:
            if start <= address < end:
                place = table.find(address)
                if place < 0:
                    return None
                size = self._layout.size
                return self._layout.decode(self.memory.read(table.rows + place * size, size))
        return None


def has_orc(types: Types) -> bool:
    """Whether a kernel's types know of ORC."""
    try:
        types.get("struct orc_entry")
    except UnknownNameError:
        return False
    return True
