"""`linscope events`: the kernel's trace events: what there is, record them to a trace.dat, watch them as they come."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linscope.errors import UsageError
from linscope.units import format_bytes, parse_bytes, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from linscope.picture.rows import Rows
    from linscope.recording import Recording
    from linscope.session.tracing.options import EventChoice, TraceOptions

_ACTIONS = ("list", "show", "record", "stream", "restore")


class _OfEvent(argparse.Action):
    """--filter and --trigger belong to the -e before them."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        if not namespace.event:
            parser.error(f"{option} belongs to the -e before it")
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), (len(namespace.event) - 1, values)])


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose what is traced and for how long, shared by the commands of the kernel's tracer."""
    add = parser.add_argument
    add("-p", "--pid", metavar="PID", help="existing processes, by comma")
    add("-a", "--all", action="store_true", help="the whole system")
    add("-C", "--cpu", metavar="LIST", help="only on these CPUs: 0,2-3")
    add("-i", "--no-inherit", action="store_true", help="leave out child processes")
    add("--clock", metavar="CLOCK", help="trace clock: local, global, mono, boot...")
    add("--duration", metavar="TIME", help="stop after this time (10s, 500ms)")


def add_tracing_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose events, targets and the buffer."""
    add = parser.add_argument
    add("-e", "--event", action="append", metavar="EVENT", help="SYS:NAME, SYS:*, NAME, with wildcards (repeatable)")
    add("--filter", action=_OfEvent, metavar="EXPR", help="of the event before it: 'prev_pid==0'")
    add("--trigger", action=_OfEvent, metavar="T", help="of the event before it: stacktrace, traceoff:1...")
    add("-O", "--option", action="append", metavar="NAME", help="a trace option, or noNAME (repeatable)")
    add("-T", "--stacktrace", action="store_true", help="the kernel's stack at each event")
    add("-m", "--buffer", metavar="SIZE", help="buffer of each CPU (by what is recorded)")
    add_target_arguments(parser)


class Events:
    """The subcommand; see linscope.contracts.Command."""

    summary = "the kernel's trace events: list, show, record to trace.dat, stream"
    examples = (
        "linscope events list 'sched:*'",
        "linscope events show sched:sched_switch",
        "linscope events record -e sched:sched_switch -e 'irq:*' -- make",
        "linscope events stream -e sched:sched_process_exec -- sh -c 'ls; date'",
    )
    formats = True
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=_ACTIONS, help="restore: of a recording that was killed")
        parser.add_argument("names", nargs="*", metavar="EVENT", help="of list and show; of restore: the folder")
        add_tracing_arguments(parser)
        add = parser.add_argument
        add("--file-version", type=int, choices=(6, 7), default=7, help="of trace.dat (7)")
        add("-z", "--compress", choices=("none", "zlib", "zstd"), default="none", help="of trace.dat (none)")
        add("-q", "--quiet", action="store_true", help="no messages")

    def run(self, arguments: argparse.Namespace) -> Rows | int:
        """Do it; record returns the program's exit code."""
        if arguments.action == "list":
            from linscope.views.trace_events import event_list

            return event_list(arguments.names)
        if arguments.action == "show":
            from linscope.views.trace_events import event_details

            return event_details(arguments.names)
        if arguments.action == "record":
            return _record(arguments)
        if arguments.action == "restore":
            return _restore(arguments)
        return _stream(arguments)


def target_options(arguments: argparse.Namespace) -> TraceOptions:
    """TraceOptions of the arguments that add_target_arguments declared.  Raises UsageError."""
    from linscope.commands.record import numbers
    from linscope.session.tracing.options import TraceOptions
    from linscope.sources.pmus import parse_cpu_list

    return TraceOptions(
        clock=arguments.clock or "",
        cpus=tuple(parse_cpu_list(arguments.cpu)) if arguments.cpu else (),
        pids=numbers(arguments.pid, "process id"),
        system_wide=arguments.all,
        children=not arguments.no_inherit,
        duration_ns=parse_duration(arguments.duration) if arguments.duration else 0,
    )


def tracing_options(arguments: argparse.Namespace) -> TraceOptions:
    """TraceOptions of the arguments that add_tracing_arguments declared.  Raises UsageError."""
    options = [*(arguments.option or ())]
    if arguments.stacktrace:
        options.append("stacktrace")
    return target_options(arguments)._replace(
        events=event_choices(arguments),
        options=tuple(options),
        buffer_size=parse_bytes(arguments.buffer) if arguments.buffer else 0,
    )


def event_choices(arguments: argparse.Namespace) -> tuple[EventChoice, ...]:
    """The events with their filters and triggers."""
    from linscope.session.tracing.options import EventChoice

    made = []
    for at, pattern in enumerate(arguments.event or ()):
        filters = [text for index, text in arguments.filter or () if index == at]
        if len(filters) > 1:
            raise UsageError(f"two filters of {pattern}", next_step="one, joined by && or ||")
        triggers = tuple(text for index, text in arguments.trigger or () if index == at)
        made.append(EventChoice(pattern, filters[0] if filters else "", triggers))
    return tuple(made)


def tell(program: str, notes: Iterable[str], lost: int = 0) -> None:
    """Say what a reader of the result has to know."""
    for note in notes:
        print(f"linscope {program}: {note}", file=sys.stderr)
    if lost:
        print(f"linscope {program}: {lost:,} events LOST (a larger buffer: -m)", file=sys.stderr)


def exit_code(result: Any) -> int:
    """What the command returns: 130 after Ctrl-C, else the exit status of what was traced."""
    return 130 if result.interrupted else int(result.exit_status)


def report_trace(result: Any, program: str) -> int:
    """Say what came of a recording; returns the exit code."""
    tell(program, result.notes)
    lost = f", {result.lost:,} LOST (a larger buffer: -m)" if result.lost else ""
    size = format_bytes(result.bytes_written)
    print(f"linscope {program}: {size} to {result.path}{lost}", file=sys.stderr)
    return exit_code(result)


def trace_and_open(command: Sequence[str] | None, options: TraceOptions, program: str) -> tuple[Recording, int]:
    """Record into a temporary file and open that; (recording, exit code)."""
    from linscope.recording import open_recording
    from linscope.session.journal import scratch_folder
    from linscope.session.tracing.record import record_trace

    with scratch_folder() as folder:
        path = f"{folder}/trace.dat"
        result = record_trace(command, options, path)
        recording = open_recording(path, tables=True)
    tell(program, (*result.notes, *recording.notes()), result.lost)
    return recording, exit_code(result)


def _record(arguments: argparse.Namespace) -> int:
    from linscope.session.tracing.record import record_trace

    if not arguments.event:
        raise UsageError("no event to record", next_step="-e sched:sched_switch; linscope events list")
    output = arguments.output or "trace.dat"
    options = tracing_options(arguments)
    result = record_trace(
        arguments.command, options, output, version=arguments.file_version, compression=arguments.compress
    )
    return exit_code(result) if arguments.quiet else report_trace(result, "events record")


def _stream(arguments: argparse.Namespace) -> Rows:
    """The events as they come; what was lost is told at the end."""
    from linscope.session.tracing.live import EventStream
    from linscope.views.live_events import live_event_rows

    if not arguments.event:
        raise UsageError("no event to show", next_step="-e sched:sched_switch; linscope events list")
    stream = EventStream(arguments.command, tracing_options(arguments))

    def end() -> int:
        tell("events stream", stream.session.notes, 0 if arguments.quiet else stream.lost)
        return 130 if stream.interrupted else stream.session.exit_status

    return live_event_rows(stream.batches, end)


def _restore(arguments: argparse.Namespace) -> int:
    """Make a trace.dat of what a killed recorder left, and remove that."""
    import shutil

    from linscope.formats.trace_dat.parts import salvage_trace_dat

    if len(arguments.names) != 1:
        raise UsageError("restore which folder?", next_step="linscope events restore trace.dat.parts")
    folder = arguments.names[0].rstrip("/")
    output = arguments.output or folder.removesuffix(".parts")
    if output == folder:
        raise UsageError("where to?", next_step="-o trace.dat")
    size = salvage_trace_dat(folder, output, version=arguments.file_version, compression=arguments.compress)
    shutil.rmtree(folder)
    print(f"linscope events restore: {format_bytes(size)} to {output}", file=sys.stderr)
    return 0


EVENTS = Events()
