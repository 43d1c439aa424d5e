"""timer: timers that wait."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.bt import parse_cpus
from linscope.crash.session import Session
from linscope.kernel.timers import HrBase, WheelBase, iter_hrtimers, iter_wheel, jiffies
from linscope.picture.rows import Column, Rows


class Timer:
    """Timers by CPU, the next one first."""

    usage = "[-r] [-C CPU]"
    help = """\
Shows the timers that wait: when they end (jiffies; TTE: how many until then), and what is called.

  -r       high resolution timers, in nanoseconds        -C CPU   only of these: 0,2-3"""
    examples = ("timer", "timer -r -C 0")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's timer."""
        parser.add_argument("-r", dest="hrtimers", action="store_true")
        parser.add_argument("-C", dest="cpus")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A table a CPU."""
        online = session.kernel.cpus()
        cpus = online if arguments.cpus is None else [one for one in online if one in parse_cpus(arguments.cpus)]
        for number, cpu in enumerate(cpus):
            yield _hrtimers(session, cpu) if arguments.hrtimers else _wheel(session, cpu, first=not number)


def _wheel(session: Session, cpu: int, *, first: bool) -> Rows:
    kernel = session.kernel
    now = jiffies(kernel)
    bases: list[WheelBase] = list(iter_wheel(kernel, cpu))
    rows = [
        (cpu, base.name, one.expires, one.expires - now, one.address, kernel.name_of(one.function))
        for base in bases for one in base.timers
    ]  # fmt: skip

    def lines() -> Iterator[str]:
        if first:
            yield f"JIFFIES\n{now}\n\n"
        for base in bases:
            yield f"TIMER_BASES[{cpu}][{base.name}]: {base.address:x}\n"
            if not base.timers:
                yield "  (none)\n"
                continue
            wide = max(len(str(one.expires)) for one in base.timers)
            far = max(max(len(str(one.expires - now)) for one in base.timers), 3)
            yield f"  {'EXPIRES':<{wide}}  {'TTE':>{far}}  {'TIMER_LIST':^16}  FUNCTION\n"
            for one in base.timers:
                name = kernel.name_of(one.function)
                left = one.expires - now
                yield f"  {one.expires:>{wide}}  {left:>{far}}  {one.address:x}  {one.function:x}  <{name}>\n"
        yield "\n"

    columns = [
        Column("cpu"), Column("base"), Column("expires_jiffies"), Column("left_jiffies"),
        Column("timer_list", value=hex), Column("function"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _hrtimers(session: Session, cpu: int) -> Rows:
    kernel = session.kernel
    bases: list[HrBase] = list(iter_hrtimers(kernel, cpu))
    rows = [
        (cpu, base.clock, one.soft_expires_ns, one.expires_ns, one.expires_ns - base.now_ns, one.address,
         kernel.name_of(one.function))
        for base in bases for one in base.timers
    ]  # fmt: skip

    def lines() -> Iterator[str]:
        yield f"CPU: {cpu}  HRTIMER_CPU_BASE: {kernel.per_cpu('hrtimer_bases', cpu).address_:x}\n"
        for base in bases:
            yield f"  CLOCK: {base.number}  HRTIMER_CLOCK_BASE: {base.address:x}  [{base.clock}]\n"
            if not base.timers:
                yield "  (empty)\n\n"
                continue
            yield f"     CURRENT\n  {base.now_ns:>12}\n"
            yield f"  {'SOFTEXPIRES':^16} {'EXPIRES':^16} {'TTE':^16} {'HRTIMER':^16}  FUNCTION\n"
            for one in base.timers:
                left = one.expires_ns - base.now_ns
                yield (
                    f"  {one.soft_expires_ns:>16} {one.expires_ns:>16} {left:>16} {one.address:x}  {one.function:x}"
                    f"  <{kernel.name_of(one.function)}>\n"
                )
            yield "\n"

    columns = [
        Column("cpu"), Column("clock"), Column("soft_expires_ns"), Column("expires_ns"), Column("left_ns"),
        Column("hrtimer", value=hex), Column("function"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


TIMER = Timer()
