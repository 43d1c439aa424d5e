"""`linscope trace -l`: what can be probed."""

from __future__ import annotations

import sys

from linscope.lang.probes.listing import list_probes


def show_list(pattern: str, *, verbose: bool = False, pid: int = 0) -> int:
    """Print the probes (and with verbose the types) that match; returns the exit code."""
    write = sys.stdout.write
    for line in list_probes(pattern, verbose=verbose, pid=pid or None):
        write(line + "\n")
    return 0
