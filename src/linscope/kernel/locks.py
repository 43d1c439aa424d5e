"""Who waits for which lock, who holds it, and who wait for each other in a circle.

A task that waits for a lock has a record of that on its own stack, and the record is in the list of the lock: from the
stack to the record, along the list to its head, and from there to the lock, which names its owner.
Source: include/linux/mutex.h, rwsem.h; kernel/locking/mutex.h (struct mutex_waiter), rwsem.c, rtmutex_common.h,
semaphore.c.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.kernel.stacks import stack_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import NamedTuple

    from linscope.kernel.stacks import Stack
    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_MASK = (1 << 64) - 1


class Wait(NamedTuple):
    """One task that waits for a lock."""

    task: Object
    kind: str  # "mutex", "rw_semaphore to read", "rw_semaphore to write", "rt_mutex", "semaphore"
    lock: int  # address
    name: str  # what it is called, "" when nothing tells
    owner: Object | None  # None: none is recorded
    is_reader: bool  # the owner is but one of those that read it, maybe no more


class _Kind(NamedTuple):
    begins: tuple[str, ...]  # of the functions that wait
    name: str
    waiter: str  # struct on the stack
    lock: str  # struct that has the list
    owner: str  # its member with the owner's address; "" for none


_KINDS = (
    _Kind(("__mutex_lock", "__ww_mutex_lock"), "mutex", "struct mutex_waiter", "struct mutex", "owner"),
    _Kind(("rwsem_down_read_",), "rw_semaphore to read", "struct rwsem_waiter", "struct rw_semaphore", "owner"),
    _Kind(("rwsem_down_write_",), "rw_semaphore to write", "struct rwsem_waiter", "struct rw_semaphore", "owner"),
    _Kind(("__down",), "semaphore", "struct semaphore_waiter", "struct semaphore", ""),
)
_OWNER_FLAGS = 7  # MUTEX_FLAGS; RWSEM_OWNER_FLAGS_MASK is 3
_READER_OWNED = 1


def find_wait(kernel: Kernel, task: Object, stack: Stack, tasks: Mapping[int, Object]) -> Wait | None:
    """The lock that a blocked task waits for; None when it waits for something else.

    stack: the task's; tasks: all, by address.  Raises MemoryFault, UnknownNameError.
    """
    if kernel.types.has_member("struct task_struct", "pi_blocked_on") and int(task.pi_blocked_on):
        lock = task.pi_blocked_on.lock
        owner = tasks.get(int(lock.owner) & ~1)
        return Wait(task, "rt_mutex", int(lock), _name(kernel, int(lock), tasks), owner, is_reader=False)
    names = [place.symbol for frame in stack.frames if (place := kernel.place_of(frame.pc)) is not None]
    kind = next((one for one in _KINDS if any(name.startswith(one.begins) for name in names)), None)
    if kind is None or kernel.types.find(kind.waiter) is None:
        return None
    head = _head(kernel, task, stack, kind, tasks)
    if head is None:
        return None
    lock = kernel.object(kind.lock, head - kernel.types.offset(kind.lock, "wait_list"))
    assert lock.address_ is not None
    owner, is_reader = None, False
    if kind.owner:
        word = int(lock.member_(kind.owner).counter) & _MASK
        owner = tasks.get(word & ~_OWNER_FLAGS)
        is_reader = kind.name.startswith("rw_") and bool(word & _READER_OWNED)
    return Wait(task, kind.name, lock.address_, _name(kernel, lock.address_, tasks), owner, is_reader)


def _head(kernel: Kernel, task: Object, stack: Stack, kind: _Kind, tasks: Mapping[int, Object]) -> int | None:
    """The head of the list that the task's own record is in; None when there is no such record."""
    types = kernel.types
    task_at, list_at = types.offset(kind.waiter, "task"), types.offset(kind.waiter, "list")
    bottom = int(task.stack)
    top = bottom + stack_size(kernel)
    start = stack.frames[0].sp & ~7 if stack.frames else bottom
    if not bottom <= start < top:
        return None
    words = memoryview(kernel.memory.read(start, top - start)).cast("Q")
    for place, word in enumerate(words):
        if word != task.address_:
            continue
        link = start + 8 * place - task_at + list_at
        try:
            head = _follow(kernel, link, task_at - list_at, tasks)
        except LinscopeError:
            continue  # the task's address may be on the stack for other reasons
        if head is not None:
            return head
    return None


def _follow(kernel: Kernel, link: int, task_from_link: int, tasks: Mapping[int, Object]) -> int | None:
    """From a link to the one that is in no record of a task: the head.  Raises MemoryFault."""
    at, before = kernel.u64(link), link
    for _ in range(len(tasks) + 1):
        if at == link or kernel.u64(at + 8) != before:  # prev of next is where we came from
            return None
        if kernel.u64(at + task_from_link) not in tasks:
            return at
        before, at = at, kernel.u64(at)
    return None


def _name(kernel: Kernel, lock: int, tasks: Mapping[int, Object]) -> str:
    """A symbol, or of whose memory it is the lock."""
    place = kernel.place_of(lock)
    if place is not None and place.offset < 1 << 16:
        return str(place)
    if kernel.types.has_member("struct mm_struct", "mmap_lock"):
        offset = kernel.types.offset("struct mm_struct", "mmap_lock")
        for task in tasks.values():
            if int(task.mm) == lock - offset:
                return f"mmap_lock of {task.comm.string_()} (PID {int(task.tgid)})"
    return ""


def iter_waits(kernel: Kernel, stacks: Iterable[tuple[Object, Stack]]) -> Iterator[Wait]:
    """The waits of tasks with their stacks; what cannot be read is told in kernel.problems."""
    found = list(stacks)
    tasks = {task.address_: task for task, _ in found if task.address_ is not None}
    for task, stack in found:
        try:
            wait = find_wait(kernel, task, stack, tasks)
        except LinscopeError as error:
            kernel.problems.append(f"what the task at {task.address_:#x} waits for: {error}")
            continue
        if wait is not None:
            yield wait


def find_circles(edges: Mapping[int, int]) -> list[list[int]]:
    """Circles of who waits for whom; edges: the owner that each waits for.  Each circle begins with its smallest."""
    circles: list[list[int]] = []
    done: set[int] = set()
    for start in edges:
        path: list[int] = []
        at = start
        while at in edges and at not in done:
            done.add(at)
            path.append(at)
            at = edges[at]
        if at in path:
            circle = path[path.index(at) :]
            least = circle.index(min(circle))
            circles.append(circle[least:] + circle[:least])
    return circles


def chain(start: int, edges: Mapping[int, int]) -> Sequence[int]:
    """From one that waits to the last that it waits for."""
    found = [start]
    while found[-1] in edges and edges[found[-1]] not in found:
        found.append(edges[found[-1]])
    return found
