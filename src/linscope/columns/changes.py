"""What becomes of processes, threads and mappings, as changes in the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from linscope.columns.profile import Mapping

if TYPE_CHECKING:
    from linscope.columns.spaces import CommBuilder, SpaceBuilder

KERNEL = -1  # the pid of its own mappings


class Change(NamedTuple):
    """One change; which of the fields say something is told by its kind."""

    time_ns: int
    kind: str  # found (was there before), comm, exec, fork, exit, map
    pid: int
    tid: int = 0
    parent_pid: int = 0
    parent_tid: int = 0
    comm: bytes = b""
    mapping: Mapping | None = None


def apply(change: Change, spaces: SpaceBuilder, comms: CommBuilder | None = None) -> None:
    """Tell builders of address spaces and of names."""
    if change.kind == "map":
        if change.mapping is not None and change.pid == KERNEL:
            spaces.kernel_map(change.mapping)
        elif change.mapping is not None:
            spaces.map(change.pid, change.time_ns, change.mapping)
        return
    if change.kind in ("exec", "found"):
        spaces.exec(change.pid, change.time_ns)
    elif change.kind == "fork" and change.pid != change.parent_pid:
        spaces.fork(change.pid, change.parent_pid, change.time_ns)
    if comms is None:
        return
    if change.kind in ("comm", "exec"):
        comms.name(change.tid, change.time_ns, change.comm.decode(errors="replace"))
    elif change.kind != "exit" and change.tid != change.parent_tid:
        comms.fork(change.tid, change.parent_tid, change.time_ns)
