"""`linscope record`: samples and events of a program, a process or the whole system -> perf.data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linscope.errors import UsageError
from linscope.units import format_bytes, parse_bytes, parse_duration

if TYPE_CHECKING:
    from linscope.picture.rows import Rows
    from linscope.session.options import RecordOptions

_CLOCKS = {"realtime": 0, "monotonic": 1, "monotonic_raw": 4, "boottime": 7, "tai": 11}  # uapi/linux/time.h


class _Filter(argparse.Action):
    """--filter belongs to the -e before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        events = namespace.event or []
        if not events:
            parser.error("--filter belongs to the -e before it")
        namespace.filter = [*(namespace.filter or []), (len(events) - 1, values)]


def add_event_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose events and targets, shared by record, stat and flame."""
    parser.add_argument("-e", "--event", action="append", metavar="EVENT", help="what to sample (repeatable)")
    parser.add_argument("-p", "--pid", metavar="PID", help="existing processes, by comma")
    parser.add_argument("-t", "--tid", metavar="TID", help="existing threads, by comma")
    parser.add_argument("-a", "--all-cpus", action="store_true", help="the whole system")
    parser.add_argument("-C", "--cpu", metavar="LIST", help="only on these CPUs: 0,2-3")
    parser.add_argument("-G", "--cgroup", metavar="PATH", help="tasks of these cgroups (with -a)")
    parser.add_argument("-i", "--no-inherit", action="store_true", help="leave out child tasks")
    parser.add_argument(
        "-D", "--delay", type=int, default=0, metavar="MS", help="begin so long after the start"
    )


def numbers(text: str | None, what: str) -> tuple[int, ...]:
    """(1, 2) of "1,2"; raises UsageError."""
    try:
        return tuple(int(piece) for piece in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"not a {what}: {text}", next_step="numbers, by comma") from None


def command_of(arguments: argparse.Namespace) -> list[str]:
    """The command behind the options, without its leading --."""
    words: list[str] = list(arguments.command or [])
    return words[1:] if words[:1] == ["--"] else words


class Record:
    """The subcommand; see linscope.contracts.Command."""

    summary = "record samples and events of a program to perf.data"
    examples = (
        "linscope record -g -- python3 examples/busy.py",
        "linscope record -F 99 -a --call-graph fp --duration 10s",
        "linscope record -e sched:sched_switch -p 1234 -o switches.data",
        "linscope record --list-events 'sched:*'",
    )
    formats = False
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments; letters are perf record's."""
        add_event_arguments(parser)
        add = parser.add_argument
        add("--filter", action=_Filter, metavar="EXPR", help="of the tracepoint before it: 'prev_pid==0'")
        add("-F", "--freq", metavar="HZ", help="samples per second (4000; max)")
        add("-c", "--count", type=int, metavar="N", help="one sample every N events")
        add("-g", action="store_true", help="call graphs by frame pointers")
        add("--call-graph", metavar="MODE", help="fp, dwarf[,SIZE] or lbr")
        add("--max-stack", type=int, default=0, metavar="N", help="frames of a call graph")
        add("--user-callchains", action="store_true", help="user frames only")
        add("--kernel-callchains", action="store_true", help="kernel frames only")
        add("-o", "--output", default="perf.data", metavar="FILE", help="perf.data; - for a pipe")
        add("-m", "--mmap-pages", metavar="N", help="ring of each CPU: pages, or a size")
        add("--max-size", metavar="SIZE", help="stop at this size")
        add("--switch-output", metavar="SIZE", help="begin another file at this size")
        add("--duration", metavar="TIME", help="stop after this time (10s, 500ms)")
        add("-b", "--branch-any", action="store_true", help="branch stacks")
        add("-j", "--branch-filter", metavar="LIST", help="branch stacks of: any,any_call,u,k...")
        add("-d", "--data", action="store_true", help="data addresses")
        add("-W", "--weight", action="store_true", help="weights")
        add("-s", "--stat", action="store_true", help="counts of each thread")
        add("-R", "--raw-samples", action="store_true", help="raw payloads (tracepoints always have them)")
        add("-P", "--period", action="store_true", help="the period in every sample")
        add("-T", "--timestamp", action="store_true", help="times (always on)")
        add("-k", "--clockid", metavar="CLOCK", help=", ".join(_CLOCKS))
        add(
            "-z", "--compression-level", nargs="?", type=int, const=1, default=0, metavar="LEVEL", help="zstd"
        )
        add("--switch-events", action="store_true", help="context switch records")
        add("-q", "--quiet", action="store_true", help="no messages")
        add("--list-events", nargs="?", const="", metavar="GLOB", help="show the names that -e takes")
        add("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="what to run and record")

    def run(self, arguments: argparse.Namespace) -> Rows | int | None:
        """Record; returns the command's exit status (130 after Ctrl-C), or the rows of --list-events."""
        if arguments.list_events is not None:
            return _event_rows(arguments.list_events)
        from linscope.session.record import record

        command = command_of(arguments)
        result = record(command or None, options_of(arguments))
        if not arguments.quiet:
            for note in result.notes:
                print(f"linscope record: {note}", file=sys.stderr)
            where = "standard output" if result.path == "-" else ", ".join(result.paths)
            events = ", ".join(result.events[:3])
            if len(result.events) > 3:
                events += f" and {len(result.events) - 3} more"
            size = format_bytes(result.bytes_written)
            print(f"linscope record: {size} to {where} ({events})", file=sys.stderr)
        return 130 if result.interrupted else result.exit_status


def options_of(arguments: argparse.Namespace) -> RecordOptions:
    """RecordOptions of the parsed arguments.  Raises UsageError."""
    from linscope.session.configure import sample_rate_limit
    from linscope.session.options import RecordOptions
    from linscope.sources.pmus import parse_cpu_list

    frequency = arguments.freq
    if frequency == "max":
        frequency = str(sample_rate_limit())
    if frequency is not None and not (frequency.isdigit() and int(frequency)):
        raise UsageError(f"not a frequency: {frequency}", next_step="samples per second, or max")
    clock = arguments.clockid
    if clock is not None and clock.lower().removeprefix("clock_") not in _CLOCKS:
        raise UsageError(f"no clock {clock!r}", why=f"there are {', '.join(_CLOCKS)}")
    return RecordOptions(
        events=tuple(arguments.event or ()),
        filters=tuple(arguments.filter or ()),
        frequency=int(frequency) if frequency else None,
        period=arguments.count,
        call_graph=arguments.call_graph or ("fp" if arguments.g else ""),
        max_stack=arguments.max_stack,
        pids=numbers(arguments.pid, "process id"),
        tids=numbers(arguments.tid, "thread id"),
        system_wide=arguments.all_cpus or (bool(arguments.cpu) and not (arguments.pid or arguments.tid)),
        cpus=tuple(parse_cpu_list(arguments.cpu)) if arguments.cpu else (),
        cgroups=tuple(arguments.cgroup.split(",")) if arguments.cgroup else (),
        output=arguments.output,
        max_size=parse_bytes(arguments.max_size) if arguments.max_size else 0,
        switch_output=parse_bytes(arguments.switch_output) if arguments.switch_output else 0,
        duration_ns=parse_duration(arguments.duration) if arguments.duration else 0,
        delay_ms=arguments.delay,
        ring_size=_ring_size(arguments.mmap_pages),
        user_callchains=arguments.user_callchains,
        kernel_callchains=arguments.kernel_callchains,
        branch_filter=arguments.branch_filter or ("any" if arguments.branch_any else ""),
        addresses=arguments.data,
        weight=arguments.weight,
        inherit_stat=arguments.stat,
        raw=arguments.raw_samples,
        period_field=arguments.period,
        switch_events=arguments.switch_events,
        clockid=_CLOCKS[clock.lower().removeprefix("clock_")] if clock else None,
        compression_level=arguments.compression_level,
        inherit=not arguments.no_inherit,
        command_line=("linscope", *sys.argv[1:]),
    )


def _ring_size(text: str | None) -> int:
    """Bytes of -m: a bare number counts pages."""
    if not text:
        return 0
    return int(text) * os.sysconf("SC_PAGE_SIZE") if text.isdigit() else parse_bytes(text)


def _event_rows(pattern: str) -> Rows:
    from linscope.picture.rows import Column, Rows
    from linscope.sources.events import Catalog, list_events

    names: Sequence[str] = list_events(pattern, Catalog())
    return Rows([Column("event", "EVENT")], [(name,) for name in names])


RECORD = Record()
