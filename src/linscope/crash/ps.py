"""ps: the tasks, as crash lists them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from linscope.crash.session import Session
from linscope.errors import LinscopeError
from linscope.kernel.task import is_kthread, iter_tasks, rss_pages, task_cpu, task_state
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

# crash's two letters for the states
_STATES = {"R": "RU", "S": "IN", "D": "UN", "I": "ID", "T": "ST", "t": "TR", "X": "DE", "Z": "ZO", "P": "PA"}
_PAGE_KB = 4


class TaskRow(NamedTuple):
    """One task."""

    pid: int
    ppid: int
    cpu: int
    task: int  # address of its task_struct
    state: str  # as crash has it: "RU", "IN", "UN" ...
    memory_percent: float
    vsz_kb: int
    rss_kb: int
    comm: str
    is_kernel: bool
    runs: bool
    tgid: int


class Ps:
    """Tasks with their states and sizes."""

    usage = "[-k | -u] [-G] [-s] [PID | TASK | COMMAND]..."
    help = """\
Shows tasks: number, parent, CPU, address of the task_struct, state, memory and command.  A > marks those that run.

  -k   only threads of the kernel        -u   only those of user space
  -G   only leaders of thread groups     -s   the kernel's stack pointer instead of the task's address"""
    examples = ("ps", "ps -k", "ps 1 systemd")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's ps."""
        parser.add_argument("-k", dest="kernel", action="store_true")
        parser.add_argument("-u", dest="user", action="store_true")
        parser.add_argument("-G", dest="leaders", action="store_true")
        parser.add_argument("-s", dest="stack", action="store_true")
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table."""
        tasks = session.find_tasks(arguments.tasks) if arguments.tasks else iter_tasks(session.kernel, idle=True)
        yield rows_of_tasks(row for row in iter_rows(session, tasks, arguments.stack) if _wanted(row, arguments))


def _wanted(row: TaskRow, arguments: argparse.Namespace) -> bool:
    if arguments.kernel and not row.is_kernel:
        return False
    if arguments.user and row.is_kernel:
        return False
    return not arguments.leaders or row.pid == row.tgid


def iter_rows(session: Session, tasks: Iterator[Object] | list[Object], stack: bool = False) -> Iterator[TaskRow]:
    """A row for each task; stack: the stack pointer in place of the task's address."""
    kernel = session.kernel
    pages = max(int(kernel.variable("_totalram_pages").counter), 1)
    running = session.stacks.running
    for task in tasks:
        assert task.address_ is not None
        try:
            rss, mm = rss_pages(task), task.mm
            is_kernel = is_kthread(task) or not int(mm)
            yield TaskRow(
                int(task.pid), int(task.real_parent.tgid), task_cpu(task),
                int(task.thread.sp) if stack else task.address_, _STATES.get(task_state(task), "??"),
                100 * rss / pages, 0 if is_kernel else int(mm.total_vm) * _PAGE_KB, rss * _PAGE_KB, task.comm.string_(),
                is_kernel, task.address_ in running, int(task.tgid),
            )  # fmt: skip
        except LinscopeError as error:
            session.problems.append(f"task at {task.address_:#x}: {error}")


def rows_of_tasks(tasks: Iterator[TaskRow]) -> Rows:
    """The table as crash has it."""
    made = list(tasks)

    def lines() -> Iterator[str]:
        yield "      PID    PPID  CPU       TASK        ST  %MEM      VSZ      RSS  COMM\n"
        for row in made:
            name = f"[{row.comm}]" if row.is_kernel else row.comm
            yield (
                f"{'>' if row.runs else ' '} {row.pid:7} {row.ppid:7} {row.cpu:3}  {row.task:16x}  {row.state:2}"
                f" {row.memory_percent:5.1f} {row.vsz_kb:8} {row.rss_kb:8}  {name}\n"
            )

    columns = [
        Column("pid"), Column("ppid"), Column("cpu"), Column("task", value=hex), Column("state"),
        Column("memory_percent", value=lambda value: round(value, 3)), Column("vsz_kb"), Column("rss_kb"),
        Column("comm"), Column("is_kernel"), Column("runs"), Column("tgid"),
    ]  # fmt: skip
    return Rows(columns, made, text=lines)


PS = Ps()
