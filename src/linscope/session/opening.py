"""Open events on targets: the best the kernel and the user's rights allow, and what was given up for it.

Fall-backs are found by trying, as in tools/perf/util/evsel.c (evsel__open, evsel__fallback).
"""

from __future__ import annotations

import os
from errno import (
    EACCES,
    EBUSY,
    EINVAL,
    EMFILE,
    ENODEV,
    ENOENT,
    ENOSPC,
    ENXIO,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    ESRCH,
)

from linscope.abi import perf_event as pe
from linscope.errors import LinscopeError, NotInKernel, PermissionDenied, SystemCallError, UsageError
from linscope.sources.events import Event
from linscope.sys.perf_event_open import Attr, perf_event_open
from linscope.sys.tracefs import read_text

_ONE_SIDE = pe.ATTR_EXCLUDE_KERNEL | pe.ATTR_EXCLUDE_USER  # :u or :k, which leave nothing to give up
_ABSENT = (ENOENT, EOPNOTSUPP, ENODEV, ENXIO)
# newest first: what an older kernel answers with EINVAL
_OPTIONAL = (
    ("read_format", pe.PERF_FORMAT_LOST),  # 6.0
    ("flags", pe.ATTR_BPF_EVENT),  # 5.1
    ("flags", pe.ATTR_KSYMBOL),  # 5.1
    ("flags", pe.ATTR_COMM_EXEC),  # 3.16
    ("flags", pe.ATTR_MMAP2),  # 3.16
    ("flags", pe.ATTR_EXCLUDE_GUEST | pe.ATTR_EXCLUDE_HOST),  # 3.2
)
MORE_RIGHTS = "sudo sysctl kernel.perf_event_paranoid=1, or run with CAP_PERFMON (root has it)"


def paranoid_level() -> int:
    """kernel.perf_event_paranoid; 2 when it cannot be read."""
    try:
        return int(read_text("/proc/sys/kernel/perf_event_paranoid"))
    except (OSError, ValueError):
        return 2


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as its hard limit says."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Opener:
    """Opens events one after another and remembers, for all of them, what the kernel would not do.

    ``notes``: sentences for the user, each said once.
    """

    def __init__(self, clock_fallback: bool = True) -> None:
        """clock_fallback: sample cpu-clock where there is no cycles counter; a count must not be replaced."""
        self.notes: list[str] = []
        self._clock_fallback = clock_fallback
        self._dropped: list[tuple[str, int]] = []
        self._user_only = False

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def prepare(self, event: Event, attr: Attr) -> None:
        """Apply what earlier events had to give up."""
        for field, bits in self._dropped:
            setattr(attr, field, getattr(attr, field) & ~bits)
        if self._user_only and not attr.flags & _ONE_SIDE:
            self._give_up_kernel(event, attr)

    def open(
        self,
        event: Event,
        attr: Attr,
        pid: int,
        cpu: int,
        group_fd: int = -1,
        flags: int = 0,
        fallback: bool = True,
    ) -> int:
        """A descriptor of event as attr says, attr changed in place by the fall-backs that were needed.

        fallback: False once another descriptor of the event is open, since all must be alike.
        Raises PermissionDenied, NotInKernel, SystemCallError (ESRCH: the task has ended), UsageError.
        """
        untried = [option for option in _OPTIONAL if getattr(attr, option[0]) & option[1]]
        while True:
            try:
                return perf_event_open(attr, pid, cpu, group_fd, flags)
            except OSError as error:
                number = error.errno or 0
            if number == EMFILE:
                raise_descriptor_limit()
                try:
                    return perf_event_open(attr, pid, cpu, group_fd, flags)
                except OSError:
                    raise SystemCallError(
                        "too many open descriptors", errno=EMFILE, next_step="ulimit -n 65536"
                    ) from None
            if fallback and number in (*_ABSENT, EINVAL) and attr.precise_ip and event.precise_max:
                attr.precise_ip -= 1
            elif fallback and number in (EACCES, EPERM) and not attr.flags & _ONE_SIDE:
                self._give_up_kernel(event, attr)
            elif fallback and number in _ABSENT and self._clock_fallback and self._is_cycles(attr):
                self._fall_back_to_clock(event, attr)
            elif fallback and number == EINVAL and untried:
                field, bits = untried.pop(0)
                self._dropped.append((field, bits))
                setattr(attr, field, getattr(attr, field) & ~bits)
            else:
                raise open_error(event, attr, number, pid)

    @staticmethod
    def _is_cycles(attr: Attr) -> bool:
        return attr.type == pe.PERF_TYPE_HARDWARE and attr.config == pe.PERF_COUNT_HW_CPU_CYCLES

    def _fall_back_to_clock(self, event: Event, attr: Attr) -> None:
        self._note("no hardware cycles counter here (a virtual machine?): sampling cpu-clock instead")
        attr.type, attr.config = pe.PERF_TYPE_SOFTWARE, pe.PERF_COUNT_SW_CPU_CLOCK
        attr.precise_ip = 0
        event.attr.type, event.attr.config = attr.type, attr.config
        modifiers = "".join(c for c in event.name.partition(":")[2] if c in "ukhGHID")
        if attr.flags & pe.ATTR_EXCLUDE_KERNEL and "u" not in modifiers:
            modifiers += "u"
        event.name = "cpu-clock" + (f":{modifiers}" if modifiers else "")

    def _give_up_kernel(self, event: Event, attr: Attr) -> None:
        self._user_only = True
        self._note(
            f"kernel.perf_event_paranoid={paranoid_level()} leaves user space only; "
            f"for the kernel too: {MORE_RIGHTS}"
        )
        attr.flags |= pe.ATTR_EXCLUDE_KERNEL | pe.ATTR_EXCLUDE_HV
        if "/" not in event.name and event.tracepoint is None:
            event.name += "u" if ":" in event.name else ":u"


def open_error(event: Event, attr: Attr, number: int, pid: int) -> LinscopeError:
    """The error that says why an event could not be opened, and the way to it."""
    what = f"cannot open the event {event.name}"
    if number in (EACCES, EPERM):
        if event.tracepoint is not None:
            return PermissionDenied(
                what,
                errno=number,
                why="tracepoints show what the kernel does",
                next_step="run as root or with CAP_PERFMON, or: sudo sysctl kernel.perf_event_paranoid=-1",
            )
        whose = "every process" if pid == -1 else f"process {pid}" if pid else "this process"
        level = paranoid_level()
        return PermissionDenied(
            what,
            errno=number,
            why=f"kernel.perf_event_paranoid={level} or ownership forbids {whose}",
            next_step="run as root or with CAP_PERFMON, or: sudo sysctl kernel.perf_event_paranoid="
            + ("0" if pid == -1 else "1"),
        )
    if number == ESRCH:
        return SystemCallError(f"no process or thread {pid}", errno=number, next_step="ps -eLf lists them")
    if number in _ABSENT and attr.sample_type & pe.PERF_SAMPLE_BRANCH_STACK:
        return NotInKernel(
            what,
            errno=number,
            why="branch stacks (-b, -j, lbr) come from the CPU, and this one or its virtual machine has none",
            next_step="--call-graph fp or dwarf",
        )
    if number in _ABSENT:
        return NotInKernel(
            what,
            errno=number,
            why="this machine's CPU, or the virtual machine, does not offer it",
            next_step="-e cpu-clock samples everywhere; linscope record --list-events lists names",
        )
    if number == EBUSY:
        return SystemCallError(what, errno=number, why="another user has the counter", next_step="try later")
    if number == ENOSPC and attr.type == pe.PERF_TYPE_BREAKPOINT:
        return SystemCallError(what, errno=number, why="all breakpoint registers are in use")
    if number == EOVERFLOW:
        return UsageError(what, why="more frames than kernel.perf_event_max_stack", next_step="a lower --max-stack")
    if number == EINVAL:
        return UsageError(what, why="the kernel refused this combination (errno EINVAL)")
    return SystemCallError(what, errno=number)


def online_cpus() -> list[int]:
    """Numbers of the CPUs that are online."""
    from linscope.sources.pmus import parse_cpu_list

    try:
        return parse_cpu_list(read_text("/sys/devices/system/cpu/online"))
    except OSError:
        return list(range(os.cpu_count() or 1))


def threads_of(pid: int) -> list[int]:
    """The threads of a process.  Raises SystemCallError (ESRCH) when there is none."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError):
        raise SystemCallError(f"no process {pid}", errno=ESRCH, next_step="ps -e lists them") from None


def open_cgroup(path: str) -> int:
    """A descriptor of a cgroup's folder (v2, or the perf_event hierarchy of v1); raises UsageError."""
    places: list[str] = []
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _device, place, kind, flags = line.split(" ")[:4]
            if kind == "cgroup" and "perf_event" in flags.split(","):
                places.insert(0, place)
            elif kind == "cgroup2":
                places.append(place)
    for place in places:
        try:
            return os.open(f"{place}/{path.strip('/')}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
    raise UsageError(f"no cgroup {path!r}", why=f"looked below {', '.join(places) or 'no mounted hierarchy'}")
