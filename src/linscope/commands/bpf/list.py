"""linscope bpf list"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class List:
    """The subcommand; see linscope.contracts.Command."""

    summary = "programs, maps, links and types that are in the kernel, and who holds them"
    examples = (
        "linscope bpf list",
        "linscope bpf list maps --json",
        "linscope bpf list programs --time 1s",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        kinds = ("programs", "maps", "links", "btf")
        parser.add_argument("kind", nargs="?", choices=kinds, default="programs", help="of what (programs)")
        parser.add_argument("--time", metavar="T", help="of programs: count runs and their time for so long")

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Ask the kernel."""
        from linscope.units import parse_duration
        from linscope.views.bpf_listing import listing_rows

        return listing_rows(arguments.kind, measured_ns=parse_duration(arguments.time) if arguments.time else 0)


LIST = List()
