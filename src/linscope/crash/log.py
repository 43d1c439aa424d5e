"""log: what the kernel printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.kernel.printk import Message, iter_messages
from linscope.picture.rows import Column, Rows


class Log:
    """The kernel's log, oldest first."""

    usage = "[-t] [-m] [-d]"
    help = """\
Shows the messages of the kernel's ring buffer.

  -t   without their times        -m   with their levels in front: <4>"""
    examples = ("log", "log -m")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's log."""
        parser.add_argument("-t", dest="timeless", action="store_true")
        parser.add_argument("-m", dest="levels", action="store_true")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer."""
        messages = list(iter_messages(session.kernel))

        def lines() -> Iterator[str]:
            for message in messages:
                yield from format_message(message, times=not arguments.timeless, levels=arguments.levels)

        columns = [
            Column("seq"), Column("time_ns"), Column("level"), Column("facility"), Column("caller"), Column("text"),
        ]  # fmt: skip
        yield Rows(columns, messages, text=lines)


def format_message(message: Message, *, times: bool = True, levels: bool = False) -> Iterator[str]:
    """The lines of a message, each with its time as dmesg has it."""
    seconds, rest = divmod(message.time_ns, 10**9)
    head = (f"<{message.level}>" if levels else "") + (f"[{seconds:5d}.{rest // 1000:06d}] " if times else "")
    for line in message.text.split("\n"):
        yield f"{head}{line}\n"


LOG = Log()
