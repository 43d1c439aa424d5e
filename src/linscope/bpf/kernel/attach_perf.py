"""Attach to perf events: tracepoints, kprobes, uprobes, USDT probes, counters and clocks.

A link is tried first (since v5.15, b89fbfbb854c: it has a cookie, and detaches at once), then the ioctl.
Source: kernel/events/core.c, perf_kprobe, perf_uprobe, PERF_UPROBE_REF_CTR_OFFSET_SHIFT;
Documentation/ABI/testing/sysfs-bus-event_source-devices-format; Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

import ctypes
import os
from errno import EBADF, EEXIST, EINVAL, ENOENT
from fcntl import ioctl
from itertools import count

from linscope.abi import bpf as b
from linscope.abi import perf_event as pe
from linscope.bpf.kernel.links import Link
from linscope.errors import NotInKernel, SystemCallError, UsageError
from linscope.sys import bpf as sys_bpf
from linscope.sys import perf_event_open as sys_perf
from linscope.sys.bpf_errors import explain
from linscope.sys.tracefs import find_tracefs, read_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from linscope.bpf.kernel.programs import KernelProgram

_DEVICES = "/sys/bus/event_source/devices"
_SEMAPHORE_SHIFT = 32  # of config: where the PMU wants the place of a USDT probe's counter
_numbers = count(1)  # of probes that tracefs makes for this process


def attach_perf_event(
    program: KernelProgram, fd: int, *, cookie: int = 0, what: str = "perf event",
    undo: Callable[[], None] | None = None, counts: bool = True,
) -> Link:  # fmt: skip
    """Run a program at an open perf event, whose descriptor the link then owns, also when this raises.

    cookie: for bpf_get_attach_cookie(); counts: False leaves the event as it is: a tracepoint runs its programs also
    when no event of it is enabled.  Raises SystemCallError: the program is not for such events.
    """
    try:
        try:
            link = sys_bpf.link_create(program.fd, fd, b.BPF_PERF_EVENT, more=sys_bpf.perf_event_options(cookie))
            if counts:
                sys_perf.enable(fd)
            return Link(link, "perf link", more=[fd], undo=undo)
        except OSError as error:
            if error.errno not in (EINVAL, EBADF) or cookie:
                raise
        ioctl(fd, pe.PERF_EVENT_IOC_SET_BPF, program.fd)
        if counts:
            sys_perf.enable(fd)
        return Link(-1, "perf ioctl", more=[fd], undo=undo)
    except OSError as error:
        os.close(fd)
        if undo is not None:
            undo()
        why = ""
        if error.errno == EINVAL:
            why = "it is no program for such events, or reads more of the context than there is"
        elif error.errno == EEXIST:
            why = "the event has a program, or as many as the kernel takes"
        raise explain(error, f"cannot attach {program.name!r} to the {what}", why=why) from error


def _open(attr: sys_perf.Attr, pid: int, cpu: int) -> int:
    attr.sample_period = attr.sample_period or 1
    return sys_perf.perf_event_open(attr, pid, cpu)


def attach_tracepoint(program: KernelProgram, category: str, name: str, *, cookie: int = 0) -> Link:
    """Run a tracepoint program ("sched", "sched_switch").  Raises SystemCallError: no such tracepoint, no tracefs."""
    where = f"{find_tracefs()}/events/{category}/{name}/id"
    try:
        number = int(read_text(where))
    except OSError as error:
        why = ""
        if error.errno == ENOENT:
            from linscope.bpf.kernel.near_names import near_tracepoints

            why = f"there is no tracepoint of that name; {near_tracepoints(name, category)}".rstrip("; ")
        raise explain(error, f"cannot attach to the tracepoint {category}:{name}", why=why) from error
    return _attach_by_id(program, number, -1, f"tracepoint {category}:{name}", cookie, counts=False)


def _attach_by_id(
    program: KernelProgram, number: int, pid: int, what: str, cookie: int, undo: Callable[[], None] | None = None, *,
    counts: bool = True,
) -> Link:  # fmt: skip
    try:
        attr = sys_perf.Attr(type=pe.PERF_TYPE_TRACEPOINT, config=number, flags=0 if counts else pe.ATTR_DISABLED)
        fd = _open(attr, pid, -1 if pid > 0 else 0)
    except OSError as error:
        if undo is not None:
            undo()
        raise explain(error, f"cannot open the {what}", config="CONFIG_PERF_EVENTS") from error
    return attach_perf_event(program, fd, cookie=cookie, what=what, undo=undo, counts=counts)


def pmu_type(name: str) -> int | None:
    """The number of a PMU ("kprobe", "uprobe"); None when the kernel has it not."""
    try:
        return int(read_text(f"{_DEVICES}/{name}/type"))
    except OSError:
        return None


def _return_bit(name: str) -> int:
    """The bit of config that asks for the function's return ("config:0")."""
    text = read_text(f"{_DEVICES}/{name}/format/retprobe")
    return 1 << int(text.partition(":")[2])


def _address(text: bytes) -> int:
    """Where a string lies that the caller keeps."""
    return ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0


def attach_kprobe(
    program: KernelProgram, symbol: str, *, offset: int = 0, retprobe: bool = False, cookie: int = 0
) -> Link:
    """Run a kprobe program at a kernel function, or at its return.

    By the perf PMU, else by tracefs.  Raises NotInKernel without kprobes, SystemCallError: no such function.
    """
    what = f"{'kretprobe' if retprobe else 'kprobe'} {symbol}{f'+{offset:#x}' if offset else ''}"
    kind = pmu_type("kprobe")
    if kind is None:
        definition = f"{'r' if retprobe else 'p'}:%s {symbol}{f'+{offset}' if offset else ''}"
        return _attach_by_tracefs(program, "kprobe_events", definition, -1, what, cookie)
    name = symbol.encode() + b"\0"
    attr = sys_perf.Attr(type=kind, config1=_address(name), config2=offset)
    if retprobe:
        attr.config |= _return_bit("kprobe")
    try:
        fd = _open(attr, -1, 0)
    except OSError as error:
        why = "no probe can be put there" if error.errno == EINVAL else ""
        if error.errno == ENOENT:
            from linscope.bpf.kernel.near_names import near_functions

            why = f"there is no such function, or it takes no probe; {near_functions(symbol)}".rstrip("; ")
        raise explain(error, f"cannot attach to the {what}", why=why) from error
    return attach_perf_event(program, fd, cookie=cookie, what=what)


def attach_uprobe(
    program: KernelProgram, path: str, offset: int, *, retprobe: bool = False, pid: int = -1, semaphore: int = 0,
    cookie: int = 0,
) -> Link:  # fmt: skip
    """Run a kprobe program at a place of a file, whoever executes it, or one process.

    offset: bytes in the file (``user_functions.find_function``); semaphore: of a USDT probe's counter, in the file;
    pid: -1 for all.  By the perf PMU, else by tracefs.  Raises NotInKernel, SystemCallError.
    """
    what = f"{'uretprobe' if retprobe else 'uprobe'} {path}+{offset:#x}"
    kind = pmu_type("uprobe")
    if kind is None:
        counter = f"({semaphore:#x})" if semaphore else ""
        definition = f"{'r' if retprobe else 'p'}:%s {path}:{offset:#x}{counter}"
        return _attach_by_tracefs(program, "uprobe_events", definition, pid, what, cookie)
    name = path.encode() + b"\0"
    config = semaphore << _SEMAPHORE_SHIFT | (_return_bit("uprobe") if retprobe else 0)
    attr = sys_perf.Attr(type=kind, config=config, config1=_address(name), config2=offset)
    try:
        fd = _open(attr, pid, -1 if pid > 0 else 0)
    except OSError as error:
        no_place = "the file has no instruction there, or a probe there has another counter"
        known = {ENOENT: "there is no such file", EINVAL: no_place}
        raise explain(error, f"cannot attach to the {what}", why=known.get(error.errno or 0, "")) from error
    return attach_perf_event(program, fd, cookie=cookie, what=what)


def _attach_by_tracefs(
    program: KernelProgram, file: str, definition: str, pid: int, what: str, cookie: int
) -> Link:
    """Define a probe in tracefs and run the program at its event; the definition goes when the link is closed."""
    place = find_tracefs()
    name = f"linscope_{os.getpid()}/p{next(_numbers)}"
    if not os.path.exists(f"{place}/{file}"):
        config = "CONFIG_KPROBES and CONFIG_KPROBE_EVENTS" if file == "kprobe_events" else "CONFIG_UPROBE_EVENTS"
        raise NotInKernel(f"cannot attach to the {what}", errno=ENOENT, why=f"{config} are off or locked down")

    def write(text: str) -> None:
        fd = os.open(f"{place}/{file}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def undo() -> None:
        write(f"-:{name}\n")

    try:
        write(definition % name + "\n")
    except OSError as error:
        raise explain(error, f"cannot attach to the {what}", where=file) from error
    return _attach_by_id(program, int(read_text(f"{place}/events/{name}/id")), pid, what, cookie, undo)


def attach_counter(
    program: KernelProgram, type: int, config: int, *, period: int = 0, frequency_hz: int = 0, pid: int = -1,
    cpus: Sequence[int] | None = None, cookie: int = 0,
) -> list[Link]:  # fmt: skip
    """Run a perf_event program each time that a counter overflows: one link a CPU, or one for a process.

    type, config: PERF_TYPE_* and what it counts (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK); either period or
    frequency_hz; cpus: None for all that are online.  Raises UsageError, NotInKernel (no such counter here),
    SystemCallError.
    """
    if bool(period) == bool(frequency_hz):
        raise UsageError("either a period or a frequency")
    places = [-1] if pid > 0 else list(cpus if cpus is not None else online_cpus())
    links: list[Link] = []
    try:
        for cpu in places:
            attr = sys_perf.Attr(type=type, config=config, sample_period=period or frequency_hz)
            if frequency_hz:
                attr.flags |= pe.ATTR_FREQ
            try:
                fd = sys_perf.perf_event_open(attr, pid, cpu)
            except OSError as error:
                hardware = type in (pe.PERF_TYPE_HARDWARE, pe.PERF_TYPE_HW_CACHE, pe.PERF_TYPE_RAW)
                lacks = "the machine has no such counter: take the software event cpu-clock" if hardware else ""
                what = f"cannot open counter {type}:{config} on CPU {cpu}"
                if hardware and error.errno in (ENOENT, EINVAL, 95):
                    raise NotInKernel(what, errno=error.errno or 0, why=lacks) from error
                raise explain(error, what) from error
            links.append(attach_perf_event(program, fd, cookie=cookie, what=f"counter {type}:{config}"))
    except SystemCallError:
        for link in links:
            link.close()
        raise
    return links


def online_cpus() -> list[int]:
    """The CPUs that run."""
    found: list[int] = []
    for part in read_text("/sys/devices/system/cpu/online").split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
