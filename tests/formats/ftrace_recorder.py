"""Records a process of the tests with a private ftrace instance: pages into a file a CPU, or a whole trace.dat.

``build`` is a writer of its own, by trace-cmd.dat.v6(5): trace-cmd reads its files too.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from linscope.formats.perf_data.write_tracing_data import tracing_data

PAGE = os.sysconf("SC_PAGE_SIZE")
_START = 'read go; exec "$0" "$@"'


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def all_tracepoints(tracefs: str) -> list[tuple[str, str]]:
    """(system, name) of every format file."""
    return [(path.parts[-3], path.parts[-2]) for path in sorted(Path(tracefs).glob("events/*/*/format"))]


def capture(
    tracefs: str,
    events: list[str],
    command: list[str],
    folder: Path,
    *,
    buffer_kb: int = 4096,
    options: Sequence[str] = (),
    clock: str = "local",
    tracer: str = "nop",
    raw_markers: Sequence[bytes] = (),
) -> list[Path]:
    """The pages of what the command and its children do: folder/cpuN by CPU.  events: SYSTEM or SYSTEM/NAME.

    options: files in tracefs' folder "options" to switch on; tracer: of the instance, for the command alone.
    """
    instance = Path(tracefs) / "instances" / f"linscope-test-{os.getpid()}"
    instance.mkdir()
    enabled = [event for event in events if (instance / "events" / event / "enable").exists()]
    child = subprocess.Popen(["sh", "-c", _START, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        _write(instance / "trace_clock", clock)
        _write(instance / "buffer_size_kb", str(buffer_kb))
        _write(instance / "set_event_pid", str(child.pid))
        for option in ("event-fork", *options):
            _write(instance / "options" / option, "1")
        if tracer != "nop":
            _write(instance / "set_ftrace_pid", str(child.pid))
            _write(instance / "current_tracer", tracer)
        for event in enabled:
            _write(instance / "events" / event / "enable", "1")
        child.communicate(b"go\n", timeout=60)
        _write(instance / "trace_marker", "the end\n")
        for raw in raw_markers:
            (instance / "trace_marker_raw").write_bytes(raw)
        _write(instance / "tracing_on", "0")
        found = []
        for cpu in sorted((instance / "per_cpu").iterdir(), key=lambda path: int(path.name[3:])):
            found.append(folder / cpu.name)
            found[-1].write_bytes(_pages(cpu))
    finally:
        child.kill()
        child.wait()
        _write(instance / "events" / "enable", "0")
        _write(instance / "current_tracer", "nop")
        _remove(instance)
    return found


def record(tracefs: str, events: list[str], command: list[str], *, buffer_kb: int = 4096) -> bytes:
    """A trace.dat of what the command and its children do, by a writer that is not linscope's."""
    with tempfile.TemporaryDirectory() as folder:
        files = capture(tracefs, events, command, Path(folder), buffer_kb=buffer_kb)
        return build(tracing_data(tracefs, all_tracepoints(tracefs)), [path.read_bytes() for path in files])


def _remove(instance: Path) -> None:
    """Readers that have just closed may hold the instance for a moment."""
    for _ in range(100):
        try:
            instance.rmdir()
            return
        except OSError:
            time.sleep(0.01)
    instance.rmdir()


def _pages(cpu: Path) -> bytes:
    parts = []
    fd = os.open(cpu / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                page = os.read(fd, PAGE)
            except BlockingIOError:
                break
            if not page:
                break
            parts.append(page.ljust(PAGE, b"\0"))
    finally:
        os.close(fd)
    return b"".join(parts)


def build(formats: bytes, pages: list[bytes]) -> bytes:
    """The file: formats as perf keeps them (they end in the names of tasks), options, then pages by CPU."""
    head = formats.replace(b"tracing0.6\0", b"tracing6\0", 1) + struct.pack("=I", len(pages))
    clock = b"[local] global counter\n\0"
    head += b"options  \0" + struct.pack("=HI", 4, len(clock)) + clock + struct.pack("=H", 0) + b"flyrecord\0"
    start = len(head) + 16 * len(pages) + 8 + len(clock)
    start += -start % PAGE
    at, table = start, b""
    for data in pages:
        table += struct.pack("=QQ", at, len(data))
        at += len(data)
    return (head + table + struct.pack("=Q", len(clock)) + clock).ljust(start, b"\0") + b"".join(pages)
