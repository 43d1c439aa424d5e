"""Record what the kernel's tracer writes to a standard trace.dat.  This is what `linscope events record` calls."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence

from linscope.errors import OutputError
from linscope.formats.perf_data.write_tracing_data import format_texts, read_if_allowed
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.writer import TraceBuffer, TraceDatContents, write_trace_dat
from linscope.session.tracing.capture import Capture
from linscope.session.tracing.options import TraceOptions, TraceResult
from linscope.session.tracing.session import TraceSession


def record_trace(
    command: Sequence[str] | None,
    options: TraceOptions,
    output: str,
    *,
    version: int = 7,
    compression: str = "none",
) -> TraceResult:
    """Trace a command, or what the options name, into a trace.dat.

    While it runs, the pages of each CPU grow in the folder OUTPUT.cpus, which is also what a killed recorder leaves.
    Raises UsageError, PermissionDenied, NotInKernel before anything runs, OutputError when the disk is full.
    """
    folder = f"{output}.cpus"
    _make_folder(folder)
    try:
        with TraceSession(command, options) as session:
            instance = session.instance
            with Capture(instance, folder, list(options.cpus) or instance.cpus()) as capture:
                session.run(capture)
                size = capture.finish()
                stats = instance.stats()
                buffer = TraceBuffer(
                    instance.name and "",
                    instance.clock(),
                    capture.page_size,
                    [(one.cpu, one.file_path, one.bytes_written) for one in capture.cpus],
                )
                contents = trace_contents(session, [buffer], stats)
                lost = session.lost()
            result = TraceResult(
                path=output,
                bytes_written=size,
                lost=lost,
                entries=sum(int(one.get("entries", "0")) for one in stats.values()),
                exit_status=session.exit_status,
                interrupted=session.interrupted,
                notes=tuple(session.notes),
            )
        write_trace_dat(output, contents, version=version, compression=compression)
    except OutputError as error:
        if os.path.isdir(folder):
            error.next_step = f"the pages so far are in {folder}; with room: linscope events restore {folder}"
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _make_folder(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102 - pathlib costs start-up time
    except FileExistsError:
        step = f"linscope events restore {folder}, or remove it"
        raise OutputError("an earlier recording was not finished", where=folder, next_step=step) from None
    except OSError as error:
        raise OutputError("the recording cannot be begun", where=folder, why=error.strerror or "") from None


def trace_contents(
    session: TraceSession, buffers: list[TraceBuffer], stats: dict[int, dict[str, str]]
) -> TraceDatContents:
    """What a trace.dat of this session says beside the pages."""
    tracefs = session.instance.tracefs
    own = [("ftrace", name) for name in _names(f"{tracefs}/events/ftrace")]
    formats = format_texts(tracefs, [*own, *session.events])
    machine = os.uname()
    uname = f"{machine.sysname} {machine.nodename} {machine.release} {machine.version} {machine.machine}"
    options = [(opt.CPUSTAT, opt.text_option(_stat_text(cpu, one))) for cpu, one in stats.items()]
    options.append((opt.UNAME, opt.text_option(uname)))
    options.append((opt.TRACEID, opt.trace_id_option(time.time_ns())))
    return TraceDatContents(
        header_page=read_if_allowed(f"{tracefs}/events/header_page"),
        header_event=read_if_allowed(f"{tracefs}/events/header_event"),
        formats=formats,
        kallsyms=read_if_allowed("/proc/kallsyms") if _needs_symbols(session, formats) else b"",
        printk_formats=read_if_allowed(f"{tracefs}/printk_formats"),
        cmdlines=read_if_allowed(f"{tracefs}/saved_cmdlines"),
        options=options,
        buffers=buffers,
    )


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if os.path.exists(f"{folder}/{name}/format"))  # noqa: PTH208
    except OSError:
        return []


def _stat_text(cpu: int, stats: dict[str, str]) -> str:
    """As trace-cmd keeps it: the lines of the stats file under the CPU's number."""
    return f"CPU: {cpu}\n" + "".join(f"{name}: {value}\n" for name, value in stats.items())


def _needs_symbols(session: TraceSession, formats: dict[str, list[bytes]]) -> bool:
    """True if something in the recording is a kernel address that people want to read as a name."""
    options = session.options
    if options.tracer != "nop" or any("stacktrace" in word for word in options.options):
        return True
    if any("stacktrace" in trigger for choice in options.events for trigger in choice.triggers):
        return True
    return any(b"%p" in text.rpartition(b"print fmt")[2] for texts in formats.values() for text in texts)
