"""What a kernel uses each page of its memory for, by its struct page; so that dumps can leave pages out.

All that is needed to read a struct page stands in VMCOREINFO, which exists for this: no types, no symbols.  Whole
sections are looked at at once: 2 MB of struct pages for 128 MB of memory take a few milliseconds.
Source: Documentation/admin-guide/kdump/vmcoreinfo.rst; include/linux/mmzone.h (struct mem_section), page-flags.h,
mm_types.h; what makedumpfile's -d leaves out: makedumpfile(8).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from linscope.contracts import Memory
from linscope.errors import MemoryFault, UnsupportedError
from linscope.memory.vmcoreinfo import VmcoreInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT, FREE, CACHE, PRIVATE_CACHE, USER, POISONED, OFFLINE = range(7)
KIND_NAMES = ("kept", "free", "cache", "private cache", "user", "poisoned", "offline")
ZERO_LEVEL, CACHE_LEVEL, PRIVATE_LEVEL, USER_LEVEL, FREE_LEVEL = 1, 2, 4, 8, 16  # bits of makedumpfile's -d
_FRAME_SHIFT = 12
_SECTION_FLAGS = 0xFFF  # low bits of section_mem_map, more than any kernel has used; the rest is aligned to a page
_ANON = 1  # PAGE_MAPPING_ANON in page.mapping
_TAIL = 1  # in page.compound_head
_TYPE_BASE = 0xF000_0000  # PAGE_TYPE_BASE, where page types are bits that are cleared (v4.18 to v6.11)
_MAX_ORDER = 30  # 4 TB; larger is no order


def excluded_kinds(level: int) -> tuple[int, ...]:
    """The kinds that a dump of a level leaves out; never read: memory that the hardware cannot read."""
    kinds = [POISONED]
    if level & (CACHE_LEVEL | PRIVATE_LEVEL):
        kinds.append(CACHE)
    if level & PRIVATE_LEVEL:
        kinds.append(PRIVATE_CACHE)
    if level & USER_LEVEL:
        kinds += [USER, OFFLINE]
    if level & FREE_LEVEL:
        kinds.append(FREE)
    return tuple(kinds)


class PageKinds:
    """The kinds of pages of one kernel."""

    def __init__(self, memory: Memory, info: VmcoreInfo) -> None:
        """memory: the kernel's virtual memory.

        Raises UnsupportedError, which names what VMCOREINFO lacks; MemoryFault.
        """
        self._memory = memory
        self._info = info
        self._size = self._need("SIZE(page)", info.size("page"))
        self._flags = self._need("OFFSET(page.flags)", info.offset("page.flags"))
        self._mapping = self._need("OFFSET(page.mapping)", info.offset("page.mapping"))
        self._mapcount = self._need("OFFSET(page._mapcount)", info.offset("page._mapcount"))
        self._private = self._need("OFFSET(page.private)", info.offset("page.private"))
        self._head = self._need("OFFSET(page.compound_head)", info.offset("page.compound_head"))  # since v4.4
        self._lru = 1 << self._need("NUMBER(PG_lru)", info.number("PG_lru"))
        self._is_private = 1 << self._need("NUMBER(PG_private)", info.number("PG_private"))
        self._swap = self._flag("PG_swapcache")
        self._swap_backed = self._flag("PG_swapbacked")
        self._poison = self._flag("PG_hwpoison")
        self._slab = self._flag("PG_slab")  # until v6.10 (46df8e73a4a3), then a page type
        self._head_mask = info.number("PG_head_mask") or 0
        self._buddy = self._type("PAGE_BUDDY_MAPCOUNT_VALUE")
        self._offline = self._type("PAGE_OFFLINE_MAPCOUNT_VALUE")
        self._unaccepted = self._type("PAGE_UNACCEPTED_MAPCOUNT_VALUE")
        self._bases = self._read_sections()

    def _need(self, name: str, value: int | None) -> int:
        if value is None:
            raise UnsupportedError(
                "cannot tell what pages are used for", why=f"VMCOREINFO has no {name}", next_step="-d 1, or -d 0"
            )
        return value

    def _flag(self, name: str) -> int:
        number = self._info.number(name)
        return 0 if number is None else 1 << number

    def _type(self, name: str) -> int | None:
        number = self._info.number(name)
        return None if number is None else number & 0xFFFF_FFFF

    def _read_sections(self) -> dict[int, int]:
        """Of each section with struct pages: where that of page 0 would be."""
        info = self._info
        bits = self._need("NUMBER(SECTION_SIZE_BITS)", info.number("SECTION_SIZE_BITS"))
        self._section_shift = bits - _FRAME_SHIFT
        size = self._need("SIZE(mem_section)", info.size("mem_section"))
        place = self._need("OFFSET(mem_section.section_mem_map)", info.offset("mem_section.section_mem_map"))
        table = self._need("SYMBOL(mem_section)", info.symbol("mem_section"))
        roots = min(self._need("LENGTH(mem_section)", info.length("mem_section")), 1 << 22)
        found: dict[int, int] = {}
        each = (1 << _FRAME_SHIFT) // size  # SECTIONS_PER_ROOT with SPARSEMEM_EXTREME
        for root, address in enumerate(np.frombuffer(self._memory.read(table, 8 * roots), "<u8").tolist()):
            if not address:
                continue
            sections = self._memory.read(address, size * each)
            maps = np.ndarray((each,), "<u8", sections, place, (size,))
            for index in np.nonzero(maps & ~np.uint64(_SECTION_FLAGS))[0].tolist():
                found[root * each + index] = int(maps[index]) & ~_SECTION_FLAGS
        return found

    def of(self, first: int, count: int) -> NDArray[np.uint8]:
        """The kinds of count pages from page frame first on: KEPT also for those of which nothing is known."""
        kinds = np.zeros(count, np.uint8)
        for start, end, address in self._pieces(first, count):
            data = self._read(address, (end - start) * self._size)
            self._classify(data, start, kinds[start - first : end - first])
        base = self._bases.get(first >> self._section_shift)
        if base is not None:
            self._continue(first, base, kinds)
        return kinds

    def _pieces(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """(first, behind, address of the first struct page) of the sections that these pages lie in."""
        shift, end = self._section_shift, first + count
        for section in range(first >> shift, (end - 1 >> shift) + 1):
            base = self._bases.get(section)
            if base is not None:
                start = max(first, section << shift)
                yield start, min(end, section + 1 << shift), base + start * self._size

    def _read(self, address: int, size: int) -> bytes:
        """Struct pages; zeros, which say nothing, where they cannot be read."""
        try:
            return self._memory.read(address, size)
        except MemoryFault:
            if size <= 1 << _FRAME_SHIFT:
                return bytes(size)
        step = 1 << _FRAME_SHIFT
        return b"".join(self._read(address + at, min(step, size - at)) for at in range(0, size, step))

    def _continue(self, first: int, base: int, kinds: NDArray[np.uint8]) -> None:
        """A large page that begins before the first one: its kind is that of its head."""
        (head,) = np.frombuffer(self._read(base + first * self._size + self._head, 8), "<u8").tolist()
        if not head & _TAIL:
            return
        number = (head - _TAIL - base) // self._size
        if not 0 <= number < first:
            return
        found = np.zeros(2, np.uint8)
        data = self._read(head - _TAIL, 2 * self._size)
        end = self._classify(data, number, found)
        if found[0] != KEPT:
            kinds[: max(end - first, 0)] = found[0]

    def _classify(self, data: bytes, first: int, kinds: NDArray[np.uint8]) -> int:
        """Kinds of the pages from first on, whose struct pages data has; returns where the first one ends."""
        count = len(kinds)
        pages = _Structs(data, self._size, count)
        flags, mapping = pages.u64(self._flags), pages.u64(self._mapping)
        mapcount = pages.u32(self._mapcount)
        is_own = (pages.u64(self._head) & np.uint64(_TAIL)) == 0  # what a tail is, its head tells
        orders = np.zeros(count, np.uint8)
        has_tails = np.zeros(count, bool)
        hugetlb = np.zeros(count, bool)
        if count > 1 and self._head_mask:
            has_tails[:-1] = is_own[:-1] & ((flags[:-1] & np.uint64(self._head_mask)) != 0)
            orders[:-1] = np.where(has_tails[:-1], pages.u8(self._order_offset(), 1), 0)
            numbers = np.arange(first, first + count, dtype=np.uint64)
            sizes = np.left_shift(np.uint64(1), np.minimum(orders, _MAX_ORDER).astype(np.uint64))
            orders[(orders > _MAX_ORDER) | ((numbers & (sizes - np.uint64(1))) != 0)] = 0
            hugetlb[:-1] = has_tails[:-1] & self._is_hugetlb(pages)
        slab = self._is_slab(flags, mapcount)
        free = is_own & ~slab & self._is_type(mapcount, self._buddy)
        private_order = np.where(free, pages.u64(self._private), 0)
        orders[free] = np.minimum(private_order, _MAX_ORDER).astype(np.uint8)[free]
        free |= is_own & ~slab & self._is_type(mapcount, self._unaccepted)
        anon = ((mapping & np.uint64(_ANON)) != 0) & ~slab
        cache = is_own & self._is_cache(flags) & ~anon
        private = (flags & np.uint64(self._is_private)) != 0
        user = is_own & (anon | hugetlb)
        offline = is_own & ~slab & self._is_type(mapcount, self._offline)
        poisoned = (flags & np.uint64(self._poison)) != 0
        choices = [free, cache & ~private, cache, user, poisoned, offline]
        found = np.select(choices, [FREE, CACHE, PRIVATE_CACHE, USER, POISONED, OFFLINE], KEPT).astype(np.uint8)
        return _spread(found, orders, first, kinds)

    def _order_offset(self) -> int:
        """Where the order of a large page stands, from its first struct page on: in the second one."""
        info = self._info
        found = info.offset("page.compound_order")
        if found is not None:
            return self._size + found
        found = info.offset("folio._folio_order")  # v6.3 to v6.5
        return self._size + self._flags if found is None else found  # the low byte of _flags_1, v6.6 (ebc1baf5c9b4)

    def _is_hugetlb(self, pages: _Structs) -> NDArray[np.bool_]:
        """Of heads, but the last: of hugetlbfs by page type since v6.9, a flag since v6.6, their destructor before."""
        info = self._info
        kind = self._type("PAGE_HUGETLB_MAPCOUNT_VALUE")
        if kind is not None:
            return self._is_type(pages.u32(self._mapcount)[:-1], kind)
        found: NDArray[np.bool_] = np.zeros(pages.count - 1, bool)
        flag = self._flag("PG_hugetlb")
        number = info.number("HUGETLB_PAGE_DTOR")
        place = info.offset("page.compound_dtor")
        place = info.offset("folio._folio_dtor") if place is None else self._size + place
        if flag:
            found = (pages.u64(self._size + self._flags, 1) & np.uint64(flag)) != 0
        elif number is not None and place is not None:
            found = pages.u8(place, 1) == number
        return found

    def _is_type(self, mapcount: NDArray[np.uint32], kind: int | None) -> NDArray[np.bool_]:
        """Pages of a page type, which shares its place with the map count."""
        if kind is None:
            return np.zeros(len(mapcount), bool)
        is_number = kind & 0xFF_FFFF == 0  # in the top byte, since v6.12 (4ffca5a96678)
        found: NDArray[np.bool_] = mapcount >> np.uint32(24) == kind >> 24 if is_number else mapcount == kind
        return found

    def _is_slab(self, flags: NDArray[np.uint64], mapcount: NDArray[np.uint32]) -> NDArray[np.bool_]:
        kind = self._type("PAGE_SLAB_MAPCOUNT_VALUE")
        found: NDArray[np.bool_]
        if self._slab:
            found = (flags & np.uint64(self._slab)) != 0
        elif kind is None or kind & 0xFF_FFFF == 0:
            found = self._is_type(mapcount, kind)
        else:  # v6.10 and v6.11 keep counts beside its bit
            found = (mapcount & np.uint32(_TYPE_BASE | ~kind & 0xFFFF_FFFF)) == _TYPE_BASE
        return found

    def _is_cache(self, flags: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Pages of files, in the lists of those to reclaim, and of the swap cache, whose flag others share."""
        lru: NDArray[np.bool_] = (flags & np.uint64(self._lru)) != 0
        swap = np.uint64(self._swap | self._swap_backed)
        return lru | ((flags & swap) == swap) if self._swap else lru


class _Structs:
    """Fields of struct pages as arrays, without a copy."""

    def __init__(self, data: bytes, size: int, count: int) -> None:
        """data: count struct pages of size bytes."""
        self._data = data
        self._size = size
        self.count = count

    def u64(self, offset: int, less: int = 0) -> NDArray[np.uint64]:
        """One field of all of them, but the last `less`."""
        return np.ndarray((self.count - less,), np.uint64, self._data, offset, (self._size,))

    def u32(self, offset: int, less: int = 0) -> NDArray[np.uint32]:
        """See u64."""
        return np.ndarray((self.count - less,), np.uint32, self._data, offset, (self._size,))

    def u8(self, offset: int, less: int = 0) -> NDArray[np.uint8]:
        """See u64."""
        return np.ndarray((self.count - less,), np.uint8, self._data, offset, (self._size,))


def _spread(found: NDArray[np.uint8], orders: NDArray[np.uint8], first: int, kinds: NDArray[np.uint8]) -> int:
    """Give all pages of a large one the kind of its head; returns the page behind the first large one.

    Kinds [2, 0, 0, 0, 1] with orders [2, 0, 0, 0, 0] -> [2, 2, 2, 2, 1].
    """
    kinds[:] = found
    for at in np.nonzero((orders > 0) & (found != KEPT))[0].tolist():
        kinds[at : at + (1 << int(orders[at]))] = found[at]
    return first + (1 << int(orders[0]))
