"""Functions and USDT notes of programs, read without numpy: a probe on one function is to be there at once.

Source: elf(5); for notes see binfmt/usdt.py.
"""

from __future__ import annotations

import struct

from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterator

_SYMTAB, _DYNSYM, _LOAD = 2, 11, 1
_FUNCTION, _INDIRECT = 2, 10
_NOTE_TYPE = 3


class Elf:
    """A 64-bit little-endian ELF file's sections and segments."""

    def __init__(self, path: str) -> None:
        """Raises OSError, FormatError."""
        import mmap

        self.path = path
        with open(path, "rb") as file:
            try:
                self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise FormatError("not an ELF file", where=path, offset=0) from None
        if self.data[:6] != b"\x7fELF\x02\x01" or len(self.data) < 64:
            raise FormatError("not a 64-bit ELF file", where=path, offset=0)
        try:
            self._read()
        except struct.error:
            raise FormatError("headers cut short", where=path, offset=0) from None

    def _read(self) -> None:
        program_at, section_at = struct.unpack_from("<QQ", self.data, 32)
        program_size, programs, section_size, sections, names = struct.unpack_from("<HHHHH", self.data, 54)
        self.segments: list[tuple[int, int, int]] = []  # (address, file offset, bytes in the file)
        for place in range(programs):
            kind, _, offset, address, _, size = struct.unpack_from(
                "<IIQQQQ", self.data, program_at + place * program_size
            )
            if kind == _LOAD:
                self.segments.append((address, offset, size))
        rows = [struct.unpack_from("<IIQQQQIIQQ", self.data, section_at + i * section_size) for i in range(sections)]
        self.sections: list[tuple[bytes, int, int, int, int, int]] = []  # (name, kind, address, offset, size, link)
        strings = rows[names][4] if names < len(rows) else 0
        for name, kind, _, address, offset, size, link, *_ in rows:
            end = self.data.find(b"\0", strings + name)
            self.sections.append((bytes(self.data[strings + name : end]), kind, address, offset, size, link))

    def file_offset(self, address: int) -> int | None:
        """Where in the file lies what is loaded at an address."""
        for start, offset, size in self.segments:
            if start <= address < start + size:
                return address - start + offset
        return None

    def functions(self) -> Iterator[tuple[str, int, int]]:
        """(name, offset in the file, bytes) of all functions; some come twice."""
        for _, kind, _, offset, size, link in self.sections:
            if kind not in (_SYMTAB, _DYNSYM) or link >= len(self.sections):
                continue
            strings_at, strings_size = self.sections[link][3], self.sections[link][4]
            strings = self.data[strings_at : strings_at + strings_size]
            table = self.data[offset : offset + size - size % 24]
            for name, info, _, section, value, length in struct.iter_unpack("<IBBHQQ", table):
                if info & 15 in (_FUNCTION, _INDIRECT) and section and value:
                    place = self.file_offset(value)
                    if place is not None:
                        text = strings[name : strings.find(b"\0", name)].decode("utf-8", "replace")
                        yield text.partition("@")[0], place, length

    def find_function(self, name: str) -> tuple[int, int] | None:
        """(offset in the file, bytes) of a function; looked for as text first."""
        if self.data.find(name.encode() + b"\0") < 0:
            return None
        for found, place, length in self.functions():
            if found == name:
                return place, length
        return None

    def usdt_probes(self) -> Iterator[tuple[str, str, int, int, str]]:
        """(provider, name, offset, semaphore's offset or 0, operands) of the USDT notes."""
        base = next((one[2] for one in self.sections if one[0] == b".stapsdt.base"), 0)
        for name, _, _, offset, size, _ in self.sections:
            if name != b".note.stapsdt":
                continue
            at, end = offset, offset + size
            while at + 12 <= end:
                name_size, description_size, kind = struct.unpack_from("<III", self.data, at)
                start = at + 12 + (name_size + 3 & ~3)
                at = start + (description_size + 3 & ~3)
                if kind != _NOTE_TYPE or at > end + 3 or description_size < 24:
                    continue
                address, linked, semaphore = struct.unpack_from("<QQQ", self.data, start)
                moved = base - linked if base and linked else 0
                texts = self.data[start + 24 : start + description_size].split(b"\0")
                place = self.file_offset(address + moved)
                counter = self.file_offset(semaphore + moved) if semaphore else 0
                if place is not None and len(texts) >= 3:
                    provider, probe, operands = (text.decode("utf-8", "replace") for text in texts[:3])
                    yield provider, probe, place, counter or 0, operands
