"""The memory of processes: page tables from mm->pgd on, arguments, environment, limits, times.

Source: include/linux/mm_types.h, sched/signal.h; include/uapi/asm-generic/resource.h.
"""

from __future__ import annotations

from linscope.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from linscope.memory.paging import AddressSpace
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object

_MOST_TEXT = 1 << 17  # bytes of arguments or environment
LIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
UNLIMITED = (1 << 64) - 1


def user_space(kernel: Kernel, task: Object) -> AddressSpace:
    """What a process sees.  Raises UsageError for a thread of the kernel, UnsupportedError without physical memory."""
    from linscope.memory.paging import AddressSpace

    mm = task.mm
    if not int(mm):
        raise UsageError(f"{task.comm.string_()} (PID {int(task.pid)}) has no memory of its own")
    whole = kernel.memory
    if not isinstance(whole, AddressSpace):
        raise UnsupportedError(
            "page tables cannot be followed here", where=kernel.where, why="there is no physical memory"
        )
    return AddressSpace(
        whole.physical, whole.translate(int(mm.pgd)), levels=whole.levels, encryption_mask=whole.encryption_mask,
        where=f"PID {int(task.pid)} of {kernel.where}",
    )  # fmt: skip


def texts(kernel: Kernel, task: Object, what: str) -> list[str]:
    """The arguments ("arg") or the environment ("env") of a process.  Raises MemoryFault where they are paged out."""
    mm = task.mm
    start, end = int(mm.member_(f"{what}_start")), int(mm.member_(f"{what}_end"))
    if not 0 < end - start <= _MOST_TEXT:
        return []
    data = user_space(kernel, task).read(start, end - start)
    return [one.decode("utf-8", "replace") for one in data.rstrip(b"\0").split(b"\0")] if data else []


def limits(task: Object) -> list[tuple[str, int, int]]:
    """(name, current, maximum) of what setrlimit(2) sets.  Raises MemoryFault."""
    return [(name, int(one.rlim_cur), int(one.rlim_max)) for name, one in zip(LIMITS, task.signal.rlim, strict=False)]
