"""Count events while a command runs: values, the share of time they were counted, repeats, intervals.

Source: perf_event_open(2), "Reading results"; tools/perf/builtin-stat.c for defaults, scaling and
derived figures.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import time
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from linscope.abi import perf_event as pe
from linscope.errors import NotInKernel, UsageError
from linscope.session import opening
from linscope.session.workload import Workload
from linscope.sources.events import Catalog, Event, parse_events
from linscope.sys import perf_event_open as sys_perf
from linscope.sys.perf_event_open import Attr

DEFAULT_EVENTS = (
    "task-clock",
    "context-switches",
    "cpu-migrations",
    "page-faults",
    "cycles",
    "instructions",
    "branches",
    "branch-misses",
)
_INTERRUPTED = 128 + signal.SIGINT
_CLOCK_EVENTS = (pe.PERF_COUNT_SW_CPU_CLOCK, pe.PERF_COUNT_SW_TASK_CLOCK)


class StatOptions(NamedTuple):
    """Immutable; fields have perf stat's meaning and defaults."""

    events: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    tids: tuple[int, ...] = ()
    system_wide: bool = False
    per_cpu: bool = False  # -A: one count for each CPU
    cpus: tuple[int, ...] = ()
    cgroups: tuple[str, ...] = ()
    repeat: int = 1
    interval_ms: int = 0
    delay_ms: int = 0
    duration_ns: int = 0
    inherit: bool = True


class Count(NamedTuple):
    """One event's count.  ``value`` None: not counted here, ``note`` says why ("not supported")."""

    event: str
    cpu: int  # -1: all
    value: float | None  # scaled to the whole time, in ``unit``
    unit: str
    running: float  # share of the time enabled in which it was on a counter, 0 to 1
    deviation: float | None  # relative standard error of the mean over repeats
    derived: str
    note: str
    time_ns: int  # since the start, for intervals


class StatResult(NamedTuple):
    """What came of counting."""

    counts: tuple[Count, ...]
    elapsed_ns: int  # mean over repeats
    user_seconds: float
    system_seconds: float
    exit_status: int  # of the last run's command; 130 after SIGINT
    notes: tuple[str, ...]


class _Counter:
    """One event with its descriptors: (cpu, fd)."""

    def __init__(self, event: Event, attr: Attr) -> None:
        self.event = event
        self.attr = attr
        self.fds: list[tuple[int, int]] = []
        self.note = ""

    def read(self) -> list[tuple[int, int, int, int]]:
        """(cpu, value, time enabled, time running) of every descriptor."""
        return [(cpu, *struct.unpack("=QQQ", os.read(fd, 24))) for cpu, fd in self.fds]


class _Run(NamedTuple):
    """One repeat's result."""

    readings: list[list[tuple[int, int, int, int]]]
    elapsed_ns: int
    user_seconds: float
    system_seconds: float
    status: int


class _Session:
    """The counters of one run."""

    def __init__(self, command: Sequence[str] | None, options: StatOptions) -> None:
        """Raises UsageError when there is nothing to count, or no such command."""
        if not command and not (options.pids or options.tids or options.system_wide or options.cpus):
            raise UsageError("nothing to count", next_step="linscope stat -- CMD, or -p PID, or -a")
        if options.repeat < 1 or options.interval_ms < 0 or options.delay_ms < 0:
            raise UsageError("a number of runs, an interval or a delay below zero", next_step="-r 1, -I 100, -D 100")
        if options.repeat > 1 and options.interval_ms:
            raise UsageError("repeats and intervals exclude each other", next_step="give -r or -I")
        self.options = options
        self.workload = Workload(command, os.environ) if command else None
        self.end_fds: list[int] = []
        self.opener = opening.Opener(clock_fallback=False)
        self.counters: list[_Counter] = []
        self.cgroups: list[int] = []

    def __enter__(self) -> _Session:
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def start(self) -> int:
        """Let the workload go and the counters count.  Returns time.monotonic_ns of the beginning."""
        options = self.options
        if self.workload is not None:
            self.end_fds.append(os.dup(self.workload.pidfd))
        else:
            self.end_fds += [os.pidfd_open(pid) for pid in options.pids]
        begin = time.monotonic_ns()
        if self.workload is not None:
            self.workload.start()
        if options.delay_ms:
            time.sleep(options.delay_ms / 1e3)
            begin = time.monotonic_ns()
        if not any(c.attr.flags & pe.ATTR_ENABLE_ON_EXEC for c in self.counters):
            self._enable()
        return begin

    def stop(self, begin: int) -> _Run:
        """Stop, read, and end the workload if it still runs."""
        elapsed = time.monotonic_ns() - begin
        for counter in self.counters:
            for _cpu, fd in counter.fds:
                sys_perf.disable(fd)
        readings = self.read()
        status, user, system = 0, 0.0, 0.0
        if self.workload is not None:
            self.workload.terminate()
            status = self.workload.wait()
            user, system = self.workload.user_seconds, self.workload.system_seconds
        return _Run(readings, elapsed, user, system, status)

    def _open(self) -> None:
        """Open everything; an event that this machine lacks is kept, to be shown as not supported."""
        options = self.options
        events = [e for text in options.events or DEFAULT_EVENTS for e in parse_events(text, Catalog())]
        wide = options.system_wide or bool(options.cgroups) or bool(options.cpus)
        self.cgroups = [opening.open_cgroup(path) for path in options.cgroups]
        if wide:
            tasks: list[int] = self.cgroups or [-1]
            cpus = list(options.cpus) or opening.online_cpus()
        else:
            tasks = [tid for pid in options.pids for tid in opening.threads_of(pid)] + list(options.tids)
            cpus = [-1]
            if not tasks:
                assert self.workload is not None
                tasks = [self.workload.pid]
        flags = pe.PERF_FLAG_PID_CGROUP if self.cgroups else 0
        exec_starts = self.workload is not None and not wide and not options.pids and not options.tids
        leaders: dict[tuple[int, int, int], int] = {}
        for event in events:
            attr = self._attr(event, exec_starts and not options.delay_ms)
            counter = _Counter(event, attr)
            self.counters.append(counter)
            self.opener.prepare(event, attr)
            places = [(cpu, task) for cpu in self._cpus_for(event, cpus, wide) for task in tasks]
            for cpu, task in places:
                group = leaders.get((id(event.leader), cpu, task), -1)
                try:
                    fd = self.opener.open(event, attr, task, cpu, group, flags, fallback=not counter.fds)
                except NotInKernel:
                    counter.note = "not supported"
                    break
                except UsageError:
                    if event.cpus is None and not wide:
                        raise
                    counter.note = "not supported"
                    break
                leaders[id(event), cpu, task] = fd
                counter.fds.append((cpu, fd))
        if not any(counter.fds for counter in self.counters):
            raise NotInKernel(
                "none of the events can be counted", why="this machine's CPU does not offer them"
            )

    @staticmethod
    def _cpus_for(event: Event, cpus: list[int], wide: bool) -> list[int]:
        if event.cpus is None or not wide:
            return cpus
        return [cpu for cpu in cpus if cpu in event.cpus]

    def _attr(self, event: Event, on_exec: bool) -> Attr:
        attr = event.attr.copy()
        attr.sample_period = 0
        attr.read_format = pe.PERF_FORMAT_TOTAL_TIME_ENABLED | pe.PERF_FORMAT_TOTAL_TIME_RUNNING
        if event.leader is event:
            attr.flags |= pe.ATTR_DISABLED | (pe.ATTR_ENABLE_ON_EXEC if on_exec else 0)
        if self.options.inherit:
            attr.flags |= pe.ATTR_INHERIT
        return attr

    def _enable(self) -> None:
        for counter in self.counters:
            if counter.event.leader is counter.event:
                for _cpu, fd in counter.fds:
                    sys_perf.enable(fd)

    def read(self) -> list[list[tuple[int, int, int, int]]]:
        """The readings of every counter, in order."""
        return [counter.read() for counter in self.counters]

    def _close(self) -> None:
        for counter in self.counters:
            for _cpu, fd in counter.fds:
                os.close(fd)
        for fd in self.cgroups + self.end_fds:
            os.close(fd)
        if self.workload is not None:
            self.workload.terminate()
            self.workload.close()


def stat(command: Sequence[str] | None, options: StatOptions) -> StatResult:
    """Count while command runs (repeat times), or while what options name goes on.

    Raises as ``record`` does.  SIGINT (KeyboardInterrupt) ends counting; what was counted is returned.
    """
    runs: list[_Run] = []
    last: _Session | None = None
    interrupted = False
    while len(runs) < max(options.repeat, 1) and not interrupted:
        with _Session(command, options) as session:
            begin = session.start()
            try:
                for _interval in _intervals(session, begin, 0):
                    pass
            except KeyboardInterrupt:
                interrupted = True
                session.opener.notes.append("interrupted")
            runs.append(session.stop(begin))
            last = session
    assert last is not None
    elapsed = sum(run.elapsed_ns for run in runs) // len(runs)
    readings = [run.readings for run in runs]
    return StatResult(
        counts=tuple(_counts(last.counters, readings, elapsed, options, elapsed)),
        elapsed_ns=elapsed,
        user_seconds=sum(run.user_seconds for run in runs) / len(runs),
        system_seconds=sum(run.system_seconds for run in runs) / len(runs),
        exit_status=_INTERRUPTED if interrupted else runs[-1].status,
        notes=tuple(last.opener.notes),
    )


def iter_stat(command: Sequence[str] | None, options: StatOptions) -> Generator[list[Count], None, int]:
    """The counts of each interval_ms while it goes on, the last interval cut short by the end.

    The generator's return value is the exit status of the command, 130 after SIGINT.  Raises as stat.
    """
    with _Session(command, options) as session:
        begin = session.start()
        interrupted = False
        try:
            yield from _intervals(session, begin, options.interval_ms * 1_000_000)
        except KeyboardInterrupt:
            interrupted = True
        status = session.stop(begin).status
        return _INTERRUPTED if interrupted else status


def _intervals(session: _Session, begin: int, step: int) -> Iterator[list[Count]]:
    """Counts of every step (ns; 0: none) until the workload, the targets or the duration end."""
    options = session.options
    poll = select.poll()
    for fd in session.end_fds:
        poll.register(fd, select.POLLIN)
    end = begin + options.duration_ns if options.duration_ns else None
    tick = begin + step
    before = [[(cpu, 0, 0, 0) for cpu, _fd in counter.fds] for counter in session.counters]
    over = False
    while not over:
        marks = [mark for mark in (tick if step else None, end) if mark is not None]
        timeout = max(0.0, (min(marks) - time.monotonic_ns()) / 1e6) if marks else None
        over = bool(poll.poll(timeout))
        now = time.monotonic_ns()
        over = over or (end is not None and now >= end)
        if step and (over or now >= tick):
            current = session.read()
            delta = [_minus(new, old) for new, old in zip(current, before, strict=True)]
            length = now - tick + step
            yield list(_counts(session.counters, [delta], length, options, now - begin))
            before, tick = current, tick + step


def _minus(
    new: list[tuple[int, int, int, int]], old: list[tuple[int, int, int, int]]
) -> list[tuple[int, int, int, int]]:
    return [(cpu, v - w, e - f, r - s) for (cpu, v, e, r), (_cpu, w, f, s) in zip(new, old, strict=True)]


def _counts(
    counters: list[_Counter],
    runs: list[list[list[tuple[int, int, int, int]]]],
    elapsed_ns: int,
    options: StatOptions,
    time_ns: int,
) -> Iterator[Count]:
    """Counts of all events, means over runs, with what follows from them together."""
    means: dict[str, float] = {}
    rows = []
    for index, counter in enumerate(counters):
        cpus = sorted({cpu for cpu, _fd in counter.fds}) if options.per_cpu else [-1]
        for cpu in cpus or [-1]:
            values, shares = [], []
            for readings in runs:
                chosen = [r for r in readings[index] if cpu in (-1, r[0])]
                enabled, running = sum(r[2] for r in chosen), sum(r[3] for r in chosen)
                total = float(sum(r[1] for r in chosen))
                values.append(total * enabled / running if running else total)
                shares.append(running / enabled if enabled else 0.0)
            mean = sum(values) / len(values)
            if counter.fds:
                means.setdefault(_plain_name(counter.event), mean)
            rows.append((counter, cpu, mean, sum(shares) / len(shares), _deviation(values)))
    for counter, cpu, mean, share, deviation in rows:
        value, unit = _in_unit(counter, mean)
        note = counter.note or ("" if share else "not counted")
        derived = "" if note else derive(_plain_name(counter.event), mean, means, elapsed_ns)
        yield Count(
            event=counter.event.name,
            cpu=cpu,
            value=None if note else value,
            unit=unit,
            running=share,
            deviation=deviation,
            derived=derived,
            note=note,
            time_ns=time_ns,
        )


def _plain_name(event: Event) -> str:
    return event.name.partition(":")[0] if event.tracepoint is None else event.name


def _in_unit(counter: _Counter, value: float) -> tuple[float, str]:
    attr = counter.attr
    if attr.type == pe.PERF_TYPE_SOFTWARE and attr.config in _CLOCK_EVENTS:
        return value / 1e6, "msec"
    if counter.event.unit:
        return value * counter.event.scale, counter.event.unit
    return value, ""


def _deviation(values: list[float]) -> float | None:
    """Relative standard error of the mean, as perf stat -r shows; None for one run."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return float((variance / len(values)) ** 0.5 / mean) if mean else 0.0


def derive(name: str, value: float, means: dict[str, float], elapsed_ns: int) -> str:
    """What a count says beside the others: "0.98 CPUs utilized", "1.73 insn per cycle", "12.3 K/sec"."""
    clock = means.get("task-clock") or means.get("cpu-clock") or 0.0
    if name in ("task-clock", "cpu-clock"):
        return f"{value / elapsed_ns:.3f} CPUs utilized" if elapsed_ns else ""
    cycles = means.get("cycles") or means.get("cpu-cycles") or 0.0
    if name in ("cycles", "cpu-cycles"):
        return f"{value / clock:.3f} GHz" if clock else ""
    if name == "instructions" and cycles:
        return f"{value / cycles:.2f} insn per cycle"
    branches = means.get("branches") or means.get("branch-instructions") or 0.0
    if name == "branch-misses" and branches:
        return f"{100 * value / branches:.2f}% of all branches"
    references = means.get("cache-references", 0.0)
    if name == "cache-misses" and references:
        return f"{100 * value / references:.2f}% of all cache refs"
    seconds = clock / 1e9
    return f"{_rate(value / seconds)}/sec" if seconds else ""


def _rate(per_second: float) -> str:
    for unit, scale in ((" G", 1e9), (" M", 1e6), (" K", 1e3)):
        if per_second >= scale:
            return f"{per_second / scale:.3f}{unit}"
    return f"{per_second:.3f} "


__all__ = ["Count", "DEFAULT_EVENTS", "StatOptions", "StatResult", "derive", "iter_stat", "stat"]
