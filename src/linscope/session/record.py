"""Record: open the events, let the workload go, copy rings to the file until the end, finish the file.

`record(command, options)` is what `linscope record` and `linscope flame -- CMD` call.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Sequence

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.errors import OutputError, UsageError
from linscope.formats.perf_data.writer import Writer, event_name_record, feature_record
from linscope.session import finish, opening, synthesize
from linscope.session.configure import (
    DEFAULT_FREQUENCY,
    SAMPLE_ID_SIZE,
    sample_rate_limit,
    sampling_attr,
    tracking_attr,
)
from linscope.session.options import RecordOptions, RecordResult
from linscope.session.rings import Compressor, RingSet, ring_bytes
from linscope.session.stop import Stop
from linscope.session.workload import Workload, python_environment
from linscope.sources.events import Catalog, Event, parse_events
from linscope.sys import perf_event_open as sys_perf

__all__ = ["RecordOptions", "RecordResult", "record"]

_FLUSH_SECONDS = 1.0
_ZSTD_LEVELS = 22
_TRAILER = bytes(SAMPLE_ID_SIZE)
_DEFAULTS = RecordOptions()


def record(command: Sequence[str] | None, options: RecordOptions = _DEFAULTS) -> RecordResult:
    """Record a command, or what options name (pids, tids, cgroups, system_wide), to a perf.data file.

    command: argument vector, None to attach only (then until duration_ns, the targets' end or SIGINT).
    Raises UsageError, PermissionDenied, NotInKernel, SystemCallError before anything runs; OutputError
    when the
    file cannot be begun.  A disk that fills up later ends the recording with a note and a whole file.
    """
    _check(command, options)
    recorder = _Recorder(command, options)
    try:
        recorder.open()
        recorder.run()
        return recorder.finish()
    finally:
        recorder.close()


def _check(command: Sequence[str] | None, options: RecordOptions) -> None:
    targets = bool(options.pids or options.tids or options.system_wide or options.cgroups)
    if not command and not targets:
        raise UsageError(
            "nothing to record", next_step="linscope record -- CMD, or -p PID, -t TID, -a, or -a -G CGROUP"
        )
    if options.frequency is not None and options.period is not None:
        raise UsageError("frequency and period exclude each other", next_step="give -F or -c")
    if not 0 <= options.compression_level <= _ZSTD_LEVELS:
        raise UsageError(f"no compression level {options.compression_level}", next_step=f"-z 1 to {_ZSTD_LEVELS}")
    if options.period is not None and options.period < 1:
        raise UsageError(f"not a period: {options.period}", next_step="-c 1 takes every event")
    if options.delay_ms < 0 or not 0 <= options.max_stack < 1 << 16:
        raise UsageError("a delay below zero, or no possible number of frames", next_step="-D MS, --max-stack N")
    absent = set(options.cpus) - set(opening.online_cpus())
    if absent:
        raise UsageError(f"no CPU {min(absent)} is online", next_step="/sys/devices/system/cpu/online lists them")
    if options.output == "-" and sys.stdout.isatty():
        raise UsageError("a recording is no text for a terminal", next_step="-o FILE, or -o - into a pipe")
    if options.pids and options.system_wide:
        raise UsageError("a process and the whole system exclude each other", next_step="give -p or -a")


class _Recorder:
    """One recording, from open to close."""

    def __init__(self, command: Sequence[str] | None, options: RecordOptions) -> None:
        self.command = list(command or ())
        self.options = options
        self.catalog = Catalog()
        self.opener = opening.Opener()
        self.notes = self.opener.notes
        self.rings = RingSet(self.opener)
        self.workload: Workload | None = None
        self.cgroups: list[int] = []
        self.writer: Writer | None = None
        self.paths: list[str] = []
        self.features: dict[int, bytes] = {}
        self.files: set[str] = set()
        self.modules: list[str] = []
        self.synthesized: list[bytes] = []
        self.history: list[bytes] = []  # side-band that later files of a rotation (or a pipe's end) need
        self.first_sample = 0
        self.boundaries: list[
            int
        ] = []  # sizes of the data after the last rounds, to go back to on a full disk
        self.compressor: Compressor | None = None
        self.full = False
        self.ended_on_request = False  # by --duration or --max-size
        self.total_written = 0
        self.stop = Stop()

    # -- opening

    def open(self) -> None:
        """Parse and open the events, begin the file, synthesize what existed before."""
        options = self.options
        events = [e for text in options.events or ("cycles:P",) for e in parse_events(text, self.catalog)]
        attrs = [sampling_attr(event, options, self._frequency()) for event in events]
        tracking = Event("dummy:u", tracking_attr(options))
        events.append(tracking)
        attrs.append(tracking.attr)
        cpus = list(options.cpus) or opening.online_cpus()
        tasks, pids = self._tasks()
        attached = self.workload is None or bool(options.system_wide or options.pids or options.tids)
        for event, attr in zip(events, attrs, strict=True):
            if event.leader is not event:
                attr.flags &= ~pe.ATTR_DISABLED
            elif not attached and (event is tracking or not options.delay_ms):
                attr.flags |= pe.ATTR_ENABLE_ON_EXEC
        dense = any(_is_dense(event, options) for event in events[:-1])
        stack_size = max(attr.sample_stack_user for attr in attrs)
        size = ring_bytes(options.ring_size, dense, stack_size, len(cpus))
        for attr in attrs:
            attr.wakeup_events = size // 4
        tracking.attr.wakeup_events = 64 << 10
        self.cgroups = [opening.open_cgroup(path) for path in options.cgroups]
        self.rings.open(events, attrs, cpus, tasks, self.cgroups, size)
        self._set_filters()
        if attached:
            self.rings.enable(sideband=True)
        self._synthesize(pids)
        self._begin_file()
        if attached and not options.delay_ms:
            self.rings.enable(sideband=False)

    def _frequency(self) -> int:
        """Samples per second, not above what the kernel allows."""
        wanted = self.options.frequency or DEFAULT_FREQUENCY
        limit = sample_rate_limit()
        if wanted <= limit:
            return wanted
        if self.options.frequency is not None:
            self.notes.append(f"sampling at {limit} Hz, as kernel.perf_event_max_sample_rate has it")
        return limit

    def _tasks(self) -> tuple[list[int], list[int]]:
        """(tasks to open events on, -1 for all; processes whose past must be synthesized); forks the
        workload."""
        options = self.options
        if self.command:
            environment, note = python_environment(_program(self.command[0]), os.environ)
            if note:
                self.notes.append(note)
            self.workload = Workload(self.command, environment)
        if options.system_wide or options.cgroups:
            return [-1], synthesize.all_processes()
        if options.pids or options.tids:
            tasks = [tid for pid in options.pids for tid in opening.threads_of(pid)]
            owners = [_process_of(tid) for tid in options.tids]
            return tasks + list(options.tids), list(dict.fromkeys([*options.pids, *owners]))
        assert self.workload is not None
        return [self.workload.pid], []

    def _set_filters(self) -> None:
        for index, text in self.options.filters:
            first = parse_events(self.options.events[index], self.catalog)
            names = {event.name for event in first}
            for d in self.rings.descriptors:
                if self.rings.events[d.event].name in names:
                    try:
                        sys_perf.set_filter(d.fd, text)
                    except OSError as error:
                        raise UsageError(
                            f"the kernel does not take the filter {text!r}",
                            why=os.strerror(error.errno or 0),
                            next_step="fields are in the tracepoint's format file in /sys/kernel/tracing",
                        ) from error

    def _synthesize(self, pids: list[int]) -> None:
        entries = [(d.id, i, d.cpu, d.tid) for i, d in enumerate(self.rings.descriptors)]
        self.synthesized = synthesize.id_index_records(entries)
        records, self.modules = synthesize.kernel_records(_TRAILER)
        self.synthesized += records
        for pid in pids:
            records, files = synthesize.process_records(pid, _TRAILER, self.options.addresses)
            self.synthesized += records
            self.files |= files
        self.synthesized.append(synthesize.FINISHED_INIT)

    # -- the file

    def _begin_file(self) -> None:
        """Create the file; one that was there is kept as FILE.old.  What cannot seek takes the form of a pipe."""
        path = self.options.output
        try:
            if path == "-":
                fd = os.dup(sys.stdout.fileno())
            else:
                if os.path.isfile(path) and os.path.getsize(path):
                    os.replace(path, path + ".old")  # noqa: PTH105 - pathlib takes long to import
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            pipe = path == "-" or not stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError as error:
            raise OutputError(
                "cannot write the recording",
                where=path,
                why=os.strerror(error.errno or 0),
                next_step="-o FILE",
            ) from error
        self.writer = Writer(fd, path, pipe)
        self.paths.append(path)

    def _start_file(self) -> None:
        """Header, what was before, and the sections that do not depend on the samples.

        Reading those takes some milliseconds, in which the workload already runs: the rings hold its events.
        """
        assert self.writer is not None
        if not self.features:
            self._load_features()
        self.writer.start(finish.packed_attrs(self.rings), self.features)
        if self.writer.pipe:
            self._write_pipe_features()
        self.writer.write(self.synthesized + self.history)
        self.writer.checkpoint()

    def _load_features(self) -> None:
        tracefs = self.catalog.tracefs if any(e.tracepoint for e in self.rings.events) else ""
        self.features = finish.static_features(self.rings, self.options, tracefs)
        level = self.options.compression_level
        if level:
            from linscope.session.compress import compressor

            self.compressor = compressor(level)
            self.features[pf.HEADER_COMPRESSED] = finish.compressed_section(level, self.rings.smallest_ring)

    def _write_pipe_features(self) -> None:
        assert self.writer is not None
        for index, event in enumerate(self.rings.events):
            ids = self.rings.ids(index)
            if ids:
                self.writer.write([event_name_record(ids[0], event.name)])
        for bit, content in sorted(self.features.items()):
            if bit == pf.HEADER_TRACING_DATA:
                padded = content + bytes(-len(content) % 8)
                head = struct.pack("=IHHII", pf.PERF_RECORD_HEADER_TRACING_DATA, 0, 16, len(padded), 0)
                self.writer.write([head, padded])
            else:
                self.writer.write([feature_record(bit, content)])

    # -- running

    def run(self) -> None:
        """Until the workload or the targets end, the time or the size is up, or a signal comes."""
        begin = time.monotonic()
        if self.workload is not None:
            self.workload.start()
        self._start_file()
        try:
            self._loop(begin)
            self.rings.disable()
            self._drain()
            if self.first_sample == 0:
                self._find_first_sample()
        except OutputError as error:
            self.full = True
            self.rings.disable()
            self.notes.append(f"stopped early: {error.what}: {error.why}")
        if self.workload is not None and self.workload.terminate() and not self.stop.signal and not self.full:
            self.ended_on_request = True

    def _loop(self, begin: float) -> None:
        options = self.options
        poll = select.epoll()
        poll.register(self.stop.read_fd, select.EPOLLIN)
        if self.workload is not None:
            poll.register(self.workload.pidfd, select.EPOLLIN)
        watched = self._watch_rings(poll)
        end = begin + options.duration_ns / 1e9 if options.duration_ns else float("inf")
        start_at = begin + options.delay_ms / 1e3 if options.delay_ms else 0.0
        flush_at = begin + _FLUSH_SECONDS
        try:
            while True:
                now = time.monotonic()
                if start_at and now >= start_at:
                    start_at = 0.0
                    self.rings.enable(sideband=False)
                if now >= end:
                    return
                wake = min(flush_at, end, start_at or end)
                ready = poll.poll(max(wake - now, 0.0))
                self._drain()
                now = time.monotonic()
                if now >= flush_at:
                    flush_at = now + _FLUSH_SECONDS
                for fd, mask in ready:
                    if fd == self.stop.read_fd or (self.workload is not None and fd == self.workload.pidfd):
                        return
                    if mask & (select.EPOLLHUP | select.EPOLLERR) and not mask & select.EPOLLIN:
                        poll.unregister(fd)
                        watched.discard(fd)
                if not watched and self.workload is None:
                    return
                if self._size_is_up():
                    return
        finally:
            poll.close()

    def _watch_rings(self, poll: select.epoll) -> set[int]:
        """Register one descriptor for each ring, and when attached to tasks all of an event, for their
        ends."""
        sideband = len(self.rings.events) - 1
        if self.workload is None:
            watched = {d.fd for d in self.rings.descriptors if d.event == sideband}
        else:
            watched = set()
        for fd in watched | {ring.fd for ring in self.rings.rings + self.rings.side_rings}:
            poll.register(fd, select.EPOLLIN)
        return watched

    def _drain(self) -> None:
        assert self.writer is not None
        if self.rings.drain(self.writer, self.compressor):
            self.writer.checkpoint()
            self.boundaries = [*self.boundaries[-63:], self.writer.written]
            if self.first_sample == 0:
                self._find_first_sample()

    def _find_first_sample(self) -> None:
        """Time of the first sample, from the first round that has any."""
        assert self.writer is not None
        if self.writer.pipe or self.compressor is not None:
            return
        firsts = []
        for offset, size in self.rings.last_chunks.values():
            for moment in finish.iter_sample_times(self.writer.read_back(offset, min(size, 1 << 16))):
                firsts.append(moment)
                break
        self.first_sample = min(firsts, default=0)

    def _size_is_up(self) -> bool:
        assert self.writer is not None
        options = self.options
        if options.max_size and self.total_written + self.writer.written >= options.max_size:
            self.notes.append(f"stopped at --max-size, {self.total_written + self.writer.written} bytes")
            return True
        if options.switch_output and self.writer.written >= options.switch_output and not self.writer.pipe:
            self._switch_file()
        return False

    def _switch_file(self) -> None:
        """Finish this file under a name with the time, begin the next with the side-band of all before."""
        assert self.writer is not None
        self.history += self._sideband_since_switch()
        self._complete(self.writer)
        stamp = time.strftime("%Y%m%d%H%M%S") + f"{time.time_ns() // 10_000_000 % 100:02d}"
        name = f"{self.options.output}.{stamp}"
        os.rename(self.options.output, name)  # noqa: PTH104 - pathlib costs start-up time
        self.paths[-1] = name
        self.total_written += self.writer.written
        os.close(self.writer.fd)
        self.rings.segments, self.rings.last_chunks = [], {}
        self.first_sample = 0
        self.boundaries = []
        self._begin_file()
        self._start_file()

    def _sideband_since_switch(self) -> list[bytes]:
        assert self.writer is not None
        return [self.writer.read_back(offset, size) for offset, size in self.rings.segments]

    # -- the end

    def finish(self) -> RecordResult:
        """Add losses, build-ids and times; complete the header.  A disk still full costs the last rounds."""
        assert self.writer is not None
        losses = self.rings.losses()
        lost = sum(count for _event, _id, count in losses)
        if lost:
            self.notes.append(f"{lost} records lost: the rings were full (-m with more, or a lower rate)")
            if not self.full:
                self.writer.write(finish.lost_records(losses))
        status = self.workload.wait() if self.workload is not None else 0
        self._complete(self.writer)
        return RecordResult(
            path=self.paths[-1],
            samples_lost=lost,
            bytes_written=self.total_written + self.writer.written,
            events=tuple(event.name for event in self.rings.events[:-1]),
            exit_status=0 if self.ended_on_request and status == 128 + signal.SIGTERM else status,
            notes=tuple(self.notes),
            paths=tuple(self.paths),
            interrupted=self.stop.signal != 0,
        )

    def _complete(self, writer: Writer) -> None:
        if writer.pipe:
            files = self.files | self.rings.mapped
            content = finish.build_id_section([], files, self.modules, self._samples_kernel())
            writer.write([_as_build_id_records(content)])
            return
        sections: dict[int, bytes] = {}
        if self.compressor is None:
            times = finish.sample_times(writer, self.rings, self.first_sample)
            if times:
                sections[pf.HEADER_SAMPLE_TIME] = times
        sideband = [*self.history, *self._sideband_since_switch()]
        ids = finish.build_id_section(sideband, self.files, self.modules, self._samples_kernel())
        if ids:
            sections[pf.HEADER_BUILD_ID] = ids
        while True:
            try:
                writer.checkpoint(sections)
                return
            except OutputError:
                if not self.boundaries:
                    writer.checkpoint()
                    return
                writer.discard_tail(min(self.boundaries.pop(), writer.written))

    def _samples_kernel(self) -> bool:
        return any(not attr.flags & pe.ATTR_EXCLUDE_KERNEL for attr in self.rings.attrs[:-1])

    def close(self) -> None:
        """Release descriptors, rings and the workload."""
        self.rings.close()
        for fd in self.cgroups:
            os.close(fd)
        if self.writer is not None:
            os.close(self.writer.fd)
        if self.workload is not None:
            self.workload.terminate()
            self.workload.close()
        self.stop.close()


def _is_dense(event: Event, options: RecordOptions) -> bool:
    """Whether it may come by the hundred thousand a second: every tracepoint, or a period set by hand."""
    return event.tracepoint is not None or options.period is not None or "period" in event.terms


def _program(name: str) -> str:
    from linscope.session.workload import find_program

    return find_program(name)


def _process_of(tid: int) -> int:
    """The process that a thread belongs to.  Raises SystemCallError (ESRCH)."""
    try:
        with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("Tgid:"):
                    return int(line.split()[1])
    except OSError:
        pass
    opening.threads_of(tid)  # raises with the right words
    return tid


def _as_build_id_records(section: bytes) -> bytes:
    """A BUILD_ID section with the record type that a stream needs."""
    out = bytearray(section)
    offset = 0
    while offset + 8 <= len(out):
        struct.pack_into("=I", out, offset, pf.PERF_RECORD_HEADER_BUILD_ID)
        offset += struct.unpack_from("=H", out, offset + 6)[0]
    return bytes(out)
