"""dis: the machine code of functions."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import MemoryFault, UsageError
from linscope.picture.rows import Column, Rows

_LONGEST = 15  # bytes of an instruction
_MOST = 1 << 18  # bytes of a function that are shown
_TARGET = re.compile(r"(?:\*)?0x([0-9a-f]+)$")
_IMMEDIATE = re.compile(r"\$(-?\d{2,})\b(?!x)")  # what is not hexadecimal already
_WORD = (1 << 64) - 1
_BRANCHES = ("call", "j", "loop")
_FTRACE_NOP = bytes.fromhex("0f1f440000")  # what stands at the beginning of a function that is not traced


class Dis:
    """Instructions, with the names of what they call."""

    usage = "[-r | -f] [-l] [-u] [-b BYTES] [-x | -d] ADDRESS | SYMBOL | EXPRESSION [COUNT]"
    help = """\
Shows a function as assembler (AT&T); with an address in it from there on, one instruction or COUNT of them.

  -r   from the function's beginning up to the address        -f   from the address to the function's end
  -u   the address is of the session's task in user space     -b N   N bytes at the address
  -l   with source lines (needs --vmlinux)
  -x, -d   offsets to the base 16 or 10"""
    examples = ("dis sysrq_handle_crash", "dis -r ffffffff9b6a8a06", "dis vfs_read 5")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's dis."""
        parser.add_argument("-r", dest="reverse", action="store_true")
        parser.add_argument("-f", dest="forward", action="store_true")
        parser.add_argument("-l", dest="lines", action="store_true")
        parser.add_argument("-u", dest="user", action="store_true")
        parser.add_argument("-b", dest="bytes", type=int)
        parser.add_argument("-x", dest="base", action="store_const", const=16, default=10)
        parser.add_argument("-d", dest="base", action="store_const", const=10)
        parser.add_argument("address")
        parser.add_argument("count", nargs="?", type=int)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One answer."""
        address = session.address(arguments.address)
        if arguments.user:
            from linscope.kernel.user_space import user_space

            data = user_space(session.kernel, session.task).read(address, _LONGEST * (arguments.count or 1))
            rows = list(_instructions(session, data, address, None))[: arguments.count or 1]
        else:
            rows = _function(session, address, arguments)

        if arguments.lines and session.lines is None:
            raise UsageError("no lines are known", why="a kernel has none in its memory", next_step="--vmlinux FILE")

        def lines() -> Iterator[str]:
            last = ""
            for at, function, offset, _, text in rows:
                if arguments.lines and session.lines is not None:
                    source = session.lines.at_address(at)[:1]
                    here = f"{source[0].file}: {source[0].line}" if source else last
                    if here != last:
                        yield f"{here}\n"
                    last = here
                shown = f"+{offset:#x}" if arguments.base == 16 else f"+{offset}"
                name = f" <{function}{shown if offset else ''}>" if function else ""
                yield f"{at:#x}{name}:\t{text}\n"

        columns = [Column("address", value=hex), Column("function"), Column("offset"), Column("bytes"), Column("text")]
        yield Rows(columns, rows, text=lines)


Row = tuple[int, str, int, str, str]


def _function(session: Session, address: int, arguments: argparse.Namespace) -> list[Row]:
    """The instructions that are asked for.  Raises UsageError, MemoryFault."""
    start, end = session.kernel.function_range(address)
    if arguments.bytes:
        return list(_instructions(session, session.kernel.memory.read(address, arguments.bytes), address, start))
    end = min(end, start + _MOST)
    count = arguments.count
    if count is not None and not arguments.reverse:
        end = max(end, address + _LONGEST * count)
    first = start if arguments.reverse else address
    rows = list(_instructions(session, _readable(session, first, end), first, start))
    if arguments.reverse:
        rows = [row for row in rows if row[0] <= address]
        return rows[-count:] if count else rows
    if count is not None:
        return rows[:count]
    return rows if address == start or arguments.forward else rows[:1]


def _readable(session: Session, first: int, end: int) -> bytes:
    """The bytes up to an end, or to the first page that is not there.  Raises MemoryFault for the first."""
    found = session.kernel.memory.read(first, min(end, (first | 4095) + 1) - first)
    while first + len(found) < end:
        at = first + len(found)
        try:
            found += session.kernel.memory.read(at, min(4096, end - at))
        except MemoryFault as fault:
            session.problems.append(str(fault))
            break
    return found


def _instructions(session: Session, data: bytes, address: int, start: int | None) -> Iterator[Row]:
    """Rows of (address, function, offset in it, bytes, text)."""
    import capstone as cs

    kernel = session.kernel
    machine = cs.Cs(cs.CS_ARCH_X86, cs.CS_MODE_64)
    machine.syntax = cs.CS_OPT_SYNTAX_ATT
    machine.skipdata = True
    for at, size, mnemonic, operands in machine.disasm_lite(data, address):
        code = data[at - address : at - address + size]
        operands = _IMMEDIATE.sub(lambda one: f"${int(one[1]) & _WORD:#x}", operands.replace(", ", ","))
        text = f"{mnemonic:<6} {operands}".rstrip()
        target = _TARGET.fullmatch(operands)
        if target and mnemonic.startswith(_BRANCHES):
            place = kernel.place_of(int(target[1], 16))
            if place is not None:
                text += f" <{place.in_decimal}>"
        if at == start and code == _FTRACE_NOP:
            text += " [FTRACE NOP]"
        here = kernel.place_of(at) if start is not None else None
        name, offset = ("", 0) if here is None else (here.symbol, here.offset)
        yield at, name, offset, code.hex(), text


DIS = Dis()
