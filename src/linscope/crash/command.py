"""What a command of crash is, and how its line is read."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from linscope.errors import UsageError

if TYPE_CHECKING:
    from linscope.crash.session import Session
    from linscope.picture.rows import Rows


class CrashCommand(Protocol):
    """One command; a file in ``crash/`` holds one instance of it."""

    usage: str  # its arguments as crash's help shows them: "[-a] [-c CPU] [PID | TASK]..."
    help: str  # what it does and what its options mean, a few lines
    examples: tuple[str, ...]

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """The answers.  Raises LinscopeError; what cannot be read in between goes to session.problems."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, next_step=f"help {self.prog}")


def rows_of_text(text: str) -> Rows:
    """Lines without data, between what has some."""
    from linscope.picture.rows import Rows

    return Rows([], [], text=lambda: iter((text,)))


def parse_line(name: str, command: CrashCommand, line: str) -> Any:
    """The arguments of a command; line: what stands behind its name.  Raises UsageError."""
    return _parse(name, command, line)


def parse_words(name: str, command: CrashCommand, words: Sequence[str]) -> Any:
    """The same of words.  Raises UsageError."""
    return _parse(name, command, words)


def _parse(name: str, command: CrashCommand, given: str | Sequence[str]) -> Any:
    parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    command.arguments(parser)
    only = parser._actions
    if [action.nargs for action in only] == [argparse.REMAINDER]:  # all words as they are: options, quotes and all
        return argparse.Namespace(**{only[0].dest: given.split() if isinstance(given, str) else list(given)})
    return parser.parse_intermixed_args(split_line(given) if isinstance(given, str) else list(given))


def split_line(line: str) -> list[str]:
    """The words of a line; what is quoted is one.  Raises UsageError."""
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise UsageError(f"cannot read the line {line!r}", why=str(error)) from None
