"""``linscope crash``: a kernel's memory, asked with the commands of crash."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from linscope.errors import OutputError
from linscope.picture.rows import Rows

if TYPE_CHECKING:
    from linscope.crash.session import Session


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[None]:
    """What is printed goes to a file.  Raises OutputError."""
    if path in (None, "-"):
        yield
        return
    assert path is not None
    try:
        with open(path, "w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
            yield
    except OSError as error:
        raise OutputError("cannot write the answer", where=path, why=error.strerror or "") from None


def _draw(session: Session, wanted: list[tuple[str, str]]) -> int:
    """Make pictures; gives the exit code.  Raises UsageError, OutputError."""
    from linscope.commands import _crash_pictures
    from linscope.pictures import form_of

    for path, _ in wanted:
        form_of(path)
    told = len(session.problems)
    for path, kind in wanted:
        if kind == "flame":
            _crash_pictures.stacks(session).save(path)
        elif kind == "memory":
            _crash_pictures.memory(session).save(path)
        else:
            _crash_pictures.processes(session).save(path, inverted=True)
    for problem in dict.fromkeys(session.problems[told:]):
        print(f"linscope: {problem}", file=sys.stderr)
    return 0


def _code(files: list[str], vmlinux: str | None, commands: list[str]) -> str:
    """A program that asks the same."""
    given = [*map(repr, files), *([f"vmlinux={vmlinux!r}"] if vmlinux else [])]
    lines = ["import linscope", "", f"with linscope.open_kernel({', '.join(given)}) as session:"]
    for command in commands or ["ps"]:
        lines += [f"    for row in session.rows({command!r}):", "        print(row)"]
    return "\n".join([*lines, ""])


class Crash:
    """A dump, a guest's RAM or the running kernel, without debugging information."""

    summary = "look into a kernel's memory: dumps, guests, the running kernel"
    examples = (
        "linscope crash vmcore -c findings",
        "linscope crash vmcore",
        "linscope crash vmcore -c ps -c 'foreach bt' -c log",
        "linscope crash /proc/kcore -c 'bt 1' --json",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The dump, and what to ask it."""
        parser.add_argument("dump", metavar="FILE", help="a vmcore, a guest's RAM, /proc/kcore, qemu:PID")
        parser.add_argument("others", metavar="PART", nargs="*", help="the other files of a split dump")
        parser.add_argument("--code", action="store_true", help="print the Python that gives the same rows")
        parser.add_argument("--flame", metavar="PICTURE", help="the stacks of all tasks, by state: .html, .svg, .txt")
        parser.add_argument("--memory", metavar="PICTURE", help="who has the memory, as a tree map")
        parser.add_argument("--processes", metavar="PICTURE", help="the tree of processes, by memory")
        parser.add_argument("--vmlinux", metavar="FILE", help="with debugging information: for bt -l and dis -l")
        parser.add_argument(
            "-c", "--command", action="append", default=[], metavar="COMMAND", help="run it, and end; can be repeated"
        )

    def run(self, arguments: argparse.Namespace) -> int:
        """Runs the commands; returns 1 when one could not."""
        from linscope.crash.prompt import interact, run_line
        from linscope.crash.session import Session
        from linscope.render.rows import write_rows
        from linscope.target.kernel import open_kernel

        def write(rows: Rows, out: IO[str]) -> None:
            write_rows(rows, arguments.format, out)

        if arguments.code:
            print(_code([arguments.dump, *arguments.others], arguments.vmlinux, arguments.command), end="")
            return 0
        with _output(arguments.output), open_kernel(arguments.dump, *arguments.others) as kernel:
            session = Session(kernel, arguments.vmlinux or "")
            drawn = [(path, kind) for kind in ("flame", "processes", "memory") if (path := getattr(arguments, kind))]
            code = 0
            if drawn:
                code = _draw(session, drawn)
            elif not arguments.command:
                interact(session, write)
            return max([code, *(run_line(session, line, write) for line in arguments.command)])


CRASH = Crash()
