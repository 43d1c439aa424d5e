"""The ELF side of a ``.bpf.o``: sections, symbols and relocations as plain values, checked.

Source: Documentation/bpf/llvm_reloc.rst (the relocations R_BPF_*); include/uapi/linux/elf-em.h, EM_BPF.
"""

from __future__ import annotations

from typing import NamedTuple

from linscope.binfmt.elf import (
    ET_REL,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    ElfFile,
    Section,
)  # fmt: skip
from linscope.errors import FormatError, UnsupportedError

EM_BPF = 247
R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_ABS32, R_BPF_64_NODYLD32, R_BPF_64_32 = 1, 2, 3, 4, 10
STT_FUNC, STT_SECTION, STT_OBJECT = 2, 3, 1
_MAX_SIZE = 1 << 28  # bytes of a section that has none in the file (.bss)


class Symbol(NamedTuple):
    """A symbol; section 0: it is to come from elsewhere."""

    name: str
    kind: int  # STT_*
    bind: int  # STB_*
    visibility: int  # STV_*
    section: int
    value: int
    size: int


class Relocation(NamedTuple):
    """Where something is to be filled in, and what."""

    offset: int  # in the section
    symbol: int
    kind: int  # R_BPF_*


class ElfObject:
    """The parts of an object file: ``sections``, ``symbols``, ``relocations`` by the section that they are for."""

    def __init__(self, image: bytes, *, where: str = "") -> None:
        """Raises FormatError: damaged, or no eBPF object; UnsupportedError: of the other byte order's machine."""
        with ElfFile(image, where=where) as elf:
            if elf.kind != ET_REL or elf.machine != EM_BPF or not elf.is_64:
                raise FormatError("not an eBPF object file (64-bit, relocatable, EM_BPF)", where=where, offset=16)
            if not elf.sections:
                raise FormatError("an object file without sections", where=where, offset=40)
            self.where = where
            self.little_endian = elf.little_endian
            self.sections = elf.sections
            self._elf = elf
            self._data: dict[int, bytes] = {}
            for section in self.sections:
                if section.kind == SHT_NOBITS and section.size > _MAX_SIZE:
                    raise FormatError(f"a section {section.name!r} of {section.size} bytes", where=where,
                                      offset=section.offset)  # fmt: skip
            self.symbols = self._read_symbols(elf)
            self.relocations: dict[int, list[Relocation]] = {}
            for section in self.sections:
                if section.kind in (SHT_REL, SHT_RELA):
                    self._read_relocations(elf, section)

    def _read_symbols(self, elf: ElfFile) -> list[Symbol]:
        table = elf.section_of_kind(SHT_SYMTAB)
        if table is None:
            return []
        strings = elf.strings_of(table)
        rows = elf.symbols(table)
        symbols = []
        for name, info, other, section, value, size in rows.tolist():
            end = strings.find(b"\0", name)
            text = strings[name : end if end >= 0 else len(strings)].decode("utf-8", "replace")
            if section < SHN_LORESERVE and section >= len(self.sections):
                raise FormatError(f"symbol {text!r} of section {section}", where=self.where, offset=table.offset)
            if info & 15 == STT_SECTION and not text:
                text = self.sections[section].name if section < len(self.sections) else ""
            symbols.append(Symbol(text, info & 15, info >> 4, other & 3, section, value, size))
        return symbols

    def _read_relocations(self, elf: ElfFile, section: Section) -> None:
        if not 0 < section.info < len(self.sections):
            raise FormatError(f"relocations {section.name!r} for no section", where=self.where, offset=section.offset)
        target = self.sections[section.info]
        found = self.relocations.setdefault(section.info, [])
        for offset, symbol, kind in elf.relocations(section).tolist():
            if symbol >= len(self.symbols) or offset >= target.size:
                raise FormatError(
                    f"relocation of {target.name}+{offset:#x} by symbol {symbol}", where=self.where,
                    offset=section.offset,
                )  # fmt: skip
            found.append(Relocation(offset, symbol, kind))
        found.sort()

    def section(self, name: str) -> Section | None:
        """The first section of a name, None when there is none."""
        return next((each for each in self.sections if each.name == name), None)

    def data(self, section: Section) -> bytes:
        """The bytes of a section; empty when the file has none for it (.bss).  Raises FormatError."""
        known = self._data.get(section.number)
        if known is None:
            known = self._data[section.number] = self._elf.section_bytes(section)
        return known

    def fail(self, what: str, section: Section, offset: int = 0) -> FormatError:
        """An error with the place in the file, of a place in a section."""
        return FormatError(what, where=self.where, offset=section.offset + offset)

    def unsupported(self, what: str, section: Section, next_step: str = "") -> UnsupportedError:
        """An error for what is intact, and not for us to load."""
        return UnsupportedError(what, where=self.where, offset=section.offset, next_step=next_step)
