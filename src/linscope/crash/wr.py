"""wr: refuses; a dump is read only, and so is everything else here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from linscope.crash.session import Session
from linscope.errors import UsageError
from linscope.picture.rows import Rows


class Wr:
    """Does not write."""

    usage = "[-8 | -16 | -32 | -64] ADDRESS | SYMBOL VALUE"
    help = "Writes nothing: linscope opens dumps and running kernels read only."
    examples = ("wr jiffies_64 0",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """All words as they are."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def run(self, session: Session, arguments: argparse.Namespace) -> Iterator[Rows]:
        """Raises UsageError."""
        raise UsageError(
            f"{session.kernel.where or 'this memory'} is open read only",
            why="nothing here ever writes into a kernel's memory",
        )


WR = Wr()
