"""set: the task that other commands are about."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.kernel.task import current_task, task_cpu, task_state
from linscope.picture.rows import Column, Rows


class Set:
    """Shows or chooses the task of the session."""

    usage = "[PID | TASK] [-c CPU] [-p]"
    help = """\
Without arguments shows the task of the session.

  -c CPU   the task that runs on a CPU        -p   the task that crashed"""
    examples = ("set", "set 1", "set -c 0")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's set."""
        parser.add_argument("-c", dest="cpu", type=int)
        parser.add_argument("-p", dest="panic", action="store_true")
        parser.add_argument("task", nargs="?")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """What is chosen then."""
        if arguments.cpu is not None:
            session.task = current_task(session.kernel, arguments.cpu)
        elif arguments.panic:
            found = session.panic_task()
            if found is None:
                raise UsageError("no task crashed this kernel")
            session.task = found
        elif arguments.task:
            session.task = session.find_tasks([arguments.task])[0]
        task = session.task
        cpu = session.stacks.running.get(task.address_ or 0, -1)
        state = task_state(task) + (" (ACTIVE)" if cpu >= 0 else "")
        row = (int(task.pid), task.comm.string_(), hex(task.address_ or 0), task_cpu(task), state)

        def lines() -> Iterator[str]:
            names = ("PID", "COMMAND", "TASK", "CPU", "STATE")
            for name, value in zip(names, (row[0], f'"{row[1]}"', row[2][2:], *row[3:]), strict=True):
                yield f"{name:>7}: {value}\n"

        columns = [Column("pid"), Column("comm"), Column("task"), Column("cpu"), Column("state")]
        yield Rows(columns, [row], text=lines)


SET = Set()
