"""A trace buffer of tracefs and its knobs: a private instance, or the top-level one with every knob put back.

Source: Documentation/trace/ftrace.rst, events.rst; kernel/trace/trace.c.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import NamedTuple

from linscope.errors import LinscopeError, NotInKernel, PermissionDenied, SystemCallError, UnknownNameError
from linscope.session.journal import Journal, clean, remove_folder
from linscope.sys.tracefs import find_tracefs, read_text, write_text

_NOTHING_SET = ("####", "no pid")  # how a filter file says that it is empty


class Tracer(NamedTuple):
    """What people want to know of one of the kernel's tracers."""

    summary: str
    option: str  # CONFIG_ of the kernel
    latency: bool = False  # keeps the one longest latency, as text in the file ``trace``


TRACERS = {
    "function": Tracer("every function that is called, and from where", "CONFIG_FUNCTION_TRACER"),
    "function_graph": Tracer("calls with their durations, as a tree", "CONFIG_FUNCTION_GRAPH_TRACER"),
    "irqsoff": Tracer("the longest time with interrupts off", "CONFIG_IRQSOFF_TRACER", True),
    "preemptoff": Tracer("the longest time without preemption", "CONFIG_PREEMPT_TRACER", True),
    "preemptirqsoff": Tracer(
        "the longest time with either off", "CONFIG_IRQSOFF_TRACER and CONFIG_PREEMPT_TRACER", True
    ),
    "wakeup": Tracer("the longest way from wakeup to running, any task", "CONFIG_SCHED_TRACER", True),
    "wakeup_rt": Tracer("the longest way from wakeup to running, real-time tasks", "CONFIG_SCHED_TRACER", True),
    "wakeup_dl": Tracer("the longest way from wakeup to running, deadline tasks", "CONFIG_SCHED_TRACER", True),
    "hwlat": Tracer("time that firmware takes from the kernel (SMI)", "CONFIG_HWLAT_TRACER"),
    "osnoise": Tracer("what keeps a busy loop from its CPU", "CONFIG_OSNOISE_TRACER"),
    "timerlat": Tracer("latency of a timer's interrupt and of its thread", "CONFIG_TIMERLAT_TRACER"),
    "blk": Tracer("requests of block devices", "CONFIG_BLK_DEV_IO_TRACE"),
    "mmiotrace": Tracer("accesses of drivers to their devices' memory", "CONFIG_MMIOTRACE"),
}
# The options of the kernel that its files in tracefs come from, by the last part of their path.
FILES_NEED = {
    "hist": "CONFIG_HIST_TRIGGERS",
    "snapshot": "CONFIG_TRACER_SNAPSHOT",
    "set_ftrace_filter": "CONFIG_DYNAMIC_FTRACE and CONFIG_FUNCTION_TRACER",
    "set_ftrace_notrace": "CONFIG_DYNAMIC_FTRACE and CONFIG_FUNCTION_TRACER",
    "set_ftrace_pid": "CONFIG_FUNCTION_TRACER",
    "set_graph_function": "CONFIG_FUNCTION_GRAPH_TRACER",
    "set_graph_notrace": "CONFIG_FUNCTION_GRAPH_TRACER",
    "max_graph_depth": "CONFIG_FUNCTION_GRAPH_TRACER",
    "tracing_max_latency": "CONFIG_IRQSOFF_TRACER or its like",
    "sched_switch": "CONFIG_EVENT_TRACING",
    "raw_syscalls": "CONFIG_FTRACE_SYSCALLS",
    "kprobe_events": "CONFIG_KPROBE_EVENTS",
    "uprobe_events": "CONFIG_UPROBE_EVENTS",
    "synthetic_events": "CONFIG_SYNTH_EVENTS",
}


def open_tracefs() -> str:
    """The folder of tracefs, writable for us; what dead processes of ours left in it is removed first.

    Raises PermissionDenied, NotInKernel.
    """
    tracefs = find_tracefs()
    if not os.access(f"{tracefs}/trace_options", os.W_OK):
        what = "the kernel's tracer obeys root only"
        raise PermissionDenied(what, errno=errno.EACCES, where=tracefs, next_step="run as root")
    clean()
    return tracefs


def missing_option(name: str) -> str:
    """The CONFIG_ symbols that would give the kernel this tracer; "its option" of one that we do not know."""
    return TRACERS[name].option if name in TRACERS else "its option"


def is_latency_tracer(name: str) -> bool:
    """True for a tracer that keeps only the longest latency."""
    return name in TRACERS and TRACERS[name].latency


def need_tracer(name: str, available: Iterable[str]) -> NotInKernel | UnknownNameError:
    """The error for a tracer that the running kernel does not have, or that does not exist."""
    if name not in TRACERS:
        return UnknownNameError("tracer", name, [*TRACERS, *available], next_step="linscope ftrace list")
    return NotInKernel(f"the running kernel has no tracer {name}", why=f"{missing_option(name)} is not set")


class TraceInstance:
    """One trace buffer.  Leaving the ``with`` removes a private one, and puts the top-level one's knobs back."""

    def __init__(self, journal: Journal, *, tracefs: str, name: str = "") -> None:
        """name: of a private instance, made now; "": the top-level buffer.  Raises SystemCallError."""
        self.journal = journal
        self.tracefs = tracefs
        self.name = name
        self.path = f"{tracefs}/instances/{name}" if name else tracefs
        self.values: dict[str, str] = {}  # of shared knobs as they were before anything began
        self._noted: set[str] = set()  # lists whose old lines are in the journal
        if name:
            journal.add("rmdir", f"instances/{name}")
            # A tracer and events that run would keep it busy; what was added last is undone first.
            try:
                os.mkdir(self.path)  # noqa: PTH102 - pathlib costs start-up time
            except OSError as error:
                journal.forget()
                raise self._refused("make a trace instance", error) from None
            journal.add("write", f"instances/{name}/events/enable", text="0")
            journal.add("write", f"instances/{name}/current_tracer", text="nop")
        else:
            self._refuse_if_used()

    def __repr__(self) -> str:
        return f"<trace instance {self.name or 'top level'}>"

    def _refuse_if_used(self) -> None:
        """Raises LinscopeError when somebody else traces in the top-level buffer."""
        tracer = read_text(f"{self.path}/current_tracer")
        enabled = read_text(f"{self.path}/set_event")
        if tracer == "nop" and not enabled:
            return
        using = f"current_tracer is {tracer}" if tracer != "nop" else f"{enabled.split()[0]} is enabled"
        raise LinscopeError(
            "this tracer works only in the kernel's one top-level buffer, and that is in use",
            why=using,
            next_step="wait for its user to end (or: trace-cmd reset)",
        )

    def remove(self) -> None:
        """Remove a private instance before the end; the journal will find nothing left to undo.  Raises OSError."""
        remove_folder(self.path)

    def has(self, file: str) -> bool:
        """True if the buffer has this knob."""
        return os.path.exists(f"{self.path}/{file}")

    def read(self, file: str) -> str:
        """The stripped text of a knob.  Raises SystemCallError, NotInKernel."""
        try:
            return read_text(f"{self.path}/{file}")
        except OSError as error:
            raise self._refused(f"read {file}", error, file) from None

    def _place(self, file: str) -> tuple[str, bool]:
        """(path of a knob, whether others share it): what a private instance lacks exists once, for all."""
        if self.name and self.has(file):
            return f"{self.path}/{file}", False
        return f"{self.tracefs}/{file}", True

    def write(self, file: str, text: str) -> None:
        """Set a knob that holds one value; a shared one's old value is noted first.

        Raises SystemCallError, NotInKernel.
        """
        path, shared = self._place(file)
        try:
            if shared:
                was = self.values.pop(file, None) or knob_value(file, read_text(path))
                if was == text:
                    return
                self.journal.add("write", file, text=was)
            try:
                write_text(path, text)
            except OSError:
                if shared:
                    self.journal.forget()
                raise
        except OSError as error:
            raise self._refused(f"write {text!r} to {file}", error, file) from None

    def write_lines(self, file: str, lines: Iterable[str], *, add: bool = False) -> None:
        """Set a knob that holds a list (filters, pids), one write each; add: to what is there.

        Raises SystemCallError, NotInKernel.
        """
        path, shared = self._place(file)
        try:
            if shared and file not in self._noted:
                was = [line for line in read_text(path).splitlines() if not line.startswith(_NOTHING_SET)]
                self.journal.add("write", file, lines=was, truncate=True)
                self._noted.add(file)
            if not add:
                write_text(path, "", truncate=True)
            for line in lines:
                write_text(path, line + "\n")
        except OSError as error:
            raise self._refused(f"write to {file}", error, file) from None

    def define(self, file: str, text: str, *, undo: str) -> None:
        """Add a line to one of tracefs' lists of definitions (synthetic_events, kprobe_events...) until the end.

        undo: the line that takes it out again.  Raises SystemCallError, NotInKernel.
        """
        self.journal.add("write", file, text=undo)
        try:
            write_text(f"{self.tracefs}/{file}", text)
        except OSError as error:
            self.journal.forget()
            raise self._refused(f"write {text!r} to {file}", error, file) from None

    def option(self, name: str, on: bool) -> None:
        """Set one of trace_options.  Raises UnknownNameError, SystemCallError."""
        if not self.has(f"options/{name}"):
            known = os.listdir(f"{self.path}/options")  # noqa: PTH208
            raise UnknownNameError("trace option", name, known, next_step="its names: " + ", ".join(sorted(known)))
        self.write(f"options/{name}", "1" if on else "0")

    def set_tracer(self, name: str) -> None:
        """Choose the tracer.  Raises NotInKernel, SystemCallError."""
        available = self.read("available_tracers").split()
        if name not in available:
            raise need_tracer(name, available)
        self.write("current_tracer", name)

    def set_clock(self, name: str) -> None:
        """Choose the clock of the time stamps.  Raises UnknownNameError, SystemCallError."""
        clocks = self.read("trace_clock").replace("[", "").replace("]", "").split()
        if name not in clocks:
            raise UnknownNameError("trace clock", name, clocks, next_step="one of " + ", ".join(clocks))
        self.write("trace_clock", name)

    def clock(self) -> str:
        """The name of the clock in use."""
        return knob_value("trace_clock", self.read("trace_clock"))

    def cpus(self) -> list[int]:
        """Numbers of the CPUs that have a buffer."""
        return sorted(int(name[3:]) for name in os.listdir(f"{self.path}/per_cpu"))  # noqa: PTH208

    def stats(self) -> dict[int, dict[str, str]]:
        """per_cpu/cpuN/stats of each CPU: "entries", "overrun", "dropped events"..., as the kernel writes them."""
        found = {}
        for cpu in self.cpus():
            lines = read_text(f"{self.path}/per_cpu/cpu{cpu}/stats").splitlines()
            found[cpu] = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
        return found

    def _refused(self, what: str, error: OSError, file: str = "") -> SystemCallError:
        """The error for a refused call on a knob."""
        number = error.errno or 0
        if number == errno.ENOENT and file:
            need = FILES_NEED.get(file.rpartition("/")[2], "")
            return NotInKernel(f"cannot {what}", errno=number, why=f"no such file: {need} is not set" if need else "")
        if number in (errno.EACCES, errno.EPERM):
            step = "run as root" if os.geteuid() else ""  # some kernels refuse some knobs to root, too
            return PermissionDenied(f"cannot {what}", errno=number, where=self.path, next_step=step)
        return SystemCallError(f"cannot {what}", errno=number, where=self.path)


def knob_value(file: str, text: str) -> str:
    """The value in a knob's text: "local" of "[local] global", "1408" of "7 (expanded: 1408)"."""
    if file.endswith("trace_clock"):
        return text[text.index("[") + 1 : text.index("]")]
    if "(expanded: " in text:
        return text.partition("(expanded: ")[2].rstrip(")")
    return text


def new_name() -> str:
    """The name of a private instance of this process."""
    import time

    return f"linscope-{os.getpid()}-{time.monotonic_ns() % 10**9}"
