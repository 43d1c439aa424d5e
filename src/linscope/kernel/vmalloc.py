"""Areas that vmalloc, vmap and ioremap made.

Source: mm/vmalloc.c; include/linux/vmalloc.h.  One list until v6.8, since v6.9 trees of several nodes (d093602919ad).
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.told import told
from linscope.target.walks import iter_objects, iter_rbtree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_AREA = "struct vmap_area"
_MOST_NODES = 1024


class VmapArea(NamedTuple):
    """One area."""

    area: int  # address of the vmap_area
    vm_struct: int
    start: int
    end: int
    caller: int  # address in code of who asked for it, 0: not known
    pages: int
    flags: int  # VM_*


def iter_vmap_areas(kernel: Kernel) -> Iterator[VmapArea]:
    """The areas with a vm_struct, by address; what cannot be read is told in kernel.problems."""
    found = []
    for area in told(kernel, "vmalloc areas", _iter_areas(kernel)):
        try:
            vm = area.vm
            if int(vm):
                found.append(
                    VmapArea(
                        area.address_ or 0,
                        int(vm),
                        int(area.va_start),
                        int(area.va_end),
                        int(vm.caller),
                        int(vm.nr_pages),
                        int(vm.member_("flags")),
                    )
                )
        except LinscopeError as error:
            kernel.problems.append(f"vmalloc area at {area.address_:#x}: {error}")
    yield from sorted(found, key=lambda one: one.start)


def _iter_areas(kernel: Kernel) -> Iterator[Object]:
    if kernel.find_symbol("vmap_area_list") is not None:
        yield from iter_objects(kernel, kernel.variable("vmap_area_list"), _AREA, "list")
        return
    nodes = kernel.variable("vmap_nodes")
    offset = kernel.types.offset(_AREA, "rb_node")
    for place in range(min(int(kernel.variable("nr_vmap_nodes")), _MOST_NODES)):
        root = nodes[place].busy.root.address_
        assert root is not None
        for address in iter_rbtree(kernel, root, offset):
            yield kernel.object(_AREA, address)
