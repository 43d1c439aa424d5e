"""sym: symbols and their addresses, both ways."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from linscope.crash.session import Session, parse_hex
from linscope.errors import UnknownNameError, UsageError
from linscope.picture.rows import Column, Rows

_COLUMNS = [Column("address", value=hex), Column("type"), Column("symbol"), Column("offset_bytes"), Column("module")]


class Sym:
    """What an address is called, where a symbol lies."""

    usage = "[-l | -m MODULE | -q TEXT] [-n | -p] [SYMBOL | ADDRESS]..."
    help = """\
Shows the address of symbols, and the symbols of addresses.

  -l   all symbols by address        -m MODULE   those of a module        -q TEXT   those with a text in their name
  -n, -p   also the next, the previous one"""
    examples = ("sym init_task", "sym ffffffff9b16475a", "sym -q tcp_v4")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's sym."""
        parser.add_argument("-l", dest="all", action="store_true")
        parser.add_argument("-m", dest="module")
        parser.add_argument("-q", dest="query")
        parser.add_argument("-n", dest="next", action="store_true")
        parser.add_argument("-p", dest="previous", action="store_true")
        parser.add_argument("words", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer for lists, else one a word."""
        if arguments.all or arguments.module or arguments.query:
            rows = [
                row for row in _all(session, arguments.module) if not arguments.query or arguments.query in row[2]
            ]  # fmt: skip
            yield Rows(_COLUMNS, rows, text=lambda: map(_line, rows))
            return
        if not arguments.words:
            raise UsageError("a symbol or an address is needed", next_step="help sym")
        for word in arguments.words:
            found = _find(session, word, arguments)
            yield Rows(_COLUMNS, found, text=partial(map, _line, found))


Row = tuple[int, str, str, int, str]


def _all(session: Session, module: str | None) -> Iterator[Row]:
    if module is None:
        for address, letter, name in session.kernel.symbols:
            yield address, letter, name, 0, ""
    for one in session.kernel.modules:
        if module in (None, one.name):
            for address, _, name, is_function in one.symbols():
                yield address, "t" if is_function else "d", name, 0, one.name


def _find(session: Session, word: str, arguments: argparse.Namespace) -> list[Row]:
    kernel = session.kernel
    addresses = kernel.symbols.find_all(word) if kernel.symbols.find(word) is not None else []
    if not addresses:
        one = kernel.find_symbol(word)
        number = parse_hex(word) if one is None else one
        if number is None:
            raise UnknownNameError("symbol", word, kernel.symbols.near(word))
        addresses = [number]
    found: list[Row] = []
    for address in addresses:
        place = kernel.place_of(address)
        if place is None:
            raise UsageError(f"{address:x} belongs to no symbol")
        at = kernel.symbols.find_place(address) if not place.module else None
        around = []
        if at is not None and not place.module:
            steps = ((-1, arguments.previous), (0, True), (1, arguments.next))
            around = [at + step for step, wanted in steps if wanted]
        if not around:
            found.append((address, "t", place.symbol, place.offset, place.module))
        for one_place in around:
            if 0 <= one_place < len(kernel.symbols):
                start, letter = kernel.symbols.address(one_place), kernel.symbols.kind(one_place)
                here = one_place == at
                name = word if here and kernel.symbols.find(word) == address else kernel.symbols.name(one_place)
                found.append((address if here else start, letter, name, address - start if here else 0, ""))
    return found


def _line(row: Row) -> str:
    address, letter, name, offset, module = row
    return f"{address:x} ({letter}) {name}{f'+{offset}' if offset else ''}{f' [{module}]' if module else ''}\n"


SYM = Sym()
