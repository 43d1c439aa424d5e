"""Numbers and texts that are looked for in memory: the kernel's, a process's, physical, stacks."""

from __future__ import annotations

from linscope.errors import MemoryFault
from linscope.kernel.page import START_KERNEL_MAP, base_of, kernel_space
from linscope.kernel.stacks import stack_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from linscope.memory.paging import AddressSpace
    from linscope.memory.physical import PhysicalMemory
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object

_IMAGE_SIZE = 1 << 30  # KERNEL_IMAGE_SIZE, with a kernel that is moved
_FIRST_KERNEL = 1 << 63
_END = 1 << 64
_FRAME = 4096
ALL, LINEAR, MAPPED = "all", "linear", "mapped"


def iter_kernel_memory(
    kernel: Kernel, start: int = _FIRST_KERNEL, end: int = _END, which: str = ALL
) -> Iterator[tuple[int, bytes]]:
    """(virtual address, bytes) of what the kernel has mapped and the dump has, in order.

    which: LINEAR: the direct map and the kernel's image only; MAPPED: all but these (vmalloc, modules, struct pages).
    Raises UsageError without page tables, MemoryFault for endless ones.
    """
    space = kernel_space(kernel)
    offset = base_of(kernel, "page_offset_base")
    for one in space.ranges(start, end):
        is_linear = one.physical == one.start - offset or 0 <= one.start - START_KERNEL_MAP < _IMAGE_SIZE
        if which == ALL or is_linear == (which == LINEAR):
            yield from _iter_range(space.physical, one.start, one.end, one.physical, start, end)


def iter_user_memory(space: AddressSpace, start: int = 0, end: int = _FIRST_KERNEL) -> Iterator[tuple[int, bytes]]:
    """The same of a process; what is paged out is left out.  Raises MemoryFault for endless page tables."""
    for one in space.ranges(start, end):
        yield from _iter_range(space.physical, one.start, one.end, one.physical, start, end)


def _iter_range(
    physical: PhysicalMemory, first: int, behind: int, place: int, start: int, end: int
) -> Iterator[tuple[int, bytes]]:
    """What the dump has of a range at a physical place, clipped to start..end."""
    low, high = max(first, start), min(behind, end)
    for address, data in physical.iter_chunks(place + low - first, place + high - first):
        yield address - place + first, data


def iter_stack_memory(kernel: Kernel, task: Object) -> Iterator[tuple[int, bytes]]:
    """The same of a task's stack in the kernel, page by page.  Raises MemoryFault for a task that cannot be read."""
    start = int(task.stack)
    for at in range(start, start + stack_size(kernel), _FRAME):
        try:
            yield at, kernel.memory.read(at, _FRAME)
        except MemoryFault:
            continue


def find_numbers(
    pieces: Iterable[tuple[int, bytes]], values: Sequence[int], size: int, mask: int = 0
) -> Iterator[tuple[int, int, int]]:
    """(address, what is there, place in values) of numbers of size bytes, aligned, whose bits out of mask are one's."""
    import numpy as np

    kind = np.dtype(f"<u{size}")
    wanted = (1 << 8 * size) - 1 & ~mask
    for address, data in pieces:
        skip = -address % size
        table = np.frombuffer(data[skip : skip + (len(data) - skip) // size * size], dtype=kind)
        if not len(table):
            continue
        compared = table & kind.type(wanted) if mask else table
        hits = [
            (int(place), which)
            for which, value in enumerate(values)
            for place in np.flatnonzero(compared == kind.type(value & wanted))
        ]
        for place, which in sorted(hits):
            yield address + skip + place * size, int(table[place]), which


def find_texts(pieces: Iterable[tuple[int, bytes]], texts: Sequence[bytes], shown: int) -> Iterator[tuple[int, bytes]]:
    """(address, shown bytes from there on) of each of some texts; also over the border of two pieces."""
    longest = max(map(len, texts), default=0)
    tail, end = b"", -1
    for address, data in pieces:
        known = 0  # bytes that were looked at with the piece before
        if address == end:
            data, address, known = tail + data, address - len(tail), len(tail)
        hits = {at for text in texts for at in _places(data, text) if at + len(text) > known}
        for at in sorted(hits):
            yield address + at, data[at : at + shown]
        end = address + len(data)
        tail = data[max(len(data) - longest + 1, 0) :] if longest > 1 else b""


def _places(data: bytes, text: bytes) -> Iterator[int]:
    at = data.find(text)
    while at >= 0:
        yield at
        at = data.find(text, at + 1)
