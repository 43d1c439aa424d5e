"""`linscope trace -l`: what can be probed."""

from __future__ import annotations

import sys

from linscope.errors import SourceError
from linscope.lang.probes.listing import list_probes
from linscope.session.script.output import error


def show_list(pattern: str, *, verbose: bool = False, pid: int = 0) -> int:
    """Print the probes (and with verbose the types) that match; returns the exit code."""
    write = sys.stdout.write
    try:
        for line in list_probes(pattern, verbose=verbose, pid=pid or None):
            write(line + "\n")
    except SourceError as wrong:
        error(f"WARNING: {wrong.diagnostics[0].what}")
    return 0
