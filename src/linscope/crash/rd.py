"""rd: memory as it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.picture.rows import Column, Rows

_MOST = 1 << 24  # bytes at once


class Rd:
    """Words of memory, as numbers, symbols or text."""

    usage = "[-8 | -16 | -32 | -64] [-p] [-s | -S] [-a] [-e END] ADDRESS | SYMBOL [COUNT]"
    help = """\
Shows memory.

  -8, -16, -32, -64   bits of each number (64)        -p   the address is physical
  -s   what numbers are the address of, by name       -S   also of the slab that they point into
  -a   text                                           -e END   up to an address, instead of a count"""
    examples = ("rd jiffies_64", "rd -s ffffd1adc0013dc0 20", "rd -a linux_banner")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's rd."""
        for bits in (8, 16, 32, 64):
            parser.add_argument(f"-{bits}", dest="size", action="store_const", const=bits // 8, default=8)
        parser.add_argument("-p", dest="physical", action="store_true")
        parser.add_argument("-s", "-S", dest="symbols", action="store_true")
        parser.add_argument("-a", dest="text", action="store_true")
        parser.add_argument("-x", dest="plain", action="store_true")
        parser.add_argument("-e", dest="end")
        parser.add_argument("address")
        parser.add_argument("count", nargs="?", default="")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer."""
        address = session.address(arguments.address)
        size = 1 if arguments.text else arguments.size
        if arguments.end is not None:
            length = session.address(arguments.end) - address
        elif arguments.count:
            try:
                length = int(arguments.count, 0) * size
            except ValueError:
                raise UsageError(f"{arguments.count!r} is no count") from None
        else:
            length = 256 if arguments.text else size
        if not 0 < length <= _MOST:
            raise UsageError(f"{length} bytes are too few or too many to show")
        if arguments.physical:
            if session.kernel.physical is None:
                raise UsageError("there is no physical memory here")
            data = session.kernel.physical.read(address, length)
        elif arguments.text and not arguments.count and arguments.end is None:
            text = session.kernel.string(address)
            yield Rows(_COLUMNS, [(address, text)], text=lambda: iter((f"{address:016x}:  {text}\n",)))
            return
        else:
            data = session.kernel.memory.read(address, length)
        if arguments.text:
            yield rows_of_text(address, data)
        else:
            yield rows_of_memory(session, address, data, size, symbols=arguments.symbols, plain=arguments.plain)


_COLUMNS = [Column("address", value=hex), Column("value")]


def rows_of_text(address: int, data: bytes) -> Rows:
    """Sixty characters a line; what is not to be printed is a dot."""
    rows = [(address + at, _printable(data[at : at + 60])) for at in range(0, len(data), 60)]
    return Rows(_COLUMNS, rows, text=lambda: (f"{at:016x}:  {text}\n" for at, text in rows))


def _printable(data: bytes) -> str:
    return "".join(chr(code) if 32 <= code < 127 else "." for code in data)


def rows_of_memory(
    session: Session, address: int, data: bytes, size: int, *, symbols: bool = False, plain: bool = False
) -> Rows:
    """A row each number of size bytes; as text 16 bytes a line with their characters, or names for symbols."""
    numbers = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data) - size + 1, size)]
    rows = [(address + place * size, number) for place, number in enumerate(numbers)]

    def name(number: int) -> str:
        place = session.kernel.place_of(number) if symbols else None
        return f"{number:0{2 * size}x}" if place is None else f"{place.symbol}+{place.offset}"

    def lines() -> Iterator[str]:
        step = 16 // size
        for first in range(0, len(numbers), step):
            some = numbers[first : first + step]
            cells = [f"{name(one):<16}" if symbols else f"{one:0{2 * size}x}" for one in some]
            line = f"{address + first * size:016x}:  {' '.join(cells)}"
            if not symbols and not plain:
                width = step * (2 * size + 1) - 1
                line = f"{line:<{19 + width + 3}}{_printable(data[first * size : (first + step) * size])}"
            yield line.rstrip() + "\n"

    columns = [Column("address", value=hex), Column("value", value=hex)]
    if symbols:
        columns.append(Column("symbol"))
        return Rows(columns, [(at, number, name(number)) for at, number in rows], text=lines)
    return Rows(columns, rows, text=lines)


RD = Rd()
