"""Run queues: who runs on a CPU, and who waits for it, class by class.

Source: kernel/sched/sched.h (struct rq, cfs_rq, rt_rq, dl_rq), include/linux/sched.h.
"""

from __future__ import annotations

from linscope.errors import LinscopeError
from linscope.target.walks import iter_list, iter_rbtree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple

    from linscope.target.kernel import Kernel
    from linscope.target.objects import Object
else:
    from linscope.binfmt.records import NamedTuple

_TASK = "struct task_struct"
_DEEPEST = 64  # groups within groups
RT_PRIOS = 100  # MAX_RT_PRIO


class Queued(NamedTuple):
    """A task that waits for a CPU, or a group of tasks."""

    task: Object | None  # None: a group
    priority: int  # as the kernel counts: 0 to 99 real time, 100 to 139 by nice
    depth: int  # groups around it
    group: int = 0  # address of the struct task_group, of a group


class RunQueue(NamedTuple):
    """The queue of a CPU."""

    cpu: int
    rq: Object  # struct rq
    current: Object
    deadline: list[Queued]
    real_time: list[Queued]
    fair: list[Queued]  # without the one that runs: the kernel takes it out of the tree

    @property
    def waiting(self) -> list[Queued]:
        """Tasks of all classes."""
        return [one for one in (*self.deadline, *self.real_time, *self.fair) if one.task is not None]


def run_queue(kernel: Kernel, cpu: int) -> RunQueue:
    """The queue of a CPU; what cannot be read of it is told in kernel.problems.  Raises MemoryFault."""
    rq = kernel.per_cpu("runqueues", cpu)
    classes: list[list[Queued]] = []
    for name, find in (("deadline", _deadline), ("real time", _real_time), ("fair", _fair)):
        found: list[Queued] = []
        try:
            found.extend(find(kernel, rq))
        except LinscopeError as error:
            kernel.problems.append(f"{name} queue of CPU {cpu}: {error}")
        classes.append(found)
    return RunQueue(cpu, rq, rq.curr.deref_(), *classes)


def _deadline(kernel: Kernel, rq: Object) -> Iterator[Queued]:
    root = rq.dl.root.address_
    node = kernel.types.offset("struct sched_dl_entity", "rb_node")
    for address in iter_rbtree(kernel, root or 0, node):
        entity = kernel.object("struct sched_dl_entity", address)
        if kernel.types.has_member("struct sched_dl_entity", "dl_server") and int(entity.dl_server):
            continue  # it stands for the fair class, since v6.8 (63ba8422f876)
        yield Queued(entity.container_of_(_TASK, "dl"), -1, 0)


def _real_time(kernel: Kernel, rq: Object) -> Iterator[Queued]:
    yield from _real_time_queue(kernel, rq.rt, 0)


def _real_time_queue(kernel: Kernel, queue: Object, depth: int) -> Iterator[Queued]:
    active = queue.active
    assert active.address_ is not None
    start = active.address_ + kernel.types.offset("struct rt_prio_array", "queue")
    offset = kernel.types.offset("struct sched_rt_entity", "run_list")
    heads = memoryview(kernel.memory.read(start, 16 * RT_PRIOS)).cast("Q")
    for priority in range(RT_PRIOS):
        head = start + 16 * priority
        if heads[2 * priority] == head:
            continue
        for address in iter_list(kernel, head, offset):
            entity = kernel.object("struct sched_rt_entity", address)
            inner = _own_queue(kernel, entity)
            if inner is None:
                yield Queued(entity.container_of_(_TASK, "rt"), priority, depth)
            elif depth < _DEEPEST:
                yield Queued(None, priority, depth, int(inner.tg))
                yield from _real_time_queue(kernel, inner.deref_(), depth + 1)


def _own_queue(kernel: Kernel, entity: Object) -> Object | None:
    """The queue of a group; None: the entity is a task's."""
    if not kernel.types.has_member(entity.type_.name, "my_q"):
        return None
    inner = entity.my_q
    return inner if int(inner) else None


def _fair(kernel: Kernel, rq: Object) -> Iterator[Queued]:
    current = int(rq.curr)
    yield from (one for one in _fair_queue(kernel, rq.cfs, 0) if one.task is None or one.task.address_ != current)


def _fair_queue(kernel: Kernel, queue: Object, depth: int) -> Iterator[Queued]:
    root = queue.tasks_timeline.address_
    node = kernel.types.offset("struct sched_entity", "run_node")
    entities = [kernel.object("struct sched_entity", one) for one in iter_rbtree(kernel, root or 0, node)]
    current = queue.curr
    if int(current) and _own_queue(kernel, current.deref_()) is not None:
        entities.insert(0, current.deref_())  # a group that runs is not in the tree, others of it wait all the same
    for entity in entities:
        inner = _own_queue(kernel, entity)
        if inner is None:
            task = entity.container_of_(_TASK, "se")
            yield Queued(task, int(task.prio), depth)
        elif depth < _DEEPEST:
            yield Queued(None, 120, depth, int(inner.tg))
            yield from _fair_queue(kernel, inner.deref_(), depth + 1)


def last_run_ns(task: Object) -> int:
    """When a task last came to a CPU, on the clock of its run queue; 0: never, or nobody counts it.

    Raises MemoryFault.  Source: include/linux/sched.h, struct sched_info.
    """
    if not task.space_.types.has_member(_TASK, "sched_info.last_arrival"):
        return 0
    return int(task.sched_info.last_arrival)


def waits_since_ns(task: Object) -> int:
    """When a task began to wait for its CPU; 0: it does not, or nobody counts it.  Raises MemoryFault."""
    if not task.space_.types.has_member(_TASK, "sched_info.last_queued"):
        return 0
    return int(task.sched_info.last_queued)


def policy_name(policy: int) -> str:
    """What a scheduling policy is called.  Source: include/uapi/linux/sched.h."""
    names = {0: "NORMAL", 1: "FIFO", 2: "RR", 3: "BATCH", 5: "IDLE", 6: "DEADLINE", 7: "EXT"}
    return names.get(policy, str(policy))
