"""Events as they come: the pages of all CPUs, read again and again, become tables of what has happened meanwhile.

stream = EventStream(command, options)
for profile in stream.batches(): ...
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Sequence
from typing import Self

from linscope.columns.profile import Profile
from linscope.errors import SystemCallError
from linscope.formats.trace_dat.live import LiveEvents
from linscope.formats.trace_dat.parts import collect_contents
from linscope.session.tracing.capture import Waiting, sub_buffer_size
from linscope.session.tracing.instance import TraceInstance
from linscope.session.tracing.options import TraceOptions
from linscope.session.tracing.session import TraceSession
from linscope.sys.tracefs import read_bytes

_PAUSE_S = 0.02  # between rounds while events keep coming: fewer, larger batches
_PAGES = 256  # of one CPU that are read at once
_MOST_HELD = 4 << 20  # bytes of a CPU that wait for the others; then the kernel's buffer has to keep the rest


class LivePages(Waiting):
    """Reads whole pages out of the buffer of each CPU, also those that are not full yet."""

    def __init__(self, instance: TraceInstance, cpus: Sequence[int]) -> None:
        """Raises SystemCallError."""
        super().__init__()
        self.page_size = sub_buffer_size(instance)
        self.cpus: dict[int, int] = {}  # descriptor -> CPU
        self.more = False  # True: there was more than has been read
        self.held = False  # True: events wait for another look at all CPUs
        self._buffer = bytearray(self.page_size * _PAGES)
        view = memoryview(self._buffer)
        # One call of readv(2) fills page after page.
        self._pages = [view[at : at + self.page_size] for at in range(0, len(view), self.page_size)]
        self._others = select.poll()
        self._last = 0.0
        try:
            for cpu in cpus:
                path = f"{instance.path}/per_cpu/cpu{cpu}/trace_pipe_raw"
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                self.cpus[fd] = cpu
                self.poll.register(fd, select.POLLIN)
        except OSError as error:
            self.close()
            raise SystemCallError("the buffer of a CPU cannot be read", errno=error.errno or 0, where=path) from None

    def watch(self, fd: int) -> None:
        """Let wait() also wake up for this descriptor."""
        super().watch(fd)
        self._others.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Watch a descriptor no more."""
        super().forget(fd)
        self._others.unregister(fd)

    def wait(self, timeout_ms: int | None) -> bool:
        """Wait for events; while they keep coming, for some more of them.  True if a watched descriptor is ready."""
        other = False
        if not self.more and not self.held:
            other = any(fd in self._watched for fd in self.ready(timeout_ms))
        if not other:
            pause_s = 0.0 if self.more else max(0.0, self._last + _PAUSE_S - time.monotonic())
            other = bool(self._others.poll(pause_s * 1000))
        self._last = time.monotonic()
        return other

    def read(self, fd: int) -> tuple[bytes, bool]:
        """The pages that there are, up to a limit, and whether these are all."""
        try:
            size = os.readv(fd, self._pages)
        except BlockingIOError:
            return b"", True
        return bytes(self._buffer[:size]), size < len(self._buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors."""
        for fd in self.cpus:
            os.close(fd)
        self.cpus.clear()


class EventStream:
    """Traces a command, or what the options name, and hands over what it sees."""

    def __init__(self, command: Sequence[str] | None, options: TraceOptions) -> None:
        """Raises UsageError when there is nothing to trace."""
        self.session = TraceSession(command, options)
        self.lost = 0  # events that found no room, known at the end
        self.interrupted = False  # by a signal

    def batches(self) -> Iterator[Profile]:
        """Trace; each batch is the same profile with other events in it, in time order over all CPUs and batches.

        Closed before the end, it asks the workload to end.  Raises UsageError, PermissionDenied, NotInKernel.
        """
        with self.session as session:
            instance = session.instance
            if instance.has("buffer_percent"):  # v5.1 (03329f9939781041424edd29487b9603a704fcd9): wake at any event
                instance.write("buffer_percent", "0")
            contents = collect_contents(instance.tracefs, session.events, kallsyms=False)
            with LivePages(instance, session.options.cpus or instance.cpus()) as pages:
                events = LiveEvents(contents, instance.clock(), pages.page_size)
                yield from self._batches(pages, events)
            self.lost = session.lost()
            self.interrupted = session.interrupted

    def _batches(self, pages: LivePages, events: LiveEvents) -> Iterator[Profile]:
        cmdlines = f"{self.session.instance.tracefs}/saved_cmdlines"
        for _ in self.session.rounds(pages):
            _look(pages, events)
            pages.more = _look(pages, events)  # what the first look has seen, nothing can overtake now
            if events.take():
                events.set_names(read_bytes(cmdlines))
                yield events.profile
            pages.held = events.held > 0
        more = True
        while more:
            more = _look(pages, events)
            if events.take(last=not more):
                events.set_names(read_bytes(cmdlines))
                yield events.profile


def _look(pages: LivePages, events: LiveEvents) -> bool:
    """Read all CPUs once; True if there is more in one of them."""
    events.begin_round()
    more = False
    for fd, cpu in pages.cpus.items():
        data, whole = b"", False
        if events.held_bytes(cpu) < _MOST_HELD:
            data, whole = pages.read(fd)
        events.add(cpu, data, whole=whole)
        more |= not whole
    return more
