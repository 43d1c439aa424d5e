"""The latency tracers: they keep the one longest latency, which the kernel writes as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from linscope.formats.trace_dat.writer import TraceBuffer, write_trace_dat
from linscope.session.tracing.options import TraceOptions
from linscope.session.tracing.record import trace_contents
from linscope.session.tracing.session import TraceSession
from linscope.sys.tracefs import read_bytes


class LatencyResult(NamedTuple):
    """The longest latency that was met."""

    text: str  # the kernel's file ``trace``
    latency_us: int  # 0: none
    exit_status: int
    interrupted: bool
    notes: Sequence[str]


def trace_latency(
    command: Sequence[str] | None, options: TraceOptions, output: str = "", *, version: int = 7
) -> LatencyResult:
    """Run a latency tracer while a command runs, or for the duration.

    output: also keep the text in this trace.dat.  Raises NotInKernel, PermissionDenied, UsageError, OutputError.
    """
    knobs = (*options.knobs, ("tracing_max_latency", "0"))
    with TraceSession(command, options._replace(knobs=knobs)) as session:
        session.run()
        instance = session.instance
        text = read_bytes(f"{instance.path}/trace")
        latency_us = int(instance.read("tracing_max_latency"))
        if output:
            contents = trace_contents(session)
            contents.buffers.append(TraceBuffer("", instance.clock(), text=text))
            # trace-cmd 3.1 prints a plain text and then whatever follows it in the file; a packed one it ends rightly.
            write_trace_dat(output, contents, version=version, compression="zstd")
        return LatencyResult(
            text=text.decode(errors="replace"),
            latency_us=latency_us,
            exit_status=session.exit_status,
            interrupted=session.interrupted,
            notes=session.notes,
        )
