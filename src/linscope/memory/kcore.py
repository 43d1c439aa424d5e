"""/proc/kcore: the running kernel's memory, by virtual address.

Its segments are ranges of virtual addresses.  Those of the direct map and of the kernel's image say where they are in
physical memory; those of vmalloc, modules and vmemmap do not (p_paddr is -1).
Source: fs/proc/kcore.c; p_paddr since v4.8 (464920104bf7), VMCOREINFO since v4.19 (23c85094fe18).
"""

from __future__ import annotations

from bisect import bisect_right

from linscope.errors import MemoryFault, UsageError
from linscope.memory._pieces import Piece, PieceMemory, Pieces, Source
from linscope.memory.elf_core import NO_ADDRESS, ElfCore
from linscope.memory.paging import AddressSpace
from linscope.memory.registers import NT_TASKSTRUCT, find_vmcoreinfo_note


def is_kcore(core: ElfCore) -> bool:
    """True if these are the headers of /proc/kcore: no dump has a note with a task_struct."""
    return any(note.kind == NT_TASKSTRUCT and note.name == b"CORE" for note in core.notes)


class KcoreMemory(PieceMemory):
    """Physical memory through the direct map; ``virtual`` has all segments by virtual address."""

    format = "/proc/kcore"
    is_live = True

    def __init__(self, file: Source, core: ElfCore) -> None:
        """file: closed with it."""
        known = [segment for segment in core.segments if segment.physical != NO_ADDRESS]
        super().__init__(
            file, [Piece(one.physical, one.physical + one.memory_size, one.offset) for one in known]
        )
        self.machine = core.machine
        self.notes = core.notes
        self.vmcoreinfo = find_vmcoreinfo_note(core.notes)
        self.virtual = Pieces(
            file, [Piece(one.virtual, one.virtual + one.memory_size, one.offset) for one in core.segments]
        )
        self.linear = sorted((one.virtual, one.virtual + one.memory_size, one.physical) for one in known)


class KcoreSpace(AddressSpace):
    """The kernel's virtual memory as /proc/kcore gives it; page tables are walked only where it does not say."""

    def __init__(self, memory: KcoreMemory, root: int, *, levels: int = 4, encryption_mask: int = 0) -> None:
        """See AddressSpace."""
        super().__init__(memory, root, levels=levels, encryption_mask=encryption_mask)
        self._pieces = memory.virtual
        self._linear = memory.linear
        self._firsts = [first for first, _, _ in memory.linear]

    def read(self, address: int, size: int) -> bytes:
        """All size bytes at a virtual address.  Raises MemoryFault for the first that cannot be read."""
        if size < 0:
            raise UsageError(f"a read of {size} bytes")
        return self._pieces.read(address, size, self.fault)

    def translate(self, address: int) -> int:
        """The physical address of a virtual one.  Raises MemoryFault with the reason when it has none."""
        index = bisect_right(self._firsts, address) - 1
        if index >= 0:
            first, behind, physical = self._linear[index]
            if address < behind:
                return physical + address - first
        return super().translate(address)

    def fault(self, address: int, reason: str, why: str = "", *, offset: int | None = None) -> MemoryFault:
        """A MemoryFault of this address space; see there."""
        if reason == MemoryFault.HOLE:  # no segment: nothing is mapped there
            reason = MemoryFault.UNMAPPED
        return MemoryFault(address, "virtual", reason, where=self.where, offset=offset, why=why)
