"""mach: the machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import groupby

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session
from linscope.crash.struct import rows_of_object
from linscope.crash.sys import in_units
from linscope.errors import LinscopeError
from linscope.kernel.machine import (
    KERNEL_MAP,
    iter_e820,
    iter_stacks,
    khz,
    memory_bytes,
    modules_base,
)  # fmt: skip
from linscope.kernel.stacks import stack_size
from linscope.kernel.timers import hz
from linscope.picture.rows import Column, Rows


class Mach:
    """What the kernel knows of its machine."""

    usage = "[-m | -c]"
    help = """\
Shows memory, CPUs, and where in its addresses the kernel has what.

  -m   physical memory as the firmware told it (e820)        -c   struct cpuinfo_x86 of each CPU"""
    examples = ("mach", "mach -m")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's mach."""
        parser.add_argument("-m", dest="memory", action="store_true")
        parser.add_argument("-c", dest="cpus", action="store_true")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table; with -c one a CPU."""
        if arguments.memory:
            yield _ranges(session)
        elif arguments.cpus:
            for cpu in session.kernel.cpus():
                yield rows_of_text(f"CPU {cpu}:\n")
                yield rows_of_object(session, session.kernel.per_cpu("cpu_info", cpu), [])
        else:
            facts = list(_facts(session))
            lines = [f"{name:>22}: {value}".rstrip() + "\n" for name, value in facts]
            yield Rows([Column("name"), Column("value")], facts, text=lambda: iter(lines))


def _ranges(session: Session) -> Rows:
    rows = list(iter_e820(session.kernel))

    def lines() -> Iterator[str]:
        yield f"{'PHYSICAL ADDRESS RANGE':^35}  TYPE\n"
        for start, end, kind in rows:
            yield f"{start:016x} - {end:016x}  {kind}\n"

    return Rows([Column("start", value=hex), Column("end", value=hex), Column("type")], rows, text=lines)


def _facts(session: Session) -> Iterator[tuple[str, str]]:
    kernel = session.kernel
    yield "MACHINE TYPE", kernel.variable("init_uts_ns").name.machine.string_()
    finds: tuple[tuple[str, Callable[[], str]], ...] = (
        ("MEMORY SIZE", lambda: in_units(memory_bytes(kernel))),
        ("CPUS", lambda: str(len(kernel.cpus()))),
        ("PROCESSOR SPEED", lambda: f"{khz(kernel) // 1000} Mhz"),
        ("HZ", lambda: str(hz(kernel))),
        ("PAGE SIZE", lambda: "4096"),
        ("KERNEL VIRTUAL BASE", lambda: f"{kernel.u64(kernel.symbol('page_offset_base')):x}"),
        ("KERNEL VMALLOC BASE", lambda: f"{kernel.u64(kernel.symbol('vmalloc_base')):x}"),
        ("KERNEL VMEMMAP BASE", lambda: f"{kernel.u64(kernel.symbol('vmemmap_base')):x}"),
        ("KERNEL START MAP", lambda: f"{KERNEL_MAP:x}"),
        ("KERNEL MODULES BASE", lambda: f"{modules_base(kernel):x}"),
        ("KERNEL STACK SIZE", lambda: str(stack_size(session.kernel))),
    )
    for name, find in finds:
        try:
            yield name, find()
        except LinscopeError as error:
            yield name, f"(cannot be read: {error})"
    for purpose, stacks in groupby(iter_stacks(kernel), key=lambda one: one.purpose):
        found = list(stacks)
        yield f"{purpose} STACK SIZE", str(found[0].size)
        yield f"{purpose} STACKS", ""
        for one in found:
            yield f"CPU {one.cpu}", f"{one.start:x}"


MACH = Mach()
