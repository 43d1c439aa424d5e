"""Pages of the kernel's ring buffers -> one growing file a CPU, without looking at them.

splice(2) moves whole pages from per_cpu/cpuN/trace_pipe_raw through a pipe into the file; what is left of a page at the
end is read.  Source: Documentation/trace/ring-buffer-design.rst; kernel/trace/trace.c, tracing_buffers_splice_read.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Mapping

from linscope.errors import OutputError
from linscope.session.tracing.instance import TraceInstance

_F_SETPIPE_SZ = 1031  # include/uapi/linux/fcntl.h
_PIPE_BYTES = 1 << 20
_SPLICE_F_MOVE, _SPLICE_F_NONBLOCK = 1, 2


class CpuCapture:
    """One CPU's pages on their way into a file."""

    def __init__(self, cpu: int, raw_path: str, file_path: str, page_size: int) -> None:
        """Raises OSError."""
        self.cpu = cpu
        self.file_path = file_path
        self.page_size = page_size
        self.bytes_written = 0
        self.raw = os.open(raw_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.file = os.open(file_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._out, self._into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._pipe_bytes = fcntl.fcntl(self._into, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:  # the user's limit of pipe pages
            self._pipe_bytes = 1 << 16

    def take(self) -> int:
        """Move what whole pages there are; returns their bytes.  Raises OutputError when the disk is full."""
        moved = 0
        while True:
            try:
                count = os.splice(self.raw, self._into, self._pipe_bytes, flags=_SPLICE_F_MOVE | _SPLICE_F_NONBLOCK)
            except BlockingIOError:
                return moved
            if count == 0:
                return moved
            moved += count
            self._empty_pipe(count)
            if count < self._pipe_bytes // 2:
                return moved

    def _empty_pipe(self, count: int) -> None:
        try:
            while count:
                count -= os.splice(self._out, self.file, count, flags=_SPLICE_F_MOVE)
        except OSError as error:
            raise self._cannot_write(error) from None

    def finish(self) -> None:
        """Take the rest, also pages that are not full.  Raises OutputError."""
        self.take()
        at = os.lseek(self.file, 0, os.SEEK_CUR)
        while True:
            try:
                page = os.read(self.raw, self.page_size)
            except BlockingIOError:
                break
            if not page:
                break
            try:
                os.write(self.file, page.ljust(self.page_size, b"\0"))
            except OSError as error:
                raise self._cannot_write(error) from None
            at += self.page_size
        self.bytes_written = at

    def _cannot_write(self, error: OSError) -> OutputError:
        return OutputError("the recording cannot be written", where=self.file_path, why=error.strerror or "")

    def close(self) -> None:
        """Close all descriptors; the file stays."""
        for fd in (self.raw, self.file, self._out, self._into):
            os.close(fd)


class Waiting:
    """Waits for pages of a buffer, and for whatever else its user watches."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self._watched: set[int] = set()

    def watch(self, fd: int) -> None:
        """Let wait() also wake up for this descriptor."""
        self.poll.register(fd, select.POLLIN)
        self._watched.add(fd)

    def forget(self, fd: int) -> None:
        """Watch a descriptor no more; nothing happens to one that is not watched."""
        if fd in self._watched:
            self.poll.unregister(fd)
            self._watched.discard(fd)

    def ready(self, timeout_ms: int | None) -> list[int]:
        """The descriptors that are ready, after waiting for the first; none when the time was up or a signal came."""
        try:
            return [fd for fd, _ in self.poll.poll(timeout_ms)]
        except InterruptedError:
            return []

    def wait(self, timeout_ms: int | None) -> bool:
        """Wait, and do what is to be done with pages; True if a watched descriptor is ready."""
        raise NotImplementedError


class Capture(Waiting):
    """All CPUs of a buffer, on their way into files."""

    def __init__(self, instance: TraceInstance, cpus: Mapping[int, str], *, raw: str = "trace_pipe_raw") -> None:
        """cpus: where the pages of each CPU go; raw: the file in tracefs that they come from.  Raises OSError."""
        super().__init__()
        self.page_size = sub_buffer_size(instance)
        self.cpus: list[CpuCapture] = []
        self._by_raw: dict[int, CpuCapture] = {}
        for cpu, path in cpus.items():
            one = CpuCapture(cpu, f"{instance.path}/per_cpu/cpu{cpu}/{raw}", path, self.page_size)
            self.cpus.append(one)
            self._by_raw[one.raw] = one
            self.poll.register(one.raw, select.POLLIN)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.cpus:
            one.close()

    def wait(self, timeout_ms: int | None) -> bool:
        """Wait for pages, take them; True if a watched descriptor is ready.  Raises OutputError."""
        other = False
        for fd in self.ready(timeout_ms):
            one = self._by_raw.get(fd)
            if one is None:
                other = True
            else:
                one.take()
        return other

    def finish(self) -> int:
        """Take everything that is left; returns the bytes of all files."""
        for one in self.cpus:
            one.finish()
        return sum(one.bytes_written for one in self.cpus)

    def files(self) -> list[tuple[int, str | int, int | None]]:
        """CPU, path and bytes of each file, once they are finished."""
        return [(one.cpu, one.file_path, one.bytes_written) for one in self.cpus]


def sub_buffer_size(instance: TraceInstance) -> int:
    """Bytes of a page of the ring: more than the machine's where buffer_subbuf_size_kb says so (v6.8)."""
    if instance.has("buffer_subbuf_size_kb"):
        return int(instance.read("buffer_subbuf_size_kb")) << 10
    return os.sysconf("SC_PAGE_SIZE")
