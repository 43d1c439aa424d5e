"""An ELF file read without numpy, mapped into memory: sections, segments, a symbol by its name, USDT notes.

For who wants one thing of a file and wants it at once: importing numpy takes longer than attaching a probe.  All else
is in elf.py.  Every offset is held against the file's size, so a damaged file gives FormatError.
Source: gABI (System V Application Binary Interface), chapters 4 and 5; for the notes see usdt.py.
"""

from __future__ import annotations

import struct

from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

SHT_SYMTAB, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 2, 7, 8, 11
SHF_COMPRESSED = 0x800
PT_LOAD = 1
ET_EXEC, ET_DYN = 2, 3
FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
OBJECTS = (1, 6)  # STT_OBJECT, STT_TLS
_NT_STAPSDT, _NT_GNU_BUILD_ID = 3, 3
_MAX_HEADERS = 1 << 16
_LARGEST = 1 << 30  # bytes of a section when unpacked
_ZLIB, _ZSTD = 1, 2  # ELFCOMPRESS_*


class Section:
    """One section header."""

    __slots__ = ("address", "entry_size", "flags", "kind", "link", "name", "offset", "size")

    def __init__(self, name: str, row: tuple[int, ...]) -> None:
        """row: of the header: name, kind, flags, address, offset, size, link, info, align, entry size."""
        self.name = name
        _, self.kind, self.flags, self.address, self.offset, self.size, self.link, _, _, self.entry_size = row


class Symbol:
    """A function or an object.  value: its address as linked; size in bytes."""

    __slots__ = ("kind", "name", "size", "value")

    def __init__(self, name: str, kind: int, value: int, size: int) -> None:
        """kind: STT_*."""
        self.name, self.kind, self.value, self.size = name, kind, value, size


class ElfView:
    """An ELF file; ``kind`` is ET_*, ``segments`` are (address, offset, bytes in the file) of what is loaded."""

    def __init__(self, path: str, *, start: int = 0, size: int = 0) -> None:
        """start, size: where in the file the ELF file lies, when it is in an archive.  Raises OSError, FormatError."""
        self.path = path
        self.start = start
        self._data = _map(path)
        self._end = start + size if size else len(self._data)
        head = self._bytes(0, 64) if self._end - start >= 64 else b""
        if head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] not in (1, 2):
            raise FormatError("not an ELF file", where=path, offset=start)
        self.is_64 = head[4] == 2
        self.order = "<" if head[5] == 1 else ">"
        (
            self.kind, self.machine, _, self.entry, segments_at, sections_at, _, _, segment_size, segment_count,
            section_size, section_count, names,
        ) = struct.unpack_from(self.order + ("HHIQQQIHHHHHH" if self.is_64 else "HHIIIIIHHHHHH"), head, 16)  # fmt: skip
        self._read_sections(sections_at, section_size, section_count, names)
        self._read_segments(segments_at, segment_size, segment_count)

    def close(self) -> None:
        """Give the memory back."""
        self._data.close()

    def __enter__(self) -> ElfView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bytes(self, offset: int, size: int) -> bytes:
        at = self.start + offset
        if offset < 0 or size < 0 or at + size > self._end:
            raise FormatError("ELF data beyond the end of the file", where=self.path, offset=at)
        return self._data[at : at + size]

    def _read_sections(self, offset: int, step: int, count: int, names: int) -> None:
        layout = struct.Struct(self.order + ("IIQQQQIIQQ" if self.is_64 else "IIIIIIIIII"))
        self.sections: list[Section] = []
        if not offset or step != layout.size:
            return
        if not count:  # more than 0xfeff: the number is in section 0 (gABI, "ELF Header")
            count = layout.unpack(self._bytes(offset, step))[5]
        if count > _MAX_HEADERS:
            raise FormatError(f"{count} ELF sections", where=self.path, offset=offset)
        rows = list(layout.iter_unpack(self._bytes(offset, step * count)))
        if names == 0xFFFF and rows:
            names = rows[0][6]
        texts = b""
        if 0 < names < len(rows) and rows[names][1] != SHT_NOBITS:
            texts = self._bytes(rows[names][4], rows[names][5])
        for row in rows:
            end = texts.find(b"\0", row[0])
            name = texts[row[0] : end if end >= 0 else row[0]].decode("utf-8", "replace")
            self.sections.append(Section(name, row))

    def _read_segments(self, offset: int, step: int, count: int) -> None:
        layout = struct.Struct(self.order + ("IIQQQQQQ" if self.is_64 else "IIIIIIII"))
        self.segments: list[tuple[int, int, int]] = []
        if not offset or step != layout.size:
            return
        for row in layout.iter_unpack(self._bytes(offset, step * count)):
            if row[0] == PT_LOAD:
                at, address, size = (row[2], row[3], row[5]) if self.is_64 else (row[1], row[2], row[4])
                self.segments.append((address, at, size))

    def section(self, name: str) -> Section | None:
        """The first section of a name; None: there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def section_bytes(self, section: Section) -> bytes:
        """A section's bytes, unpacked; empty when it has none in the file.  Raises FormatError."""
        if section.kind == SHT_NOBITS:
            return b""
        data = self._bytes(section.offset, section.size)
        return self._unpacked(data, section) if section.flags & SHF_COMPRESSED else data

    def _unpacked(self, data: bytes, section: Section) -> bytes:
        """Source: gABI, "Section Compression" (Elf64_Chdr)."""
        layout = self.order + ("IIQQ" if self.is_64 else "III")
        if len(data) < struct.calcsize(layout):
            raise FormatError("compressed section cut short", where=self.path, offset=section.offset)
        kind, *rest = struct.unpack_from(layout, data)
        size, packed = rest[-2], data[struct.calcsize(layout) :]
        if size > _LARGEST:
            raise FormatError(f"a section of {size} bytes", where=self.path, offset=section.offset)
        if kind == _ZLIB:
            import zlib

            try:
                return zlib.decompress(packed, bufsize=max(size, 1))
            except zlib.error:
                pass
        elif kind == _ZSTD:
            import zstandard

            try:
                return zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
            except zstandard.ZstdError:
                pass
        raise FormatError(f"section {section.name} cannot be unpacked", where=self.path, offset=section.offset)

    def file_offset(self, address: int) -> int | None:
        """Where in the file lies what is loaded at an address; None when no segment of the file is."""
        for begin, offset, size in self.segments:
            if begin <= address < begin + size:
                return self.start + offset + address - begin
        return None

    def address_of(self, offset: int) -> int | None:
        """The address as linked of what lies in the file at an offset; None when no segment has it."""
        for begin, at, size in self.segments:
            if self.start + at <= offset < self.start + at + size:
                return offset - self.start - at + begin
        return None

    # -- symbols

    def _tables(self) -> Iterator[tuple[bytes, bytes]]:
        """(symbols, strings) of .symtab, then of .dynsym."""
        for kind in (SHT_SYMTAB, SHT_DYNSYM):
            for section in self.sections:
                if section.kind == kind and section.link < len(self.sections):
                    yield self.section_bytes(section), self.section_bytes(self.sections[section.link])

    def _rows(self, table: bytes) -> Iterator[tuple[int, int, int, int, int]]:
        """(name's offset, info, section, value, size) of a table's symbols."""
        layout = struct.Struct(self.order + ("IBBHQQ" if self.is_64 else "IIIBBH"))
        whole = table[: len(table) - len(table) % layout.size]
        if self.is_64:
            for name, info, _, section, value, size in layout.iter_unpack(whole):
                yield name, info, section, value, size
        else:
            for name, value, size, info, _, section in layout.iter_unpack(whole):
                yield name, info, section, value, size

    def symbols(self, kinds: tuple[int, ...] = FUNCTIONS) -> Iterator[Symbol]:
        """The symbols that the file defines, without version (memcpy of memcpy@@GLIBC_2.14); some come twice."""
        for table, strings in self._tables():
            for name, info, section, value, size in self._rows(table):
                if info & 15 in kinds and section and value:
                    text = strings[name : strings.find(b"\0", name)].decode("utf-8", "replace")
                    yield Symbol(text.partition("@")[0], info & 15, value, size)

    def find_symbol(self, name: str, kinds: tuple[int, ...] = FUNCTIONS) -> Symbol | None:
        """The symbol of a name; None: the file defines none.  The name is searched for as text, then in the table."""
        wanted = name.encode()
        step = 24 if self.is_64 else 16
        order = "little" if self.order == "<" else "big"
        for table, strings in self._tables():
            at = strings.find(wanted)
            while at >= 0:
                if strings[at + len(wanted) : at + len(wanted) + 1] in (b"\0", b"@"):  # a tail of another name, too
                    packed = at.to_bytes(4, order)  # type: ignore[arg-type]
                    place = table.find(packed)
                    while place >= 0:
                        if place % step == 0:
                            for _, info, section, value, size in self._rows(table[place : place + step]):
                                if info & 15 in kinds and section and value:
                                    return Symbol(name, info & 15, value, size)
                        place = table.find(packed, place + 1)
                at = strings.find(wanted, at + 1)
        return None

    # -- notes

    def _notes(self, section: Section) -> Iterator[tuple[bytes, int, bytes]]:
        data, at = self.section_bytes(section), 0
        while at + 12 <= len(data):
            name_size, size, kind = struct.unpack_from(self.order + "III", data, at)
            start = at + 12 + (name_size + 3 & ~3)
            if start + size > len(data):
                return
            yield data[at + 12 : at + 12 + name_size].rstrip(b"\0"), kind, data[start : start + size]
            at = start + (size + 3 & ~3)

    @property
    def build_id(self) -> str:
        """GNU build-id in lower-case hex, "" when the file has none."""
        section = self.section(".note.gnu.build-id")
        if section is not None:
            for name, kind, description in self._notes(section):
                if name == b"GNU" and kind == _NT_GNU_BUILD_ID:
                    return description.hex()
        return ""

    def usdt_probes(self) -> Iterator[tuple[str, str, int, int, str]]:
        """(provider, name, offset in the file, semaphore's offset or 0, operands) of the USDT notes, in order."""
        section, base = self.section(".note.stapsdt"), self.section(".stapsdt.base")
        head = struct.Struct(self.order + ("QQQ" if self.is_64 else "III"))
        for name, kind, description in self._notes(section) if section is not None else ():
            texts = description[head.size :].split(b"\0")
            if name != b"stapsdt" or kind != _NT_STAPSDT or len(texts) < 3:
                continue
            address, linked, semaphore = head.unpack_from(description)
            moved = base.address - linked if base is not None and linked else 0  # prelink moves, and leaves notes alone
            offset = self.file_offset(address + moved)
            counter = self.file_offset(semaphore + moved) if semaphore else 0
            if offset is not None and counter is not None:
                provider, probe, operands = (text.decode("utf-8", "replace") for text in texts[:3])
                yield provider, probe, offset, counter, operands


def _map(path: str) -> mmap.mmap:
    import mmap
    import os
    import stat

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size < 64:
            raise FormatError("not an ELF file", where=path, offset=0)
        return mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
    finally:
        os.close(fd)


def is_elf(path: str) -> bool:
    """Whether a file begins as an ELF file does."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False
