"""linscope script"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from linscope.commands import _options

if TYPE_CHECKING:
    import argparse

    from linscope.picture.rows import Rows


class Script:
    """Every sample of a recording, one after the other."""

    summary = "Every event of a recording, one by one, in time order."
    examples = (
        "linscope script perf.data",
        "linscope script perf.data -F comm,tid,time,event,sym --comm python",
        "linscope script perf.data --json --time 10%,20%",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _options.add_recording(parser)
        parser.add_argument(
            "-F",
            "--fields",
            metavar="FIELDS",
            help="comm,pid,tid,cpu,time,period,event,addr,ip,sym,symoff,dso,srcline,trace,"
            "brstack,weight,data_src,phys_addr,iregs,uregs; +F or -F changes the default",
        )
        _options.add_filters(parser)
        _options.add_symbols(parser)

    def run(self, arguments: argparse.Namespace) -> Rows:
        """Read the recording and make the rows."""
        from linscope.views.script import parse_fields

        fields = parse_fields(arguments.fields)
        recording = _options.open_file(arguments, tables=True)
        rows = recording.script(fields, _options.filter_of(arguments, recording))
        _options.tell_symbol_notes(recording)
        for note in rows.notes:
            print(f"linscope: {note}", file=sys.stderr)
        return rows


SCRIPT = Script()
