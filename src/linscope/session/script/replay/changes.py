"""Side-band records of perf.data as changes of processes, threads and mappings."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from linscope.abi import perf_event as pe
from linscope.columns.changes import KERNEL, Change
from linscope.formats.perf_data.sideband import parse_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from linscope.formats.perf_data.sideband import SideRecord

_KERNEL_MODES = (pe.PERF_RECORD_MISC_KERNEL, pe.PERF_RECORD_MISC_GUEST_KERNEL)
_MAPS = (pe.PERF_RECORD_MMAP, pe.PERF_RECORD_MMAP2, pe.PERF_RECORD_KSYMBOL)


def changes_of(records: Iterable[SideRecord], big_endian: bool, build_ids: dict[str, str]) -> list[Change]:
    """The changes that side-band records tell; damaged ones are passed over."""
    order = ">" if big_endian else "<"
    found = []
    for record in records:
        try:
            change = _change(record, order, build_ids)
        except (struct.error, IndexError):
            continue
        if change is not None:
            found.append(change)
    return found


def _change(record: SideRecord, order: str, build_ids: dict[str, str]) -> Change | None:
    body, time, misc = record.body, record.time_ns, record.misc
    if record.type == pe.PERF_RECORD_COMM:
        pid, tid = struct.unpack_from(order + "II", body)
        kind = "exec" if misc & pe.PERF_RECORD_MISC_COMM_EXEC else "comm"
        return Change(time, kind, pid, tid, comm=body[8:].partition(b"\0")[0])
    if record.type in (pe.PERF_RECORD_FORK, pe.PERF_RECORD_EXIT):
        pid, parent_pid, tid, parent_tid = struct.unpack_from(order + "IIII", body)
        kind = "found" if misc & pe.PERF_RECORD_MISC_FORK_EXEC else "fork"
        kind = "exit" if record.type == pe.PERF_RECORD_EXIT else kind
        return Change(time, kind, pid, tid, parent_pid, parent_tid)
    if record.type not in _MAPS:
        return None
    pid, mapping = parse_mapping(record, order, build_ids)
    if mapping is None or mapping.end <= mapping.start:
        return None
    if record.type == pe.PERF_RECORD_KSYMBOL or misc & pe.PERF_RECORD_MISC_CPUMODE_MASK in _KERNEL_MODES:
        return Change(time, "map", KERNEL, mapping=mapping)
    if misc & pe.PERF_RECORD_MISC_MMAP_DATA:
        return None
    return Change(time, "map", pid & 0xFFFFFFFF, mapping=mapping)
