"""What programs read when they ran live, as rows of the machine: memory, and the answers of helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.lang.codegen.capture import STOPPED as CAPTURED_STOP

if TYPE_CHECKING:
    from linscope.bpf.vm.machine import Machine
    from linscope.session.script.replay.contents import Captures

# helper -> column of bpf.vm.state.ContextRow; 0: memory
FACTS = {0: "memory", 5: "time_ns", 15: "uid_gid", 35: "task", 80: "cgroup"}
_PROGRAMS = 1 << 16
STOPPED = "stopped"  # the column of runs that were none: the script had not begun, or had ended


def facts(
    machine: Machine, data: Any, captures: Captures | None, place: NDArray[np.int64] | None, number: NDArray[np.uint32]
) -> dict[str, NDArray[Any]]:
    """Columns of the rows of runs; 0 where nothing was captured.  The machine gets the memory.

    captures: of a window, whose bytes lie in data; place, number: the row of the window and the program of each run.
    """
    if captures is None:
        return {}
    row = np.arange(len(number)) if place is None else place
    runs = row * _PROGRAMS + number
    keys = captures.row * _PROGRAMS + captures.program
    found: dict[str, NDArray[Any]] = {}
    for kind, name in ({**FACTS, CAPTURED_STOP: STOPPED}).items():
        chosen = np.flatnonzero(captures.kind == kind)
        if not len(chosen):
            continue
        some = keys[chosen]
        first = np.searchsorted(some, runs)
        if kind == 0:
            count = np.searchsorted(some, runs, side="right") - first
            found[name] = np.where(count, first << 32 | count, 0).astype(np.uint64)
            _tell_memory(machine, data, captures, chosen)
            continue
        if kind == CAPTURED_STOP:
            found[name] = np.searchsorted(some, runs, side="right") > first
            continue
        at = np.minimum(first, len(some) - 1)
        found[name] = np.where(some[at] == runs, captures.value[chosen][at], np.uint64(0))
    return found


def _tell_memory(machine: Machine, data: Any, captures: Captures, chosen: NDArray[np.int64]) -> None:
    base = np.frombuffer(data, np.uint8).ctypes.data
    table = np.empty((len(chosen), 3), np.uint64)
    table[:, 0] = captures.value[chosen]
    table[:, 1] = captures.size[chosen]
    table[:, 2] = captures.at[chosen] + np.uint64(base)
    machine.set_row_memory(table.reshape(-1))
