"""sys: the system, and what happened to it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import LinscopeError, UnknownNameError, UsageError
from linscope.kernel.machine import iter_dmi, khz, memory_bytes, taints
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

    usage = "[-c [NAME | NUMBER]] [-t] [-i]"
    help = """\
Shows what the kernel is, how long it ran, and why it died.

  -c   system calls with their functions: all, or those of a name or number (hexadecimal with 0x)
  -t   what taints the kernel        -i   what the firmware says of the machine"""
    examples = ("sys", "sys -t", "sys -c openat")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's sys."""
        parser.add_argument("-c", dest="calls", action="store_true")
        parser.add_argument("-t", dest="taints", action="store_true")
        parser.add_argument("-i", dest="firmware", action="store_true")
        parser.add_argument("name", nargs="?")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A row each fact."""
        if arguments.calls:
            yield _calls(session, arguments.name)
            return
        if arguments.name:
            raise UsageError(f"{arguments.name!r} is nothing that sys knows", next_step="help sys")
        if arguments.taints:
            mask, found = session.kernel.u64(session.kernel.symbol("tainted_mask")), taints(session.kernel)
            facts = [("TAINTED_MASK", f"{mask:x}  {''.join(one[0] for one in found)}".rstrip())]
            facts += [(one[0], one[3:]) for one in found]
        elif arguments.firmware:
            facts = list(iter_dmi(session.kernel))
        else:
            facts = list(iter_facts(session))
        width = 25 if arguments.firmware else 12

        def lines() -> Iterator[str]:
            for name, value in facts:
                yield f"{name:>{width}}: {value}".rstrip() + "\n"

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


def in_units(size: int) -> str:
    """Bytes as crash writes them: "511.5 MB"."""
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / _MB:.1f} MB"


def _memory(session: Session) -> str:
    return in_units(memory_bytes(session.kernel))


def _machine(session: Session) -> str:
    speed = khz(session.kernel)
    return _uts(session, "machine") + (f"  ({speed // 1000} Mhz)" if speed else "")


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
    ("MACHINE", _machine),
    ("MEMORY", _memory),
    ("PANIC", panic_message),
)  # fmt: skip


_MOST_CALLS = 1024


def _calls(session: Session, wanted: str | None) -> Rows:
    """System calls; wanted: part of a name, or a number."""
    kernel = session.kernel
    start = kernel.symbol("sys_call_table")
    number = None
    if wanted and (wanted.isdigit() or wanted.startswith("0x")):
        number = int(wanted, 0)
    rows = []
    for place in range(_MOST_CALLS):
        place_of = kernel.place_of(kernel.u64(start + 8 * place))
        if place_of is None or place_of.offset or not kernel.is_text(place_of.address):
            break  # behind the table's end
        name = place_of.symbol
        if wanted is None or number == place or (number is None and wanted in name):
            rows.append((place, name))
    if not rows:
        raise UnknownNameError("system call", wanted or "")
    columns = [Column("number"), Column("function")]

    def lines() -> Iterator[str]:
        yield "NUM  SYSTEM CALL\n"
        for place, name in rows:
            yield f"{place:3}  {name}\n"

    return Rows(columns, rows, text=lines)


SYS = Sys()
