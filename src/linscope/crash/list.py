"""list: what is linked to a list."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.command import rows_of_text
from linscope.crash.session import Session
from linscope.crash.struct import offset_of, rows_of_members
from linscope.errors import FormatError, UsageError
from linscope.picture.rows import Column, Rows
from linscope.target.walks import MOST


class List:
    """Addresses that are linked, and what is there."""

    usage = "[[-o] OFFSET] [-e END] [-[s|S] STRUCT[.MEMBER,...] [-x|-d]] [-r] [-B] [-h|-H] START"
    help = """\
Follows links from a start until they come back to it, to NULL or to END.

  OFFSET    where the link lies in each struct: bytes, or STRUCT.MEMBER
  START     the address of a struct, whose link points to the next struct
  -h START  the same, where links are struct list_head: they point to each other
  -H START  the address of a struct list_head that is in none of the structs
  -s S[.M]  shows each as that struct, or the members    -x, -d   numbers to the base 16 or 10
  -r        by prev instead of next                      -e END   ends there"""
    examples = (
        "list -H modules module.list -s module.name", "list task_struct.tasks -h ffffffff9ca1aa40",
        "list -H super_blocks super_block.s_list -s super_block.s_id",
    )  # fmt: skip

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's list."""
        parser.add_argument("-o", dest="offset")
        parser.add_argument("-e", dest="end")
        parser.add_argument("-s", "-S", dest="structs", action="append", default=[])
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("-r", dest="reverse", action="store_true")
        parser.add_argument("-B", dest="brent", action="store_true")
        parser.add_argument("-h", dest="is_struct", action="store_true")
        parser.add_argument("-H", dest="is_head", action="store_true")
        parser.add_argument("words", nargs="*")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """The addresses, each with what it holds."""
        words = list(arguments.words)
        offset_word = arguments.offset
        if offset_word is None and len(words) > 1:
            offset_word = words.pop(next((at for at, word in enumerate(words) if "." in word), 0))
        if len(words) != 1:
            raise UsageError("list needs one start", next_step="help list")
        offset = 0 if offset_word is None else offset_of(session, offset_word)
        end = session.address(arguments.end) if arguments.end else None
        found = _structs(session, session.address(words[0]), offset, arguments, end)
        yield from rows_of_addresses(session, found, arguments.structs, arguments.base)


def _structs(
    session: Session, start: int, offset: int, arguments: argparse.Namespace, end: int | None
) -> Iterator[int]:
    """Addresses of the structs.  Raises FormatError for a list that goes in a circle elsewhere, MemoryFault."""
    if arguments.is_struct or arguments.is_head:  # links point to links
        step = 8 if arguments.reverse else 0
        first = start + (0 if arguments.is_head else offset)
        shift = offset
    else:  # links point to structs
        step, first, shift = offset, start, 0
    seen = {first}
    at = first
    if not arguments.is_head:
        yield at - shift
    for _ in range(MOST):
        at = session.kernel.u64(at + step)
        if at in (0, first) or end in (at, at - shift):
            return
        if at in seen:
            raise FormatError(f"the list at {start:#x} goes in a circle at {at - shift:#x}")
        seen.add(at)
        yield at - shift


def rows_of_addresses(session: Session, addresses: Iterator[int], structs: list[str], base: int) -> Iterator[Rows]:
    """A line an address, with structs or members below it.  What came before an error is shown."""
    if not structs:
        yield Rows([Column("address", value=hex)], _rows(addresses), text=lambda: (f"{at:x}\n" for at in addresses))
        return
    for at in addresses:
        yield rows_of_text(f"{at:x}\n")
        for text in structs:
            yield rows_of_members(session, text, at, base)


def _rows(addresses: Iterator[int]) -> Iterator[tuple[int]]:
    return ((at,) for at in addresses)


LIST = List()
