"""Functions of an ELF file by offset in the file, read with struct alone: no numpy on the way of a small script.

Source: System V gABI, chapters 4 and 5; the debug file of a build-id under /usr/lib/debug.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_right

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_PT_LOAD, _PT_NOTE, _SHT_SYMTAB, _SHT_DYNSYM, _STT_FUNC, _STT_IFUNC, _STT_NOTYPE = 1, 4, 2, 11, 2, 10, 0
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_NT_GNU_BUILD_ID = 3
_DEBUG = "/usr/lib/debug/.build-id"


class ElfTable:
    """Functions sorted by their offset in the file."""

    def __init__(
        self, symbols: list[tuple[int, int, int]], strings: bytes, path: str, loads: Sequence[tuple[int, int, int]] = ()
    ) -> None:
        """symbols: (offset in the file, size in bytes, place of the name in strings); path: of a file with DWARF.

        loads: (address, offset in the file, bytes) of what is mapped.
        """
        self.loads = loads
        self.starts = [symbol[0] for symbol in symbols]
        self.symbols = symbols
        self.strings = strings
        self.path = path
        self._lines: Any = None

    def find(self, offset: int) -> tuple[str, int] | None:
        """(name, distance in bytes) of the function at an offset of the file."""
        place = bisect_right(self.starts, offset) - 1
        if place < 0:
            return None
        start, size, name = self.symbols[place]
        if size and offset >= start + size:
            return None
        end = self.strings.find(b"\0", name)
        return self.strings[name:end].decode("utf-8", "replace").partition("@")[0], offset - start

    def file_offset(self, address: int) -> int | None:
        """The offset in the file of an address as the linker gave it; None when nothing of the file is there."""
        for start, offset, length in self.loads:
            if start <= address < start + length:
                return address - start + offset
        return None

    def inlined(self, offset: int) -> list[tuple[str, str]]:
        """(function, "file:line") at an offset of the file, innermost first; [] without DWARF."""
        if self._lines is None:
            self._lines = False
            if self.path:
                from linscope.symbols.lines import LineReader

                self._lines = LineReader.open(self.path, (), None) or False
        if not self._lines:
            return []
        return [(one.function, f"{one.file}:{one.line}" if one.file else "") for one in self._lines.frames(offset)]


def open_table(path: str, *, debug_path: str = "") -> ElfTable | None:
    """The functions of a file, or of the file with its debug information when that is installed; None: no ELF file.

    debug_path: the file's name in messages and for DWARF.
    """
    found = _read(path)
    if found is None:
        return None
    symbols, strings, has_lines, build_id, loads = found
    if build_id:
        separate = _read(f"{_DEBUG}/{build_id[:2]}/{build_id[2:]}.debug", loads)
        if separate is not None and separate[0]:
            return ElfTable(separate[0], separate[1], f"{_DEBUG}/{build_id[:2]}/{build_id[2:]}.debug", loads)
    if has_lines and debug_path and _is_same(path, debug_path):
        path = debug_path  # DWARF is read later, when the process is perhaps gone, and /proc/PID/root with it
    return ElfTable(symbols, strings, path if has_lines else "", loads)


def _is_same(path: str, other: str) -> bool:
    """Whether two names are of one file."""
    try:
        return os.path.samestat(os.stat(path), os.stat(other))
    except OSError:
        return False


def vdso_table() -> ElfTable | None:
    """The functions that the kernel maps into each process, read from this one."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as file:
            line = next(line for line in file if line.endswith("[vdso]\n"))
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(start)
            data = memory.read(end - start)
    except (OSError, StopIteration):
        return None
    parsed = _parse(data)
    return ElfTable(parsed[0], parsed[1], "") if parsed is not None else None


_Loads = list[tuple[int, int, int]]  # address, offset in the file, bytes
_Parsed = tuple[list[tuple[int, int, int]], bytes, bool, str, _Loads]


def _read(path: str, loads: _Loads | None = None) -> _Parsed | None:
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(data, loads)
    except (OSError, ValueError):
        return None


def _parse(data: bytes | mmap.mmap, loads: _Loads | None = None) -> _Parsed | None:
    """loads: where the file of the process has what its debug file has not."""
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        return None
    try:
        (segments_at, sections_at) = struct.unpack_from("<QQ", data, 32)
        segment_count, _size, section_count = struct.unpack_from("<HHH", data, 56)
        names_index = struct.unpack_from("<H", data, 62)[0]
        segments = [_SEGMENT.unpack_from(data, segments_at + 56 * n) for n in range(segment_count)]
        sections = [_SECTION.unpack_from(data, sections_at + 64 * n) for n in range(section_count)]
        loads = loads or [(s[3], s[2], s[5]) for s in segments if s[0] == _PT_LOAD]
        build_id = _build_id(data, segments)
        names = b""
        if sections:
            names = data[sections[names_index][4] : sections[names_index][4] + sections[names_index][5]]
        has_lines = any(names[s[0] : s[0] + 12] == b".debug_line\0" and s[1] != 8 for s in sections)
        for kind in (_SHT_SYMTAB, _SHT_DYNSYM):
            for section in sections:
                if section[1] == kind and section[5]:
                    strings = sections[section[6]]
                    symbols = _functions(data[section[4] : section[4] + section[5] // 24 * 24], loads)
                    return symbols, data[strings[4] : strings[4] + strings[5]], has_lines, build_id, loads
    except (struct.error, IndexError):
        return None
    return [], b"", has_lines, build_id, loads


def _functions(table: bytes, loads: _Loads) -> list[tuple[int, int, int]]:
    """(offset in the file, size, place of the name), sorted; of several at one offset one that is not weak or local."""
    best: dict[int, tuple[int, int, int]] = {}  # offset -> rank, size, name
    for name, info, _other, section, value, size in _SYMBOL.iter_unpack(table):
        kind = info & 15
        is_code = kind in (_STT_FUNC, _STT_IFUNC) or (kind == _STT_NOTYPE and info >> 4 != 0)
        if not is_code or not section or not value:
            continue
        for address, offset, length in loads:
            if address <= value < address + length:
                place = value - address + offset
                rank = (8 if size else 0) + (4 if kind else 0) + {1: 2, 2: 1}.get(info >> 4, 0)
                known = best.get(place)
                if known is None or rank > known[0]:
                    best[place] = rank, size, name
                break
    return [(place, best[place][1], best[place][2]) for place in sorted(best)]


def _build_id(data: bytes | mmap.mmap, segments: list[tuple[Any, ...]]) -> str:
    for segment in segments:
        if segment[0] != _PT_NOTE:
            continue
        at, end = segment[2], segment[2] + segment[5]
        while at + 12 <= end:
            name_size, size, kind = struct.unpack_from("<III", data, at)
            value = at + 12 + (name_size + 3 & ~3)
            if kind == _NT_GNU_BUILD_ID and data[at + 12 : at + 15] == b"GNU":
                return data[value : value + size].hex()
            at = value + (size + 3 & ~3)
    return ""
