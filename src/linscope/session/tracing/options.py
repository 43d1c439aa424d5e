"""What to trace and how: the values that the commands and the API share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from linscope.sources.probes.definition import ProbeDefinition


class EventChoice(NamedTuple):
    """One -e: events, and what the kernel does with them."""

    pattern: str  # "sched:sched_switch", "sched:*", "sys_enter_*"
    filter: str = ""
    triggers: tuple[str, ...] = ()
    record: bool = True  # False: only its triggers act


class ProbeChoice(NamedTuple):
    """A probe that is defined for a while, with the text that a person wrote."""

    text: str
    definition: ProbeDefinition


class TraceOptions(NamedTuple):
    """Immutable.  Sizes in bytes."""

    events: tuple[EventChoice, ...] = ()
    tracer: str = "nop"
    functions: tuple[str, ...] = ()  # set_ftrace_filter: globs, or module:..., FUNC:mod:NAME
    not_functions: tuple[str, ...] = ()  # set_ftrace_notrace
    graph_functions: tuple[str, ...] = ()  # set_graph_function: trace what is called inside these
    not_graph_functions: tuple[str, ...] = ()
    max_depth: int = 0  # of function_graph; 0: no limit
    function_commands: tuple[str, ...] = ()  # "schedule:traceoff:5"
    options: tuple[str, ...] = ()  # trace_options: "sym-offset", "nofuncgraph-irqs"
    clock: str = ""  # trace_clock; empty: the kernel's default, "local"
    buffer_size: int = 0  # of each CPU; 0: by what is recorded
    cpus: tuple[int, ...] = ()  # empty: all
    pids: tuple[int, ...] = ()
    system_wide: bool = False
    children: bool = True  # processes that the traced ones start, too
    threshold_us: int = 0  # tracing_thresh: only what takes longer
    duration_ns: int = 0  # 0: until the workload or the targets end
    probes: tuple[ProbeChoice, ...] = ()  # defined before the instance is made, removed after it has gone
    knobs: tuple[tuple[str, str], ...] = ()  # further files and their values: ("osnoise/period_us", "1000000")


class TraceResult(NamedTuple):
    """What came of a recording."""

    path: str
    bytes_written: int
    lost: int  # events that found no room in a buffer
    entries: int  # events that are in the buffers' files
    exit_status: int  # of the workload
    interrupted: bool
    notes: Sequence[str]  # the session's own: it goes on to say what it cannot undo
