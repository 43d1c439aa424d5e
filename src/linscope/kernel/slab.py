"""The slab allocator (SLUB): caches, their slabs, which objects are in use.

Source: mm/slub.c, mm/slab.h; include/linux/slub_def.h.  Slabs are struct slab since v5.17 (d122019bf061), before that
members of struct page.
"""

from __future__ import annotations

from linscope.errors import FormatError, LinscopeError, UnsupportedError
from linscope.kernel.page import FRAME_SIZE, Pages
from linscope.target.walks import iter_list, iter_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_CACHE, _NODE, _CPU = "struct kmem_cache", "struct kmem_cache_node", "struct kmem_cache_cpu"
_ORDER_SHIFT = 16  # OO_SHIFT
_MOST_ORDER = 20  # what is more is damage: MAX_PAGE_ORDER is 10
_RED_ZONE, _STORE_USER = 0x400, 0x10000  # SLAB_RED_ZONE, SLAB_STORE_USER
_MASK = (1 << 64) - 1


class CacheFacts(NamedTuple):
    """One cache in numbers."""

    cache: int  # address of the kmem_cache
    name: str
    object_bytes: int
    allocated: int
    total: int  # objects, those that are free included
    slabs: int
    slab_bytes: int


class Slab(NamedTuple):
    """Some pages that objects of one cache lie in."""

    slab: int  # address of the struct slab (or page)
    memory: int  # where its first object may lie
    node: int
    total: int  # objects
    allocated: int
    cpu: int  # that allocates from it, -1 for none
    freelist: int  # the first free object that every CPU may take
    cpu_freelist: int  # the first that the CPU has for itself


class SlabObject(NamedTuple):
    """One object of a slab."""

    address: int
    is_free: bool
    cpu: int  # that has it on its list of free ones, -1 for none


class NodeLists(NamedTuple):
    """What a memory node keeps of a cache."""

    address: int  # of the kmem_cache_node
    node: int
    slabs: int
    partial: list[Slab]
    full: list[Slab] | None  # None: they are not tracked


class Slabs:
    """The caches of a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        """Raises UnsupportedError for SLAB and SLOB, UnknownNameError, MemoryFault."""
        self.kernel = kernel
        types = kernel.types
        if not types.has_member(_NODE, "nr_partial"):
            raise UnsupportedError("the kernel's slab allocator is not SLUB", where=kernel.where)
        self.pages = Pages(kernel)
        self.kind = types.find("struct slab") or types.get("struct page")
        self.owner = types.first_member(self.kind.name, "slab_cache")
        self.link = types.offset(self.kind.name, types.first_member(self.kind.name, "slab_list", "lru"))
        self.has_cpu_slabs = types.has_member(_CACHE, "cpu_slab")
        # of a kmem_cache_cpu
        self.current = types.first_member(_CPU, "slab", "page") if self.has_cpu_slabs else ""
        self.is_hardened = types.has_member(_CACHE, "random")  # CONFIG_SLAB_FREELIST_HARDENED
        found = kernel.find_symbol("nr_node_ids")
        self.nodes = kernel.u32(found) if found is not None else 1

    def iter_caches(self) -> Iterator[Object]:
        """All caches (struct kmem_cache), the newest first.  Raises FormatError, MemoryFault."""
        yield from iter_objects(self.kernel, self.kernel.variable("slab_caches"), _CACHE, "list")

    def facts(self, cache: Object) -> CacheFacts:
        """A cache in numbers.  Raises FormatError, MemoryFault; UnsupportedError without CONFIG_SLUB_DEBUG."""
        if not self.kernel.types.has_member(_NODE, "total_objects"):
            raise UnsupportedError("the kernel does not count its slabs", why="it is built without CONFIG_SLUB_DEBUG")
        total = slabs = free = 0
        for node, partial in self._iter_nodes(cache):
            total += int(node.total_objects.counter)
            slabs += int(node.nr_slabs.counter)
            for slab in partial:
                _, objects, inuse = self._counts(slab)
                free += objects - inuse
        for _, current, listed in self.iter_cpu_slabs(cache):
            for one in ([current] if current is not None else []) + listed:
                free += one.total - one.allocated
        return CacheFacts(
            cache.address_ or 0, self.name_of(cache), int(cache.object_size), total - free, total, slabs,
            FRAME_SIZE << min(int(cache.oo.x) >> _ORDER_SHIFT, _MOST_ORDER),
        )  # fmt: skip

    def name_of(self, cache: Object) -> str:
        """A cache's name.  Raises MemoryFault."""
        return cache.member_("name").string_(256)

    def _iter_nodes(self, cache: Object) -> Iterator[tuple[Object, list[int]]]:
        """(kmem_cache_node, addresses of its partial slabs)."""
        kernel = self.kernel
        pointers = cache.node
        for number in range(self.nodes):
            at = int(pointers[number])
            if at:
                node = kernel.object(_NODE, at)
                head = at + kernel.types.offset(_NODE, "partial")
                yield node, list(iter_list(kernel, head, self.link))

    def _counts(self, slab: int) -> tuple[Object, int, int]:
        """(slab, objects, of them in use, those that CPUs have for themselves included)."""
        one = self.kernel.object(self.kind, slab)
        return one, int(one.objects), int(one.inuse)

    def make(self, cache: Object, slab: int, cpu: int = -1, cpu_freelist: int = 0) -> Slab:
        """A slab by the address of its struct.  Raises FormatError for a damaged list of free objects, MemoryFault."""
        one, objects, inuse = self._counts(slab)
        physical = self.pages.physical_of(slab)
        if physical is None:
            raise FormatError(f"there is no slab at {slab:#x}")
        memory = self.pages.virtual_of(physical)
        made = Slab(slab, memory, self._node_of(one), objects, inuse, cpu, int(one.freelist), cpu_freelist)
        if not cpu_freelist:
            return made
        return made._replace(allocated=inuse - len(list(self.iter_free(cache, made, cpu_freelist))))

    def _node_of(self, slab: Object) -> int:
        """The memory node of a slab.  Source: include/linux/page-flags-layout.h: the node is above all flags."""
        width = (self.kernel.types.get(_CACHE).size - self.kernel.types.offset(_CACHE, "node")) // 8 - 1
        flags = int(slab.cast_("unsigned long"))
        return flags >> 64 - width.bit_length() if width else 0

    def iter_cpu_slabs(self, cache: Object) -> Iterator[tuple[int, Slab | None, list[Slab]]]:
        """(address of the kmem_cache_cpu, the slab it allocates from, its partial ones) of each CPU that is possible.

        Raises FormatError, MemoryFault.
        """
        if not self.has_cpu_slabs:
            return
        kernel = self.kernel
        has_partial = kernel.types.has_member(_CPU, "partial")
        base = int(cache.cpu_slab)
        for cpu in kernel.cpus("possible"):
            own = kernel.object(_CPU, kernel.per_cpu_address(base, cpu))
            current = int(own.member_(self.current))
            slab = self.make(cache, current, cpu, int(own.freelist)) if current else None
            listed: list[Slab] = []
            at = int(own.partial) if has_partial else 0
            seen: set[int] = set()
            while at:
                if at in seen:
                    raise FormatError(f"the partial slabs of CPU {cpu} go in a circle at {at:#x}")
                seen.add(at)
                listed.append(self.make(cache, at, cpu))
                at = int(kernel.object(self.kind, at).member_("next"))
            yield own.address_ or 0, slab, listed

    def iter_node_lists(self, cache: Object) -> Iterator[NodeLists]:
        """What memory nodes keep of a cache.  Raises FormatError, MemoryFault."""
        kernel = self.kernel
        tracked = kernel.types.has_member(_NODE, "full") and int(cache.flags) & _STORE_USER
        for number, (node, partial) in enumerate(self._iter_nodes(cache)):
            counted = int(node.nr_slabs.counter) if kernel.types.has_member(_NODE, "nr_slabs") else 0
            full = None
            if tracked:
                head = node.full.address_
                assert head is not None
                full = [self.make(cache, slab) for slab in iter_list(kernel, head, self.link)]
            lists = [self.make(cache, slab) for slab in partial]
            yield NodeLists(node.address_ or 0, number, counted, lists, full)

    def iter_free(self, cache: Object, slab: Slab, first: int) -> Iterator[int]:
        """The free objects of a list that begins in a slab.  Raises FormatError for a damaged list, MemoryFault.

        Source: mm/slub.c, freelist_ptr_decode; the pointer's own address is part of its code since v5.7
        (1ad53d9fa3f6).
        """
        kernel = self.kernel
        offset = int(cache.offset)
        key = int(cache.random) if self.is_hardened else 0
        start, size, behind = self._objects(cache, slab)
        at = first
        for _ in range(slab.total + 1):
            if not at:
                return
            if not start <= at < behind or (at - start) % size:
                raise FormatError(f"the free objects of the slab at {slab.slab:#x} lead to {at:#x}, which is none")
            yield at
            place = at + offset & _MASK
            at = kernel.u64(place)
            if self.is_hardened:
                at ^= key ^ int.from_bytes(place.to_bytes(8, "little"), "big")
        raise FormatError(f"the free objects of the slab at {slab.slab:#x} go in a circle")

    def _objects(self, cache: Object, slab: Slab) -> tuple[int, int, int]:
        """(address of the first, bytes from one to the next, behind the last)."""
        size = max(int(cache.size), 1)
        start = slab.memory
        if int(cache.flags) & _RED_ZONE:
            start += int(cache.red_left_pad)
        return start, size, start + slab.total * size

    def objects_of(self, cache: Object, slab: Slab) -> list[SlabObject]:
        """All objects of a slab by address.  A damaged list of free ones is told in kernel.problems."""
        free: dict[int, int] = {}
        for first, cpu in ((slab.cpu_freelist, slab.cpu), (slab.freelist, -1)):
            try:
                free.update((address, cpu) for address in self.iter_free(cache, slab, first))
            except LinscopeError as error:
                self.kernel.problems.append(f"slab at {slab.slab:#x}: {error}")
        start, size, behind = self._objects(cache, slab)
        return [SlabObject(at, at in free, free.get(at, -1)) for at in range(start, behind, size)]

    def find(self, address: int) -> tuple[Object, Slab] | None:
        """(cache, slab) that an address of the direct map is in; None: in none.  Raises FormatError, MemoryFault."""
        physical = address - self.pages.offset
        if not 0 <= physical < 1 << 52 or not self.pages.has(physical):
            return None
        head = self.pages.head_of(self.pages.page_of(physical))
        if not self.pages.is_slab(self.kernel.object(self.pages.type, head)):
            return None
        owner = int(self.kernel.object(self.kind, head).member_(self.owner))
        if not owner:
            return None
        cache = self.kernel.object(_CACHE, owner)
        for _, current, _ in self.iter_cpu_slabs(cache):
            if current is not None and current.slab == head:
                return cache, current
        return cache, self.make(cache, head)

    def find_object(self, cache: Object, slab: Slab, address: int) -> SlabObject | None:
        """The object of a slab that an address is in; None: between them."""
        size = int(cache.size)
        return next((one for one in self.objects_of(cache, slab) if one.address <= address < one.address + size), None)
