"""irq: interrupts, their handlers and counts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.bt import parse_cpus
from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.kernel.interrupts import Interrupt, iter_interrupts, iter_softirqs, iter_vectors
from linscope.picture.rows import Column, Rows

_MOST_NUMBERS = 1 << 16


class Irq:
    """Interrupts."""

    usage = "[-u | -d | -b | -a | -s [-c CPU]] [NUMBER]..."
    help = """\
Shows interrupts: descriptor, handlers, names.

  -u   only those that are set up        -s   counts by CPU (-c: only of some)
  -a   which CPUs they may come to       -b   the functions of soft interrupts
  -d   the entries of the processor's vectors"""
    examples = ("irq -u", "irq -s", "irq -b")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's irq."""
        for letter, name in (("u", "used"), ("d", "vectors"), ("b", "soft"), ("a", "affinity"), ("s", "counts")):
            parser.add_argument(f"-{letter}", dest=name, action="store_true")
        parser.add_argument("-c", dest="cpus")
        parser.add_argument("numbers", nargs="*", type=int)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table."""
        if arguments.vectors:
            yield _vectors(session)
        elif arguments.soft:
            yield _soft(session)
        else:
            found = [
                one
                for one in iter_interrupts(session.kernel)
                if not arguments.numbers or one.number in arguments.numbers
            ]
            if arguments.numbers and not found:
                raise UsageError(f"no interrupt {', '.join(map(str, arguments.numbers))}")
            used = [one for one in found if one.actions]
            if arguments.affinity:
                yield _affinity(session, used)
            elif arguments.counts:
                online = session.kernel.cpus()
                cpus = (
                    online if arguments.cpus is None else [one for one in online if one in parse_cpus(arguments.cpus)]
                )
                yield _counts(used, cpus)
            else:
                every = not arguments.used and not arguments.numbers
                yield _list(found, session.kernel.u32(session.kernel.symbol("nr_irqs")) if every else 0)


def _list(found: list[Interrupt], count: int) -> Rows:
    """count: so many numbers are shown, also those that nothing has; 0: only those that are found."""
    rows = [(one.number, one.desc.address_, [action.address_ for action in one.actions], one.names) for one in found]
    known = {row[0] for row in rows}
    rows += [(number, None, [], []) for number in range(min(count, _MOST_NUMBERS)) if number not in known]
    rows.sort(key=lambda row: row[0])

    def lines() -> Iterator[str]:
        yield " IRQ   IRQ_DESC/_DATA      IRQACTION      NAME\n"
        for number, desc, actions, names in rows:
            head = f"{number:>3}   {desc:x}" if desc is not None else f"{number:>3}       (unused)    "
            if not actions:
                yield f"{head}      (unused)\n"
            for place, (action, name) in enumerate(zip(actions, names, strict=True)):
                yield f'{head if not place else " " * len(head)}  {action:x}  "{name}"\n'

    columns = [
        Column("irq"), Column("irq_desc", value=lambda one: one and hex(one)),
        Column("actions", value=lambda some: [hex(one) for one in some]), Column("names"),
    ]  # fmt: skip
    return Rows(columns, rows, text=lines)


def _affinity(session: Session, used: list[Interrupt]) -> Rows:
    count = max(session.kernel.cpus("possible"), default=0) + 1
    rows = [(one.number, ",".join(one.names), one.affinity(count)) for one in used]

    def lines() -> Iterator[str]:
        yield "IRQ NAME                 AFFINITY\n"
        for number, name, cpus in rows:
            yield f"{number:>3} {name:<20} {ranges(cpus)}\n"

    return Rows([Column("irq"), Column("name"), Column("affinity")], rows, text=lines)


def ranges(numbers: list[int]) -> str:
    """Numbers in order as "0-3,7"."""
    parts: list[list[int]] = []
    for one in numbers:
        if parts and parts[-1][1] == one - 1:
            parts[-1][1] = one
        else:
            parts.append([one, one])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _counts(used: list[Interrupt], cpus: list[int]) -> Rows:
    rows = [(one.number, one.counts(cpus), one.chip, ",".join(one.names)) for one in used]

    def lines() -> Iterator[str]:
        yield "    " + "".join(f"{f'CPU{cpu}':>11}" for cpu in cpus) + "\n"
        for number, counts, chip, names in rows:
            yield f"{number:>3}: " + "".join(f"{count:>10} " for count in counts) + f" {chip:<14}  {names}\n"

    return Rows([Column("irq"), Column("counts"), Column("chip"), Column("names")], rows, text=lines)


def _soft(session: Session) -> Rows:
    rows = [(number, address, session.kernel.name_of(address)) for number, address in iter_softirqs(session.kernel)]

    def lines() -> Iterator[str]:
        yield "SOFTIRQ_VEC      ACTION\n"
        for number, address, name in rows:
            if address:
                yield f"{f'[{number}]':>7}     {address:x}  <{name}>\n"

    return Rows([Column("softirq"), Column("action", value=hex), Column("function")], rows, text=lines)


def _vectors(session: Session) -> Rows:
    rows = [(number, at, session.kernel.name_of(at) if at else "") for number, at in iter_vectors(session.kernel)]

    def lines() -> Iterator[str]:
        for number, _, name in rows:
            if name:
                yield f"{f'[{number}]':>5} {name}\n"

    return Rows([Column("vector"), Column("entry", value=hex), Column("function")], rows, text=lines)


IRQ = Irq()
