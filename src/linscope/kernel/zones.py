"""Memory nodes, their zones, what is free in them; blocks of memory that can be taken away; huge pages.

Source: include/linux/mmzone.h; drivers/base/memory.c; include/linux/hugetlb.h.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.page import SECTION_SHIFT
from linscope.kernel.told import told
from linscope.target.walks import iter_list, iter_xarray

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.kernel.page import Pages
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_MOST_NODES = 1024
_MOST_ORDER = 20  # of a huge page, 4 GB
_BLOCK_STATES = {
    1: "ONLINE", 2: "GOING_OFFLINE", 4: "OFFLINE", 8: "GOING_ONLINE", 16: "CANCEL_ONLINE", 32: "CANCEL_OFFLINE",
}  # fmt: skip


class ZoneFacts(NamedTuple):
    """One zone of a node; sizes in pages."""

    node: int
    number: int
    zone: int  # address of the struct zone
    name: str
    spanned: int  # from the first frame to the last
    present: int
    first_frame: int
    watermarks: tuple[int, int, int]  # minimum, low, high
    free: int


class FreeList(NamedTuple):
    """Free blocks of one size and kind of use."""

    order: int
    migrate_type: int
    head: int  # address of the list
    blocks: int


class MemoryBlock(NamedTuple):
    """What can be taken offline at once."""

    block: int  # address of the memory_block
    name: str
    first: int  # physical addresses
    last: int
    node: int
    state: str
    section: int


class HugePages(NamedTuple):
    """Huge pages of one size."""

    hstate: int
    size_bytes: int
    free: int
    total: int
    name: str


def iter_nodes(kernel: Kernel) -> Iterator[Object]:
    """The memory nodes (struct pglist_data).  Raises MemoryFault, UnknownNameError."""
    if kernel.find_symbol("node_data") is None:
        yield kernel.variable("contig_page_data")
        return
    found = kernel.find_symbol("nr_node_ids")
    count = min(kernel.u32(found) if found is not None else 1, _MOST_NODES)
    for pointer in kernel.elements("node_data", count):
        if int(pointer):
            yield pointer.deref_()


def iter_zones(kernel: Kernel, node: Object) -> Iterator[Object]:
    """All zones of a node (struct zone), also empty ones.  Raises MemoryFault."""
    yield from node.node_zones


def zone_facts(zone: Object, node: int, number: int) -> ZoneFacts:
    """A zone in numbers.  Raises MemoryFault.  Source: MIN, LOW, HIGH are enum zone_watermarks."""
    member = zone.space_.types.first_member("struct zone", "_watermark", "watermark")
    marks = [int(one) for one in zone.member_(member)][:3]
    return ZoneFacts(
        node, number, zone.address_ or 0, zone.member_("name").string_(32), int(zone.spanned_pages),
        int(zone.present_pages), int(zone.zone_start_pfn), (marks[0], marks[1], marks[2]),
        int(zone.vm_stat[0].counter),
    )  # fmt: skip


def iter_zone_facts(kernel: Kernel) -> Iterator[tuple[Object, ZoneFacts]]:
    """Every zone of every node; what cannot be read is told in kernel.problems."""
    for node in told(kernel, "memory nodes", iter_nodes(kernel)):
        number = int(node.node_id)
        for place, zone in enumerate(iter_zones(kernel, node)):
            try:
                yield zone, zone_facts(zone, number, place)
            except LinscopeError as error:
                kernel.problems.append(f"zone at {zone.address_:#x}: {error}")


def iter_free_lists(kernel: Kernel, zone: Object) -> Iterator[FreeList]:
    """The lists of free blocks of a zone, by size and kind; a damaged one is told in kernel.problems.

    Nothing for a zone without pages: its lists were never made.
    """
    if not int(zone.spanned_pages):
        return
    for order, area in enumerate(zone.free_area):
        for kind, head in enumerate(area.free_list):
            address = head.address_
            assert address is not None
            blocks = sum(1 for _ in told(kernel, f"free blocks of order {order}", iter_list(kernel, address)))
            yield FreeList(order, kind, address, blocks)


def iter_free_pages(kernel: Kernel, head: int) -> Iterator[int]:
    """The first struct page of each block on a list of free ones; a damaged list is told in kernel.problems."""
    types = kernel.types
    link = types.first_member("struct page", "buddy_list", "lru")
    blocks = iter_list(kernel, head, types.offset("struct page", link))
    yield from told(kernel, f"free blocks at {head:#x}", blocks)


def find_free(kernel: Kernel, pages: Pages, page: int) -> tuple[ZoneFacts, FreeList, int] | None:
    """(zone, list, first page of the block) that a free page is on; None: it is not free."""
    for zone, facts in iter_zone_facts(kernel):
        frame = (page - pages.base) // pages.size
        if not facts.first_frame <= frame < facts.first_frame + facts.spanned:
            continue
        for one in iter_free_lists(kernel, zone):
            for first in iter_free_pages(kernel, one.head) if one.blocks else ():
                if first <= page < first + (pages.size << one.order):
                    return facts, one, first
    return None


def iter_memory_blocks(kernel: Kernel) -> Iterator[MemoryBlock]:
    """The blocks by address; none where memory cannot be taken away.  What cannot be read is told in kernel.problems.

    Source: drivers/base/memory.c; in an xarray since v5.8 (4fb6eabf1037).
    """
    if kernel.find_symbol("memory_blocks") is None:
        return
    found = kernel.find_symbol("sections_per_block")
    sections = kernel.u32(found) if found is not None else 1
    blocks = iter_xarray(kernel, int(kernel.variable("memory_blocks").xa_head))
    yield from told(kernel, "memory blocks", (_memory_block(kernel, at, sections) for _, at in blocks))


def _memory_block(kernel: Kernel, address: int, sections: int) -> MemoryBlock:
    block = kernel.object("struct memory_block", address)
    section = int(block.start_section_nr)
    first = section << SECTION_SHIFT
    return MemoryBlock(
        address, block.dev.kobj.member_("name").string_(64), first, first + (sections << SECTION_SHIFT) - 1,
        int(block.nid), _BLOCK_STATES.get(int(block.state), str(int(block.state))), section,
    )  # fmt: skip


def iter_huge_pages(kernel: Kernel) -> Iterator[HugePages]:
    """What there is of huge pages; nothing without CONFIG_HUGETLB_PAGE.  Raises MemoryFault."""
    if kernel.find_symbol("hstates") is None:
        return
    for one in kernel.elements("hstates", min(int(kernel.variable("hugetlb_max_hstate")), 8)):
        if int(one.order) or int(one.nr_huge_pages):
            yield HugePages(
                one.address_ or 0, 4096 << min(int(one.order), _MOST_ORDER), int(one.free_huge_pages),
                int(one.nr_huge_pages), one.member_("name").string_(),
            )  # fmt: skip
