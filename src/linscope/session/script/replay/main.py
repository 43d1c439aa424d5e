"""What `linscope trace --replay FILE` does with its command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from linscope.errors import UsageError
from linscope.session.script.output import Output, error
from linscope.session.script.values import NOT_RECORDED

if TYPE_CHECKING:
    from linscope.lang.bpftrace.options import Options
    from linscope.session.script.main import Arguments
    from linscope.session.script.replay.contents import Contents


def open_contents(path: str) -> Contents:
    """A recording by what is in the file.  Raises UsageError: none that can be replayed; FormatError, OSError."""
    from linscope.formats.parquet.format import PARQUET, is_folder_of_tables
    from linscope.formats.perf_data.header import detect as is_perf_data
    from linscope.formats.trace_dat.container import MAGIC

    head = b""
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            head = file.read(16)
    if PARQUET.detect(head) or (os.path.isdir(path) and is_folder_of_tables(path)):
        from linscope.session.script.replay.parquet_contents import ParquetContents

        return ParquetContents(path)
    if os.path.isdir(path) or is_perf_data(head):
        from linscope.session.script.replay.perf_contents import PerfContents

        return PerfContents(path)
    if head.startswith(MAGIC):
        from linscope.session.script.replay.trace_contents import TraceContents

        return TraceContents(path)
    raise UsageError(
        "no recording that a script can run over", where=path,
        next_step="perf.data, trace.dat and what linscope export --to parquet writes are",
    )  # fmt: skip


def list_recorded(path: str, pattern: str) -> int:
    """Print the probes of a recording that a pattern stands for ("": all).  Raises UsageError, SourceError."""
    from linscope.lang.probes import parse_attach_point
    from linscope.session.script.replay.plan import recorded_events

    contents = _open(path)
    recorded = recorded_events(contents)
    if pattern:
        names = [probe.name for probe in recorded.expand(parse_attach_point(pattern))]
    else:
        names = [f"tracepoint:{name}" for name in sorted(recorded.tracepoints)]
    for name in names:
        print(name)
    return 0


def _open(path: str) -> Contents:
    try:
        return open_contents(path)
    except OSError as failed:
        raise UsageError("cannot read the recording", where=path, why=os.strerror(failed.errno or 0)) from failed


def replay(arguments: Arguments, script: tuple[str, str], options: Options, fd: int) -> int:
    """Run a script over the recording that the command line names; returns the exit code.

    script: (text, name); fd: where the output goes.  Raises SourceError, UsageError, FormatError.
    """
    from linscope.session.script.replay.plan import compile_for
    from linscope.session.script.replay.runner import Replay

    contents = _open(arguments.replay)
    text, where = script
    session = contents.session
    options.start_ns = session.get("elapsed_ns") or contents.start_ns or 0
    options.child = session.get("child", 0)
    options.pid = 0
    options.parameters = options.parameters or session.get("parameters", [])
    plan = compile_for(contents, text, where, options)
    if not arguments.no_warnings:
        for warning in plan.unit.warnings:
            error(warning.text(where))  # type: ignore[attr-defined]  # a Diagnostic
    if arguments.list:
        for program in plan.programs:
            for probe in program.probes:
                print(probe.name)
        return 0
    output, folder = Output(fd, arguments.buffering), None
    if arguments.form == "parquet":
        from linscope.session.script.folder import FolderOutput

        output = folder = FolderOutput(arguments.output, lambda: run.now_ns + (contents.ahead_ns or 0))
        folder.is_dated, folder.missing = contents.ahead_ns is not None, NOT_RECORDED
    run = Replay(
        plan, contents, output, json=arguments.form == "json", unsafe=arguments.unsafe, quiet=arguments.quiet,
        warnings=not arguments.no_warnings, helper_errors=arguments.helper_errors,
        form=folder.form if folder is not None else None,
    )  # fmt: skip
    try:
        if folder is not None:
            folder.connect(run)
        if arguments.dry_run:
            return 0
        watcher = arguments.watcher
        if watcher is None:
            return run.run()
        watcher.prepare(run)
        code = run.run()
        watcher.finish(run)
        return code
    finally:
        if folder is not None:
            folder.close()
