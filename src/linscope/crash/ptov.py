"""ptov: from a physical address, or a per-CPU offset, to virtual ones."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.bt import parse_cpus
from linscope.crash.session import Session, parse_hex
from linscope.errors import UsageError
from linscope.kernel.page import Pages
from linscope.kernel.task import task_cpu
from linscope.memory.physical import ADDRESS_END
from linscope.picture.rows import Column, Rows


class Ptov:
    """Physical to virtual, per-CPU to virtual."""

    usage = "ADDRESS | OFFSET:[CPU | a]..."
    help = """\
Shows where the direct map has a physical address, or where a per-CPU offset lies on CPUs: on that of the session's task
(OFFSET:), on some (OFFSET:0,2-3), on all (OFFSET:a)."""
    examples = ("ptov 1000000", "ptov b0c0:a")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Hexadecimal numbers."""
        parser.add_argument("addresses", nargs="+")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A table an address."""
        for word in arguments.addresses:
            text, colon, cpus = word.partition(":")
            number = parse_hex(text)
            if number is None:
                raise UsageError(f"{text!r} is no hexadecimal number")
            yield _per_cpu(session, number, cpus) if colon else _physical(session, number)


def _physical(session: Session, physical: int) -> Rows:
    if physical >= ADDRESS_END:
        raise UsageError(f"{physical:x} is no physical address")
    virtual = Pages(session.kernel).virtual_of(physical)
    text = f"{'VIRTUAL':<16}  PHYSICAL\n{virtual:x}  {physical:x}\n"
    columns = [Column("virtual", value=hex), Column("physical", value=hex)]
    return Rows(columns, [(virtual, physical)], text=lambda: iter((text,)))


def _per_cpu(session: Session, offset: int, cpus: str) -> Rows:
    kernel = session.kernel
    there = kernel.cpus("possible")
    if not cpus:
        chosen = [task_cpu(session.task)]
    elif cpus in ("a", "all"):
        chosen = there
    else:
        chosen = sorted(parse_cpus(cpus))
    missing = [cpu for cpu in chosen if cpu not in there]
    if missing:
        raise UsageError(f"no CPU {missing[0]} among {there}")
    rows = [(cpu, offset, kernel.per_cpu_address(offset, cpu)) for cpu in chosen]

    def lines() -> Iterator[str]:
        yield f"PER-CPU OFFSET: {offset:x}\n  CPU    VIRTUAL\n"
        for cpu, _, virtual in rows:
            yield f"{f'[{cpu}]':>5}  {virtual:x}\n"

    columns = [Column("cpu"), Column("offset", value=hex), Column("virtual", value=hex)]
    return Rows(columns, rows, text=lines)


PTOV = Ptov()
