"""The Python API's verbs: what a command does, in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

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


def trace(program: str | os.PathLike[str], **options: Any) -> TraceSession:
    """A script of the bpftrace language, as a context manager that yields batches; options: see TraceSession.

    with linscope.trace('profile:hz:99 { printf("%d %s", pid, comm); @[comm] = count(); }', duration=5) as session:
        for batch in session:
            batch.to_arrow()
        session.maps["@"].to_pandas()
    """
    from linscope.session.script.stream import TraceSession

    return TraceSession(program, **options)
