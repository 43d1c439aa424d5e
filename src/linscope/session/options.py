"""What to record and how: the values that `linscope record` and the API share."""

from __future__ import annotations

from typing import NamedTuple


class RecordOptions(NamedTuple):
    """Immutable; every field has perf record's meaning and default.  Sizes in bytes."""

    events: tuple[str, ...] = ()  # as typed after -e; empty: cycles, or cpu-clock where there is no PMU
    filters: tuple[tuple[int, str], ...] = ()  # (index into events, tracepoint filter expression)
    frequency: int | None = None  # samples per second; None: 4000, unless period is given
    period: int | None = None  # one sample every so many events
    call_graph: str = ""  # "", "fp", "dwarf" or "lbr"
    stack_size: int = 8192  # of the user stack dumped with each sample ("dwarf")
    max_stack: int = 0  # frames; 0: kernel.perf_event_max_stack
    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    system_wide: bool = False
    cpus: tuple[int, ...] = ()  # empty: all that are online
    cgroups: tuple[str, ...] = ()  # paths below the cgroup mount
    output: str = "perf.data"  # "-": a pipe to standard output
    max_size: int = 0  # stop when the data has this size; 0: never
    switch_output: int = 0  # begin another file at this size; 0: never
    duration_ns: int = 0  # stop after this time; 0: when the workload or the targets end
    delay_ms: int = 0  # start sampling so long after the workload
    ring_size: int = 0  # per CPU, rounded up to a power of two of pages; 0: chosen by the events
    user_callchains: bool = False  # user frames only
    kernel_callchains: bool = False  # kernel frames only
    branch_filter: str = ""  # -j: "any", "any_call,u"...
    addresses: bool = False
    weight: bool = False
    inherit_stat: bool = False
    raw: bool = False
    period_field: bool = False
    switch_events: bool = False
    clockid: int | None = None
    compression_level: int = 0  # zstd; 0: none
    inherit: bool = True
    command_line: tuple[str, ...] = ()  # kept in the file; empty: sys.argv


class RecordResult(NamedTuple):
    """What came of a recording."""

    path: str
    samples_lost: int  # records that found no room in a ring
    bytes_written: int  # of the data section
    events: tuple[str, ...]  # as recorded, after fall-backs
    exit_status: int  # of the workload, 128 + N when signal N ended it; 0 without one, or when a limit ended it
    notes: tuple[str, ...]  # what the user should know: fall-backs, losses, limits
    paths: tuple[str, ...]  # every file, when switch_output made several
    interrupted: bool  # by SIGINT or SIGTERM
