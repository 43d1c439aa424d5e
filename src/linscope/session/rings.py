"""All descriptors and rings of one recording: opened on every CPU, drained in rounds, losses read at the end.

One ring per CPU takes the samples of all events (PERF_EVENT_IOC_SET_OUTPUT), a smaller one the
side-band, so that
mappings and task names survive when samples overrun theirs, and can be read again at the end without
the samples.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from errno import ESRCH

from linscope.abi import perf_event as pe
from linscope.errors import OutputError, PermissionDenied, SystemCallError
from linscope.formats.perf_data.writer import FINISHED_ROUND, Writer
from linscope.session.build_ids import mapped_files
from linscope.session.opening import Opener
from linscope.sources.events import Event
from linscope.sys import perf_event_open as sys_perf
from linscope.sys.perf_event_open import Attr
from linscope.sys.ring import PAGE_SIZE, Ring, open_ring

SIDEBAND_RING_SIZE = 256 << 10
Compressor = Callable[[Sequence[memoryview | bytes]], list[bytes]]


class Descriptor:
    """One open event on one CPU for one task (or -1)."""

    __slots__ = ("cpu", "event", "fd", "id", "tid")

    def __init__(self, fd: int, event: int, cpu: int, tid: int) -> None:
        self.fd = fd
        self.event = event  # index into RingSet.events
        self.cpu = cpu
        self.tid = tid
        self.id = sys_perf.event_id(fd)


class RingSet:
    """The open events of a recording.  ``close()`` releases everything."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.events: list[Event] = []
        self.attrs: list[Attr] = []
        self.descriptors: list[Descriptor] = []
        self.rings: list[Ring] = []  # samples, one per CPU
        self.side_rings: list[Ring] = []
        self.segments: list[tuple[int, int]] = []  # (offset, size) of side-band in the data section
        self.last_chunks: dict[int, tuple[int, int]] = {}  # ring's descriptor -> its last piece of the data
        self.mapped: set[str] = set()  # files seen in the side-band, when the output cannot be read back
        self._ring_of_cpu: dict[tuple[int, bool], Ring] = {}

    def open(
        self,
        events: list[Event],
        attrs: list[Attr],
        cpus: list[int],
        tasks: list[int],
        cgroups: list[int],
        ring_size: int,
    ) -> None:
        """Open every event on every CPU for every task (or cgroup descriptor); the last event is the
        side-band.

        Attrs are changed in place to what the kernel took.  Raises what Opener.open raises; a thread
        that has ended
        is left out unless all have.
        """
        self.events, self.attrs = events, attrs
        by_place: dict[tuple[int, int, int], int] = {}  # (event, cpu, task) -> descriptor, for the groups
        index_of = {id(event): index for index, event in enumerate(events)}
        flags = pe.PERF_FLAG_PID_CGROUP if cgroups else 0
        ended: SystemCallError | None = None
        for index, (event, attr) in enumerate(zip(events, attrs, strict=True)):
            self.opener.prepare(event, attr)
            first = True
            for cpu in [c for c in cpus if event.cpus is None or c in event.cpus]:
                for task in cgroups or tasks:
                    group = by_place.get((index_of[id(event.leader)], cpu, task), -1)
                    try:
                        fd = self.opener.open(event, attr, task, cpu, group, flags, fallback=first)
                    except SystemCallError as error:
                        if error.errno != ESRCH or len(tasks) == 1:
                            raise
                        ended = error
                        continue
                    first = False
                    by_place[index, cpu, task] = fd
                    self.descriptors.append(Descriptor(fd, index, cpu, task))
                    self._attach(fd, cpu, index == len(events) - 1, ring_size)
        if not self.descriptors and ended is not None:
            raise ended

    def _attach(self, fd: int, cpu: int, sideband: bool, ring_size: int) -> None:
        ring = self._ring_of_cpu.get((cpu, sideband))
        if ring is not None:
            sys_perf.set_output(fd, ring.fd)
            return
        try:
            ring = open_ring(fd, SIDEBAND_RING_SIZE if sideband else ring_size)
        except OSError as error:
            raise PermissionDenied(
                "cannot map a ring buffer",
                errno=error.errno or 0,
                why="the locked-memory limit of this user is used up",
                next_step="end other recorders, use -m with fewer pages, or raise kernel.perf_event_mlock_kb",
            ) from error
        self._ring_of_cpu[cpu, sideband] = ring
        (self.side_rings if sideband else self.rings).append(ring)

    @property
    def smallest_ring(self) -> int:
        """Size in bytes of the smallest sample ring that was granted."""
        return min((ring.size for ring in self.rings), default=0)

    def ids(self, event: int) -> list[int]:
        """Ids of all descriptors of an event."""
        return [d.id for d in self.descriptors if d.event == event]

    def enable(self, sideband: bool) -> None:
        """Start the side-band, or all else (group members start with their leader)."""
        last = len(self.events) - 1
        for d in self.descriptors:
            event = self.events[d.event]
            if (d.event == last) == sideband and event.leader is event:
                sys_perf.enable(d.fd)

    def disable(self) -> None:
        """Stop everything."""
        for d in self.descriptors:
            sys_perf.disable(d.fd)

    def drain(self, writer: Writer, compressor: Compressor | None = None) -> int:
        """Copy what all rings hold to the file and end the round.  compressor: for the samples.
        Returns the bytes copied.  Raises
        OutputError.

        Every ring is read in every round: only then does FINISHED_ROUND promise that nothing older
        than the round
        before is still to come.  After a full disk the file is cut back to the last whole piece.
        """
        start = writer.written
        for ring in self.rings:
            parts = ring.pending()
            if parts:
                begin = writer.written
                self._copy(writer, parts, compressor)
                ring.consume()
                self.last_chunks[ring.fd] = (begin, writer.written - begin)
        for ring in self.side_rings:
            parts = ring.pending()
            if parts:
                begin = writer.written
                if writer.pipe:
                    mapped_files(b"".join(parts), self.mapped)
                self._copy(writer, parts, None)
                ring.consume()
                if self.segments and sum(self.segments[-1]) == begin:
                    begin = self.segments.pop()[0]
                self.segments.append((begin, writer.written - begin))
        if writer.written != start:
            self._copy(writer, [FINISHED_ROUND], None)
        return writer.written - start

    @staticmethod
    def _copy(writer: Writer, parts: Sequence[memoryview | bytes], compressor: Compressor | None) -> None:
        begin = writer.written
        try:
            writer.write(compressor(parts) if compressor else parts)
        except OutputError:
            writer.discard_tail(begin)
            raise

    def losses(self) -> list[tuple[int, int, int]]:
        """(event index, id, records lost) of every descriptor that lost some; kernels before 6.0 do
        not tell."""
        lost = []
        for d in self.descriptors:
            attr = self.attrs[d.event]
            if not attr.read_format & pe.PERF_FORMAT_LOST:
                continue
            data = os.read(d.fd, 4096)
            count = struct.unpack_from("=Q", data, _lost_offset(attr.read_format, data))[0]
            if count:
                lost.append((d.event, d.id, count))
        return lost

    def close(self) -> None:
        """Unmap all rings and close all descriptors."""
        for ring in self.rings + self.side_rings:
            ring.close()
        for d in self.descriptors:
            os.close(d.fd)
        self.rings, self.side_rings, self.descriptors = [], [], []


def _lost_offset(read_format: int, data: bytes) -> int:
    """Where the (first) event's lost count is in what read(2) gives (perf_event_open(2), "Reading
    results")."""
    times = 8 * (
        bool(read_format & pe.PERF_FORMAT_TOTAL_TIME_ENABLED)
        + bool(read_format & pe.PERF_FORMAT_TOTAL_TIME_RUNNING)
    )
    if read_format & pe.PERF_FORMAT_GROUP:  # {nr, times, {value, id, lost}...}
        return 8 + times + 16
    return 8 + times + 8  # {value, times, id, lost}


def ring_bytes(asked: int, dense: bool, stack_size: int, cpus: int) -> int:
    """Bytes of a sample ring: what was asked, rounded up to a power of two of pages, else 512 KiB or more.

    dense: tracepoints or short periods, which come by the hundred thousand a second; stack_size: bytes of the user
    stack in each sample.  These get 8 and 32 MiB, less where many CPUs would add up to more than 512 MiB.
    """
    wanted = 32 << 20 if stack_size else 8 << 20 if dense else 512 << 10
    wanted = asked or max(512 << 10, min(wanted, (512 << 20) // max(1, cpus)))
    size = PAGE_SIZE
    while size < wanted:
        size *= 2
    return size
