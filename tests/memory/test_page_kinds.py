"""What struct pages say, for the layouts of all kernels since v4.4, beside a plain page-by-page twin."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linscope.errors import MemoryFault, UnsupportedError
from linscope.memory.page_kinds import (
    CACHE,
    FREE,
    KEPT,
    OFFLINE,
    POISONED,
    PRIVATE_CACHE,
    USER,
    PageKinds,
    excluded_kinds,
)
from linscope.memory.vmcoreinfo import VmcoreInfo

SECTION = 1 << 15  # pages
BASE = 0xFFFFEA0000000000  # where the struct page of page 0 would be
TABLE, ROOT = 0xFFFF888000001000, 0xFFFF888000002000
LRU, PRIVATE, SWAP, BACKED, SLAB, POISON, HEAD = 4, 13, 10, 19, 9, 22, 1 << 16
COMMON = {
    "SIZE(page)": 64, "OFFSET(page.flags)": 0, "OFFSET(page._refcount)": 52, "OFFSET(page.mapping)": 24,
    "OFFSET(page._mapcount)": 48, "OFFSET(page.private)": 40, "OFFSET(page.compound_head)": 8,
    "NUMBER(PG_lru)": LRU, "NUMBER(PG_private)": PRIVATE, "NUMBER(PG_swapcache)": SWAP, "NUMBER(PG_swapbacked)": BACKED,
    "NUMBER(PG_hwpoison)": POISON, "NUMBER(PG_head_mask)": HEAD, "NUMBER(SECTION_SIZE_BITS)": 27,
    "SIZE(mem_section)": 16, "OFFSET(mem_section.section_mem_map)": 0, "LENGTH(mem_section)": 2,
}  # fmt: skip
OLD = COMMON | {"NUMBER(PG_slab)": SLAB, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": -129}
LAYOUTS = {
    "v5.10": OLD | {
        "OFFSET(page.compound_dtor)": 16, "OFFSET(page.compound_order)": 17, "NUMBER(HUGETLB_PAGE_DTOR)": 2,
        "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": -257,
    },
    "v6.4": OLD | {
        "OFFSET(folio._folio_dtor)": 80, "OFFSET(folio._folio_order)": 81, "NUMBER(HUGETLB_PAGE_DTOR)": 1,
        "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": -257,
    },
    "v6.6": OLD | {"NUMBER(PG_hugetlb)": 8, "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": -257},
    "v6.10": COMMON | {
        "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": -129, "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)": ~0x1000,
        "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)": ~0x800, "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": ~0x100,
    },
    "v6.12": COMMON | {
        "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": -0x10000000, "NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)": -0xB000000,
        "NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)": -0xC000000, "NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)": -0xF000000,
        "NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)": -0x7000000,
    },
}  # fmt: skip


def information(numbers: dict[str, int]) -> VmcoreInfo:
    lines = [f"SYMBOL(mem_section)={TABLE:x}", *(f"{name}={value}" for name, value in numbers.items())]
    return VmcoreInfo("\n".join(lines).encode())


class Fake:
    """Virtual memory with two sections of struct pages; those in `absent` cannot be read."""

    def __init__(self, pages: dict[int, bytes], sections: tuple[int, ...] = (0, 1)) -> None:
        self.pages = pages
        self.absent: set[int] = set()
        maps = dict.fromkeys(sections, BASE | 15)
        self.root = b"".join(struct.pack("<QQ", maps.get(number, 0), 0) for number in range(256))

    def read(self, address: int, size: int) -> bytes:
        if address == TABLE:
            return struct.pack("<QQ", ROOT, 0)[:size]
        if address == ROOT:
            return self.root[:size]
        first = (address - BASE) // 64
        count = -(-size // 64) + 1
        if any(number in self.absent for number in range(first, first + count - 1)):
            raise MemoryFault(address, "virtual", MemoryFault.UNMAPPED)
        data = bytearray(64 * count)
        for number, page in self.pages.items():
            if first <= number < first + count:
                data[64 * (number - first) : 64 * (number - first) + 64] = page
        skip = (address - BASE) % 64
        return bytes(data[skip : skip + size])


def page(
    flags: int = 0, mapping: int = 0, mapcount: int = -1, private: int = 0, head: int = 0, tail: bytes = b""
) -> bytes:
    """A struct page; tail: what lies at offset 16 of a second one."""
    made = bytearray(64)
    struct.pack_into("<QQ", made, 0, flags, head)
    struct.pack_into("<Q", made, 24, mapping)
    struct.pack_into("<Q", made, 40, private)
    struct.pack_into("<I", made, 48, mapcount & 0xFFFF_FFFF)
    made[16 : 16 + len(tail)] = tail
    return bytes(made)


def large(layout: str, number: int, order: int, hugetlb: bool = False, **of_head: int) -> dict[int, bytes]:
    """A compound page: its head, the second page with order and kind, the other tails."""
    head = BASE + 64 * number | 1
    flags = of_head.pop("flags", 0) | HEAD
    numbers = LAYOUTS[layout]
    second = 0
    tail = b""
    if layout in ("v5.10", "v6.4"):
        tail = bytes((numbers["NUMBER(HUGETLB_PAGE_DTOR)"] if hugetlb else 0, order))
    else:
        second = order | (hugetlb and layout == "v6.6") << 8
        kind = numbers.get("NUMBER(PAGE_HUGETLB_MAPCOUNT_VALUE)")
        if hugetlb and kind is not None:
            of_head["mapcount"] = kind
    made = {number + at: page(head=head) for at in range(1, 1 << order)}
    return made | {number: page(flags=flags, **of_head), number + 1: page(flags=second, head=head, tail=tail)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kinds_in_all_layouts(layout: str) -> None:
    numbers = LAYOUTS[layout]
    buddy, offline = numbers["NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)"], numbers["NUMBER(PAGE_OFFLINE_MAPCOUNT_VALUE)"]
    slab = numbers.get("NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)")
    slab_page = page(mapping=1, mapcount=slab) if slab else page(flags=1 << SLAB, mapping=1, mapcount=offline)
    pages = {
        1: page(flags=1 << LRU, mapping=0xFFFF888000000000),  # a page of a file
        2: page(flags=1 << LRU | 1 << PRIVATE, mapping=0xFFFF888000000000),  # with buffers
        3: page(flags=1 << LRU, mapping=0xFFFF888000000001),  # anonymous
        4: page(flags=1 << SWAP | 1 << BACKED),
        5: page(flags=1 << SWAP),  # the flag means something else without the other
        6: slab_page,
        7: page(flags=1 << POISON),
        8: page(mapcount=offline),
        9: page(mapcount=5, mapping=0xFFFF888000000000),  # the kernel's
        16: page(mapcount=buddy, private=3),
        32: page(mapcount=buddy, private=1 << 50),  # no such order
        **large(layout, 64, 2, mapping=0xFFFF888000000001),
        **large(layout, 128, 4, hugetlb=True),
        **large(layout, 256, 3, flags=1 << LRU, mapping=0xFFFF888000000000),
        **large(layout, 300, 2),  # the kernel's own
        **large(layout, 515, 2, mapping=1),  # whose order cannot be: it is not aligned
    }
    pages[302] = page(head=BASE + 64 * 300 | 1, mapping=1)  # in a tail, mapping is something else
    wanted = np.zeros(SECTION, np.uint8)
    wanted[1:5] = CACHE, PRIVATE_CACHE, USER, CACHE
    wanted[7:9] = POISONED, OFFLINE
    wanted[16:24] = FREE
    wanted[32:] = FREE  # as far as the window goes, without an overflow
    kinds = PageKinds(Fake(pages), information(numbers)).of(0, SECTION)
    assert (kinds[:32] == wanted[:32]).all()
    assert kinds[32] == FREE
    del pages[32]
    wanted[32:] = KEPT
    wanted[64:68] = wanted[128:144] = USER
    wanted[256:264] = CACHE
    wanted[515] = USER
    kinds = PageKinds(Fake(pages), information(numbers)).of(0, SECTION)
    assert np.flatnonzero(kinds != wanted).tolist() == []


def test_unaccepted_memory_is_not_read() -> None:
    numbers = LAYOUTS["v6.12"]
    fake = Fake({5: page(mapcount=numbers["NUMBER(PAGE_UNACCEPTED_MAPCOUNT_VALUE)"])})
    assert PageKinds(fake, information(numbers)).of(5, 1).tolist() == [FREE]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_page_that_began_before(layout: str) -> None:
    """A page of 1 GB of hugetlbfs reaches over eight windows; nothing but its head says so."""
    numbers = LAYOUTS[layout]
    head = BASE | 1
    pages = large(layout, 0, 1, hugetlb=True)
    order = bytes((numbers.get("NUMBER(HUGETLB_PAGE_DTOR)", 0), 16))
    pages[1] = page(flags=16 | (layout == "v6.6") << 8, head=head, tail=order if layout in ("v5.10", "v6.4") else b"")
    pages |= {SECTION + at: page(head=head) for at in range(SECTION)}
    kinds = PageKinds(Fake(pages), information(numbers))
    assert (kinds.of(0, SECTION) == USER).all()
    assert (kinds.of(SECTION, SECTION) == USER).all()
    assert (kinds.of(SECTION + 500, 10) == USER).all()
    assert (kinds.of(2 * SECTION, 10) == KEPT).all()  # of a section that is not there, nothing is known


def test_struct_pages_that_cannot_be_read_say_nothing() -> None:
    anonymous = page(flags=1 << LRU, mapping=1)
    fake = Fake(dict.fromkeys(range(1000), anonymous))
    fake.absent = {130}
    kinds = PageKinds(fake, information(LAYOUTS["v5.10"])).of(0, 1000)
    assert (kinds[128:192] == KEPT).all()  # the page of memory that 130 is in
    assert (np.delete(kinds, np.arange(128, 192)) == USER).all()
    wild = Fake({0: page(head=1), 1: page(head=(1 << 64) - 1), 2: page(head=BASE + 64 * 7 | 1)})
    kinds = PageKinds(wild, information(LAYOUTS["v5.10"]))
    for first in range(3):  # heads that lie nowhere, or behind
        assert kinds.of(first, 1).tolist() == [KEPT]


@pytest.mark.parametrize("name", ["SIZE(page)", "OFFSET(page.mapping)", "NUMBER(PG_lru)", "LENGTH(mem_section)"])
def test_what_vmcoreinfo_lacks_is_named(name: str) -> None:
    numbers = {key: value for key, value in LAYOUTS["v6.12"].items() if key != name}
    with pytest.raises(UnsupportedError) as caught:
        PageKinds(Fake({}), information(numbers))
    assert name in str(caught.value)
    assert "-d 0" in caught.value.next_step


def test_levels() -> None:
    assert excluded_kinds(0) == excluded_kinds(1) == (POISONED,)
    assert set(excluded_kinds(2)) == {POISONED, CACHE}
    assert set(excluded_kinds(4)) == {POISONED, CACHE, PRIVATE_CACHE}
    assert set(excluded_kinds(8)) == {POISONED, USER, OFFLINE}
    assert set(excluded_kinds(16)) == {POISONED, FREE}
    assert set(excluded_kinds(31)) == {POISONED, CACHE, PRIVATE_CACHE, USER, OFFLINE, FREE}


class Plain(NamedTuple):
    """One struct page of v5.10, in words."""

    flags: int
    mapping: int
    mapcount: int
    private: int
    order: int  # of the large page that this is the head of, -1: a single page


def plain_kinds(given_: list[Plain]) -> list[int]:
    """The rules of makedumpfile(8), page by page."""
    kinds = [KEPT] * len(given_)
    number = 0
    while number < len(given_):
        one = given_[number]
        count = 1 << max(one.order, 0)
        slab = one.flags >> SLAB & 1
        cache = one.flags >> LRU & 1 or (one.flags >> SWAP & 1 and one.flags >> BACKED & 1)
        anonymous = one.mapping & 1 and not slab
        kind = KEPT
        span = count
        if one.mapcount == -129 and not slab:
            kind, span = FREE, 1 << one.private
        elif cache and not anonymous:
            kind = PRIVATE_CACHE if one.flags >> PRIVATE & 1 else CACHE
        elif anonymous:
            kind = USER
        elif one.flags >> POISON & 1:
            kind, span = POISONED, count
        elif one.mapcount == -257 and not slab:
            kind = OFFLINE
        if kind != KEPT:
            kinds[number : number + span] = [kind] * min(span, len(given_) - number)
        number += max(count, span if kind == FREE else 1)
    return kinds


bits = st.sampled_from([0, 1 << LRU, 1 << PRIVATE, 1 << SWAP, 1 << BACKED, 1 << SLAB, 1 << POISON])
flags_ = st.lists(bits, max_size=3).map(lambda found: sum(set(found)))
plains = st.builds(
    Plain, flags_, st.sampled_from([0, 0xFFFF888000000000, 0xFFFF888000000001]),
    st.sampled_from([-1, 0, 3, -129, -257]), st.integers(0, 3), st.integers(-1, 3),
)  # fmt: skip


@given(st.lists(plains, min_size=1, max_size=60))
def test_kinds_against_plain_ones(given_: list[Plain]) -> None:
    pages: dict[int, bytes] = {}
    made: list[Plain] = []
    for one in given_:
        order = one.order if one.order > 0 else -1
        if one.mapcount == -129:  # a free page is no compound one
            order = -1
        span = 1 << max(order, one.private if one.mapcount == -129 else 0, 0)
        while len(made) % span:
            made.append(Plain(0, 0, -1, 0, -1))
            pages[len(made) - 1] = page()
        number = len(made)
        if order > 0:
            pages |= large("v5.10", number, order, flags=one.flags, mapping=one.mapping, mapcount=one.mapcount)
        else:
            pages |= {number + at: page() for at in range(span)}
            pages[number] = page(one.flags, one.mapping, one.mapcount, one.private)
        made += [one._replace(order=order), *[Plain(0, 0, -1, 0, -1)] * (span - 1)]
    pages |= {len(made): page()}
    found = PageKinds(Fake(pages), information(LAYOUTS["v5.10"])).of(0, len(made) + 1)
    assert found.tolist() == [*plain_kinds(made), KEPT]
