"""Record what the kernel's tracer writes to a standard trace.dat.  This is what `linscope events record` calls."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from linscope.errors import OutputError
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.parts import KALLSYMS, begin_parts, collect_contents, pages_path, remove_parts
from linscope.formats.trace_dat.writer import CpuFile, TraceBuffer, TraceDatContents, write_trace_dat
from linscope.session.tracing.capture import Capture
from linscope.session.tracing.instance import TraceInstance
from linscope.session.tracing.options import TraceOptions, TraceResult
from linscope.session.tracing.session import TraceSession
from linscope.sys.tracefs import read_bytes

SNAPSHOT = "snapshot"  # the name of the second buffer of a trace.dat
_SYMBOL_FORMATS = tuple(b"%p" + letter.encode() for letter in "SsFfB")  # those of printk that name a function
_Stats = dict[int, dict[str, str]]


def record_trace(
    command: Sequence[str] | None,
    options: TraceOptions,
    output: str,
    *,
    version: int = 7,
    compression: str = "none",
) -> TraceResult:
    """Trace a command, or what the options name, into a trace.dat.

    While it runs, the pages of each CPU grow in the folder OUTPUT.parts, which is also what a killed recorder leaves.
    Raises UsageError, PermissionDenied, NotInKernel before anything runs, OutputError when the disk is full.
    """
    folder = f"{output}.parts"
    with TraceSession(command, options) as session:
        _make_folder(folder)
        try:
            size, contents, stats = _trace_into(session, folder)
        except OutputError as error:
            error.next_step = _restore(folder)
            raise
        except BaseException:
            remove_parts(folder)
            raise
        result = TraceResult(
            path=output,
            bytes_written=size,
            lost=session.lost(),
            entries=sum(int(one.get("entries", "0")) for one in stats.values()),
            exit_status=session.exit_status,
            interrupted=session.interrupted,
            notes=session.notes,
        )
    try:
        write_trace_dat(output, contents, version=version, compression=compression)
    except OutputError as error:
        error.next_step = _restore(folder)
        raise
    remove_parts(folder)
    return result


def _trace_into(session: TraceSession, folder: str) -> tuple[int, TraceDatContents, _Stats]:
    """Run the session; returns (bytes of pages, contents of the file, statistics of each CPU)."""
    instance, options = session.instance, session.options
    contents = trace_contents(session, symbols=False)
    with_symbols = _needs_symbols(session, contents)
    buffer = TraceBuffer("", instance.clock())
    contents.buffers.append(buffer)
    begin_parts(folder, contents, with_symbols=with_symbols)
    cpus = {cpu: pages_path(folder, 0, cpu) for cpu in options.cpus or instance.cpus()}
    with Capture(instance, cpus) as capture:
        buffer.page_size = capture.page_size
        session.run(capture)
        size = capture.finish()
        buffer.cpus = capture.files()
    if _may_have_snapshot(options) and (pages := save_snapshot(instance, folder)):
        contents.buffers.append(TraceBuffer(SNAPSHOT, buffer.clock, buffer.page_size, pages))
    stats = instance.stats()
    contents.options += [(opt.CPUSTAT, opt.text_option(_stat_text(cpu, one))) for cpu, one in stats.items()]
    contents.cmdlines = read_bytes(f"{instance.tracefs}/saved_cmdlines")
    if with_symbols:  # only now: 10 MB of text that the workload need not wait for
        contents.kallsyms = read_bytes(KALLSYMS)
    return size, contents, stats


def _may_have_snapshot(options: TraceOptions) -> bool:
    """True if a trigger or a function command may have taken one."""
    triggers = (trigger for choice in options.events for trigger in choice.triggers)
    return any(word.startswith("snapshot") for word in triggers) or any(
        ":snapshot" in word for word in options.function_commands
    )


def save_snapshot(instance: TraceInstance, folder: str) -> list[CpuFile]:
    """The pages that a snapshot has put aside, in files beside the others; none where there was no snapshot.

    Source: Documentation/trace/ftrace.rst, "Snapshot"; per_cpu/cpuN/snapshot_raw is read as trace_pipe_raw.
    """
    files = {cpu: pages_path(folder, 1, cpu) for cpu in instance.cpus()}
    with Capture(instance, files, raw="snapshot_raw") as capture:
        return capture.files() if capture.finish() else []


def _make_folder(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102 - pathlib costs start-up time
    except FileExistsError:
        step = f"{_restore(folder)}, or remove the folder"
        raise OutputError("an earlier recording was not finished", where=folder, next_step=step) from None
    except OSError as error:
        raise OutputError("the recording cannot be begun", where=folder, why=error.strerror or "") from None


def _restore(folder: str) -> str:
    return f"linscope events restore {folder}"


def trace_contents(session: TraceSession, *, symbols: bool = True) -> TraceDatContents:
    """What a trace.dat of this session says beside the pages; symbols: also kallsyms, if anything needs it."""
    contents = collect_contents(session.instance.tracefs, session.events, kallsyms=False)
    if symbols and _needs_symbols(session, contents):
        contents.kallsyms = read_bytes(KALLSYMS)
    contents.options.append((opt.TRACEID, opt.trace_id_option(time.time_ns())))
    return contents


def _stat_text(cpu: int, stats: dict[str, str]) -> str:
    """As trace-cmd keeps it: the lines of the stats file under the CPU's number."""
    return f"CPU: {cpu}\n" + "".join(f"{name}: {value}\n" for name, value in stats.items())


def _needs_symbols(session: TraceSession, contents: TraceDatContents) -> bool:
    """True if something in the recording is a kernel address that people want to read as a name."""
    options = session.options
    if options.tracer != "nop" or any("stacktrace" in word for word in options.options):
        return True
    if any("stacktrace" in trigger for choice in options.events for trigger in choice.triggers):
        return True
    recorded = (text for system, texts in contents.formats.items() if system != "ftrace" for text in texts)
    return any(form in text.rpartition(b"print fmt")[2] for text in recorded for form in _SYMBOL_FORMATS)
