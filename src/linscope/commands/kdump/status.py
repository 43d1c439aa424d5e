"""linscope kdump status"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows

_WORDS = {True: "yes", False: "NO", None: ""}


class Status:
    """The subcommand; see linscope.contracts.Command."""

    summary = "would a crash of this machine be captured, and if not, why"
    examples = ("linscope kdump status", "linscope kdump status --target /srv/crash --json")
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--target", default="/var/crash", metavar="DIR", help="where dumps go (/var/crash)")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Look."""
        from linscope.kdump.status import iter_findings
        from linscope.picture.rows import Column, Rows

        columns = [
            Column("area"),
            Column("name", "what"),
            Column("value", "finding"),
            Column("works", "good", format=_WORDS.__getitem__),
            Column("remedy"),
        ]
        return Rows(columns, iter_findings(arguments.target))


STATUS = Status()
