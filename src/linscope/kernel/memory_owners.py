"""Who has the memory: processes, slab caches, page cache, page tables; each page once.

Source: Documentation/filesystems/proc.rst (meminfo); include/linux/mmzone.h, enum node_stat_item.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.slab import Slabs
from linscope.kernel.task import iter_processes, rss_counts
from linscope.kernel.vmstat import node_counters
from linscope.kernel.zones import iter_zone_facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
else:
    from linscope.binfmt.records import NamedTuple

_PAGE = 4096
_ANONYMOUS = 1  # MM_ANONPAGES


class Owner(NamedTuple):
    """Who has some memory."""

    name: str
    size: int  # bytes
    parts: list[tuple[str, int]]  # of whom it is in turn, the largest first; their sum may be less


class SlabUse(NamedTuple):
    """A slab cache."""

    name: str
    size: int  # bytes
    allocated: int  # objects
    total: int


def slab_use(kernel: Kernel) -> list[SlabUse]:
    """All slab caches by size; what cannot be read is told in kernel.problems.  Raises LinscopeError."""
    slabs = Slabs(kernel)
    found = []
    for cache in slabs.iter_caches():
        try:
            one = slabs.facts(cache)
        except LinscopeError as error:
            kernel.problems.append(f"cache at {cache.address_:#x}: {error}")
            continue
        found.append(SlabUse(one.name, one.slabs * one.slab_bytes, one.allocated, one.total))
    return sorted(found, key=lambda one: -one.size)


def owners(kernel: Kernel) -> list[Owner]:
    """All owners, the largest first.  Raises LinscopeError."""
    counters = {name: max(value, 0) for name, value in node_counters(kernel)}
    total = max(int(kernel.variable("_totalram_pages").counter), 0) * _PAGE
    free = sum(facts.free for _, facts in iter_zone_facts(kernel)) * _PAGE
    slabs = [(one.name, one.size) for one in slab_use(kernel) if one.size]
    shared = counters.get("NR_SHMEM", 0) * _PAGE
    found = [
        Owner("free", free, []),
        Owner("anonymous memory of processes", counters.get("NR_ANON_MAPPED", 0) * _PAGE, _anonymous(kernel)),
        Owner("slab caches", sum(size for _, size in slabs), slabs),
        Owner("page cache", max(counters.get("NR_FILE_PAGES", 0) * _PAGE - shared, 0), []),
        Owner("shared memory and tmpfs", shared, []),
        Owner("page tables", counters.get("NR_PAGETABLE", 0) * _PAGE, []),
        Owner("stacks of the kernel", counters.get("NR_KERNEL_STACK_KB", 0) * 1024, []),
    ]
    rest = total - sum(one.size for one in found)
    found.append(Owner("others: modules, vmalloc, per-CPU, drivers", max(rest, 0), []))
    return sorted((one for one in found if one.size), key=lambda one: -one.size)


def _anonymous(kernel: Kernel) -> list[tuple[str, int]]:
    found = []
    for leader in iter_processes(kernel):
        try:
            counts = rss_counts(kernel, leader)
            if counts and counts[_ANONYMOUS] > 0:
                found.append((f"{leader.comm.string_()} ({int(leader.pid)})", counts[_ANONYMOUS] * _PAGE))
        except LinscopeError as error:
            kernel.problems.append(f"process at {leader.address_:#x}: {error}")
    return sorted(found, key=lambda one: -one[1])
