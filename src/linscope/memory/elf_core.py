"""ELF vmcores: of kdump (``/proc/vmcore``, makedumpfile -E), of QEMU's dump-guest-memory, of Xen and VirtualBox tools.

A segment's p_paddr says which physical memory it has.  Segments may overlap (QEMU with paging writes one for each
mapping; the kernel's text is there twice); what p_memsz has beyond p_filesz is zero, as the gABI says, which is how
makedumpfile -E leaves pages out.
Source: gABI chapter 5, "Program Header"; Documentation/admin-guide/kdump/kdump.rst.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from linscope.binfmt.notes import Note, iter_notes
from linscope.errors import FormatError, UnsupportedError
from linscope.memory._pieces import ZERO, Piece, PieceMemory, Source
from linscope.memory.registers import find_vmcoreinfo_note, read_cpus

PT_LOAD, PT_NOTE = 1, 4
_PN_XNUM = 0xFFFF  # more segments than fit: the number is in section 0
_ET_CORE = 4
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64", 258: "loongarch64"}  # EM_*, little-endian 64-bit
_MAX_NOTES = 64 << 20  # bytes; some 400 a CPU
NO_ADDRESS = (1 << 64) - 1  # p_paddr of what has no linear mapping (fs/proc/kcore.c)


class Segment(NamedTuple):
    """A program header that matters."""

    kind: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int


class ElfCore(NamedTuple):
    """What the headers say."""

    machine: str
    segments: list[Segment]  # PT_LOAD
    notes: list[Note]


def read_elf_core(file: Source) -> ElfCore:
    """The headers and notes.  Raises FormatError, or UnsupportedError for 32-bit and big-endian ones."""
    head = file.read(0, _HEADER.size, "ELF header")
    for place, wanted, what in ((4, 2, "32-bit"), (5, 1, "big-endian")):  # EI_CLASS, EI_DATA
        if head[place] != wanted:
            raise UnsupportedError(f"a vmcore of a {what} machine", where=file.where, offset=place)
    _, kind, machine, _, _, segment_offset, section_offset, _, _, segment_size, count, _, _, _ = _HEADER.unpack(head)
    if kind != _ET_CORE:
        raise FormatError("an ELF file, but no core dump", where=file.where, offset=16)
    if segment_size != _SEGMENT.size:
        raise FormatError(f"ELF segment headers of {segment_size} bytes", where=file.where, offset=54)
    if count == _PN_XNUM:  # gABI, "ELF Header": then sh_info of the first section is the number
        (count,) = struct.unpack("<I", file.read(section_offset + 44, 4, "number of ELF segments"))
    table = file.read(segment_offset, count * _SEGMENT.size, f"{count} ELF segments")
    loads: list[Segment] = []
    notes: list[Note] = []
    for kind, _, offset, virtual, physical, file_size, memory_size, _ in _SEGMENT.iter_unpack(table):
        if kind == PT_LOAD:
            loads.append(Segment(kind, offset, virtual, physical, file_size, memory_size))
        elif kind == PT_NOTE:
            notes += iter_notes(file.peek(offset, min(file_size, _MAX_NOTES)))
    return ElfCore(_MACHINES.get(machine, f"machine {machine}"), loads, notes)


class ElfMemory(PieceMemory):
    """Physical memory of an ELF vmcore."""

    format = "ELF"

    def __init__(self, file: Source, core: ElfCore) -> None:
        """file: closed with it; core: its headers.  Raises FormatError."""
        if not core.segments:
            raise FormatError("an ELF core dump without memory", where=file.where)
        pieces = []
        for segment in core.segments:
            if segment.physical == NO_ADDRESS:
                continue
            stored = min(segment.file_size, segment.memory_size or segment.file_size)
            middle = segment.physical + stored
            pieces.append(Piece(segment.physical, middle, segment.offset))
            pieces.append(Piece(middle, max(segment.physical + segment.memory_size, middle), ZERO))
        super().__init__(file, pieces)
        self.machine = core.machine
        self.segments = core.segments
        self.notes = core.notes
        self.vmcoreinfo = find_vmcoreinfo_note(core.notes)
        if self.machine == "x86_64":
            self.cpus = read_cpus(core.notes)
