"""``linscope crash``: a kernel's memory, asked with the commands of crash."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import IO

from linscope.errors import OutputError
from linscope.picture.rows import Rows


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


class Crash:
    """A dump, a guest's RAM or the running kernel, without debugging information."""

    summary = "look into a kernel's memory: dumps, guests, the running kernel"
    examples = (
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

        with _output(arguments.output), open_kernel(arguments.dump, *arguments.others) as kernel:
            session = Session(kernel, arguments.vmlinux or "")
            if not arguments.command:
                interact(session, write)
                return 0
            return max([run_line(session, line, write) for line in arguments.command], default=0)


CRASH = Crash()
