"""log: what the kernel printed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.kernel.printk import Message, iter_messages
from linscope.kernel.timers import boot_time_s
from linscope.picture.rows import Column, Rows


class Log:
    """The kernel's log, oldest first."""

    usage = "[-T] [-t] [-m] [-d]"
    help = """\
Shows the messages of the kernel's ring buffer.

  -T   with date and clock (UTC)      -t   without their times
  -m   with their levels in front: <4>
  -d   with the names and values that drivers gave (subsystem, device)"""
    examples = ("log", "log -m", "log -T")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's log."""
        parser.add_argument("-T", dest="dates", action="store_true")
        parser.add_argument("-d", dest="devices", action="store_true")
        parser.add_argument("-t", dest="timeless", action="store_true")
        parser.add_argument("-m", dest="levels", action="store_true")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer."""
        messages = list(iter_messages(session.kernel))
        boot_s = boot_time_s(session.kernel) if arguments.dates else None

        def lines() -> Iterator[str]:
            for message in messages:
                yield from format_message(message, times=not arguments.timeless, levels=arguments.levels, boot_s=boot_s)
                if arguments.devices:
                    yield from (f" {name}={value}\n" for name, value in message.device)

        columns = [
            Column("seq"), Column("time_ns"), Column("level"), Column("facility"), Column("caller"), Column("text"),
            Column("device", value=dict),
        ]  # fmt: skip
        yield Rows(columns, messages, text=lines)


def format_message(
    message: Message, *, times: bool = True, levels: bool = False, boot_s: float | None = None
) -> Iterator[str]:
    """The lines of a message, each with its time as dmesg has it; boot_s: when the kernel was booted, for dates."""
    head = f"<{message.level}>" if levels else ""
    if boot_s is not None:
        when = time.gmtime(boot_s + message.time_ns / 10**9)
        head += time.strftime("[%a %b %e %H:%M:%S UTC %Y] ", when)
    elif times:
        seconds, rest = divmod(message.time_ns, 10**9)
        head += f"[{seconds:5d}.{rest // 1000:06d}] "
    for line in message.text.split("\n"):
        yield f"{head}{line}\n"


LOG = Log()
