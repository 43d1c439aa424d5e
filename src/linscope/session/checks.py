"""What this machine lets a tracer do, each found out by trying; and what to change where it does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

from linscope.abi import perf_event as pe
from linscope.errors import LinscopeError, SystemCallError
from linscope.session.tracing.instance import FILES_NEED, TRACERS
from linscope.sources.dynamic_debug import find_control
from linscope.sys import perf_event_open as sys_perf
from linscope.sys.tracefs import find_tracefs, read_text


class Check(NamedTuple):
    """One thing that was tried."""

    area: str  # "profile", "trace", "debug", "lab"
    name: str
    works: bool
    finding: str  # what was found, in a few words
    remedy: str  # what would change it; "" where nothing can or needs to


def iter_checks() -> Iterator[Check]:
    """All checks, in the order in which people care."""
    yield from _perf_checks()
    yield from _tracefs_checks()
    yield _readable("kernel symbols", "/proc/kallsyms", _has_addresses, "sysctl kernel.kptr_restrict=0, or root")
    yield _readable("kernel types (BTF)", "/sys/kernel/btf/vmlinux", bool, "a kernel with CONFIG_DEBUG_INFO_BTF")
    yield _dynamic_debug()
    yield from _lab_checks()


def _perf_checks() -> Iterator[Check]:
    paranoid = read_text("/proc/sys/kernel/perf_event_paranoid")
    finding = f"kernel.perf_event_paranoid is {paranoid}"
    for name, kind, config, remedy in (
        ("sample CPU time", pe.PERF_TYPE_SOFTWARE, pe.PERF_COUNT_SW_CPU_CLOCK, "sysctl kernel.perf_event_paranoid=1"),
        ("hardware counters", pe.PERF_TYPE_HARDWARE, pe.PERF_COUNT_HW_CPU_CYCLES, "a machine (or VM) with a PMU"),
    ):
        attr = sys_perf.Attr()
        attr.type, attr.config, attr.flags = kind, config, pe.ATTR_DISABLED | pe.ATTR_EXCLUDE_HV
        try:
            os.close(sys_perf.perf_event_open(attr, 0, -1, -1))
        except (OSError, LinscopeError) as error:
            yield Check("profile", name, False, str(error).partition("\n")[0], remedy)
        else:
            yield Check("profile", name, True, finding, "")


def _tracefs_checks() -> Iterator[Check]:
    try:
        tracefs = find_tracefs()
    except LinscopeError as error:
        yield Check("trace", "tracefs", False, error.what, error.next_step)
        return
    private = tracefs.startswith("/proc/")
    yield Check("trace", "tracefs", True, "not mounted; a private mount serves" if private else tracefs, "")
    if os.access(f"{tracefs}/instances", os.W_OK):
        yield Check("trace", "trace instances", True, "writable", "")
    else:
        yield Check("trace", "trace instances", False, "for root only", "run as root")
    for name, file in (
        ("trace events", "events/sched/sched_switch"),
        ("system call events", "events/raw_syscalls"),
        ("kprobes", "kprobe_events"),
        ("uprobes", "uprobe_events"),
        ("hist triggers", "events/sched/sched_switch/hist"),
        ("synthetic events", "synthetic_events"),
        ("snapshots", "snapshot"),
    ):
        there = os.path.exists(f"{tracefs}/{file}")
        remedy = "" if there else f"a kernel with {FILES_NEED[file.rpartition('/')[2]]}"
        yield Check("trace", name, there, "yes" if there else "no", remedy)
    available = read_text(f"{tracefs}/available_tracers").split()
    for name, tracer in TRACERS.items():
        there = name in available
        finding = tracer.summary if there else "no"
        yield Check("trace", f"tracer {name}", there, finding, "" if there else f"a kernel with {tracer.option}")


def _has_addresses(text: bytes) -> bool:
    return not text.startswith(b"0" * 16)


def _readable(name: str, path: str, good: Callable[[bytes], bool], remedy: str) -> Check:
    try:
        with open(path, "rb") as file:
            works = good(file.read(4096))
    except OSError as error:
        return Check("debug", name, False, f"{path}: {error.strerror}", remedy)
    return Check("debug", name, works, path if works else f"{path} hides its content", "" if works else remedy)


def _dynamic_debug() -> Check:
    try:
        return Check("debug", "dynamic debug", True, find_control(), "")
    except SystemCallError:
        remedy = "a kernel with CONFIG_DYNAMIC_DEBUG, or root"
        return Check("debug", "dynamic debug", False, "no control file", remedy)


def _lab_checks() -> Iterator[Check]:
    qemu = shutil.which("qemu-system-x86_64") or ""
    yield Check("lab", "QEMU", bool(qemu), qemu or "not installed", "" if qemu else "apt-get install qemu-system-x86")
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    yield Check("lab", "KVM", kvm, "tried when a guest starts" if kvm else "no; guests are translated", "")
