"""Records that are not samples -> address spaces, task names and losses.

Source: include/uapi/linux/perf_event.h, enum perf_event_type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from linscope.abi import perf_event as pe
from linscope.columns.profile import Loss, Mapping
from linscope.columns.spaces import CommBuilder, SpaceBuilder

_KERNEL_MODES = (pe.PERF_RECORD_MISC_KERNEL, pe.PERF_RECORD_MISC_GUEST_KERNEL)

# What says something of spaces, names and families; all others are only counted (and kept for who asks for records).
WANTED = frozenset(
    (
        pe.PERF_RECORD_MMAP,
        pe.PERF_RECORD_MMAP2,
        pe.PERF_RECORD_COMM,
        pe.PERF_RECORD_FORK,
        pe.PERF_RECORD_EXIT,
        pe.PERF_RECORD_KSYMBOL,
        pe.PERF_RECORD_LOST,
        pe.PERF_RECORD_LOST_SAMPLES,
    )
)


class SideRecord(NamedTuple):
    """One record: when, of what kind, and its body without the header."""

    time_ns: int
    type: int
    misc: int
    cpu: int
    event: int
    body: bytes
    position: int  # in the file; of what was compressed, near that of the compressed record


def _string(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def parse_mapping(record: SideRecord, order: str, build_ids: dict[str, str]) -> tuple[int, Mapping | None]:
    """(pid, mapping) of an MMAP, MMAP2 or KSYMBOL record; None: of a KSYMBOL that maps no BPF program.

    order: of bytes, in struct's sign; build_ids: hex by path, for mappings without.  Raises struct.error, IndexError.
    """
    if record.type == pe.PERF_RECORD_KSYMBOL:
        start, length, kind, flags = struct.unpack_from(order + "QIHH", record.body)
        if kind != pe.PERF_RECORD_KSYMBOL_TYPE_BPF or flags & pe.PERF_RECORD_KSYMBOL_FLAGS_UNREGISTER or not length:
            return -1, None
        return -1, Mapping(start, start + length, 0, _string(record.body[16:]))
    pid, _, start, length, page_offset = struct.unpack_from(order + "iIQQQ", record.body)
    build_id = ""
    executable = not record.misc & pe.PERF_RECORD_MISC_MMAP_DATA
    if record.type == pe.PERF_RECORD_MMAP2:
        if record.misc & pe.PERF_RECORD_MISC_MMAP_BUILD_ID:
            size = min(record.body[32], 20)
            build_id = record.body[36 : 36 + size].hex()
        (protection,) = struct.unpack_from(order + "I", record.body, 56)
        executable = bool(protection & 4)
        path = _string(record.body[64:])
    else:
        path = _string(record.body[32:])
    end = min(start + length, 2**64 - 1)
    if not build_id and path.startswith(
        "["
    ):  # the table says "[kernel.kallsyms]", the mapping adds a symbol's name
        build_id = build_ids.get(path.partition("]")[0] + "]", "")
    return pid, Mapping(start, end, page_offset, path, build_id or build_ids.get(path, ""), executable)


def apply(
    records: Iterable[SideRecord],
    big_endian: bool,
    build_ids: dict[str, str],
    spaces: SpaceBuilder,
    comms: CommBuilder,
) -> tuple[list[Loss], list[int]]:
    """Feed records, sorted by time, to the builders; (losses, positions of damaged records that were passed over).

    build_ids: hex by path, for mappings that do not carry their own.
    """
    order = ">" if big_endian else "<"
    losses: list[Loss] = []
    damaged: list[int] = []
    for record in records:
        try:
            _apply_one(record, order, build_ids, spaces, comms, losses)
        except (struct.error, IndexError):
            damaged.append(record.position)
    return losses, damaged


def _apply_one(
    record: SideRecord,
    order: str,
    build_ids: dict[str, str],
    spaces: SpaceBuilder,
    comms: CommBuilder,
    losses: list[Loss],
) -> None:
    body = record.body
    if record.type in (pe.PERF_RECORD_MMAP, pe.PERF_RECORD_MMAP2):
        pid, mapping = parse_mapping(record, order, build_ids)
        if mapping is None or mapping.end <= mapping.start:
            return
        if record.misc & pe.PERF_RECORD_MISC_CPUMODE_MASK in _KERNEL_MODES:
            spaces.kernel_map(mapping)
        elif not record.misc & pe.PERF_RECORD_MISC_MMAP_DATA:
            spaces.map(pid & 0xFFFFFFFF, record.time_ns, mapping)
    elif record.type == pe.PERF_RECORD_COMM:
        pid, tid = struct.unpack_from(order + "II", body)
        comms.name(tid, record.time_ns, _string(body[8:]))
        if record.misc & pe.PERF_RECORD_MISC_COMM_EXEC:
            spaces.exec(pid, record.time_ns)
    elif record.type == pe.PERF_RECORD_FORK:
        pid, parent_pid, tid, parent_tid = struct.unpack_from(order + "IIII", body)
        if record.misc & pe.PERF_RECORD_MISC_FORK_EXEC:  # made up by perf: its mappings follow one by one
            spaces.exec(pid, record.time_ns)
        elif pid != parent_pid:
            spaces.fork(pid, parent_pid, record.time_ns)
        if tid != parent_tid:
            comms.fork(tid, parent_tid, record.time_ns)
    elif record.type == pe.PERF_RECORD_KSYMBOL:
        _, mapping = parse_mapping(record, order, build_ids)
        if mapping is not None:
            spaces.kernel_map(mapping)
    elif record.type == pe.PERF_RECORD_LOST:
        _, lost = struct.unpack_from(order + "QQ", body)
        losses.append(Loss(record.time_ns, record.cpu, lost, record.event))
    elif record.type == pe.PERF_RECORD_LOST_SAMPLES:
        (lost,) = struct.unpack_from(order + "Q", body)
        if not record.misc & (1 << 15):  # PERF_RECORD_MISC_LOST_SAMPLES_BPF: filtered out on purpose
            losses.append(Loss(record.time_ns, record.cpu, lost, record.event, of_event=True))
