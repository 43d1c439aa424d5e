"""`linscope doctor`: what this machine allows and what to change; remove what killed runs left."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linscope.picture.rows import Rows


class Doctor:
    """The subcommand; see linscope.contracts.Command."""

    summary = "what this machine allows, and what to change; --clean"
    examples = ("linscope doctor", "linscope doctor --clean", "linscope doctor --json")
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--clean", action="store_true", help="undo what killed runs of linscope left, nothing else")

    def run(self, arguments: argparse.Namespace) -> Rows | int:
        """Look, or clean."""
        if arguments.clean:
            return _clean()
        from linscope.picture.rows import Column, Rows
        from linscope.session.checks import iter_checks

        columns = [
            Column("area"),
            Column("name", "what"),
            Column("works", format=lambda value: "yes" if value else "NO"),
            Column("finding"),
            Column("remedy"),
        ]
        return Rows(columns, iter_checks(), streaming=False)


def _clean() -> int:
    from linscope.lab.machine import remove_leftovers
    from linscope.session.journal import clean

    done, complaints = clean()
    done += remove_leftovers()
    for what in done:
        print(f"undone: {what}")
    for complaint in complaints:
        print(f"linscope doctor: cannot undo {complaint}", file=sys.stderr)
    if not done and not complaints:
        print("nothing was left behind")
    return 1 if complaints else 0


DOCTOR = Doctor()
