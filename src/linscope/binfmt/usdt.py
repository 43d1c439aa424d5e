"""USDT probes (SystemTap's sdt.h) in ELF files: the notes of the section .note.stapsdt.

Source: sourceware.org/systemtap/wiki/UserSpaceProbeImplementation: a note "stapsdt" of type 3 holds the probe's
address, the address of .stapsdt.base when it was linked, the address of a semaphore (a u16 that counts who listens; 0
without), then provider, name and arguments, each ending in NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from linscope.binfmt.elf import PT_LOAD, ElfFile
from linscope.binfmt.notes import iter_notes
from linscope.errors import FormatError

_NOTE_TYPE = 3


class UsdtProbe(NamedTuple):
    """One place of a probe; a probe that was inlined has several."""

    provider: str
    name: str
    offset: int  # of the instruction, in the file
    semaphore: int  # offset of its counter in the file; 0 without
    arguments: str  # "-4@%edi 8@-8(%rbp)": size (negative: signed), then an operand of the assembler


def iter_usdt_probes(elf: ElfFile) -> Iterator[UsdtProbe]:
    """The probes of an ELF file, in the order of the notes.  Raises FormatError when a note is damaged."""
    section = elf.section(".note.stapsdt")
    if section is None:
        return
    base = elf.section(".stapsdt.base")
    order, word = ("<" if elf.little_endian else ">"), ("Q" if elf.is_64 else "I")
    head = struct.Struct(order + 3 * word)
    for note in iter_notes(elf.section_bytes(section), little_endian=elf.little_endian):
        if note.name != b"stapsdt" or note.kind != _NOTE_TYPE:
            continue
        texts = note.description[head.size :].split(b"\0")
        if len(note.description) < head.size or len(texts) < 3:
            raise FormatError("damaged note of a USDT probe", where=elf.path, offset=section.offset)
        address, linked_base, semaphore = head.unpack_from(note.description)
        moved = base.address - linked_base if base and linked_base else 0  # prelink moves, and leaves notes alone
        provider, name, arguments = (text.decode("utf-8", "replace") for text in texts[:3])
        offset = file_offset(elf, address + moved)
        counter = file_offset(elf, semaphore + moved) if semaphore else 0
        if offset is None or counter is None:
            raise FormatError(f"USDT probe {provider}:{name} lies in no segment", where=elf.path, offset=section.offset)
        yield UsdtProbe(provider, name, offset, counter, arguments)


def file_offset(elf: ElfFile, address: int) -> int | None:
    """Where in the file lies what is loaded at an address; None when no segment of the file is."""
    for segment in elf.segments:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.file_size:
            return address - segment.address + segment.offset
    return None
