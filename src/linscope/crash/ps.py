"""ps: the tasks, as crash lists them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from linscope.crash.session import Session
from linscope.errors import LinscopeError
from linscope.kernel.scheduler import policy_name
from linscope.kernel.task import crash_state, is_kthread, iter_tasks, rss_pages, task_cpu
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

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

    usage = "[-k | -u] [-GAs] [-y POLICY] [-p | -c | -g | -t | -a | -r | -S | [-l | -m] [-C CPU]] [PID | TASK]..."
    help = """\
Shows tasks: number, parent, CPU, address of the task_struct, state, memory and command.  A > marks those that run.

  -k, -u   only threads of the kernel, or of user space     -G          only leaders of thread groups
  -A       only those that run                              -y POLICY   of these scheduling policies: 0,FIFO
  -s       the kernel's stack pointer instead of the task   -S          how many are in each state
Of each task:
  -p   its parents        -c   its children       -g   its threads
  -t   times              -a   arguments and environment, where their pages are in the dump
  -r   resource limits    -l   when it last ran   -m   how long ago (-C CPU: by CPU, a for all)"""
    examples = ("ps", "ps -k", "ps -m", "ps -p kauditd", "ps -a 1")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's ps."""
        parser.add_argument("-k", dest="kernel", action="store_true")
        parser.add_argument("-u", dest="user", action="store_true")
        parser.add_argument("-G", dest="leaders", action="store_true")
        parser.add_argument("-A", dest="active", action="store_true")
        parser.add_argument("-y", dest="policies")
        parser.add_argument("-s", dest="stack", action="store_true")
        parser.add_argument("-S", dest="summary", action="store_true")
        parser.add_argument("-l", dest="last", action="store_true")
        parser.add_argument("-m", dest="ages", action="store_true")
        parser.add_argument("-C", dest="cpus")
        for letter, name in zip("pcgtar", ("parents", "children", "threads", "times", "texts", "limits"), strict=True):
            parser.add_argument(f"-{letter}", dest="of_a_task", action="store_const", const=name)
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table; an answer a task where something of each is asked for."""
        given = session.find_tasks(arguments.tasks) if arguments.tasks else iter_tasks(session.kernel, idle=True)
        tasks = (one for one in given if _wanted(session, one, arguments))
        if arguments.of_a_task:
            from linscope.crash._ps_lists import OF_A_TASK

            for task in tasks:
                try:
                    yield from OF_A_TASK[arguments.of_a_task](session, task)
                except LinscopeError as error:
                    if arguments.tasks:
                        raise
                    session.problems.append(f"PID {int(task.pid)}: {error}")
        elif arguments.last or arguments.ages:
            from linscope.crash._ps_lists import last_runs

            yield from last_runs(session, list(tasks), arguments)
        elif arguments.summary:
            from linscope.crash._ps_lists import summary

            yield summary(session, list(tasks))
        else:
            yield rows_of_tasks(iter_rows(session, tasks, arguments.stack))


def _wanted(session: Session, task: Object, arguments: argparse.Namespace) -> bool:
    try:
        is_kernel = (arguments.kernel or arguments.user) and (is_kthread(task) or not int(task.mm))
        if (arguments.kernel and not is_kernel) or (arguments.user and is_kernel):
            return False
        if arguments.active and task.address_ not in session.stacks.running:
            return False
        if arguments.policies and not _has_policy(task, arguments.policies):
            return False
        return not arguments.leaders or int(task.pid) == int(task.tgid)
    except LinscopeError as error:
        session.problems.append(f"task at {task.address_:#x}: {error}")
        return False


def _has_policy(task: Object, text: str) -> bool:
    number = int(task.policy)
    return any(one in (str(number), policy_name(number)) for one in text.upper().replace("OTHER", "NORMAL").split(","))


def iter_rows(session: Session, tasks: Iterable[Object], stack: bool = False) -> Iterator[TaskRow]:
    """A row for each task; stack: the stack pointer in place of the task's address."""
    kernel = session.kernel
    pages = max(int(kernel.variable("_totalram_pages").counter), 1)
    running = session.stacks.running
    rss_of: dict[int, int] = {}  # by mm_struct
    for task in tasks:
        assert task.address_ is not None
        try:
            mm = task.mm
            if int(mm) not in rss_of:
                rss_of[int(mm)] = rss_pages(kernel, task)
            rss = rss_of[int(mm)]
            is_kernel = is_kthread(task) or not int(mm)
            yield TaskRow(
                int(task.pid), int(task.real_parent.tgid), task_cpu(task),
                int(task.thread.sp) if stack else task.address_, crash_state(task),
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
