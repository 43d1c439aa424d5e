"""What ps shows of single tasks: parents, children, threads, times, arguments, limits."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from linscope.crash.bt import head_line
from linscope.crash.command import rows_of_text
from linscope.crash.runq import age
from linscope.crash.session import Session
from linscope.crash.task import head_of
from linscope.errors import LinscopeError
from linscope.kernel.scheduler import last_run_ns
from linscope.kernel.task import children, crash_state, iter_threads, task_cpu
from linscope.kernel.user_space import UNLIMITED, limits, texts
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

_MOST_PARENTS = 1000


def head(task: Object) -> Rows:
    """The line above what is told of a task."""
    return head_of(int(task.pid), task.address_ or 0, task_cpu(task), task.comm.string_())


def lines_of(name: str, values: list[tuple[Any, ...]], columns: list[str], lines: list[str]) -> Rows:
    """Rows with their lines, and an empty one behind them."""
    return Rows([Column(one) for one in columns], values, text=lambda: iter((*lines, "\n")))


def line(task: Object, indent: int) -> str:
    """The line of a task in a list or tree."""
    return f"{' ' * indent}{head_line(task)}"


def facts(task: Object) -> tuple[Any, ...]:
    """PID, address, CPU, name."""
    return int(task.pid), hex(task.address_ or 0), task_cpu(task), task.comm.string_()


_TASK = ["pid", "task", "cpu", "comm"]


def parents(session: Session, task: Object) -> Iterator[Rows]:
    """From the first process down to a task."""
    found = [task]
    while len(found) < _MOST_PARENTS and int(found[-1].real_parent) != found[-1].address_:
        found.append(found[-1].real_parent.deref_())
    found.reverse()
    yield lines_of("parents", [facts(one) for one in found], _TASK, [line(one, at) for at, one in enumerate(found)])


def descendants(session: Session, task: Object) -> Iterator[Rows]:
    """The processes that a task started."""
    yield head(task)
    found = list(children(session.kernel, task))
    yield lines_of(
        "children", [facts(one) for one in found], _TASK, [line(one, 2) for one in found] or ["  (no children)\n"]
    )


def threads(session: Session, task: Object) -> Iterator[Rows]:
    """The threads of a task's group."""
    leader = task.group_leader.deref_()
    yield head(leader)
    found = [one for one in iter_threads(session.kernel, leader) if one.address_ != leader.address_]
    yield lines_of(
        "threads", [facts(one) for one in found], _TASK, [line(one, 2) for one in found] or ["  (no threads)\n"]
    )


def times(session: Session, task: Object) -> Iterator[Rows]:
    """Since when it is there, and what it used."""
    from linscope.kernel.timers import since_boot_ns

    yield head(task)
    ran = max(since_boot_ns(session.kernel) - int(task.start_time), 0) // 10**9
    days, rest = divmod(ran, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    shown = [
        ("RUN TIME", f"{days} days, {clock}" if days else clock), ("START TIME", int(task.start_time)),
        ("UTIME", int(task.utime)), ("STIME", int(task.stime)),
    ]  # fmt: skip
    yield lines_of("times", shown, ["name", "value"], [f"{name:>12}: {value}\n" for name, value in shown])


def arguments_of(session: Session, task: Object) -> Iterator[Rows]:
    """Its command line and environment."""
    yield head(task)
    if not int(task.mm):
        yield lines_of("arguments", [], ["name", "text"], ["(no user stack)\n"])
        return
    kernel = session.kernel
    rows = [("arg", one) for one in texts(kernel, task, "arg")]
    lines = [f"ARG: {' '.join(text for _, text in rows)}\n"]
    try:
        env = texts(kernel, task, "env")
    except LinscopeError as error:
        session.problems.append(f"environment of PID {int(task.pid)}: {error}")
        env = []
    lines += [f"{'ENV:' if not at else '    '} {one}\n" for at, one in enumerate(env)]
    yield lines_of("arguments", rows + [("env", one) for one in env], ["name", "text"], lines)


def resource_limits(session: Session, task: Object) -> Iterator[Rows]:
    """What it may use."""
    yield head(task)
    rows = [
        tuple("unlimited" if isinstance(one, int) and one == UNLIMITED else one for one in row) for row in limits(task)
    ]

    def shown(value: Any) -> str:
        return f"{f'({value})' if value == 'unlimited' else value:^13}"

    lines = ["      RLIMIT     CURRENT       MAXIMUM\n"]
    lines += [f"{name:>12}  {shown(now)} {shown(most)}".rstrip() + "\n" for name, now, most in rows]
    yield lines_of("limits", rows, ["limit", "current", "maximum"], lines)


OF_A_TASK: dict[str, Callable[[Session, Object], Iterator[Rows]]] = {
    "parents": parents, "children": descendants, "threads": threads, "times": times, "texts": arguments_of,
    "limits": resource_limits,
}  # fmt: skip


def last_runs(session: Session, tasks: list[Object], arguments: argparse.Namespace) -> Iterator[Rows]:
    """When tasks last came to a CPU, the newest first; with -m how long ago, on their CPU's clock."""
    clocks = {cpu: int(session.kernel.per_cpu("runqueues", cpu).clock) for cpu in session.kernel.cpus()}
    rows = []
    for task in tasks:
        try:
            cpu, last = task_cpu(task), last_run_ns(task)
            ago = max(clocks.get(cpu, last) - last, 0)
            rows.append((last, ago, crash_state(task), *facts(task)))
        except LinscopeError as error:
            session.problems.append(f"task at {task.address_:#x}: {error}")
    rows.sort(key=lambda row: -row[0])
    if arguments.cpus is not None:
        yield from _by_cpu(rows, arguments)
    else:
        yield _last(rows, arguments.ages)


def _by_cpu(rows: list[tuple[Any, ...]], arguments: argparse.Namespace) -> Iterator[Rows]:
    from linscope.crash.bt import parse_cpus

    cpus = {row[5] for row in rows} if arguments.cpus == "a" else parse_cpus(arguments.cpus)
    for cpu in sorted(cpus):
        yield rows_of_text(f"CPU: {cpu}\n")
        yield _last([row for row in rows if row[5] == cpu], arguments.ages)


def _last(rows: list[tuple[Any, ...]], ages: bool) -> Rows:
    wide = max((len(str(row[0])) for row in rows), default=1)

    def lines() -> Iterator[str]:
        for last, ago, state, pid, task, cpu, comm in rows:
            when = age(ago) if ages else f"[{last:>{wide}}]"
            yield f'{when} [{state}]  PID: {pid:<8d} TASK: {task[2:]}  CPU: {cpu:<3d}  COMMAND: "{comm}"\n'

    columns = [Column("last_run_ns"), Column("ago_ns"), Column("state"), *(Column(one) for one in _TASK)]
    return Rows(columns, rows, text=lines)


def summary(session: Session, tasks: list[Object]) -> Rows:
    """How many tasks are in each state."""
    counts: dict[str, int] = {}
    for task in tasks:
        state = crash_state(task)
        counts[state] = counts.get(state, 0) + 1
    rows = sorted(counts.items(), key=lambda one: -one[1])
    return Rows(
        [Column("state"), Column("tasks")], rows, text=lambda: (f"  {state}: {count}\n" for state, count in rows)
    )
