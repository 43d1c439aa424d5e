"""Small dumps of every kind, written from the formats' descriptions and with other libraries than the readers use."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

import cramjam
import lzallright
import zstandard

PAGE = 4096
FLAGS = {"none": 0, "zlib": 1, "lzo": 2, "snappy": 4, "zstd": 0x20}
COMPRESS = {
    "zlib": lambda data: zlib.compress(data),
    "lzo": lambda data: lzallright.LZOCompressor().compress(data),
    "snappy": lambda data: bytes(cramjam.snappy.compress_raw(data)),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}
GENERAL = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs rflags rsp ss fs_base gs_base "
    "ds es fs gs"
)


def page_of(number: int, *, dull: bool = True) -> bytes:
    """A page that tells its number all over; dull ones are compressed well."""
    if dull:
        return struct.pack("<Q", number) * (PAGE // 8)
    return b"".join(struct.pack("<Q", zlib.crc32(struct.pack("<QQ", number, k)) << 20 | k) for k in range(PAGE // 8))


def note(name: bytes, kind: int, description: bytes) -> bytes:
    """One ELF note."""
    name += b"\0"
    head = struct.pack("<III", len(name), len(description), kind)
    return head + name + bytes(-len(name) % 4) + description + bytes(-len(description) % 4)


def prstatus(pid: int, registers: Mapping[str, int]) -> bytes:
    """A NT_PRSTATUS note of x86-64."""
    values = [registers.get(name, 0) & (1 << 64) - 1 for name in GENERAL.split()]
    return note(b"CORE", 1, struct.pack("<32xi76x27Q8x", pid, *values))


def qemu(registers: Mapping[str, int], *, old: bool = False) -> bytes:
    """QEMU's note; old ones lack kernel_gs_base."""
    general = "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags".split()
    size = 432 if old else 440
    data = struct.pack("<II18Q", 1, size, *(registers.get(name, 0) for name in general))
    for name in "cs ds es fs gs ss ldt tr gdt idt".split():
        data += struct.pack("<IIIIQ", registers.get(name, 0), 0xFFFFF, 0, 0, registers.get(f"{name}_base", 0))
    data += struct.pack("<5Q", *(registers.get(f"cr{n}", 0) for n in range(5)))
    return note(b"QEMU", 0, data if old else data + struct.pack("<Q", registers.get("kernel_gs_base", 0)))


def elf(
    segments: Sequence[tuple[int, int, bytes, int]], notes: bytes = b"", *, many: bool = False, machine: int = 62
) -> bytes:
    """An ELF core.  segments: (virtual, physical, bytes, size in memory); many: the number is in section 0."""
    count = len(segments) + 1
    sections = 64 if many else 0
    start = 64 + sections + 56 * count
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, machine, 1, 0, 64 + sections, 64 if many else 0, 0, 64, 56,
        0xFFFF if many else count, 64, 1 if many else 0, 0,
    )  # fmt: skip
    if many:
        header += struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 1, 0, count, 0, 0)
    table = struct.pack("<IIQQQQQQ", 4, 0, start, 0, 0, len(notes), len(notes), 4)
    tables, bodies, at = [table], [notes], start + len(notes)
    for virtual, physical, data, size in segments:
        tables.append(struct.pack("<IIQQQQQQ", 1, 7, at, virtual, physical, len(data), size, 0))
        bodies.append(data)
        at += len(data)
    return b"".join([header, *tables, *bodies])


def kdump(
    pages: Mapping[int, bytes], *, compression: str = "zlib", version: int = 6, excluded: Iterable[int] = (),
    frames: int = 0, block_size: int = PAGE, notes: bytes = b"", vmcoreinfo: bytes = b"", level: int = 31,
    split: tuple[int, int] | None = None, status: int = 0, release: str = "6.1.0-test", machine: str = "x86_64",
    unwritten: Iterable[int] = (), lies: Mapping[str, int] | None = None,
) -> bytes:  # fmt: skip
    """A kdump-compressed file.

    pages: by page frame number; excluded: that the machine had and the file lacks; split: the first page and the one
    behind the last of this part; unwritten: their descriptors are zero (an incomplete dump); lies: fields of the
    main header or the sub header, over what is right.
    """
    excluded, unwritten = set(excluded), set(unwritten)
    frames = frames or max([*pages, *excluded, 0]) + 1
    bitmap_size = -(-frames // 8 // block_size) * block_size or block_size
    had, stored = bytearray(bitmap_size), bytearray(bitmap_size)
    for number in [*pages, *excluded]:
        had[number >> 3] |= 1 << (number & 7)
    for number in pages:
        stored[number >> 3] |= 1 << (number & 7)
    first, behind = split or (0, frames)
    mine = [number for number in sorted(pages) if first <= number < behind]
    sub_values = {
        "phys_base": 0, "dump_level": level, "split": int(bool(split)), "start_pfn": first, "end_pfn": behind,
        "vmcoreinfo": block_size + 104, "vmcoreinfo_size": len(vmcoreinfo),
        "note": block_size + 104 + len(vmcoreinfo), "note_size": len(notes), "erase": 0, "erase_size": 0,
        "start_pfn_64": first, "end_pfn_64": behind, "max_mapnr_64": frames,
    }  # fmt: skip
    if not vmcoreinfo:
        sub_values["vmcoreinfo"] = 0
    sub_values |= {name: value for name, value in (lies or {}).items() if name in sub_values}
    count = {0: 1, 1: 2, 2: 5, 3: 7, 4: 9, 5: 11, 6: 14}[version]
    layout = "<Qi" if version >= 1 else "<Q"
    if version >= 2:
        layout = "<Qii" + "Q" * (count - 3)
    sub = struct.pack(layout, *itertools.islice(sub_values.values(), count)).ljust(104, b"\0") + vmcoreinfo + notes
    sub_blocks = -(-len(sub) // block_size)
    main = {
        "time": 1_700_000_000, "status": FLAGS[compression] | status, "block_size": block_size,
        "sub_blocks": sub_blocks, "bitmap_blocks": 2 * bitmap_size // block_size,
        "max_mapnr": frames if version < 6 else 0, "cpus": 2,
    }  # fmt: skip
    main |= {name: value for name, value in (lies or {}).items() if name in main}
    names = b"".join(text.encode().ljust(65, b"\0") for text in ("Linux", "host", release, "#1", machine, "(none)"))
    head = struct.pack(
        "<8si390s6xqqIiiIIIIIii", b"KDUMP   ", version, names, main["time"], 0, main["status"], main["block_size"],
        main["sub_blocks"], main["bitmap_blocks"], main["max_mapnr"], 0, 0, 0, 0, main["cpus"],
    )  # fmt: skip
    made = head.ljust(block_size, b"\0") + sub.ljust(sub_blocks * block_size, b"\0") + bytes(had) + bytes(stored)
    at = len(made) + 24 * len(mine)
    descriptors, data, known = b"", b"", {}
    for number in mine:
        page = pages[number]
        if number in unwritten:
            descriptors += bytes(24)
            continue
        if page not in known:
            packed = COMPRESS[compression](page) if compression != "none" else page
            flags = FLAGS[compression]
            if len(packed) >= len(page):
                packed, flags = page, 0
            known[page] = struct.pack("<QIIQ", at + len(data), len(packed), flags, 0)
            data += packed
        descriptors += known[page]
    return made + descriptors + data


def flatten(records: Iterable[tuple[int, bytes]], *, end: bool = True) -> bytes:
    """The flattened form of some records."""
    made = struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    made += b"".join(struct.pack(">qq", place, len(data)) + data for place, data in records)
    return made + struct.pack(">qq", -1, -1) if end else made


def lime(ranges: Iterable[tuple[int, bytes]]) -> bytes:
    """A LiME image."""
    return b"".join(
        struct.pack("<IIQQ8x", 0x4C694D45, 1, first, first + len(data) - 1) + data for first, data in ranges
    )


class Tables:
    """Page tables in the making: ``frames`` has them by frame number."""

    def __init__(self, root: int = 0x1000, *, levels: int = 4, encryption_mask: int = 0) -> None:
        self.root = root
        self.levels = levels
        self.encryption_mask = encryption_mask
        self.frames: dict[int, bytearray] = {root >> 12: bytearray(PAGE)}
        self._next = root + PAGE

    def entry(self, table: int, index: int, value: int) -> None:
        """Set one entry of a table."""
        struct.pack_into("<Q", self.frames[table >> 12], index * 8, value)

    def map(self, virtual: int, physical: int, *, shift: int = 12, flags: int = 0x63) -> int:
        """Map a page (shift 12, 21 or 30); returns the physical address of its entry."""
        table = self.root
        for level in range(12 + 9 * (self.levels - 1), shift, -9):
            index = virtual >> level & 511
            (value,) = struct.unpack_from("<Q", self.frames[table >> 12], index * 8)
            if not value & 1:
                value = self._next | 0x67 | self.encryption_mask
                self.frames[self._next >> 12] = bytearray(PAGE)
                self._next += PAGE
                self.entry(table, index, value)
            table = value & 0x000F_FFFF_FFFF_F000 & ~self.encryption_mask
        if shift > 12:
            flags |= 0x80
        self.entry(table, virtual >> shift & 511, physical | flags | self.encryption_mask)
        return table + (virtual >> shift & 511) * 8

    def pages(self) -> dict[int, bytes]:
        """All tables, for kdump()."""
        return {number: bytes(frame) for number, frame in self.frames.items()}
