"""The prompt: lines with history and completion; answers can go through a pipe or to a file, as in crash."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from linscope.crash import COMMANDS
from linscope.crash.session import Session
from linscope.errors import LinscopeError, OutputError
from linscope.picture.rows import Rows

PROMPT = "crash> "
_MOST_COMPLETIONS = 200
Write = Callable[[Rows, IO[str]], None]


def interact(session: Session, write: Write) -> None:
    """Read lines until ``quit`` or the end of the input."""
    with _history(session):
        while True:
            try:
                line = input(PROMPT if sys.stdin.isatty() else "").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                print()
                continue
            if line in ("q", "quit", "exit"):
                return
            if line:
                run_line(session, line, write)


def run_line(session: Session, line: str, write: Write) -> int:
    """Run one line and show its answer; returns the exit code.  Errors are told, and nothing raises."""
    told = len(session.problems)
    code = 0
    try:
        command, sign, rest = split_pipe(line)
        if not sign:
            for rows in session.run(command):
                write(rows, sys.stdout)
        else:
            _send(_text(session, command, write), sign, rest)
    except LinscopeError as error:
        sys.stdout.flush()
        print(f"linscope: {command}: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("\nlinscope: interrupted", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    for problem in dict.fromkeys(session.problems[told:]):
        print(f"linscope: {problem}", file=sys.stderr)
    return code


def split_pipe(line: str) -> tuple[str, str, str]:
    """(command, "|" or ">" or ">>" or "", what is behind it); signs in quotes and brackets are the command's own."""
    quote, depth = "", 0
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif not depth and (char == "|" or (char == ">" and line[place - 1 : place] != "-")):
            sign = ">>" if line[place : place + 2] == ">>" else char
            return line[:place].strip(), sign, line[place + len(sign) :].strip()
    return line, "", ""


def _text(session: Session, command: str, write: Write) -> str:
    out = io.StringIO()
    for rows in session.run(command):
        write(rows, out)
    return out.getvalue()


def _send(text: str, sign: str, rest: str) -> None:
    """To a command of the shell, or a file.  Raises OutputError."""
    if sign == "|":
        sys.stdout.flush()
        subprocess.run(rest, shell=True, input=text.encode(), check=False)
        return
    try:
        with open(os.path.expanduser(rest), "a" if sign == ">>" else "w", encoding="utf-8") as file:  # noqa: PTH111
            file.write(text)
    except OSError as error:
        raise OutputError("cannot write the answer", where=rest, why=error.strerror or "") from None


@contextlib.contextmanager
def _history(session: Session) -> Iterator[None]:
    """Lines of earlier sessions, and completion; without readline neither."""
    try:
        import readline
    except ImportError:
        yield
        return
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    path = Path(base) / "linscope" / "crash_history"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            readline.read_history_file(path)
    readline.set_history_length(2000)
    readline.set_completer(Completer(session).complete)
    readline.set_completer_delims(" \t\n|>&(")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)


class Completer:
    """Commands at the beginning of a line; behind that symbols, types and members."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._found: list[str] = []

    def complete(self, text: str, state: int) -> str | None:
        """For readline: the state-th completion of a word; None: no more."""
        if not state:
            import readline

            self._found = self.find(text, first=not readline.get_line_buffer()[: readline.get_begidx()].strip())
        return self._found[state] if state < len(self._found) else None

    def find(self, text: str, *, first: bool = False) -> list[str]:
        """What a word can be; first: it is the line's first."""
        kernel = self.session.kernel
        owner, dot, begin = text.rpartition(".")
        if dot:
            kind = kernel.types.find(f"struct {owner}") or kernel.types.find(owner)
            names = [] if kind is None else kernel.types.member_names(kind)
            return [f"{owner}.{name}" for name in names if name.startswith(begin)]
        found = [name for name in COMMANDS if first and name.startswith(text)]
        if len(text) >= 2:
            found += kernel.types.names(text)[:_MOST_COMPLETIONS]
            if not first:
                found += kernel.symbols.names(text)[:_MOST_COMPLETIONS]
        return list(dict.fromkeys(found))
