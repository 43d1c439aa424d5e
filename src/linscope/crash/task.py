"""task: the task_struct and thread_info of tasks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.bt import head_text
from linscope.crash.command import rows_of_text
from linscope.crash.session import Session
from linscope.crash.struct import rows_of_object
from linscope.kernel.task import task_cpu
from linscope.picture.rows import Column, Rows


class Task:
    """What the kernel keeps of a task."""

    usage = "[-R MEMBER[,MEMBER]] [-x | -d] [PID | TASK]..."
    help = """\
Shows the whole task_struct and thread_info; without a task, of that of the session.

  -R MEMBERS   only these        -x, -d   numbers to the base 16 or 10"""
    examples = ("task -R pid,comm,__state 1", "foreach task -R nvcsw")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's task."""
        parser.add_argument("-R", dest="members", action="append", default=[])
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("tasks", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A head, then the structs."""
        members = [name for text in arguments.members for name in text.split(",") if name]
        for task in session.find_tasks(arguments.tasks) if arguments.tasks else [session.task]:
            yield head_of(int(task.pid), task.address_ or 0, task_cpu(task), task.comm.string_())
            yield rows_of_object(session, task, members, arguments.base)
            if not members:
                yield rows_of_object(session, task.thread_info, [], arguments.base)
            yield rows_of_text("\n")


def head_of(pid: int, address: int, cpu: int, comm: str) -> Rows:
    """The line that crash puts above what it shows of a task."""
    text = head_text(pid, address, cpu, comm)
    columns = [Column("pid"), Column("task", value=hex), Column("cpu"), Column("comm")]
    return Rows(columns, [(pid, address, cpu, comm)], text=lambda: iter((text,)))


TASK = Task()
