"""sys: the system, and what happened to it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import LinscopeError
from linscope.kernel.printk import iter_messages
from linscope.kernel.task import iter_tasks
from linscope.picture.rows import Column, Rows

_GB, _MB = 1 << 30, 1 << 20
# what a kernel says when it dies, the most telling first
_PANICS = (
    "Kernel panic - not syncing: ", "BUG: ", "Oops: ", "general protection fault", "sysrq: Trigger a crash",
    "kernel BUG at ", "Unable to handle kernel ", "watchdog: BUG: ",
)  # fmt: skip


class Sys:
    """Release, CPUs, time, load, memory, panic."""

    usage = ""
    help = "Shows what the kernel is, how long it ran, and why it died."
    examples = ("sys",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """None yet."""

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A row each fact."""
        facts = list(iter_facts(session))

        def lines() -> Iterator[str]:
            for name, value in facts:
                yield f"{name:>12}: {value}\n"

        yield Rows([Column("name"), Column("value")], facts, text=lines)


def iter_facts(session: Session) -> Iterator[tuple[str, str]]:
    """(name as crash has it, value); what cannot be read says so."""
    kernel = session.kernel
    for name, find in _FACTS:
        try:
            value = find(session)
        except LinscopeError as error:
            value = f"(cannot be read: {error})"
        if value:
            yield name, value
    if kernel.physical is not None and kernel.physical.is_incomplete:
        yield "NOTE", "the dump is not complete"


def _dump(session: Session) -> str:
    physical = session.kernel.physical
    return "" if physical is None else f"{physical.where}  [{physical.format}]"


def _date(session: Session) -> str:
    found = session.kernel.info.crash_time_s
    return time.strftime("%a %b %e %H:%M:%S UTC %Y", time.gmtime(found)) if found else ""


def _uptime(session: Session) -> str:
    last = list(iter_messages(session.kernel))[-1:]
    if not last:
        return ""
    seconds = last[0].time_ns // 10**9
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} days, {clock}" if days else clock


def _load(session: Session) -> str:
    # FSHIFT 11: include/linux/sched/loadavg.h
    return ", ".join(f"{int(one) / 2048:.2f}" for one in session.kernel.elements("avenrun", 3))


def _uts(session: Session, member: str) -> str:
    return str(session.kernel.variable("init_uts_ns").name.member_(member).string_())


def _memory(session: Session) -> str:
    size = int(session.kernel.variable("_totalram_pages").counter) * 4096
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / _MB:.1f} MB"


def panic_message(session: Session) -> str:
    """The line of the log that says why the kernel died; "" when none does."""
    texts = [message.text for message in iter_messages(session.kernel)]
    for word in _PANICS:
        found = next((text for text in texts if word in text), None)
        if found is not None:
            return f'"{found.splitlines()[0]}"'
    return ""


_FACTS = (
    ("DUMPFILE", _dump),
    ("CPUS", lambda session: str(len(session.kernel.cpus()))),
    ("DATE", _date),
    ("UPTIME", _uptime),
    ("LOAD AVERAGE", _load),
    ("TASKS", lambda session: str(sum(1 for _ in iter_tasks(session.kernel, idle=True)))),
    ("NODENAME", lambda session: _uts(session, "nodename")),
    ("RELEASE", lambda session: _uts(session, "release")),
    ("VERSION", lambda session: _uts(session, "version")),
    ("MACHINE", lambda session: _uts(session, "machine")),
    ("MEMORY", _memory),
    ("PANIC", panic_message),
)  # fmt: skip


SYS = Sys()
