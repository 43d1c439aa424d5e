"""ascii: numbers as characters."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session, parse_hex
from linscope.errors import UsageError
from linscope.picture.rows import Column, Rows

_CONTROLS = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
).split()


class Ascii:
    """The bytes of numbers as text; without a number the table of all characters."""

    usage = "[NUMBER]..."
    help = "Shows the bytes of hexadecimal numbers as characters, the lowest first; without a number, the whole table."
    examples = ("ascii", "ascii 62696c2f7273752f")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Numbers."""
        parser.add_argument("numbers", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A line a number, or the table."""
        if not arguments.numbers:
            yield _table()
            return
        rows = []
        for word in arguments.numbers:
            number = parse_hex(word)
            if number is None or number < 0 or number >> 64:
                raise UsageError(f"{word!r} is no hexadecimal number of up to 64 bits")
            data = number.to_bytes(8, "little").rstrip(b"\0")
            rows.append((number, "".join(name_of(code) for code in data)))
        yield Rows(
            [Column("number", value=hex), Column("text")],
            rows,
            text=lambda: (f"{one:x}: {text}\n" for one, text in rows),
        )


def name_of(code: int) -> str:
    """A character, or <NAME> of a control character."""
    if code < len(_CONTROLS):
        return f"<{_CONTROLS[code]}>"
    return {32: " ", 127: "<DEL>"}.get(code, chr(code) if code < 127 else f"<{code:02x}>")


def _table() -> Rows:
    def cell(code: int) -> str:
        return {32: "SP", 127: "DEL"}.get(code, _CONTROLS[code] if code < len(_CONTROLS) else chr(code))

    def lines() -> Iterator[str]:
        yield "\n      0    1   2   3   4   5   6   7\n    +-------------------------------\n"
        for low in range(16):
            cells = " ".join(f"{cell(high * 16 + low):>3}" for high in range(8))
            yield f"  {low:X} | {cells}\n"
        yield "\n"

    return Rows([Column("code"), Column("character")], [(code, cell(code)) for code in range(128)], text=lines)


ASCII = Ascii()
