"""linscope kdump estimate"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from linscope.units import format_bytes

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Estimate:
    """The subcommand; see linscope.contracts.Command."""

    summary = "how much memory to reserve on this machine, and why"
    examples = ("linscope kdump estimate", "linscope kdump estimate --kernel /boot/vmlinuz-6.1.0-56-amd64 --json")
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        from linscope.commands.kdump.load import add_capture_kernel

        add_capture_kernel(parser)

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Add up."""
        from linscope.commands.kdump.load import options_of
        from linscope.kdump.estimate import iter_parts
        from linscope.kdump.load import make_plan
        from linscope.picture.rows import Column, Rows

        parts = iter_parts(make_plan(options_of(arguments), lambda text: print(text, file=sys.stderr)))
        columns = [
            Column("name", "for"),
            Column("size_bytes", "size", ">", lambda size: format_bytes(size)),
            Column("why"),
        ]
        return Rows(columns, parts)


ESTIMATE = Estimate()
