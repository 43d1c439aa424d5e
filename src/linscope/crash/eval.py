"""eval: a number in all bases."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session, parse_hex
from linscope.errors import ExpressionError, LinscopeError, UsageError
from linscope.picture.rows import Column, Rows
from linscope.target.evaluate import evaluate

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Eval:
    """The value of an expression, in hexadecimal, decimal, octal and binary."""

    usage = "[-b] [-l] EXPRESSION"
    help = """\
Shows a number, an address, a symbol or an expression of C in all bases; 16k, 4m, 2g are sizes.

  -b   which bits are set        -l   accepted as crash has it: numbers have 64 bits"""
    examples = ("eval 128m", "eval -b 0xf0", "eval (1<<32)+5", "eval jiffies_64 / 250")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """All words: what begins with a minus can be an option or the expression."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer."""
        words = list(arguments.words)
        bits = False
        while words and words[0] in ("-b", "-l", "-bl", "-lb"):
            bits = "b" in words.pop(0) or bits
        number = _value(session, " ".join(words)) & (1 << 64) - 1
        signed = number - (1 << 64) if number >> 63 else number
        shown = [
            ("hexadecimal", f"{number:x}" + _unit(number)),
            ("decimal", f"{number}" + (f"  ({signed})" if signed < 0 else "")),
            ("octal", f"{number:o}"),
            ("binary", f"{number:064b}"),
        ]
        if bits:
            shown.append(("bits set", " ".join(str(bit) for bit in range(63, -1, -1) if number >> bit & 1)))
        yield Rows(
            [Column("base"), Column("value")], shown, text=lambda: (f"{base:>11}: {text}\n" for base, text in shown)
        )


def _unit(number: int) -> str:
    for letter in ("g", "m", "k"):
        size = _UNITS[letter]
        if number and not number % size:
            return f"  ({number // size}{letter.upper()}B)"
    return ""


def _value(session: Session, text: str) -> int:
    """Raises UsageError, LinscopeError."""
    if not text:
        raise UsageError("eval needs an expression", next_step="help eval")
    size = _UNITS.get(text[-1:].lower())
    if size and text[:-1].isdigit():
        return int(text[:-1]) * size
    try:
        return int(evaluate(session.kernel, text))
    except (ExpressionError, LinscopeError):
        if text.isidentifier() and (found := session.kernel.find_symbol(text)) is not None:
            return found
        number = parse_hex(text)
        if number is None:
            raise
        return number


EVAL = Eval()
