"""The kernel's array of struct page, and the addresses that belong to it: frames, the direct map, flags.

Source: arch/x86/include/asm/page_64_types.h, pgtable_64_types.h; include/linux/mm_types.h, page-flags.h, mmzone.h.
"""

from __future__ import annotations

from linscope.binfmt import btf_types as bt
from linscope.errors import MemoryFault, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.memory.paging import AddressSpace
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

FRAME_SHIFT = 12
FRAME_SIZE = 1 << FRAME_SHIFT
# where these lie when the kernel does not move them (page_64_types.h, pgtable_64_types.h)
_BASES = {
    "page_offset_base": 0xFFFF_8880_0000_0000, "vmalloc_base": 0xFFFF_C900_0000_0000,
    "vmemmap_base": 0xFFFF_EA00_0000_0000,
}  # fmt: skip
START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
_DIRECT_MAP_END = 64 << 40  # bytes of it at least
SECTION_SHIFT = 27  # SECTION_SIZE_BITS, arch/x86/include/asm/sparsemem.h
SECTION_FRAMES = 1 << SECTION_SHIFT - FRAME_SHIFT
_PRESENT, _HAS_MAP = 1, 2  # bits of section_mem_map, include/linux/mmzone.h
_MAP_FLAGS = 0x3F
_MOST_SECTIONS = 1 << 52 - SECTION_SHIFT
# types of pages before they had an enum (include/linux/page-flags.h until v6.10): bits that are 0 in page_type
_OLD_TYPES = {0x80: "buddy", 0x100: "offline", 0x200: "table", 0x400: "guard", 0x800: "hugetlb", 0x1000: "slab"}


class PageFacts(NamedTuple):
    """What a struct page says; what crash's kmem -p shows."""

    page: int  # address of the struct page
    physical: int
    mapping: int
    page_index: int  # in the file, or what the page's owner keeps there
    references: int
    flags: int
    flag_names: tuple[str, ...]  # of the set flags, without PG_; and the page's type: "buddy", "slab"


class Pages:
    """All struct pages of a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        """Raises UnknownNameError, MemoryFault."""
        self.kernel = kernel
        self.type = kernel.types.get("struct page")
        self.size = self.type.size
        self.offset = base_of(kernel, "page_offset_base")  # of the direct map
        self.base = base_of(kernel, "vmemmap_base")
        self._flags: list[tuple[int, str]] | None = None
        self._offsets: list[int] | None = None
        self._names: dict[int, tuple[str, ...]] = {}  # by the flags' low half
        self._types: tuple[int, dict[int, str]] | None = None

    def page_of(self, physical: int) -> int:
        """Address of the struct page of a physical address, whether there is one or not."""
        return self.base + (physical >> FRAME_SHIFT) * self.size

    def physical_of(self, page: int) -> int | None:
        """The physical address that a struct page is about; None for what is not in the array."""
        place = page - self.base
        if not 0 <= place < _DIRECT_MAP_END // FRAME_SIZE * self.size:
            return None
        return place // self.size << FRAME_SHIFT

    def virtual_of(self, physical: int) -> int:
        """The address of a physical one in the direct map."""
        return self.offset + physical

    def has(self, physical: int) -> bool:
        """Whether there is a struct page that can be read for a physical address."""
        try:
            self.kernel.memory.read(self.page_of(physical), self.size)
        except MemoryFault:
            return False
        return True

    def head_of(self, page: int) -> int:
        """The first page of a compound page that a page belongs to, else the page.  Raises MemoryFault."""
        head = int(self.kernel.object(self.type, page).compound_head)
        return head - 1 if head & 1 else page

    def flag_bits(self) -> list[tuple[int, str]]:
        """(bit, name without PG_) of all page flags, the aliases of bits behind those that own them.

        Source: enum pageflags.
        """
        if self._flags is None:
            content = self.kernel.types.get("enum pageflags").content()
            values = content.values if isinstance(content, bt.Enum) else ()
            self._flags = [(value, name.removeprefix("PG_")) for name, value in values if name.startswith("PG_")]
        return self._flags

    def flag_bit(self, name: str) -> int | None:
        """Number of a flag's bit; None where the kernel has no such flag."""
        return next((bit for bit, one in self.flag_bits() if one == name), None)

    def flag_names(self, flags: int) -> tuple[str, ...]:
        """The flags that are set, by the names of those that own the bits."""
        seen: dict[int, str] = {}
        for bit, name in self.flag_bits():
            seen.setdefault(bit, name)
        return tuple(name for bit, name in seen.items() if flags >> bit & 1)

    def type_of(self, page: Object) -> str:
        """What a page that is mapped nowhere is used for: "buddy", "slab", "table" ..., "" for nothing special.

        Raises MemoryFault.  Source: include/linux/page-flags.h: bits that are 0 until v6.11, a number in the top byte
        since v6.12 (4ffca5a96678); slab pages have a type since v6.10 (46df8e73a4a3), a flag before.
        """
        if not page.space_.types.has_member("struct page", "page_type"):
            return ""
        return self.type_name(int(page.page_type))

    def type_name(self, value: int) -> str:
        """The same of a page_type."""
        base, names = self._page_types()
        if not base:
            return names.get(value >> 24, "")
        return next((name for bit, name in names.items() if value & (base | bit) == base), "")

    def _page_types(self) -> tuple[int, dict[int, str]]:
        """(bits that are 1 in every type, name by the bit that is 0 then), or (0, name by number)."""
        if self._types is None:
            found = self.kernel.types.find("enum pagetype")
            content = None if found is None else found.content()
            pairs = content.values if isinstance(content, bt.Enum) else ()
            values = {name: value & 0xFFFF_FFFF for name, value in pairs}
            names = {value: name.partition("_")[2] for name, value in values.items() if name.startswith("PG")}
            if "PGTY_buddy" in values:
                self._types = 0, {value: name for value, name in names.items() if name != "mapcount_underflow"}
            else:
                self._types = values.get("PAGE_TYPE_BASE", 0xF000_0000), names or _OLD_TYPES
        return self._types

    def is_slab(self, page: Object) -> bool:
        """Whether a page, the head of a compound one, is a slab.  Raises MemoryFault."""
        bit = self.flag_bit("slab")
        if bit is not None:
            return bool(int(page.flags) >> bit & 1)
        return self.type_of(page) == "slab"

    def facts(self, page: int) -> PageFacts:
        """What a struct page says.  Raises MemoryFault."""
        return self._facts(page, self.kernel.memory.read(page, self.size))

    def _facts(self, page: int, data: bytes) -> PageFacts:
        if self._offsets is None:
            types = self.kernel.types
            index = types.first_member("struct page", "index", "__folio_index")
            members = ("flags", "mapping", index, "_refcount")
            self._offsets = [types.offset("struct page", name) for name in members]
            has_type = types.has_member("struct page", "page_type")
            self._offsets.append(types.offset("struct page", "page_type") if has_type else -1)
        at_flags, at_mapping, at_index, at_count, at_type = self._offsets

        def number(at: int, size: int, signed: bool = False) -> int:
            return int.from_bytes(data[at : at + size], "little", signed=signed)

        flags = number(at_flags, 8)
        low = flags & (1 << 32) - 1
        if low not in self._names:
            self._names[low] = self.flag_names(low)
        names, kind = self._names[low], self.type_name(number(at_type, 4)) if at_type >= 0 else ""
        return PageFacts(
            page, (page - self.base) // self.size << FRAME_SHIFT, number(at_mapping, 8), number(at_index, 8),
            number(at_count, 4, True), flags, (*names, kind) if kind and kind not in names else names,
        )  # fmt: skip

    def iter_facts(self) -> Iterator[PageFacts]:
        """Of all struct pages in order; those that are not in the dump are told in kernel.problems, in one line.

        Raises MemoryFault, UnknownNameError when the sections cannot be read.
        """
        missing = 0
        for first, behind in self.iter_frames():
            for start in range(self.base + first * self.size, self.base + behind * self.size, 64 * self.size):
                try:
                    data = self.kernel.memory.read(start, 64 * self.size)
                except MemoryFault:
                    missing += 64
                    continue
                for at in range(0, len(data), self.size):
                    yield self._facts(start + at, data[at : at + self.size])
        if missing:
            self.kernel.problems.append(f"{missing} struct pages are not in the dump")

    def iter_sections(self) -> Iterator[tuple[int, int, int]]:
        """(number, address of the struct mem_section, section_mem_map) of the sections that are present.

        Raises MemoryFault, UnknownNameError.  Source: mm/sparse.c; with SPARSEMEM_EXTREME mem_section is an array of
        pointers to as many as fit into a page.
        """
        kernel = self.kernel
        size = kernel.types.get("struct mem_section").size
        member = kernel.types.offset("struct mem_section", "section_mem_map")
        per_root = FRAME_SIZE // size
        for root, at in self._section_roots(_MOST_SECTIONS // per_root):
            data = kernel.memory.read(at, per_root * size)
            for place in range(per_root):
                coded = int.from_bytes(data[place * size + member : place * size + member + 8], "little")
                if coded & _PRESENT:
                    yield root * per_root + place, at + place * size, coded

    def _section_roots(self, most: int) -> Iterator[tuple[int, int]]:
        """(number, address) of the pages that sections are in."""
        kernel = self.kernel
        start = int(kernel.variable("mem_section"))
        count = min(kernel.info.length("mem_section") or most, most)
        for first in range(0, count, 512):
            data = kernel.memory.read(start + 8 * first, 8 * min(512, count - first))
            if data.count(0) < len(data):
                yield from ((first + place, at) for place, at in enumerate(memoryview(data).cast("Q")) if at)

    def iter_frames(self) -> Iterator[tuple[int, int]]:
        """(first, behind the last) frame of each range that has struct pages.  Raises MemoryFault."""
        for number, _, coded in self.iter_sections():
            if coded & _HAS_MAP:
                yield number * SECTION_FRAMES, (number + 1) * SECTION_FRAMES


def base_of(kernel: Kernel, name: str) -> int:
    """Where the direct map (page_offset_base), vmalloc (vmalloc_base), the struct pages (vmemmap_base) begin.

    Raises MemoryFault.
    """
    return int(kernel.variable(name)) if kernel.find_symbol(name) is not None else _BASES[name]


def kernel_space(kernel: Kernel) -> AddressSpace:
    """The kernel's memory with its page tables.  Raises UsageError where there are none to walk."""
    from linscope.memory.paging import AddressSpace

    if not isinstance(kernel.memory, AddressSpace):
        raise UsageError("there is no physical memory here")
    return kernel.memory


def physical_of(kernel: Kernel, virtual: int) -> int:
    """The physical address of a kernel's virtual one.  Raises MemoryFault, UsageError."""
    return kernel_space(kernel).translate(virtual)
