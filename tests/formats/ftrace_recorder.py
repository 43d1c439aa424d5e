"""Records a process of the tests with a private ftrace instance, and writes what it read as a trace.dat of version 6.

A writer of its own, by trace-cmd.dat.v6(5): trace-cmd reads its files too.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
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


def record(tracefs: str, events: list[str], command: list[str], *, buffer_kb: int = 4096) -> bytes:
    """A trace.dat of what the command and its children do.  events: SYSTEM or SYSTEM/NAME."""
    instance = Path(tracefs) / "instances" / f"linscope-test-{os.getpid()}"
    instance.mkdir()
    enabled = [event for event in events if (instance / "events" / event / "enable").exists()]
    child = subprocess.Popen(["sh", "-c", _START, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        _write(instance / "buffer_size_kb", str(buffer_kb))
        _write(instance / "set_event_pid", str(child.pid))
        _write(instance / "options" / "event-fork", "1")
        for event in enabled:
            _write(instance / "events" / event / "enable", "1")
        child.communicate(b"go\n", timeout=60)
        _write(instance / "trace_marker", "the end\n")
        _write(instance / "tracing_on", "0")
        names = sorted(Path(tracefs).glob("events/*/*/format"))
        formats = tracing_data(tracefs, [(path.parts[-3], path.parts[-2]) for path in names])
        pages = [_pages(path) for path in sorted((instance / "per_cpu").iterdir(), key=lambda path: int(path.name[3:]))]
    finally:
        child.kill()
        child.wait()
        _write(instance / "events" / "enable", "0")
        _remove(instance)
    return build(formats, pages)


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
