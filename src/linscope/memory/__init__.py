"""Memory of kernels, stacked: a dump file -> physical memory -> page tables -> virtual memory.

``open_memory(path)`` is the beginning of all; ``kernel_image.kernel_space(memory)`` is the kernel's virtual memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linscope.memory.physical import PhysicalMemory


def open_memory(
    path: str, *others: str, where: str = "", machine_type: str = "", live: bool = True
) -> PhysicalMemory:
    """The physical memory in a dump, a guest's RAM, or /proc/kcore; what it is, its content says.

    others: the other parts of a split dump (those beside the first are found without); where: its name in messages;
    machine_type: of QEMU ("pc", "q35", "microvm") for a guest's RAM, "" to find out; live: False for a copy of it.
    Close it, or use ``with``.  Raises FormatError, UnsupportedError, InputError when the file cannot be opened.
    """
    from linscope.memory._opening import OpenOptions, open_any

    return open_any((path, *others), OpenOptions(where or path, machine_type, live))
