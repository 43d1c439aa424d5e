"""`linscope ftrace`: the kernel's tracers: functions, call graphs, latencies."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linscope.commands.events import (
    add_tracing_arguments,
    exit_code,
    report_trace,
    tell,
    trace_and_open,
    tracing_options,
)
from linscope.errors import UsageError

if TYPE_CHECKING:
    from linscope.picture.rows import Rows
    from linscope.recording import Recording


class Ftrace:
    """The subcommand; see linscope.contracts.Command."""

    summary = "the kernel's tracers: functions, call graphs, latencies"
    examples = (
        "linscope ftrace function -f 'vfs_*' -- ls",
        "linscope ftrace function_graph --graph vfs_read --max-depth 3 -- ls /",
        "linscope ftrace function_graph --total -- ls",
        "linscope ftrace function_graph -o trace.dat -- make",
        "linscope ftrace show trace.dat --flame calls.html",
        "linscope ftrace irqsoff -a --duration 5s",
        "linscope ftrace list",
    )
    formats = False  # -f is trace-cmd's here
    splits = True

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments; letters are trace-cmd record's where it has them."""
        add = parser.add_argument
        add("tracer", help="a tracer; list: those of this kernel; functions: what -f takes; show: a recording")
        add("names", nargs="*", metavar="FILE", help="of show: the recording; of functions: a pattern")
        add("-f", "--function", action="append", metavar="FUNC", help="trace these only; wildcards (repeatable)")
        add("-n", "--notrace", action="append", metavar="FUNC", help="leave these out (repeatable)")
        add("--graph", action="append", metavar="FUNC", help="what is called inside FUNC (repeatable)")
        add("--graph-notrace", action="append", metavar="FUNC", help="without what is called inside FUNC")
        add("--max-depth", type=int, default=0, metavar="N", help="levels of a call graph")
        add("--module", action="append", metavar="NAME", help="functions of this module (repeatable)")
        add("--command", dest="function_command", action="append", metavar="CMD", help="FUNC:traceoff:1, ...")
        add("--thresh", type=int, default=0, metavar="US", help="only what takes longer (microseconds)")
        add("--set", action="append", metavar="FILE=VAL", help="a knob of tracefs: hwlat_detector/window=100000")
        add("--total", action="store_true", help="sum up by function instead of listing")
        add("--flame", metavar="FILE", help="draw calls as a flame graph: .html, .svg or .txt")
        add_tracing_arguments(parser)
        add("--format", choices=("text", "json", "csv"), default="text", help="form of the rows")
        add("--json", action="store_const", const="json", dest="format", help="same as --format json")
        add("-o", "--output", metavar="FILE", help="record to this trace.dat instead of printing")

    def run(self, arguments: argparse.Namespace) -> Rows | int | None:
        """Trace and show, or record with -o."""
        from linscope.session.tracing.instance import is_latency_tracer
        from linscope.views import tracers

        if arguments.tracer == "list":
            return tracers.tracer_list()
        if arguments.tracer == "functions":
            return tracers.function_list(arguments.names)
        if arguments.tracer == "show":
            if len(arguments.names) != 1:
                raise UsageError("show which recording?", next_step="linscope ftrace show trace.dat")
            return _show_file(arguments.names[0], arguments)
        if arguments.names:
            raise UsageError(f"what is {arguments.names[0]!r}?", next_step="the command to trace stands behind --")
        options = _options(arguments)
        if is_latency_tracer(arguments.tracer):
            return _trace_latency(arguments, options)
        if arguments.output:
            from linscope.session.tracing.record import record_trace

            return report_trace(record_trace(arguments.command, options, arguments.output), "ftrace")
        return _trace_and_show(arguments, options)


def _knob(text: str) -> tuple[str, str]:
    """(file, value) of "osnoise/period_us=100000".  Raises UsageError."""
    file, sign, value = text.partition("=")
    if not sign or not file or file.startswith("/") or ".." in file.split("/"):
        raise UsageError(f"not a knob and its value: {text!r}", next_step="--set osnoise/period_us=100000")
    return file, value


def _options(arguments: argparse.Namespace) -> Any:
    functions = list(arguments.function or ())
    functions += [f"*:mod:{name}" for name in arguments.module or ()]
    return tracing_options(arguments)._replace(
        tracer=arguments.tracer,
        functions=tuple(functions),
        not_functions=tuple(arguments.notrace or ()),
        graph_functions=tuple(arguments.graph or ()),
        not_graph_functions=tuple(arguments.graph_notrace or ()),
        max_depth=arguments.max_depth,
        function_commands=tuple(arguments.function_command or ()),
        threshold_us=arguments.thresh,
        knobs=tuple(map(_knob, arguments.set or ())),
    )


def _trace_latency(arguments: argparse.Namespace, options: Any) -> int:
    """Print the longest latency as the kernel writes it."""
    from linscope.session.tracing.latency import trace_latency

    result = trace_latency(arguments.command, options, arguments.output or "")
    tell("ftrace", result.notes)
    if arguments.output:
        tell("ftrace", [f"{result.latency_us} us at most; {arguments.output} has its trace"])
    else:
        sys.stdout.write(result.text)
    return exit_code(result)


def _trace_and_show(arguments: argparse.Namespace, options: Any) -> Rows | int | None:
    """Record into a temporary file and show that."""
    recording, code = trace_and_open(arguments.command, options, "ftrace")
    rows = _show(recording, arguments)
    if rows is not None:
        rows.exit_code = lambda: code
        return rows
    return code


def _show_file(path: str, arguments: argparse.Namespace) -> Rows | None:
    from linscope.recording import open_recording

    recording = open_recording(path, tables=True)
    tell("ftrace", recording.notes())
    return _show(recording, arguments)


def _show(recording: Recording, arguments: argparse.Namespace) -> Rows | None:
    if arguments.flame:
        recording.flame().save(arguments.flame)
        return None
    if recording.has_calls() or arguments.total:
        return recording.calls(total=arguments.total)
    return recording.script()


FTRACE = Ftrace()
