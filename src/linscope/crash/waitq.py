"""waitq: who sleeps on a wait queue."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.bt import head_text
from linscope.crash.session import Session
from linscope.crash.struct import find_struct
from linscope.errors import UsageError
from linscope.kernel.task import task_cpu
from linscope.kernel.wait_queues import iter_waiters
from linscope.picture.rows import Column, Rows


class Waitq:
    """The tasks of a wait queue."""

    usage = "ADDRESS | SYMBOL | STRUCT.MEMBER ADDRESS | STRUCT.MEMBER SYMBOL"
    help = "Shows the tasks that wait in a struct wait_queue_head: at an address, or as a member of a struct there."
    examples = ("waitq kauditd_wait", "waitq super_block.s_writers.wait_unfrozen ffff8e958105a800")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Where the queue is."""
        parser.add_argument("where")
        parser.add_argument("address", nargs="?")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table."""
        if arguments.address is None:
            address = session.address(arguments.where)
        else:
            owner, _, member = arguments.where.partition(".")
            place = session.kernel.types.place(find_struct(session, owner), member)
            address = session.address(arguments.address) + place.bit_offset // 8
        if not address:
            raise UsageError("0 is no wait queue")
        rows = []
        for entry, task, function in iter_waiters(session.kernel, address):
            facts = (None, None, None, "") if task is None else (
                int(task.pid), task.address_, task_cpu(task), task.comm.string_()
            )  # fmt: skip
            rows.append((entry, *facts, function))

        def lines() -> Iterator[str]:
            if not rows:
                yield f"wait queue {address:x} is empty\n"
            for entry, pid, task, cpu, comm, function in rows:
                if pid is None:
                    yield f"(no task: wait_queue_entry {entry:x}, {function})\n"
                else:
                    yield head_text(pid, task, cpu, comm)

        columns = [
            Column("entry", value=hex), Column("pid"), Column("task", value=lambda one: one and hex(one)),
            Column("cpu"), Column("comm"), Column("function"),
        ]  # fmt: skip
        yield Rows(columns, rows, text=lines)


WAITQ = Waitq()
