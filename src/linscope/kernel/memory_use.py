"""How much memory is used for what, as crash's kmem -i sums it up.

Source: fs/proc/meminfo.c; mm/util.c (vm_commit_limit, vm_memory_committed); mm/hugetlb.c.
"""

from __future__ import annotations

from linscope.errors import MemoryFault
from linscope.kernel.block import iter_block_devices
from linscope.kernel.page import FRAME_SIZE, Pages
from linscope.kernel.swap import iter_swap_areas
from linscope.kernel.vmstat import node_counters, zone_counters
from linscope.kernel.zones import iter_huge_pages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.kernel.path import Paths
    from linscope.target.kernel import Kernel
else:
    from linscope.binfmt.records import NamedTuple

_PAGE_KB = 4
_PIECE = 1 << 18  # bytes of struct pages at once


class Use(NamedTuple):
    """One kind of use."""

    name: str  # as crash has it: "TOTAL MEM"
    pages: int
    of: str  # what it is a part of: "TOTAL MEM"; "" for a total
    total: int  # pages of that


def iter_memory_use(kernel: Kernel, paths: Paths) -> Iterator[Use]:
    """Memory, huge pages, swap, what was promised.  Raises MemoryFault, FormatError, UnknownNameError.

    What crash 8.0.2 has otherwise: SLAB (it counts a slab of several pages as one since v5.17) and COMMITTED (it
    leaves out what CPUs have not added yet).
    """
    nodes = dict(node_counters(kernel))
    total = int(kernel.variable("_totalram_pages").counter)
    free = dict(zone_counters(kernel))["NR_FREE_PAGES"]
    buffers = sum(one.cached_pages for one in iter_block_devices(kernel))
    cached = nodes["NR_FILE_PAGES"] - nodes.get("NR_SWAPCACHE", 0) - buffers
    yield Use("TOTAL MEM", total, "", 0)
    slab = sum(
        nodes.get(f"NR_SLAB_{kind}{unit}", 0) for kind in ("RECLAIMABLE", "UNRECLAIMABLE") for unit in ("", "_B")
    )
    for name, pages in (
        ("FREE", free), ("USED", total - free), ("SHARED", shared_pages(kernel)), ("BUFFERS", buffers),
        ("CACHED", cached), ("SLAB", slab),
    ):  # fmt: skip
        yield Use(name, pages, "TOTAL MEM", total)
    huge = list(iter_huge_pages(kernel))
    huge_total = sum(one.total * (one.size_bytes >> 12) for one in huge)
    yield Use("TOTAL HUGE", huge_total, "", 0)
    yield Use("HUGE FREE", sum(one.free * (one.size_bytes >> 12) for one in huge), "TOTAL HUGE", huge_total)
    areas = list(iter_swap_areas(kernel, paths))
    swap, used = (sum(one) // _PAGE_KB for one in ([a.size_kb for a in areas], [a.used_kb for a in areas]))
    yield Use("TOTAL SWAP", swap, "", 0)
    yield Use("SWAP USED", used, "TOTAL SWAP", swap)
    yield Use("SWAP FREE", swap - used, "TOTAL SWAP", swap)
    kbytes = int(kernel.variable("sysctl_overcommit_kbytes"))
    allowed = (
        kbytes // _PAGE_KB if kbytes else (total - huge_total) * int(kernel.variable("sysctl_overcommit_ratio")) // 100
    )
    yield Use("COMMIT LIMIT", allowed + swap, "", 0)
    yield Use("COMMITTED", committed_pages(kernel), "TOTAL LIMIT", allowed + swap)


def committed_pages(kernel: Kernel) -> int:
    """Pages that processes were promised.  Raises MemoryFault, UnknownNameError."""
    counter = kernel.variable("vm_committed_as")
    base = int(counter.counters)
    found = int(counter.count)
    for cpu in kernel.cpus() if base else ():
        part = kernel.u32(kernel.per_cpu_address(base, cpu))
        found += part - (1 << 32) if part >> 31 else part
    return max(found, 0)


def shared_pages(kernel: Kernel) -> int:
    """Pages with more than one reference that are not reserved.  Raises UnknownNameError.

    Struct pages that cannot be read are told in kernel.problems, one for all.
    """
    import numpy as np

    pages = Pages(kernel)
    size = pages.size
    at = {name: kernel.types.offset("struct page", name) for name in ("flags", "_refcount")}
    bit = pages.flag_bit("reserved")
    reserved = np.uint64(0 if bit is None else 1 << bit)
    found = missing = 0
    for data in _iter_struct_pages(kernel, pages):
        if data is None:
            missing += FRAME_SIZE // size
            continue
        table = np.frombuffer(data, dtype=np.uint8)[: len(data) // size * size].reshape(-1, size)
        flags = np.ascontiguousarray(table[:, at["flags"] : at["flags"] + 8]).view("<u8")[:, 0]
        references = np.ascontiguousarray(table[:, at["_refcount"] : at["_refcount"] + 4]).view("<i4")[:, 0]
        found += int(((references > 1) & (flags & reserved == 0)).sum())
    if missing:
        kernel.problems.append(f"{missing} struct pages are not in the dump")
    return found


def _iter_struct_pages(kernel: Kernel, pages: Pages) -> Iterator[bytes | None]:
    """All struct pages in large pieces, in small ones where some are missing, None for those."""
    for first, behind in pages.iter_frames():
        for start in range(pages.base + first * pages.size, pages.base + behind * pages.size, _PIECE):
            try:
                yield kernel.memory.read(start, _PIECE)
            except MemoryFault:
                for part in range(start, start + _PIECE, FRAME_SIZE):
                    try:
                        yield kernel.memory.read(part, FRAME_SIZE)
                    except MemoryFault:
                        yield None
