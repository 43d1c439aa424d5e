"""Swap areas.

Source: include/linux/swap.h (struct swap_info_struct); mm/swapfile.c.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.path import inode_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.kernel.path import Paths
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_PAGE_KB = 4
_USED = 1  # SWP_USED
_MOST_AREAS = 32  # MAX_SWAPFILES: a swap entry has 5 bits for the area
_COUNT = (1 << 62) - 1  # since v6.13 the top bits of inuse_pages are a flag


class SwapArea(NamedTuple):
    """A partition or file that pages go to."""

    number: int
    info: int  # address of the swap_info_struct
    kind: str  # "PARTITION" or "FILE"
    size_kb: int
    used_kb: int
    priority: int
    path: str


def iter_swap_areas(kernel: Kernel, paths: Paths) -> Iterator[SwapArea]:
    """The swap areas in use; what cannot be read is told in kernel.problems.  Raises MemoryFault, UnknownNameError."""
    if kernel.find_symbol("swap_info") is None:
        return  # built without CONFIG_SWAP
    count = min(int(kernel.variable("nr_swapfiles")), _MOST_AREAS)
    for number, pointer in enumerate(kernel.elements("swap_info", count)):
        if int(pointer):
            try:
                info = pointer.deref_()
                if int(info.flags) & _USED and int(info.swap_file):
                    yield _area(number, info, paths)
            except LinscopeError as error:
                kernel.problems.append(f"swap area {number} at {int(pointer):#x}: {error}")


def _area(number: int, info: Object, paths: Paths) -> SwapArea:
    used = info.inuse_pages
    if info.space_.types.has_member("struct swap_info_struct", "inuse_pages.counter"):
        used = used.counter
    file = info.swap_file
    is_device = inode_kind(int(file.f_mapping.host.i_mode)) == "BLK"
    return SwapArea(
        number, info.address_ or 0, "PARTITION" if is_device else "FILE", int(info.pages) * _PAGE_KB,
        (int(used) & _COUNT) * _PAGE_KB, int(info.prio), paths.of_file(file.deref_()),
    )  # fmt: skip
