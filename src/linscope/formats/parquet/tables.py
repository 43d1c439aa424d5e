"""The tables of a recording: their names, their columns, and what these mean.

    samples.parquet             what was sampled by clocks and counters
    events/SYSTEM.NAME.parquet  one tracepoint: the columns of EVENT, its fields, and ``record`` (see event_columns)
    stacks.parquet              call chains, each once
    tasks.parquet, maps.parquet what became of processes, threads and mappings
    losses.parquet              what the kernel dropped
    captures.parquet            what a script read when it ran live
    kallsyms.parquet            symbols of the recorded kernel, when the recording has them
"""

from __future__ import annotations

import pyarrow as pa

NAME = pa.dictionary(pa.int32(), pa.string())

# row: place among all samples and events of the recording, which are in the order of time; stack: of stacks.parquet.
# cpu, pid, comm, stack: null when it was not recorded.  comm_bytes: the name where it is no UTF-8, else null.
EVENT = [
    pa.field("row", pa.uint64()), pa.field("time_ns", pa.uint64()), pa.field("cpu", pa.uint16()),
    pa.field("pid", pa.uint32()), pa.field("tid", pa.uint32()), pa.field("comm", NAME),
    pa.field("comm_bytes", pa.binary()), pa.field("stack", pa.uint32()),
]  # fmt: skip
# weight: the period; address: of the instruction; mode: PERF_RECORD_MISC_CPUMODE_*, 1 the kernel, 2 the user
SAMPLE = [
    *EVENT, pa.field("event", NAME), pa.field("weight", pa.uint64()), pa.field("address", pa.uint64()),
    pa.field("mode", pa.uint8()),
]  # fmt: skip
# innermost frame first
STACK = [
    pa.field("stack", pa.uint32()), pa.field("kernel", pa.list_(pa.uint64())), pa.field("user", pa.list_(pa.uint64()))
]  # fmt: skip
# kind: found (was there before), comm, exec, fork, exit; row: place among tasks and maps, in the order of time
TASK = [
    pa.field("row", pa.uint64()), pa.field("time_ns", pa.uint64()), pa.field("kind", NAME),
    pa.field("pid", pa.uint32()), pa.field("tid", pa.uint32()), pa.field("parent_pid", pa.uint32()),
    pa.field("parent_tid", pa.uint32()), pa.field("comm", pa.string()),
]  # fmt: skip
# pid: null for the kernel's own; page_offset: in the file, bytes
MAP = [
    pa.field("row", pa.uint64()), pa.field("time_ns", pa.uint64()), pa.field("pid", pa.uint32()),
    pa.field("start", pa.uint64()), pa.field("end", pa.uint64()), pa.field("page_offset", pa.uint64()),
    pa.field("path", pa.string()), pa.field("build_id", pa.string()), pa.field("executable", pa.bool_()),
]  # fmt: skip
# event: null when it is not known which; is_total: counted at the end, again
LOSS = [
    pa.field("time_ns", pa.uint64()), pa.field("cpu", pa.uint32()), pa.field("event", NAME),
    pa.field("lost", pa.uint64()), pa.field("is_total", pa.bool_()),
]  # fmt: skip
# row: of the event at which it was read, null for begin, end and interval; program: its number in the script, from 1;
# kind: 0 memory at the address value, else the number of the helper whose answer value is
CAPTURE = [
    pa.field("row", pa.uint64()), pa.field("program", pa.uint16()), pa.field("kind", pa.uint16()),
    pa.field("value", pa.uint64()), pa.field("data", pa.binary()),
]  # fmt: skip
SYMBOL = [
    pa.field("address", pa.uint64()), pa.field("name", pa.string()), pa.field("module", pa.string()),
    pa.field("type", NAME),
]  # fmt: skip
TABLES = {
    "samples": SAMPLE, "stacks": STACK, "tasks": TASK, "maps": MAP, "losses": LOSS, "captures": CAPTURE,
    "kallsyms": SYMBOL,
}  # fmt: skip


def event_file(name: str) -> str:
    """The path of a tracepoint's table in the folder.

    >>> event_file("sched:sched_switch")
    'events/sched.sched_switch.parquet'
    """
    system, _, event = name.partition(":")
    return f"events/{system}.{event}.parquet".replace("/", "_").replace("events_", "events/", 1)
