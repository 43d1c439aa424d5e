"""The Python API's verbs: what a command does, in the same words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.crash.session import Session
    from linscope.recording import Recording
    from linscope.session.script.stream import TraceSession


def open(path: Any, **options: Any) -> Recording:
    """Read a recording of any known format; options: as ``recording.open_recording``."""
    from linscope.recording import open_recording

    return open_recording(path, **options)


def record(command: Sequence[str], **options: Any) -> Recording:
    """Run command, record it, and open the recording.  options: fields of ``session.options.RecordOptions``."""
    import tempfile
    from pathlib import Path

    from linscope.recording import open_recording
    from linscope.session.options import RecordOptions
    from linscope.session.record import record as run

    with tempfile.TemporaryDirectory(prefix="linscope-") as folder:
        output = options.pop("output", None) or str(Path(folder) / "perf.data")
        options.setdefault("command_line", ("linscope", "record", "--", *command))
        result = run(command, RecordOptions(output=output, **options))
        return open_recording(result.path)


def open_kernel(path: Any, *others: Any, vmlinux: Any = "") -> Session:
    """The kernel in a dump (others: its other parts), a guest's RAM, /proc/kcore, "qemu:PID": a session to ask it.

    session.rows("ps") are the rows of a command of crash; session.kernel has symbols, types, typed objects and stacks.
    vmlinux: a file with debugging information, for source lines.  Close it, or use ``with``.
    Raises InputError, FormatError, UnsupportedError.
    """
    from linscope.crash.session import Session
    from linscope.target.kernel import open_kernel as open_any

    kernel = open_any(os.fspath(path), *map(os.fspath, others))
    try:
        return Session(kernel, os.fspath(vmlinux))
    except BaseException:
        kernel.close()
        raise


def trace(program: str | os.PathLike[str], **options: Any) -> TraceSession:
    """A script of the bpftrace language, as a context manager that yields batches; options: see TraceSession.

    with linscope.trace('profile:hz:99 { printf("%d %s", pid, comm); @[comm] = count(); }', duration=5) as session:
        for batch in session:
            batch.to_arrow()
        session.maps["@"].to_pandas()
    """
    from linscope.session.script.stream import TraceSession

    return TraceSession(program, **options)
