"""A trace buffer of tracefs and its knobs: a private instance, or the top-level one with every knob put back.

Source: Documentation/trace/ftrace.rst, events.rst; kernel/trace/trace.c.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from linscope.errors import LinscopeError, NotInKernel, PermissionDenied, SystemCallError, UnknownNameError
from linscope.session.journal import Journal, clean
from linscope.sys.tracefs import find_tracefs, read_text, write_text

_NOTHING_SET = "####"  # how a filter file says that it is empty
_NEEDS = {
    "function": "CONFIG_FUNCTION_TRACER",
    "function_graph": "CONFIG_FUNCTION_GRAPH_TRACER",
    "irqsoff": "CONFIG_IRQSOFF_TRACER",
    "preemptoff": "CONFIG_PREEMPT_TRACER",
    "preemptirqsoff": "CONFIG_IRQSOFF_TRACER and CONFIG_PREEMPT_TRACER",
    "wakeup": "CONFIG_SCHED_TRACER",
    "wakeup_rt": "CONFIG_SCHED_TRACER",
    "wakeup_dl": "CONFIG_SCHED_TRACER",
    "hwlat": "CONFIG_HWLAT_TRACER",
    "osnoise": "CONFIG_OSNOISE_TRACER",
    "timerlat": "CONFIG_TIMERLAT_TRACER",
    "blk": "CONFIG_BLK_DEV_IO_TRACE",
    "mmiotrace": "CONFIG_MMIOTRACE",
}
_FILES_NEED = {
    "snapshot": "CONFIG_TRACER_SNAPSHOT",
    "set_ftrace_filter": "CONFIG_DYNAMIC_FTRACE and CONFIG_FUNCTION_TRACER",
    "set_ftrace_notrace": "CONFIG_DYNAMIC_FTRACE and CONFIG_FUNCTION_TRACER",
    "set_ftrace_pid": "CONFIG_FUNCTION_TRACER",
    "set_graph_function": "CONFIG_FUNCTION_GRAPH_TRACER",
    "set_graph_notrace": "CONFIG_FUNCTION_GRAPH_TRACER",
    "max_graph_depth": "CONFIG_FUNCTION_GRAPH_TRACER",
    "tracing_max_latency": "CONFIG_IRQSOFF_TRACER or its like",
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


def need_tracer(name: str) -> NotInKernel:
    """The error for a tracer that the running kernel does not have."""
    return NotInKernel(f"the running kernel has no tracer {name}", why=f"{_NEEDS.get(name, 'its option')} is not set")


class TraceInstance:
    """One trace buffer.  Leaving the ``with`` removes a private one, and puts the top-level one's knobs back."""

    def __init__(self, journal: Journal, *, tracefs: str, name: str = "") -> None:
        """name: of a private instance, made now; "": the top-level buffer.  Raises SystemCallError."""
        self.journal = journal
        self.tracefs = tracefs
        self.name = name
        self.path = f"{tracefs}/instances/{name}" if name else tracefs
        if name:
            journal.add("rmdir", f"instances/{name}")
            # A tracer and events that run would keep it busy; what was added last is undone first.
            try:
                Path(self.path).mkdir()
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

    def has(self, file: str) -> bool:
        """True if the buffer has this knob."""
        return os.path.exists(f"{self.path}/{file}")

    def read(self, file: str) -> str:
        """The stripped text of a knob.  Raises SystemCallError, NotInKernel."""
        try:
            return read_text(f"{self.path}/{file}")
        except OSError as error:
            raise self._refused(f"read {file}", error, file) from None

    def write(self, file: str, text: str) -> None:
        """Set a knob that holds one value; the top-level one's old value is noted first.

        Raises SystemCallError, NotInKernel.
        """
        if not self.name:
            was = self.read(file)
            if was == text:
                return
            if file == "trace_clock":
                was = was[was.index("[") + 1 : was.index("]")]
            self.journal.add("write", file, text=was.partition(" ")[0])
        try:
            write_text(f"{self.path}/{file}", text)
        except OSError as error:
            if not self.name:
                self.journal.forget()
            raise self._refused(f"write {text!r} to {file}", error, file) from None

    def write_lines(self, file: str, lines: Iterable[str], *, add: bool = False) -> None:
        """Set a knob that holds a list (filters, pids), one write each; add: to what is there.

        Raises SystemCallError, NotInKernel.
        """
        path = f"{self.path}/{file}"
        if not self.name:
            was = [line for line in self.read(file).splitlines() if line and not line.startswith(_NOTHING_SET)]
            self.journal.add("write", file, lines=was, truncate=True)
        try:
            if not add:
                write_text(path, "", truncate=True)
            for line in lines:
                write_text(path, line + "\n")
        except OSError as error:
            raise self._refused(f"write to {file}", error, file) from None

    def option(self, name: str, on: bool) -> None:
        """Set one of trace_options.  Raises UnknownNameError, SystemCallError."""
        if not self.has(f"options/{name}"):
            known = [path.name for path in Path(f"{self.path}/options").iterdir()]
            raise UnknownNameError("trace option", name, known, next_step="its names: " + ", ".join(sorted(known)))
        self.write(f"options/{name}", "1" if on else "0")

    def set_tracer(self, name: str) -> None:
        """Choose the tracer.  Raises NotInKernel, SystemCallError."""
        available = self.read("available_tracers").split()
        if name not in available:
            if name in _NEEDS:
                raise need_tracer(name)
            raise UnknownNameError("tracer", name, available)
        self.write("current_tracer", name)

    def set_clock(self, name: str) -> None:
        """Choose the clock of the time stamps.  Raises UnknownNameError, SystemCallError."""
        clocks = self.read("trace_clock").replace("[", "").replace("]", "").split()
        if name not in clocks:
            raise UnknownNameError("trace clock", name, clocks, next_step="one of " + ", ".join(clocks))
        self.write("trace_clock", name)

    def clock(self) -> str:
        """The name of the clock in use."""
        text = self.read("trace_clock")
        return text[text.index("[") + 1 : text.index("]")]

    def cpus(self) -> list[int]:
        """Numbers of the CPUs that have a buffer."""
        return sorted(int(path.name[3:]) for path in Path(f"{self.path}/per_cpu").iterdir())

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
            need = _FILES_NEED.get(file.rpartition("/")[2], "")
            return NotInKernel(f"cannot {what}", errno=number, why=f"no such file: {need} is not set" if need else "")
        if number in (errno.EACCES, errno.EPERM):
            return PermissionDenied(f"cannot {what}", errno=number, where=self.path, next_step="run as root")
        return SystemCallError(f"cannot {what}", errno=number, where=self.path)


def new_name() -> str:
    """The name of a private instance of this process."""
    import time

    return f"linscope-{os.getpid()}-{time.monotonic_ns() % 10**9}"
