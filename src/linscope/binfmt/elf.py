"""ELF files: headers, sections, segments, symbols, relocations, notes; both classes and both byte orders.

Only what is asked for is read, by pread.  Every offset and count of the file is held against the file's size
first, so a damaged file gives FormatError and never more memory than it has bytes.
Source: gABI (System V Application Binary Interface), chapters 4 and 5; /usr/include/elf.h.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linscope.binfmt.notes import find_build_id
from linscope.errors import FormatError

ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
EM_386, EM_ARM, EM_X86_64, EM_AARCH64 = 3, 40, 62, 183
SHT_SYMTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_DYNSYM = 2, 4, 7, 8, 9, 11
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 2, 4, 0x800
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_XINDEX = 0, 0xFF00, 0xFFF1, 0xFFFF
PT_LOAD, PT_NOTE = 1, 4
PF_X = 1
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC = 0, 1, 2, 10
STV_INTERNAL, STV_HIDDEN = 1, 2

_MAX_SECTIONS = 1 << 20  # far above what a compiler writes, far below what a damaged header claims
Records = npt.NDArray[Any]  # a structured array

_SECTION_64 = "name:u4 kind:u4 flags:u8 address:u8 offset:u8 size:u8 link:u4 info:u4 align:u8 entry_size:u8"
_SECTION_32 = "name:u4 kind:u4 flags:u4 address:u4 offset:u4 size:u4 link:u4 info:u4 align:u4 entry_size:u4"
_SEGMENT_64 = "kind:u4 flags:u4 offset:u8 address:u8 physical:u8 file_size:u8 memory_size:u8 align:u8"
_SEGMENT_32 = "kind:u4 offset:u4 address:u4 physical:u4 file_size:u4 memory_size:u4 flags:u4 align:u4"
_SYMBOL_64 = "name:u4 info:u1 other:u1 section:u2 value:u8 size:u8"
_SYMBOL_32 = "name:u4 value:u4 size:u4 info:u1 other:u1 section:u2"


def _dtype(fields: str, order: str) -> np.dtype[Any]:
    pairs = (field.split(":") for field in fields.split())
    return np.dtype([(name, kind if kind == "u1" else order + kind) for name, kind in pairs])


class Section(NamedTuple):
    """One section header (Elf64_Shdr); number is its place in the table."""

    number: int
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int


class Segment(NamedTuple):
    """One program header (Elf64_Phdr)."""

    kind: int
    flags: int
    offset: int
    address: int
    file_size: int
    memory_size: int


class ElfFile:
    """An open ELF file, or an ELF image in memory.

    ``is_64``, ``little_endian``, ``kind`` (ET_*), ``machine`` (EM_*), ``sections``, ``segments`` are ready
    after construction; all else is read when asked for.
    """

    def __init__(self, source: str | bytes, *, where: str = "") -> None:
        """source: a path or an image.  Raises FormatError when it is no whole ELF file, or OSError."""
        self.path = where or (source if isinstance(source, str) else "")
        self._image: bytes | None = None
        self._fd = -1
        if isinstance(source, str):
            # the path may come from a recording: opening a device can do things, opening a FIFO can hang
            if not stat.S_ISREG(Path(source).stat().st_mode):
                raise FormatError("not a regular file", where=source)
            self._fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            self.size = os.fstat(self._fd).st_size
        else:
            self._image = source
            self.size = len(source)
        try:
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ElfFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.path or "in memory"
        return f"<ElfFile {where}: {len(self.sections)} sections, build-id {self.build_id or 'none'}>"

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at a file offset.  Raises FormatError when the file does not have them all."""
        if offset + size > self.size:
            raise FormatError("ELF data beyond the end of the file", where=self.path, offset=offset)
        if self._image is not None:
            return self._image[offset : offset + size]
        try:
            data = os.pread(self._fd, size, offset)
        except OSError as error:  # a folder, a device, an offset that the file system does not take
            why = error.strerror or ""
            raise FormatError("cannot read ELF data", where=self.path, offset=offset, why=why) from error
        if len(data) != size:
            raise FormatError("ELF data cut short", where=self.path, offset=offset)
        return data

    def _read_headers(self) -> None:
        ident = self.read(0, 16) if self.size >= 16 else b""
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise FormatError("not an ELF file", where=self.path, offset=0)
        self.is_64 = ident[4] == 2
        self.little_endian = ident[5] == 1
        self._order = "<" if self.little_endian else ">"
        layout = struct.Struct(self._order + ("HHIQQQIHHHHHH" if self.is_64 else "HHIIIIIHHHHHH"))
        (
            self.kind, self.machine, _, self.entry, segment_offset, section_offset, self.flags, _,
            segment_size, segment_count, section_size, section_count, name_index,
        ) = layout.unpack(self.read(16, layout.size))  # fmt: skip
        section_dtype = _dtype(_SECTION_64 if self.is_64 else _SECTION_32, self._order)
        headers = np.empty(0, section_dtype)
        if section_offset and section_size == section_dtype.itemsize:
            first = np.frombuffer(self.read(section_offset, section_size), section_dtype)
            # more than 0xfeff sections or segments: the true numbers are in section 0 (gABI, "ELF Header")
            section_count = section_count or int(first["size"][0])
            name_index = int(first["link"][0]) if name_index == SHN_XINDEX else name_index
            segment_count = int(first["info"][0]) if segment_count == 0xFFFF else segment_count
            if section_count > _MAX_SECTIONS:
                raise FormatError(f"{section_count} ELF sections", where=self.path, offset=section_offset)
            headers = np.frombuffer(self.read(section_offset, section_count * section_size), section_dtype)
        self._names = b""
        if 0 < name_index < len(headers):
            names = headers[name_index]
            if names["kind"] != SHT_NOBITS:
                self._names = self.read(int(names["offset"]), int(names["size"]))
        self.sections = [Section(index, self._name(row[0]), *row[1:]) for index, row in enumerate(headers.tolist())]
        self.segments: list[Segment] = []
        segment_dtype = _dtype(_SEGMENT_64 if self.is_64 else _SEGMENT_32, self._order)
        if segment_offset and segment_count and segment_size == segment_dtype.itemsize:
            table = np.frombuffer(self.read(segment_offset, segment_count * segment_size), segment_dtype)
            fields = ("kind", "flags", "offset", "address", "file_size", "memory_size")
            self.segments = [Segment(*values) for values in zip(*(table[f].tolist() for f in fields), strict=True)]
        self._build_id: str | None = None

    def _name(self, offset: int) -> str:
        end = self._names.find(b"\0", offset, offset + 256)
        return self._names[offset : end if end >= 0 else offset + 256].decode("utf-8", "replace")

    def section(self, name: str) -> Section | None:
        """The first section of that name, None when there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def section_of_kind(self, kind: int) -> Section | None:
        """The first section of a kind (SHT_*), None when there is none."""
        return next((section for section in self.sections if section.kind == kind), None)

    def section_bytes(self, section: Section) -> bytes:
        """A section's bytes; empty when it has none in the file (SHT_NOBITS).  Raises FormatError."""
        return b"" if section.kind == SHT_NOBITS else self.read(section.offset, section.size)

    @property
    def build_id(self) -> str:
        """GNU build-id in lower-case hex, "" when the file has none."""
        if self._build_id is None:
            self._build_id = ""
            for data in self._iter_note_data():
                self._build_id = find_build_id(data, little_endian=self.little_endian) or ""
                if self._build_id:
                    break
        return self._build_id

    def _iter_note_data(self) -> Iterator[bytes]:
        named = [s for s in self.sections if s.kind == SHT_NOTE]
        named.sort(key=lambda s: s.name != ".note.gnu.build-id")
        spans = [(s.offset, s.size) for s in named]
        spans += [(s.offset, s.file_size) for s in self.segments if s.kind == PT_NOTE]
        for offset, size in spans:
            if size <= 1 << 20 and offset + size <= self.size:  # a damaged note hides nothing else
                yield self.read(offset, size)

    def debug_link(self) -> str:
        """File name in .gnu_debuglink, "" when there is none."""
        section = self.section(".gnu_debuglink")
        data = self.section_bytes(section) if section and section.size <= 8192 else b""
        return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def symbols(self, section: Section) -> Records:
        """The symbols of a SHT_SYMTAB or SHT_DYNSYM section: name, info, other, section, value, size.

        value and size are unsigned 64-bit in the machine's own byte order whatever the file has.
        Raises FormatError when the table is not wholly in the file.
        """
        dtype = _dtype(_SYMBOL_64 if self.is_64 else _SYMBOL_32, self._order)
        if section.entry_size not in (0, dtype.itemsize):
            raise FormatError("symbol table with an entry size of its own", where=self.path, offset=section.offset)
        data = self.section_bytes(section)
        table = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        if self.is_64 and self.little_endian:
            return table
        native = np.empty(len(table), _dtype(_SYMBOL_64, "="))
        for field in dtype.names or ():
            native[field] = table[field]  # by name: the classes order their fields differently
        return native

    def strings_of(self, section: Section) -> bytes:
        """The string table that a symbol table links to.  Raises FormatError when there is none."""
        if not 0 < section.link < len(self.sections):
            raise FormatError("symbol table without string table", where=self.path, offset=section.offset)
        return self.section_bytes(self.sections[section.link])

    def relocations(self, section: Section) -> Records:
        """A SHT_REL or SHT_RELA section as rows of offset, symbol (index), kind.  Raises FormatError."""
        word = "u8" if self.is_64 else "u4"
        fields = f"offset:{word} info:{word}" + (f" addend:{word}" if section.kind == SHT_RELA else "")
        dtype = _dtype(fields, self._order)
        data = self.section_bytes(section)
        raw = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        rows = np.empty(len(raw), _dtype("offset:u8 symbol:u4 kind:u4", "="))
        info = raw["info"].astype(np.uint64)
        rows["offset"] = raw["offset"]
        rows["symbol"] = info >> (32 if self.is_64 else 8)
        rows["kind"] = info & np.uint64(0xFFFFFFFF if self.is_64 else 0xFF)
        return rows
