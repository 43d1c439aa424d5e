"""pte: what the bits of a page table's entry say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session, parse_hex
from linscope.crash.vm import swap_devices
from linscope.errors import UsageError
from linscope.memory.paging import PRESENT, PROT_NONE, Entry, swap_entry
from linscope.picture.rows import Column, Rows

_ADDRESS = 0x000F_FFFF_FFFF_F000
_PSE = 0x80
_FIRST_SPECIAL = 23  # a swap entry of this type or above is no swap area


class Pte:
    """Entries of page tables in words."""

    usage = "ENTRY..."
    help = "Shows the physical address and the flags of entries of page tables, or the place in a swap area."
    examples = ("pte 8000000001e0d063", "pte 7fffffff7ffffc00")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Entries in hexadecimal digits."""
        parser.add_argument("entries", nargs="+")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """A table an entry."""
        for word in arguments.entries:
            value = parse_hex(word)
            if value is None or value >> 64:
                raise UsageError(f"{word!r} is no entry of a page table")
            yield _rows_of_entry(session, value)


def _rows_of_entry(session: Session, value: int) -> Rows:
    columns = [
        Column("entry", value=hex), Column("physical", value=lambda found: None if found is None else hex(found)),
        Column("flags"), Column("swap_device"), Column("swap_page"),
    ]  # fmt: skip
    if value & (PRESENT | PROT_NONE):
        physical = value & _ADDRESS
        text = pte_text(value, physical)
        return Rows(columns, [(value, physical, flag_names(value), None, None)], text=lambda: iter((text,)))
    if not value:
        text = "PTE  PHYSICAL  FLAGS\n 0       0     (no mapping)\n"
        return Rows(columns, [(0, None, [], None, None)], text=lambda: iter((text,)))
    kind, offset = swap_entry(value)
    device = swap_devices(session).get(kind)
    name = device or ("(special)" if kind >= _FIRST_SPECIAL else f"(area {kind})")
    width = len(f"{value:x}")
    text = f"{'PTE':^{width}}  {'SWAP':^{len(name)}}  OFFSET\n{value:x}  {name}  {offset}\n"
    return Rows(columns, [(value, None, [], name, offset)], text=lambda: iter((text,)))


def flag_names(value: int) -> list[str]:
    """Names of an entry's bits; PROTNONE for one that is not present, but mapped."""
    names = Entry("", 0, value, True, 0, 1 << 21 if value & _PSE else 1 << 12).flags
    if not value & PRESENT:
        return ["PROTNONE" if one == "GLOBAL" else one for one in names]
    return names


def pte_text(value: int, physical: int) -> str:
    """The two lines of crash."""
    width, wide = len(f"{value:x}"), max(8, len(f"{physical:x}"))
    flags = "|".join(flag_names(value))
    return f"{'PTE':^{width}}  {'PHYSICAL':^{wide}}  FLAGS\n{value:x}  {physical:{wide}x}  ({flags})\n"


PTE = Pte()
