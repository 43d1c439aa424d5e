"""Headers of kdump-compressed files.

Source: makedumpfile's diskdump_mod.h (struct disk_dump_header, struct kdump_sub_header, struct page_desc) and
IMPLEMENTATION; QEMU's include/sysemu/dump.h.  Layouts of 64-bit little-endian machines.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from linscope.errors import FormatError, UnsupportedError
from linscope.memory._pieces import Source
from linscope.memory.physical import Utsname

SIGNATURE = b"KDUMP   "
INCOMPLETE, EXCLUDED_VMEMMAP = 8, 0x10  # status bits beside the compressions
_HEADER = struct.Struct("<8si390s6xqqIiiIIIIIii")
_SUB_HEADERS = (  # the fields that came with each version
    (0, "<Q", ("phys_base",)),
    (1, "<i", ("dump_level",)),
    (2, "<iQQ", ("split", "start_pfn", "end_pfn")),
    (3, "<QQ", ("offset_vmcoreinfo", "size_vmcoreinfo")),
    (4, "<QQ", ("offset_note", "size_note")),
    (5, "<QQ", ("offset_eraseinfo", "size_eraseinfo")),
    (6, "<QQQ", ("start_pfn_64", "end_pfn_64", "max_mapnr_64")),
)
_MAX_VERSION = 6
_SUB_LAYOUT = struct.Struct("<" + "".join(layout[1:] for _, layout, _ in _SUB_HEADERS))
_SUB_NAMES = tuple(name for _, _, names in _SUB_HEADERS for name in names)
SUB_HEADER_SIZE = _SUB_LAYOUT.size
_NARROW = ("i386", "i486", "i586", "i686", "armv7l", "armv6l", "ppc", "s390", "mips")  # uname -m of 32-bit machines


class KdumpHeader(NamedTuple):
    """What one file says of itself."""

    version: int
    utsname: Utsname
    time_s: int  # when it was made
    status: int  # compressions, INCOMPLETE
    block_size: int  # bytes of a page
    bitmap_offset: int  # of the first bitmap: pages that the machine had
    bitmap_size: int  # bytes of each of the two
    pages: int  # page frame numbers are below this
    cpus: int
    sub: dict[str, int]  # struct kdump_sub_header as far as the version has it

    @property
    def is_split(self) -> bool:
        """True if the file has only the pages from start_pfn to end_pfn."""
        return bool(self.sub.get("split"))

    @property
    def span(self) -> tuple[int, int]:
        """Page frames (first, behind the last) whose pages are in this file."""
        if not self.is_split:
            return 0, self.pages
        if self.version >= 6:
            return self.sub["start_pfn_64"], self.sub["end_pfn_64"]
        return self.sub["start_pfn"], self.sub["end_pfn"]

    def is_part_of(self, other: KdumpHeader) -> bool:
        """True if both are parts of one split dump."""
        same = (self.utsname, self.time_s, self.pages, self.block_size)
        return self.is_split and other.is_split and same == (other.utsname, other.time_s, other.pages, other.block_size)

    @property
    def descriptors_offset(self) -> int:
        """Where the page descriptors begin: behind both bitmaps."""
        return self.bitmap_offset + 2 * self.bitmap_size


def read_kdump_header(file: Source) -> KdumpHeader:
    """Parse and check.  Raises FormatError with the place, UnsupportedError for machines of another kind."""
    if file.peek(0, len(SIGNATURE)) != SIGNATURE:
        raise FormatError("not a kdump-compressed file", where=file.where, offset=0)
    data = file.read(0, _HEADER.size, "kdump header")
    _, version, names, time_s, _, *numbers = _HEADER.unpack(data)
    status, block_size, sub_blocks, bitmap_blocks, max_mapnr, _, _, _, _, cpus = numbers
    utsname = Utsname(*(names[at : at + 65].partition(b"\0")[0].decode("utf-8", "replace") for at in range(0, 390, 65)))
    if version > 0xFFFF or version < 0:
        raise UnsupportedError("a dump of a big-endian machine", where=file.where, offset=8)
    if utsname.machine in _NARROW:
        raise UnsupportedError(f"a dump of a 32-bit machine ({utsname.machine})", where=file.where, offset=0)
    if version > _MAX_VERSION:
        raise UnsupportedError(f"kdump header version {version}", where=file.where, offset=8)
    if block_size < 4096 or block_size > 1 << 20 or block_size & block_size - 1:
        raise FormatError(f"pages of {block_size} bytes", where=file.where, offset=428)
    if not 0 < sub_blocks <= 1 << 16:
        raise FormatError(f"a sub header of {sub_blocks} blocks", where=file.where, offset=432)
    sub = _read_sub_header(file, block_size, version)
    pages = sub.get("max_mapnr_64") or max_mapnr
    offset = (1 + sub_blocks) * block_size
    size = bitmap_blocks * block_size // 2
    if offset + 2 * size > file.size:
        raise FormatError("bitmaps beyond the end of the file", where=file.where, offset=offset)
    return KdumpHeader(
        version, utsname, time_s, status, block_size, offset, size, min(pages, 8 * size), cpus, sub
    )


def _read_sub_header(file: Source, offset: int, version: int) -> dict[str, int]:
    found: dict[str, int] = {}
    data = file.read(offset, SUB_HEADER_SIZE, "kdump sub header")
    at = 0
    for since, layout, names in _SUB_HEADERS:
        if since > version:
            break
        found |= zip(names, struct.unpack_from(layout, data, at), strict=True)
        at += struct.calcsize(layout)
    return found


def pack_kdump_header(header: KdumpHeader) -> bytes:
    """The first block and the sub header behind it, as read_kdump_header reads them."""
    names = b"".join(name.encode()[:64].ljust(65, b"\0") for name in header.utsname)
    sub_blocks = header.bitmap_offset // header.block_size - 1
    bitmap_blocks = 2 * header.bitmap_size // header.block_size
    head = _HEADER.pack(
        SIGNATURE, header.version, names, header.time_s, 0, header.status, header.block_size, sub_blocks, bitmap_blocks,
        min(header.pages, 0xFFFF_FFFF), 0, 0, 0, 0, header.cpus,
    )  # fmt: skip
    return head.ljust(header.block_size, b"\0") + _SUB_LAYOUT.pack(*(header.sub.get(name, 0) for name in _SUB_NAMES))
