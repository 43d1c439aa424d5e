"""Protocols through which strangers of one rank meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from linscope.columns.profile import Profile
    from linscope.picture.rows import Rows


class Command(Protocol):
    """One subcommand of the command line; a file in ``commands/`` holds one instance of it."""

    summary: str  # as in the table
    examples: tuple[str, ...]  # two or more real command lines, shown by --help
    formats: bool  # True: the command prints rows and gets -f text|json|csv, --json and -o (unless it declares them)
    splits: bool  # True: the words behind -- are a program to run; run() finds them in arguments.command

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, arguments: argparse.Namespace) -> Rows | int | None:
        """Do it.  Returns rows to print, an exit code, or None (0).  Raises LinscopeError."""


class ReadOptions(NamedTuple):
    """How a recording is to be read."""

    where: str = ""  # its name, for messages
    tables: bool = False  # also the typed tables of tracepoints' fields
    symfs: str = ""  # in front of the paths of mapped files, where they are needed for unwinding
    progress: Callable[[int], Any] | None = None  # told the position in the file


class Format(Protocol):
    """One file format; a file in ``formats/`` holds one instance of it."""

    def detect(self, head: bytes) -> bool:
        """True if a file that begins with these bytes is of the format."""

    def read(self, source: BinaryIO, options: ReadOptions) -> Profile:
        """All tables.  Raises FormatError for a file that holds nothing; damage goes to the profile's problems."""


class Memory(Protocol):
    """Bytes at addresses: a dump's physical memory, a kernel's virtual memory, a stopped guest's."""

    def read(self, address: int, size: int) -> bytes:
        """All size bytes from an address on.  Raises MemoryFault for the first of them that cannot be read."""
