"""search: where a number or a text is in memory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice

from linscope.crash.rd import rows_of_memory
from linscope.crash.session import Session, parse_hex
from linscope.crash.task import head_of
from linscope.errors import MemoryFault, UsageError
from linscope.kernel.memory_search import (
    ALL,
    LINEAR,
    MAPPED,
    find_numbers,
    find_texts,
    iter_kernel_memory,
    iter_stack_memory,
    iter_user_memory,
)
from linscope.kernel.task import iter_tasks, task_cpu
from linscope.kernel.user_space import user_space
from linscope.memory.physical import ADDRESS_END
from linscope.picture.rows import Column, Rows
from linscope.target.objects import Object

_MOST = 100_000  # answers
_SHOWN = 56  # characters of a text and what follows
_FIRST_KERNEL, _END = 1 << 63, 1 << 64
_COLUMNS = [Column("address", value=hex), Column("value"), Column("meant")]


class Search:
    """Looks for numbers and texts."""

    usage = "[-k -K -V -u -p -t -T] [-s START] [-e END | -l LENGTH] [-m MASK] [-x COUNT] [-c | -w | -h] VALUE..."
    help = """\
Looks for hexadecimal numbers, symbols or (expressions) of 64 bits, or for texts, in memory; at most 100,000 answers.

  -k   the kernel's memory (if nothing is chosen)      -K   only its direct map and image      -V   only the rest
  -u   the task's          -p   physical               -t, -T   the kernel's stacks of all tasks, of those that run
  -s, -e, -l   where to begin, to end, how many bytes (hexadecimal)       -m MASK   bits that do not matter
  -w, -h   numbers of 32, 16 bits                      -c   texts         -x COUNT   also so many numbers around"""
    examples = ("search -k deadbeef", "search -t init_task", "search -p -c 'Linux version'", "search -u -m fff 7f1000")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options of crash's search."""
        where = parser.add_mutually_exclusive_group()
        for letter in "kKVuptT":
            where.add_argument(f"-{letter}", dest="where", action="store_const", const=letter, default="k")
        parser.add_argument("-s", dest="start")
        parser.add_argument("-e", dest="end")
        parser.add_argument("-l", dest="length")
        parser.add_argument("-m", dest="mask")
        parser.add_argument("-x", dest="around")
        kinds = parser.add_mutually_exclusive_group()
        kinds.add_argument("-c", dest="texts", action="store_true")
        kinds.add_argument("-w", dest="size", action="store_const", const=4, default=8)
        kinds.add_argument("-h", dest="size", action="store_const", const=2)
        parser.add_argument("values", nargs="+")

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """One table; with -t one a task."""
        query = _Query(session, arguments)
        if arguments.where in ("t", "T"):
            if arguments.start or arguments.end or arguments.length:
                raise UsageError("-t and -T search whole stacks: no -s, -e, -l")
            running = session.stacks.running
            for task in iter_tasks(session.kernel, idle=True):
                if arguments.where == "t" or task.address_ in running:
                    yield from query.stack(task)
        else:
            yield query.rows(query.pieces())


class _Query:
    """What is looked for, and where."""

    def __init__(self, session: Session, arguments: argparse.Namespace) -> None:
        self.session = session
        self.arguments = arguments
        self.size: int = arguments.size
        self.mask = _hex(arguments.mask) if arguments.mask else 0
        self.around = _count(arguments.around) if arguments.around else 0
        if arguments.texts and (self.mask or self.around):
            raise UsageError("-m and -x are for numbers")
        self.names: list[str] = []
        self.values = [] if arguments.texts else [self._value(word) for word in arguments.values]
        self.start, self.end = self._bounds()

    def _value(self, word: str) -> int:
        number = parse_hex(word)
        self.names.append("" if number is not None else word)
        if number is None:
            number = self._expression(word)
        if not 0 <= number < 1 << 8 * self.size:
            raise UsageError(f"{word} has more than {8 * self.size} bits")
        return number

    def _expression(self, word: str) -> int:
        """A symbol's address, also with an offset in parentheses, else the value of an expression."""
        bare = word.strip("()")
        if self.session.kernel.find_symbol(bare.partition("+")[0]) is not None:
            return self.session.address(bare)
        from linscope.target.evaluate import evaluate

        return int(evaluate(self.session.kernel, word)) & _END - 1

    def _bounds(self) -> tuple[int, int]:
        arguments = self.arguments
        low, high = {"u": (0, _FIRST_KERNEL), "p": (0, ADDRESS_END)}.get(arguments.where, (_FIRST_KERNEL, _END))
        start = low if arguments.start is None else self.session.address(arguments.start)
        if arguments.end is not None and arguments.length is not None:
            raise UsageError("-e and -l both tell the end")
        end = high
        if arguments.end is not None:
            end = self.session.address(arguments.end)
        elif arguments.length is not None:
            end = start + _hex(arguments.length)
        if not low <= start < end <= high:
            raise UsageError(f"{start:x} to {end:x} is no range of this memory")
        return start, end

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """(address, bytes) of the memory that is meant."""
        kernel, where = self.session.kernel, self.arguments.where
        if where == "u":
            return iter_user_memory(user_space(kernel, self.session.task), self.start, self.end)
        if where == "p":
            if kernel.physical is None:
                raise UsageError("there is no physical memory here")
            return kernel.physical.iter_chunks(self.start, self.end)
        which = {"K": LINEAR, "V": MAPPED}.get(where, ALL)
        return iter_kernel_memory(kernel, self.start, self.end, which)

    def stack(self, task: Object) -> Iterator[Rows]:
        """What a task's stack has; nothing when it has nothing."""
        pieces = list(iter_stack_memory(self.session.kernel, task))
        found = list(self.answers(iter(pieces)))
        if found:
            yield head_of(int(task.pid), task.address_ or 0, task_cpu(task), task.comm.string_())
            yield self.table(found, after="\n")

    def answers(self, pieces: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, str, str]]:
        """(address, value, what it was asked for as)."""
        if self.arguments.texts:
            wanted = [word.encode() for word in self.arguments.values]
            for address, data in find_texts(pieces, wanted, _SHOWN):
                yield address, "".join(chr(code) if 32 <= code < 127 else "." for code in data), ""
            return
        for address, value, which in find_numbers(pieces, self.values, self.size, self.mask):
            yield address, f"{value:x}", self.names[which]

    def rows(self, pieces: Iterator[tuple[int, bytes]]) -> Rows:
        """All answers, as they are found."""
        found = list(islice(self.answers(pieces), _MOST + 1))
        if len(found) > _MOST:
            found.pop()
            self.session.problems.append(f"there are more than {_MOST} answers: narrow the search by -s, -l or -m")
        return self.table(found)

    def table(self, found: list[tuple[int, str, str]], after: str = "") -> Rows:
        """Answers; with -x what is around each."""

        def lines() -> Iterator[str]:
            for address, value, name in found:
                line = f"{address:x}: {value}" + (f" ({name.strip('()')})" if name else "") + "\n"
                if self.around:
                    yield from self._context(address - self.around * self.size)
                    yield line.replace(": ", ":  ", 1)
                    yield from self._context(address + self.size)
                    yield "\n"
                else:
                    yield line
            yield after

        return Rows(_COLUMNS, found, text=lines)

    def _context(self, address: int) -> Iterator[str]:
        """The numbers from an address on; nothing where they cannot be read."""
        kernel, where = self.session.kernel, self.arguments.where
        memory = kernel.physical if where == "p" else kernel.memory
        if where == "u":
            memory = user_space(kernel, self.session.task)
        assert memory is not None
        try:
            data = memory.read(address, self.around * self.size)
        except MemoryFault:
            return
        rows = rows_of_memory(self.session, address, data, self.size)
        assert rows.text is not None
        yield from rows.text()


def _hex(text: str) -> int:
    number = parse_hex(text)
    if number is None:
        raise UsageError(f"{text!r} is no hexadecimal number")
    return number


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1024:
        raise UsageError(f"{text!r} is no count from 1 to 1024")
    return int(text)


SEARCH = Search()
