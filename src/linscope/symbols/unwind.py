"""Call frame information of a recording's objects, for the native unwinder of dumped user stacks.

Which file belongs to a mapping is what ``Symbolizer.files`` says: build-ids must agree.  An object is read when a stack
first leads into it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from linscope._native import _core
from linscope.binfmt.elf import EM_X86_64, PF_X, PT_LOAD, SHF_COMPRESSED, SHT_NOBITS, ElfFile, Section, Segment
from linscope.columns.profile import Mapping, Space
from linscope.errors import FormatError
from linscope.symbols.objects import ObjectKey, Symbolizer
from linscope.symbols.vdso import read_vdso

ENDINGS = ("outermost", "dump too short", "no rules", "outside code", "loop", "too deep")  # enum Ending, unwind.h

_NO_OBJECT, _NOT_CODE = -1, -2
_PT_GNU_EH_FRAME = 0x6474E550
_PCREL_SDATA4 = 0x1B
_ELFCOMPRESS_ZLIB = 1
_MAX_SECTION = 256 << 20  # bytes of one section that we are willing to hold
# (bytes, address, search table, its address, whether .debug_frame)
CfiBytes = tuple[bytes, int, bytes, int, bool]
SpaceColumns = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int32]]


class ObjectLoader:
    """What the native unwinder asks for: the mappings of spaces and the CFI of objects, by number."""

    def __init__(self, spaces: Sequence[Space], symbolizer: Symbolizer) -> None:
        """spaces: as samples number them; row 0, the kernel, has no user code."""
        self._spaces = spaces
        self._symbolizer = symbolizer
        self._keys: list[ObjectKey] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def space(self, number: int) -> SpaceColumns:
        """Start, end, page offset and object of each mapping, sorted; no rows for the kernel or a space unknown."""
        mappings: Sequence[Mapping] = self._spaces[number].mappings if 0 < number < len(self._spaces) else ()
        pid = self._spaces[number].pid if mappings else 0
        return (
            np.array([m.start for m in mappings], np.uint64),
            np.array([m.end for m in mappings], np.uint64),
            np.array([m.page_offset for m in mappings], np.uint64),
            np.array([self._object_of(m, pid) for m in mappings], np.int32),
        )

    def _object_of(self, mapping: Mapping, pid: int) -> int:
        if not mapping.executable:
            return _NOT_CODE
        if mapping.path != "[vdso]" and (not mapping.path.startswith("/") or mapping.path.startswith("//")):
            return _NO_OBJECT
        identity = (mapping.path, mapping.build_id)
        number = self._numbers.get(identity)
        if number is None:
            number = self._numbers[identity] = len(self._keys)
            kind = "vdso" if mapping.path == "[vdso]" else "user"
            self._keys.append(ObjectKey(mapping.path, mapping.build_id, kind, pid))
        return number

    def object(self, number: int) -> tuple[NDArray[np.uint64], list[CfiBytes]]:
        """Segments (offset, size, address, flat) and CFI of an object; empty when there is none to be had."""
        segments: list[Segment] = []
        sections: list[CfiBytes] = []
        try:
            for source in self._sources(self._keys[number]):
                with ElfFile(source) as elf:
                    if elf.machine != EM_X86_64 or not elf.is_64:
                        break
                    segments = segments or code_segments(elf)
                    sections += cfi_of(elf)
                if sections:
                    break
        except (OSError, FormatError):  # the symbolizer meets the same file, and tells
            sections = []
        flat = [word for s in segments for word in (s.offset, s.file_size, s.address)]
        return np.array(flat, np.uint64), sections

    def _sources(self, key: ObjectKey) -> list[str | bytes]:
        """The mapped file, then its debug file; the image of the vdso."""
        if key.kind != "vdso":
            return [path for path in self._symbolizer.files(key) if path]
        image = read_vdso(self._symbolizer.search.proc)
        if image is None:
            return []
        with ElfFile(image, where="[vdso]") as elf:
            same = key.build_id.startswith(elf.build_id)  # recordings pad short ones with zeros
        return [image] if same or not key.build_id else []


def code_segments(elf: ElfFile) -> list[Segment]:
    """Loadable segments, those with code first: a page that two segments share belongs to the code when it runs."""
    loads = [segment for segment in elf.segments if segment.kind == PT_LOAD]
    return sorted(loads, key=lambda segment: not segment.flags & PF_X)


def cfi_of(elf: ElfFile) -> list[CfiBytes]:
    """The CFI sections of a file: .eh_frame with its search table, then .debug_frame.  Raises FormatError."""
    found: list[CfiBytes] = []
    frames, table = elf.section(".eh_frame"), elf.section(".eh_frame_hdr")
    if frames is None:
        found += _by_program_header(elf)
    elif frames.kind != SHT_NOBITS and 0 < frames.size <= _MAX_SECTION:
        has_table = table is not None and table.kind != SHT_NOBITS and table.size <= _MAX_SECTION
        search = elf.section_bytes(table) if table is not None and has_table else b""
        found.append((elf.section_bytes(frames), frames.address, search, table.address if table else 0, False))
    debug = elf.section(".debug_frame")
    data = _debug_bytes(elf, debug) if debug is not None and debug.kind != SHT_NOBITS else b""
    if data:
        found.append((data, 0, b"", 0, True))
    return found


def _debug_bytes(elf: ElfFile, section: Section) -> bytes:
    """A debug section's bytes, unpacked; empty when they are packed in a way that we do not know, or too many."""
    if section.size > _MAX_SECTION:
        return b""
    data = elf.section_bytes(section)
    if not section.flags & SHF_COMPRESSED:
        return data
    if len(data) < 24:
        return b""
    kind, _, size = struct.unpack_from("<IIQ", data)  # Elf64_Chdr
    if kind != _ELFCOMPRESS_ZLIB or size > _MAX_SECTION:
        return b""
    try:
        return zlib.decompressobj().decompress(data[24:], size)
    except zlib.error:
        return b""


def _by_program_header(elf: ElfFile) -> list[CfiBytes]:
    """.eh_frame of a file without section headers, which only its search table leads to."""
    table = next((s for s in elf.segments if s.kind == _PT_GNU_EH_FRAME), None)
    if table is None or not 8 <= table.file_size <= _MAX_SECTION:
        return []
    search = elf.read(table.offset, table.file_size)
    if search[0] != 1 or search[1] != _PCREL_SDATA4:
        return []
    address = table.address + 4 + int(struct.unpack_from("<i", search, 4)[0])
    home = next((s for s in elf.segments if s.kind == PT_LOAD and 0 <= address - s.address < s.file_size), None)
    if home is None:
        return []
    skipped = address - home.address
    size = min(home.file_size - skipped, _MAX_SECTION)
    return [(elf.read(home.offset + skipped, size), address, search, table.address, False)]


def make_unwinder(
    spaces: Sequence[Space], files: Callable[[], Symbolizer] = Symbolizer, *, swap: bool = False
) -> _core.Unwinder:
    """A native unwinder over these spaces.  files: makes what finds the mapped files; swap: foreign byte order."""
    loader = ObjectLoader(spaces, files())
    return _core.Unwinder(loader.space, loader.object, swap)
