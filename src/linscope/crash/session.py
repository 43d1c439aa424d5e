"""A session over one kernel: which task it is about, what was asked before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from linscope.crash import COMMANDS
from linscope.crash.command import parse_line
from linscope.errors import LinscopeError, UnknownNameError, UsageError
from linscope.kernel.path import Paths
from linscope.kernel.stacks import Stacks
from linscope.kernel.task import find_task, iter_idle, iter_tasks
from linscope.picture.rows import Rows
from linscope.target.kernel import Kernel
from linscope.target.objects import Object

if TYPE_CHECKING:
    from linscope.target.source_lines import KernelLines

# what crash has built in; scroll and radix have no meaning here
ALIASES = {
    "man": ["help"], "?": ["help"], "px": ["p", "-x"], "pd": ["p", "-d"], "for": ["foreach"], "size": ["*"],
    "dmesg": ["log"], "lsmod": ["mod"], "last": ["ps", "-l"], "*": ["struct"], "union": ["struct"],
}  # fmt: skip
_MOST_ALIASES = 8  # one behind the other


class Session:
    """One kernel and the state of those who ask it."""

    def __init__(self, kernel: Kernel, vmlinux: str = "") -> None:
        """vmlinux: a file with debugging information, "" for none.  Raises InputError for that of another kernel."""
        self.kernel = kernel
        self.lines: KernelLines | None = None
        if vmlinux:
            from linscope.target.source_lines import KernelLines

            self.lines = KernelLines(kernel, vmlinux)
        self._task: Object | None = None
        self._stacks: Stacks | None = None
        self.aliases = dict(ALIASES)
        self.paths = Paths(kernel)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the dump; harmless when repeated."""
        self.kernel.close()

    def __repr__(self) -> str:
        return f"<crash session over {self.kernel!r}>"

    @property
    def problems(self) -> list[str]:
        """What could not be read so far."""
        return self.kernel.problems

    @property
    def stacks(self) -> Stacks:
        """Finds the stacks of tasks."""
        if self._stacks is None:
            self._stacks = Stacks(self.kernel)
        return self._stacks

    @property
    def task(self) -> Object:
        """The task that commands are about: the one that crashed, else the first that runs, else init."""
        if self._task is None:
            choices = (self.panic_task, self._first_running, lambda: find_task(self.kernel, 1))
            found = next((task for choose in choices if (task := choose()) is not None), None)
            self._task = found if found is not None else self.kernel.variable("init_task")
        return self._task

    @task.setter
    def task(self, task: Object) -> None:
        self._task = task

    @property
    def panic_cpu(self) -> int | None:
        """The CPU that called panic(); None: none did.  Source: kernel/panic.c, PANIC_CPU_INVALID."""
        try:
            cpu = int(self.kernel.variable("panic_cpu").counter)
        except LinscopeError:
            return None
        return cpu if cpu >= 0 else None

    def panic_task(self) -> Object | None:
        """The task that crashed the kernel; None when none did, or nothing tells."""
        cpu = self.panic_cpu
        if cpu is None:
            return None
        address = next((task for task, one in self.stacks.running.items() if one == cpu), None)
        return None if address is None else self.kernel.object("struct task_struct", address)

    def _first_running(self) -> Object | None:
        first = next(iter(self.stacks.running), None)
        return None if first is None else self.kernel.object("struct task_struct", first)

    def find_tasks(self, words: list[str]) -> list[Object]:
        """Tasks by number (all threads of none but that number), address of the task, or name.

        Raises UnknownNameError for what is none of these.
        """
        tasks = list(iter_tasks(self.kernel, idle=True))
        found = []
        for word in words:
            some = [one for one in tasks if word.isdigit() and int(one.pid) == int(word)]
            if not some:
                address = parse_hex(word)
                some = [one for one in tasks if one.address_ == address] or [
                    one for one in tasks if one.comm.string_() == word.strip("\"'")
                ]
            if not some:
                raise UnknownNameError("task", word, {one.comm.string_() for one in tasks})
            found += some
        return found

    def address(self, word: str) -> int:
        """An address: hexadecimal digits, a symbol, or one plus a number.  Raises UnknownNameError, UsageError."""
        name, sign, more = word.partition("+")
        number = parse_hex(name)
        start = self.kernel.symbol(name) if number is None else number
        if not sign:
            return start
        offset = int(more, 0) if more.isdigit() or more.startswith("0x") else parse_hex(more)
        if offset is None:
            raise UsageError(f"{more!r} is no number")
        return start + offset

    def idle_tasks(self) -> set[int]:
        """Addresses of the idle tasks."""
        return {one.address_ for one in iter_idle(self.kernel) if one.address_ is not None}

    def run(self, line: str) -> Iterator[Rows]:
        """The answers to one line.  Raises LinscopeError."""
        name, _, rest = line.strip().partition(" ")
        if not name or name.startswith("#"):
            return
        for _ in range(_MOST_ALIASES):
            if name not in self.aliases:
                break
            name, *words = self.aliases[name]
            rest = " ".join((*words, rest))
        if name not in COMMANDS and self._is_struct(name.partition(".")[0]):
            name, rest = "struct", f"{name} {rest}"
        command = COMMANDS[name]
        yield from command.run(self, parse_line(name, command, rest))

    def rows(self, line: str) -> list[dict[str, Any]]:
        """The rows of a command as data, in the columns that JSON has.  Raises LinscopeError."""
        found = []
        for table in self.run(line):
            columns = [(place, one) for place, one in enumerate(table.columns) if one.in_data]
            for row in table.rows:
                found.append({one.name: one.value(row[place]) if one.value else row[place] for place, one in columns})
        return found

    def _is_struct(self, name: str) -> bool:
        return name.isidentifier() and any(self.kernel.types.find(f"{tag} {name}") for tag in ("struct", "union"))


def parse_hex(text: str) -> int | None:
    """A number in hexadecimal digits, with or without 0x; None when it is none."""
    try:
        return int(text.removeprefix("0x"), 16)
    except ValueError:
        return None
