"""Protocols through which strangers of one rank meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Command(Protocol):
    """One subcommand of the command line; a file in ``commands/`` holds one instance of it."""

    summary: str  # as in the table
    examples: tuple[str, ...]  # two or more real command lines, shown by --help
    formats: bool  # True: the command prints rows and gets -f text|json|csv, --json and -o
    splits: bool  # True: the words behind -- are a program to run; run() finds them in arguments.command

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, arguments: argparse.Namespace) -> Rows | int | None:
        """Do it.  Returns rows to print, an exit code, or None (0).  Raises LinscopeError."""


class Progress(Protocol):
    """Told how far a long work has come; the command line draws a bar, tests pass a list's append."""

    def __call__(self, done: int, total: int, what: str) -> Any: ...
