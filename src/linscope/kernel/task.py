"""Tasks: processes, threads, and the idle tasks of CPUs.

Source: include/linux/sched.h, sched/signal.h, mm_types.h; fs/proc/array.c; kernel/fork.c.
"""

from __future__ import annotations

from linscope.errors import LinscopeError, MemoryFault
from linscope.target.walks import iter_list, iter_objects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object

_TASK = "struct task_struct"
# bits of __state and exit_state as v4.14 (8ef9925b02c2) and newer have them; the letters of ps
_RUNNING = 0
_SWAPPED = 2  # MM_SWAPENTS
_STATES = (
    (0x1, "S"), (0x2, "D"), (0x4, "T"), (0x8, "t"), (0x10, "X"), (0x20, "Z"), (0x40, "P"),
)  # fmt: skip
_NOLOAD, _UNINTERRUPTIBLE = 0x400, 0x2
KTHREAD = 0x00200000  # PF_KTHREAD


def iter_processes(kernel: Kernel) -> Iterator[Object]:
    """The leader of every process, as they lie in the kernel's list; without the idle tasks.

    Raises FormatError for a damaged list (what came before was given), MemoryFault.
    """
    yield from iter_objects(kernel, kernel.variable("init_task").tasks, _TASK, "tasks")


def iter_threads(kernel: Kernel, leader: Object) -> Iterator[Object]:
    """All threads of a process, the leader among them.  Raises FormatError, MemoryFault."""
    head = leader.signal.thread_head
    yield from iter_objects(kernel, head, _TASK, "thread_node")


def iter_idle(kernel: Kernel) -> Iterator[Object]:
    """The idle task of each CPU that is there (swapper/N)."""
    for cpu in kernel.cpus():
        yield kernel.per_cpu("runqueues", cpu).idle.deref_()


def iter_tasks(kernel: Kernel, *, idle: bool = False) -> Iterator[Object]:
    """Every task: the idle ones first when they are asked for, then processes with their threads.

    What cannot be read is told in kernel.problems, and the rest is given.
    """
    if idle:
        try:
            yield from iter_idle(kernel)
        except LinscopeError as error:
            kernel.problems.append(f"idle tasks: {error}")
    try:
        for leader in iter_processes(kernel):
            try:
                yield from iter_threads(kernel, leader)
            except LinscopeError as error:
                kernel.problems.append(f"threads of the process at {leader.address_:#x}: {error}")
                yield leader
    except LinscopeError as error:
        kernel.problems.append(f"list of processes: {error}")


def find_task(kernel: Kernel, pid: int) -> Object | None:
    """The task of a number, 0 for CPU 0's idle task; None when there is none."""
    if not pid:
        return kernel.variable("init_task")
    return next((task for task in iter_tasks(kernel) if int(task.pid) == pid), None)


def task_state(task: Object) -> str:
    """One-letter state of a task, as ps has it: "R", "S", "D", "I", "T", "t", "X", "Z" or "P"; "?" for others.

    Raises MemoryFault.  Source: fs/proc/array.c, task_state_array; "I" is TASK_IDLE; since v5.14 (2f064a59a11f) the
    field is __state.
    """
    types = task.space_.types
    state = int(task.member_(types.first_member(_TASK, "__state", "state")))
    exit_state = int(task.exit_state)
    if exit_state:
        return "Z" if exit_state & 0x20 else "X"
    if state == _RUNNING:
        return "R"
    if state & _UNINTERRUPTIBLE and state & _NOLOAD:
        return "I"
    return next((letter for bit, letter in _STATES if state & bit), "?")


# crash's two letters for the states
_CRASH_STATES = {"R": "RU", "S": "IN", "D": "UN", "I": "ID", "T": "ST", "t": "TR", "X": "DE", "Z": "ZO", "P": "PA"}


def crash_state(task: Object) -> str:
    """The state as crash writes it: "RU", "IN", "UN" ...; "??" for others.  Raises MemoryFault."""
    return _CRASH_STATES.get(task_state(task), "??")


def task_cpu(task: Object) -> int:
    """The CPU that a task is on or was on last.  Raises MemoryFault.

    Source: include/linux/sched.h, task_cpu; in thread_info since v5.16 (bcf9033e5449).
    """
    types = task.space_.types
    if types.has_member("struct thread_info", "cpu"):
        return int(task.thread_info.cpu)
    return int(task.member_(types.first_member(_TASK, "cpu", "recent_used_cpu")))


def is_kthread(task: Object) -> bool:
    """Whether it is a thread of the kernel.  Raises MemoryFault."""
    return bool(int(task.flags) & KTHREAD)


def current_task(kernel: Kernel, cpu: int) -> Object:
    """The task that runs on a CPU.  Raises UnknownNameError, MemoryFault.

    Source: arch/x86/include/asm/current.h; in pcpu_hot from v6.2 (e57ef2ed97c1) to v6.14.
    """
    if kernel.find_symbol("pcpu_hot") is not None:
        return kernel.per_cpu("pcpu_hot", cpu).current_task.deref_()
    address = kernel.u64(kernel.per_cpu_address(kernel.symbol("current_task"), cpu))
    return kernel.object(_TASK, address)


def running_tasks(kernel: Kernel) -> dict[int, int]:
    """CPU of each task that runs, by the task's address; CPUs whose memory is not there are left out."""
    found = {}
    for cpu in kernel.cpus():
        try:
            task = current_task(kernel, cpu)
        except MemoryFault as fault:
            kernel.problems.append(f"current task of CPU {cpu}: {fault}")
            continue
        assert task.address_ is not None
        found[task.address_] = cpu
    return found


def rss_counts(kernel: Kernel, task: Object) -> list[int]:
    """Pages of a task's process: of files, anonymous, swapped, shared; [] without an address space.

    Raises MemoryFault, FormatError.  Source: include/linux/mm_types_task.h.  Until v6.2 (f1a7941243c1) threads keep up
    to 64 of them to themselves.
    """
    mm = task.mm
    if not int(mm):
        return []
    if not kernel.types.has_member("struct mm_struct", "rss_stat.count"):
        return [int(one.count) for one in mm.rss_stat]
    counts = [int(one.counter) for one in mm.rss_stat.count]
    if kernel.types.has_member(_TASK, "rss_stat"):
        for thread in iter_threads(kernel, task.group_leader.deref_()):
            counts = [count + int(one) for count, one in zip(counts, thread.rss_stat.count, strict=True)]
    return counts


def rss_pages(kernel: Kernel, task: Object) -> int:
    """Pages of memory that a task's process has (file, anonymous, shared); 0 without an address space.

    Raises MemoryFault, FormatError.  Source: include/linux/mm.h, get_mm_rss.
    """
    return sum(max(count, 0) for place, count in enumerate(rss_counts(kernel, task)) if place != _SWAPPED)


def children(kernel: Kernel, task: Object) -> Iterator[Object]:
    """The processes that a process is the parent of.  Raises FormatError, MemoryFault."""
    assert task.address_ is not None
    types = kernel.types
    head = task.address_ + types.offset(_TASK, "children")
    for address in iter_list(kernel, head, types.offset(_TASK, "sibling")):
        yield kernel.object(_TASK, address)
