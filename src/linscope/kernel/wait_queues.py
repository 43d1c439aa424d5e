"""Wait queues: which tasks sleep until something is told.

Source: include/linux/wait.h, kernel/sched/wait.c, include/linux/swait.h.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.target.walks import iter_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object

_WAKES_A_TASK = ("default_wake_function", "autoremove_wake_function", "woken_wake_function", "wake_bit_function",
                 "var_wake_function")  # fmt: skip


def iter_waiters(kernel: Kernel, address: int) -> Iterator[tuple[int, Object | None, str]]:
    """(address of the entry, the task that waits, what wakes it); the task is None where it is something else (epoll).

    address: of a struct wait_queue_head.  Raises FormatError, MemoryFault.
    """
    head = address + kernel.types.offset("struct wait_queue_head", "head")
    kind = "struct wait_queue_entry"
    for at in iter_list(kernel, head, kernel.types.offset(kind, "entry")):
        entry = kernel.object(kind, at)
        place = kernel.place_of(int(entry.func))
        name = place.symbol if place is not None and not place.offset else f"{int(entry.func):#x}"
        task = None
        if name in _WAKES_A_TASK or name.startswith("io_wake"):
            task = kernel.object("struct task_struct", int(entry.private))
        elif name == "pollwake":  # of poll and select: private is a struct poll_wqueues
            task = _poller(kernel, int(entry.private))
        yield at, task, name


def _poller(kernel: Kernel, address: int) -> Object | None:
    try:
        return kernel.object("struct poll_wqueues", address).polling_task.deref_()
    except LinscopeError:
        return None
