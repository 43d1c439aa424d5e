"""/tmp/perf-PID.map: what JIT compilers, and Python's perf trampoline, say about code that they made.

One line for each function: ``START SIZE NAME``, hexadecimal, NAME to the end of the line
(tools/perf/Documentation/jit-interface.txt).  A range that is used again is written again: the last line
counts.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from linscope.symbols.choose import flatten
from linscope.symbols.table import SymbolTable, empty_table, table_of_names

MAX_BYTES = 256 << 20


def parse_perf_map(data: bytes) -> SymbolTable:
    """The table of a map file, by absolute address; lines that are not of the format are skipped."""
    starts: list[int] = []
    sizes: list[int] = []
    names: list[str] = []
    for line in data.decode("utf-8", "replace").split("\n"):
        fields = line.split(None, 2)
        if len(fields) < 3:
            continue
        try:
            start, size = int(fields[0], 16), int(fields[1], 16)
        except ValueError:
            continue
        if 0 <= start < start + size < 2**64:
            starts.append(start)
            sizes.append(size)
            names.append(fields[2])
    if not starts:
        return empty_table()
    begin = np.array(starts, np.uint64)
    ranges = flatten(begin, begin + np.array(sizes, np.uint64))
    table = table_of_names(ranges.starts, ranges.ends, [names[owner] for owner in ranges.owners.tolist()])
    table.same_as = ranges.same_as()
    return table


def candidate_paths(pid: int, proc: str = "/proc", temporary: str = "/tmp") -> list[str]:
    """Where the map of a process may lie: in its own mount namespace under its pid there, then in ours."""
    paths = []
    try:
        with open(f"{proc}/{pid}/status", encoding="utf-8", errors="replace") as file:
            inner = next((line.split()[-1] for line in file if line.startswith("NStgid:")), str(pid))
        own = Path(f"{proc}/{pid}/ns/mnt").stat().st_ino != Path(f"{proc}/self/ns/mnt").stat().st_ino
        if own or inner != str(pid):
            paths.append(f"{proc}/{pid}/root/tmp/perf-{inner}.map")
    except OSError:
        pass  # the process is gone
    paths.append(f"{temporary}/perf-{pid}.map")
    return paths


def read_perf_map(path: str, owners: set[int]) -> tuple[SymbolTable, str]:
    """The table of a map file and a reason why it is empty, "" when there is none to tell.

    owners: user ids whose files are trusted (anybody can write to /tmp).  Raises OSError when there is no
    such file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return empty_table(), f"{path} is not a regular file: not used"
        if status.st_uid not in owners:
            return (
                empty_table(),
                f"{path} belongs to user {status.st_uid}, who did not run the process: not used",
            )
        if status.st_size > MAX_BYTES:
            return empty_table(), f"{path} has {status.st_size} bytes, more than {MAX_BYTES}: not used"
        data = file.read(MAX_BYTES)
    return parse_perf_map(data), ""
