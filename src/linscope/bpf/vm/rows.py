"""Rows of what a recording knows about its records, from columns: what Machine.run_batch(rows=...) takes."""

from __future__ import annotations

from linscope.bpf.vm.errors import MachineError
from linscope.bpf.vm.state import NO_STACK, ROW_FIELDS

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import Any

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_PAIRS = {"pid": ("pid_tgid", 32), "tid": ("pid_tgid", 0), "uid": ("uid_gid", 0), "gid": ("uid_gid", 32)}


def make_rows(count: int, **columns: ArrayLike) -> NDArray[np.void]:
    """One row for each of count records; a column is an array of that length or one value for all.

    Columns: time_ns, pid (the process, tgid in the kernel), tid, uid, gid, cpu, comm (bytes, up to 16), kernel_stack
    and user_stack (rows of the stack table; none when left out), cookie, ip, task, cgroup, memory.  Raises
    MachineError: no such column; ValueError: a column of another length.
    """
    import numpy as np

    rows: NDArray[Any] = np.zeros(count, np.dtype(ROW_FIELDS))
    rows["kernel_stack"] = rows["user_stack"] = NO_STACK
    for name, column in columns.items():
        if name in _PAIRS:
            target, shift = _PAIRS[name]
            rows[target] |= np.asarray(column).astype("u4").astype("u8") << np.uint64(shift)
        elif name in dict(ROW_FIELDS) and name not in ("spare",):
            rows[name] = column
        else:
            raise MachineError(f"rows have no column {name!r}")
    return rows
