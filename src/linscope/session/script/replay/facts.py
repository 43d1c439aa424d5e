"""What programs read when they ran live, as rows of the machine: memory, and the answers of helpers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.lang.codegen.capture import STOPPED as CAPTURED_STOP
from linscope.lang.unit import FAMILY_ADDRESS, LEADER_COMM, PARENT, PARENT_COMM

if TYPE_CHECKING:
    from linscope.bpf.vm.machine import Machine
    from linscope.session.script.replay.contents import Captures
    from linscope.session.script.replay.tasks import Families

# helper -> column of bpf.vm.state.ContextRow; 0: memory
FACTS = {0: "memory", 5: "time_ns", 15: "uid_gid", 35: "task", 80: "cgroup"}
_PROGRAMS = 1 << 16
# families as Machine.set_row_memory takes them: five entries each, the last two of which are the bytes
_PARTS = (("parent", PARENT, 4), ("parent_comm", PARENT_COMM, 16), ("leader_comm", LEADER_COMM, 16))
_FAMILY = np.dtype([
    ("entries", "<u8", (3, 3)), ("parent", "<u8"), ("parent_comm", "S16"), ("leader_comm", "S16"), ("spare", "<u8"),
])  # fmt: skip
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


def families(machine: Machine, found: Families, place: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    """Columns of the rows of runs: what is known of each event's process, which the machine gets as memory.

    place: the row of the window of each run.
    """
    number, table = found
    made = np.zeros(len(table), _FAMILY)
    base = made.ctypes.data + np.arange(len(table)) * _FAMILY.itemsize
    for part, (name, offset, size) in enumerate(_PARTS):
        values = [family[part] for family in table]
        made[name] = [value or made[name].dtype.type() for value in values]
        entries = made["entries"][:, part]
        entries[:, 0] = FAMILY_ADDRESS + offset
        entries[:, 1] = [0 if value is None else size for value in values]
        entries[:, 2] = base + _FAMILY.fields[name][1]  # type: ignore[index]  # there are fields
    machine.set_row_memory(made.view(np.uint64))
    first = np.arange(0, 5 * len(table), 5, dtype=np.uint64) << np.uint64(32)
    return {"memory": (first | np.uint64(len(_PARTS)))[number if place is None else number[place]]}


def _tell_memory(machine: Machine, data: Any, captures: Captures, chosen: NDArray[np.int64]) -> None:
    base = np.frombuffer(data, np.uint8).ctypes.data
    table = np.empty((len(chosen), 3), np.uint64)
    table[:, 0] = captures.value[chosen]
    table[:, 1] = captures.size[chosen]
    table[:, 2] = captures.at[chosen] + np.uint64(base)
    machine.set_row_memory(table.reshape(-1))
