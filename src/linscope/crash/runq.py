"""runq: who runs, and who waits for a CPU."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.bt import parse_cpus
from linscope.crash.session import Session
from linscope.kernel.scheduler import Queued, RunQueue, last_run_ns, run_queue, waits_since_ns
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object


class Runq:
    """The run queues of CPUs, all classes."""

    usage = "[-t] [-m] [-g] [-c CPU]"
    help = """\
Shows the task that runs on each CPU, and those that wait for it: deadline, real time, fair.

  -t   when they came to the CPU, on its clock      -m   how long ago that was (days hours:minutes:seconds)
  -g   by groups of tasks                           -c CPU   only of these: 0,2-3"""
    examples = ("runq", "runq -m", "runq -g -c 0")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's runq."""
        parser.add_argument("-t", dest="times", action="store_true")
        parser.add_argument("-m", dest="ages", action="store_true")
        parser.add_argument("-g", dest="groups", action="store_true")
        parser.add_argument("-c", dest="cpus")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A table a CPU."""
        online = session.kernel.cpus()
        cpus = online if arguments.cpus is None else [one for one in online if one in parse_cpus(arguments.cpus)]
        for number, cpu in enumerate(cpus):
            yield _rows(run_queue(session.kernel, cpu), arguments, last=number == len(cpus) - 1)


def name_of(task: Object) -> str:
    """PID, address and name, as crash has them in a row."""
    return f'PID: {int(task.pid):<6d} TASK: {task.address_:x}  COMMAND: "{task.comm.string_()}"'


def age(nanoseconds: int) -> str:
    """A time as crash writes it: "[0 00:00:00.003]"."""
    ms = max(nanoseconds, 0) // 10**6
    seconds = ms // 1000
    days, rest = divmod(seconds, 86400)
    return f"[{days} {rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{ms % 1000:03}]"


def _rows(queue: RunQueue, arguments: argparse.Namespace, *, last: bool) -> Rows:
    clock = int(queue.rq.clock)
    rows = [(queue.cpu, "current", *_facts(queue.current, int(queue.current.prio), clock))]
    for name, found in (("deadline", queue.deadline), ("real time", queue.real_time), ("fair", queue.fair)):
        rows += [(queue.cpu, name, *_facts(one.task, one.priority, clock)) for one in found if one.task is not None]

    def lines() -> Iterator[str]:
        if arguments.times or arguments.ages:
            yield from _times(queue, clock, arguments.ages)
        else:
            yield from _groups(queue) if arguments.groups else _classes(queue)
            yield "" if last else "\n"

    columns = [
        Column("cpu"), Column("class"), Column("pid"), Column("task", value=hex), Column("comm"), Column("priority"),
        Column("last_run_ns"), Column("waits_ns"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _facts(task: Object, priority: int, clock: int) -> tuple[object, ...]:
    since = waits_since_ns(task)
    waits = max(clock - since, 0) if since else 0
    return int(task.pid), task.address_, task.comm.string_(), priority, last_run_ns(task), waits


def _times(queue: RunQueue, clock: int, ages: bool) -> Iterator[str]:
    tasks = [queue.current, *(one.task for one in queue.waiting if one.task is not None)]
    if ages:
        for task in tasks:
            yield f" CPU {queue.cpu}: {age(clock - last_run_ns(task))}  {name_of(task)}\n"
        return
    yield f" CPU {queue.cpu}: {clock}\n"
    for task in tasks:
        yield f"{last_run_ns(task):>18}  {name_of(task)}\n"


def _classes(queue: RunQueue) -> Iterator[str]:
    rq = queue.rq
    yield f"CPU {queue.cpu} RUNQUEUE: {rq.address_:x}\n  CURRENT: {name_of(queue.current)}\n"
    if queue.deadline:
        yield f"  DL RB_ROOT: {rq.dl.root.address_:x}\n"
        yield from _tasks(queue.deadline)
    yield f"  RT PRIO_ARRAY: {rq.rt.active.address_:x}\n"
    yield from _tasks(queue.real_time)
    yield f"  CFS RB_ROOT: {rq.cfs.tasks_timeline.address_:x}\n"
    yield from _tasks(queue.fair)


def _tasks(found: list[Queued]) -> Iterator[str]:
    tasks = [one for one in found if one.task is not None]
    if not tasks:
        yield "     [no tasks queued]\n"
    for one in tasks:
        assert one.task is not None
        yield f"     [{one.priority:>3}] {name_of(one.task)}\n"


def _groups(queue: RunQueue) -> Iterator[str]:
    rq = queue.rq
    yield f"CPU {queue.cpu}\n  CURRENT: {name_of(queue.current)}\n"
    current = f"[{int(queue.current.prio)}] {name_of(queue.current)} [CURRENT]\n"
    real_time = int(queue.current.prio) < 100
    if queue.real_time or real_time:
        yield f"  RT_RQ: {rq.rt.address_:x}\n"
        yield f"     {current}" if real_time else ""
        yield from _nested(queue.real_time)
    yield f"  CFS_RQ: {rq.cfs.address_:x}\n"
    yield "" if real_time else f"     {current}"
    yield from _nested(queue.fair)


def _nested(found: list[Queued]) -> Iterator[str]:
    for one in found:
        indent = "   " * one.depth
        if one.task is None:
            yield f"     {indent}TASK_GROUP: {one.group:x}\n"
        else:
            yield f"     {indent}[{one.priority:>3}] {name_of(one.task)}\n"


RUNQ = Runq()
