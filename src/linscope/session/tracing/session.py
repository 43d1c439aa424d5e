"""One session of the kernel's tracer: an instance set up as asked, a workload held back until then, the way back.

with TraceSession(command, options) as session:
    session.run(capture)
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Self

from linscope.errors import NotInKernel, SystemCallError, UsageError
from linscope.session.journal import Journal
from linscope.session.stop import Stop
from linscope.session.tracing.capture import Capture, Waiting
from linscope.session.tracing.error_log import ErrorLog
from linscope.session.tracing.instance import TraceInstance, knob_value, need_tracer, new_name, open_tracefs
from linscope.session.tracing.options import EventChoice, TraceOptions
from linscope.session.workload import Workload, find_program
from linscope.sources.trace_events import find_events, read_format, traceable_functions
from linscope.sys.tracefs import read_text, write_text

_KB = 1024
_FUNCTION_TRACERS = ("function", "function_graph")
# Of each CPU, by what is recorded: function tracers fill megabytes in a moment.
_FEW_EVENTS, _MANY_EVENTS, _FUNCTIONS = 2 << 20, 8 << 20, 16 << 20
_SMALLEST = 8 << 10
_DENSE_SYSTEMS = ("sched", "raw_syscalls", "syscalls", "irq", "kmem", "lock", "preemptirq", "timer", "rcu")
_POLL_MS = 1000
MARKER = "LINSCOPE_TRACE_MARKER"  # of the workload's environment: a file; what is written to it becomes an event


class TraceSession:
    """An instance with everything set; nothing is traced before run()."""

    def __init__(self, command: Sequence[str] | None, options: TraceOptions) -> None:
        """Raises UsageError when there is nothing to trace."""
        if not command and not options.pids and not options.system_wide:
            raise UsageError("nothing to trace", next_step="-- CMD, -p PID, or -a for the whole system")
        self.command = list(command or ())
        self.options = options
        self.notes: list[str] = []
        self.events: list[tuple[str, str]] = []  # (system, name) of those that are recorded
        self.workload: Workload | None = None
        self.exit_status = 0
        self._stop: Stop | None = None
        self._journal: Journal | None = None
        self.instance: TraceInstance

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<trace session of {self.options.tracer}, {len(self.events)} events>"

    @property
    def interrupted(self) -> bool:
        """True once SIGINT, SIGTERM or SIGHUP has come."""
        return self._stop is not None and self._stop.signal != 0

    def _open(self) -> None:
        tracefs = open_tracefs()
        self._stop = Stop()
        if self.command:
            find_program(self.command[0])
        self._journal = Journal()
        if self.options.probes:
            from linscope.session.tracing.probes import define_probes

            define_probes(self._journal, tracefs, self.options.probes)
        # A new instance changes what the top level says of its size.
        size = knob_value("buffer_size_kb", read_text(f"{tracefs}/buffer_size_kb"))
        self.instance = self._make_instance(self._journal, tracefs)
        self.instance.values["buffer_size_kb"] = size
        self.instance.write("tracing_on", "0")
        if self.command:
            self.workload = Workload(self.command, {**os.environ, MARKER: self._marker()})
        self._set_knobs()
        self._set_targets()
        for choice in self.options.events:
            self._set_event(choice)
        self._set_functions()
        if self.options.tracer != "nop":
            self.instance.set_tracer(self.options.tracer)

    def _marker(self) -> str:
        """Where the workload can write marks into this buffer: a path that another process can open."""
        return f"{self.instance.path}/trace_marker".replace("/proc/self/", f"/proc/{os.getpid()}/", 1)

    def _make_instance(self, journal: Journal, tracefs: str) -> TraceInstance:
        """A private instance wherever this kernel lets the tracer run in one, else the top-level one."""
        tracer = self.options.tracer
        instance = TraceInstance(journal, tracefs=tracefs, name=new_name())
        if tracer == "nop" or tracer in instance.read("available_tracers").split():
            return instance
        instance.remove()
        available = read_text(f"{tracefs}/available_tracers").split()
        if tracer not in available:
            raise need_tracer(tracer, available)
        self.notes.append(f"this kernel runs {tracer} in its top-level buffer only: borrowed, and given back as it was")
        return TraceInstance(journal, tracefs=tracefs)

    def _set_knobs(self) -> None:
        options, instance = self.options, self.instance
        if options.clock:
            instance.set_clock(options.clock)
        instance.write("buffer_size_kb", str(self._buffer_size() // _KB))
        for word in options.options:
            on = instance.has(f"options/{word}") or not word.startswith("no")
            instance.option(word if on else word[2:], on)
        absent = set(options.cpus) - set(instance.cpus())
        if absent:
            raise UsageError(f"there is no CPU {min(absent)}", next_step="/sys/devices/system/cpu/online lists them")
        if options.cpus:
            mask = sum(1 << cpu for cpu in options.cpus)
            instance.write("tracing_cpumask", f"{mask:x}")
        if options.threshold_us:
            instance.write("tracing_thresh", str(options.threshold_us))
        for file, value in options.knobs:
            instance.write(file, value)

    def _buffer_size(self) -> int:
        options = self.options
        if options.buffer_size:
            if options.buffer_size < _SMALLEST:
                raise UsageError("a buffer needs two pages at least", next_step="-m 16K")
            return options.buffer_size
        wanted = _FEW_EVENTS
        if options.tracer in _FUNCTION_TRACERS:
            wanted = _FUNCTIONS
        elif options.probes or any(
            choice.pattern.partition(":")[0] in _DENSE_SYSTEMS or "*" in choice.pattern for choice in options.events
        ):
            wanted = _MANY_EVENTS
        cpus = os.cpu_count() or 1
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return max(min(wanted, memory // 20 // cpus), 256 * _KB)

    def _set_targets(self) -> None:
        """Only tasks that are asked for; the kernel filters."""
        options, instance = self.options, self.instance
        if options.system_wide:
            return
        tasks = [str(task) for pid in options.pids for task in _threads(pid)]
        if self.workload is not None:
            tasks.append(str(self.workload.pid))
        instance.write_lines("set_event_pid", tasks)
        if options.children:
            instance.option("event-fork", True)
        if options.tracer in _FUNCTION_TRACERS:
            instance.write_lines("set_ftrace_pid", tasks)
            if options.children:
                instance.option("function-fork", True)

    def _set_event(self, choice: EventChoice) -> None:
        instance = self.instance
        for system, name in find_events(instance.tracefs, choice.pattern):
            folder = f"events/{system}/{name}"
            if not instance.has(f"{folder}/enable"):  # of the ftrace system: the tracers' own
                continue
            if choice.filter:
                from linscope.sources.trace_filter import check_filter

                check_filter(choice.filter, read_format(instance.tracefs, system, name))
                self._write_expression(f"{folder}/filter", choice.filter, "the filter", undo="0")
            for trigger in choice.triggers:
                self.add_trigger(system, name, trigger)
            if choice.record:
                instance.write(f"{folder}/enable", "1")
                self.events.append((system, name))

    def add_trigger(self, system: str, name: str, trigger: str) -> None:
        """Set a trigger of an event.  Raises UsageError with the kernel's reason, NotInKernel."""
        if trigger.startswith("snapshot") and not self.instance.has("snapshot"):
            raise NotInKernel("the running kernel takes no snapshots", why="CONFIG_TRACER_SNAPSHOT is not set")
        self._write_expression(f"events/{system}/{name}/trigger", trigger, "the trigger", undo=f"!{trigger}")

    def _write_expression(self, file: str, text: str, what: str, *, undo: str) -> None:
        instance = self.instance
        log = ErrorLog(instance.path)
        assert self._journal is not None
        noted = not instance.name or undo.startswith("!hist")  # histograms that use each other hold their instance
        if noted:
            self._journal.add("write", f"instances/{instance.name}/{file}" if instance.name else file, text=undo)
        try:
            write_text(f"{instance.path}/{file}", text)
        except OSError as error:
            if noted:
                self._journal.forget()
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENODEV, errno.EEXIST, errno.E2BIG):
                raise log.error(what, text) from None
            raise SystemCallError(f"cannot set {what} {text!r}", errno=error.errno or 0) from None

    def _set_functions(self) -> None:
        options, instance = self.options, self.instance
        for file, names in (
            ("set_ftrace_filter", options.functions),
            ("set_ftrace_notrace", options.not_functions),
            ("set_graph_function", options.graph_functions),
            ("set_graph_notrace", options.not_graph_functions),
        ):
            if not names:
                continue
            instance.write_lines(file, ())
            for name in names:
                try:
                    instance.write_lines(file, (name,), add=True)
                except SystemCallError as error:
                    if error.errno == errno.EINVAL:
                        raise unknown_function(instance.tracefs, name) from None
                    raise
        for command in options.function_commands:
            try:
                instance.write_lines("set_ftrace_filter", (command,), add=True)
            except SystemCallError as error:
                if error.errno == errno.EINVAL:
                    step = "FUNC:traceon|traceoff|snapshot|stacktrace|dump|cpudump|mod|enable_event|disable_event[:...]"
                    raise UsageError(
                        f"the kernel does not take the function command {command!r}", next_step=step
                    ) from None
                raise
        if options.max_depth:
            instance.write("max_graph_depth", str(options.max_depth))

    # -- running

    def run(self, capture: Capture | None = None) -> None:
        """Trace until the workload or the targets end, the time is up, or a signal comes; then stop tracing.

        capture: whose pages are taken meanwhile.
        """
        for _ in self.rounds(Capture(self.instance, {}) if capture is None else capture):
            pass

    def rounds(self, capture: Waiting) -> Iterator[None]:
        """As run(), handing over after each round.  Closed before the end, it asks the workload to end."""
        assert self._stop is not None
        capture.watch(self._stop.read_fd)
        ends = [os.pidfd_open(pid) for pid in self.options.pids] if self.workload is None else []
        for fd in ends:
            capture.watch(fd)
        if self.workload is not None:
            capture.watch(self.workload.pidfd)
        deadline = time.monotonic() + self.options.duration_ns / 1e9 if self.options.duration_ns else float("inf")
        self.instance.write("tracing_on", "1")
        try:
            if self.workload is not None:
                self.workload.start()
            while time.monotonic() < deadline:
                left_ms = (deadline - time.monotonic()) * 1000 + 1
                ended = capture.wait(max(0, int(min(_POLL_MS, left_ms))))
                yield
                if ended and (self.interrupted or self.workload is not None or _all_ended(ends, capture)):
                    break
        except GeneratorExit:
            if self.workload is not None:
                self.workload.terminate()
            raise
        finally:
            self.instance.write("tracing_on", "0")
            for fd in ends:
                os.close(fd)
        self._end_workload()
        if self.options.probes:
            from linscope.session.tracing.probes import tell_missed

            self.notes += tell_missed(self.instance.tracefs, self.options.probes)

    def _end_workload(self) -> None:
        if self.workload is None:
            return
        asked = self.workload.terminate()
        status = self.workload.wait()
        self.exit_status = 0 if asked and not self.interrupted and status == 128 + signal.SIGTERM else status

    def lost(self) -> int:
        """Events that found no room so far."""
        names = ("overrun", "dropped events", "commit overrun")
        return sum(int(stats.get(name, "0")) for stats in self.instance.stats().values() for name in names)

    def close(self) -> None:
        """Put everything back; what could not be is said in notes."""
        if self._journal is not None:
            self.notes += [f"still to undo (linscope doctor --clean): {why}" for why in self._journal.close()]
            self._journal = None
        if self.workload is not None:
            if self.workload.status is None:
                self.workload.close()
            self.workload = None
        if self._stop is not None:
            self._stop.close()
            self._stop = None


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208 - pathlib costs start-up time
    except FileNotFoundError:
        raise UsageError(f"there is no process {pid}") from None


def _all_ended(pidfds: list[int], capture: Waiting) -> bool:
    """True if none of the processes is left; those that have ended are waited for no more."""
    poll = select.poll()
    for fd in pidfds:
        poll.register(fd, select.POLLIN)
    ended = {fd for fd, _ in poll.poll(0)}
    for fd in ended:
        capture.forget(fd)
    return len(ended) == len(pidfds)


def unknown_function(tracefs: str, name: str) -> UsageError:
    """The error for a function (or pattern) that the function tracer does not know, with near ones."""
    from linscope.errors import UnknownNameError

    known: list[str] = []
    with suppress(OSError):
        known = [function for function, _ in traceable_functions(tracefs)]
    return UnknownNameError("function to trace", name, known, next_step="linscope ftrace functions GLOB")
