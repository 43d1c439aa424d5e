"""Programs at their probes: which call attaches what.

Every function gives links; the caller closes them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.bpf.kernel.links import Link
    from linscope.bpf.kernel.programs import KernelProgram
    from linscope.lang import ir
    from linscope.lang.probe import Probe

OURS = ("begin", "end", "self", "test", "bench")  # what linscope runs itself
_SOFTWARE, _HARDWARE, _BREAKPOINT = 1, 0, 5  # PERF_TYPE_*
_CPU_CLOCK = 0
# include/uapi/linux/perf_event.h: PERF_COUNT_SW_* and PERF_COUNT_HW_*, with the period that bpftrace takes
_SOFTWARE_EVENTS = {
    "cpu-clock": (0, 1000000), "cpu": (0, 1000000), "task-clock": (1, 1000000), "page-faults": (2, 100),
    "faults": (2, 100), "context-switches": (3, 1000), "cs": (3, 1000), "cpu-migrations": (4, 1),
    "minor-faults": (5, 100), "major-faults": (6, 1), "alignment-faults": (7, 1), "emulation-faults": (8, 1),
    "dummy": (9, 1), "bpf-output": (10, 1),
}  # fmt: skip
_HARDWARE_EVENTS = {
    "cpu-cycles": (0, 1000000), "cycles": (0, 1000000), "instructions": (1, 1000000),
    "cache-references": (2, 1000000), "cache-misses": (3, 1000000), "branch-instructions": (4, 100000),
    "branches": (4, 100000), "branch-misses": (5, 100000), "bus-cycles": (6, 100000), "frontend-stalls": (7, 1000000),
    "backend-stalls": (8, 1000000), "ref-cycles": (9, 1000000),
}  # fmt: skip


def attach(program: KernelProgram, source: ir.Program, pid: int = 0) -> list[Link]:
    """Run a program at all of its probes.  pid: only in this process, where the kind allows it.

    Raises SystemCallError and its kin, UnknownNameError.
    """
    probe = source.probes[0]
    if source.dispatch is not None:
        from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint

        return [attach_raw_tracepoint(program, "sys_enter" if "sys_enter" in probe.target else "sys_exit")]
    return _ATTACHERS[probe.kind](program, source.probes, pid)


def _tracepoint(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_tracepoint

    return [attach_tracepoint(program, probe.module, probe.target) for probe in probes]


def _raw(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint

    return [attach_raw_tracepoint(program, probe.target) for probe in probes]


def _tracing(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_raw import attach_tracing

    return [attach_tracing(program)]


def _kprobe(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_kprobe

    returns = probes[0].kind == "kretprobe"
    links: list[Link] = []
    try:
        for probe in probes:
            symbol = probe.target or f"{probe.address:#x}"
            links.append(attach_kprobe(program, symbol, offset=probe.offset, retprobe=returns))
    except BaseException:
        _close(links)
        raise
    return links


def _close(links: list[Link]) -> None:
    from linscope.bpf.kernel.detach import close_all

    close_all(links)


def _uprobe(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_uprobe

    returns = probes[0].kind == "uretprobe"
    links: list[Link] = []
    try:
        for probe in probes:
            links.append(
                attach_uprobe(
                    program, probe.path, probe.address, retprobe=returns, semaphore=probe.semaphore,
                    pid=probe.pid or pid or -1,
                )
            )  # fmt: skip
    except BaseException:
        _close(links)
        raise
    return links


def _clock(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_counter, online_cpus

    links: list[Link] = []
    for probe in probes:
        cpus = online_cpus()[:1] if probe.kind == "interval" else None
        links += attach_counter(program, _SOFTWARE, _CPU_CLOCK, period=probe.count, cpus=cpus)
    return links


def _counter(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_counter

    links: list[Link] = []
    for probe in probes:
        hardware = probe.kind == "hardware"
        config, period = (_HARDWARE_EVENTS if hardware else _SOFTWARE_EVENTS)[probe.target]
        kind = _HARDWARE if hardware else _SOFTWARE
        links += attach_counter(program, kind, config, period=probe.count or period, pid=pid or -1)
    return links


def _watchpoint(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_perf_event, online_cpus
    from linscope.sys import perf_event_open as sys_perf
    from linscope.sys.bpf_errors import explain

    links: list[Link] = []
    for probe in probes:
        modes = sum({"r": 1, "w": 2, "x": 4}[letter] for letter in probe.target)
        for cpu in [-1] if pid else online_cpus():
            attr = sys_perf.Attr(type=_BREAKPOINT, sample_period=1)
            attr.bp_type, attr.config1, attr.config2 = modes, probe.address, 8 if modes == 4 else probe.count
            try:
                fd = sys_perf.perf_event_open(attr, pid or -1, cpu)
            except OSError as error:
                raise explain(error, f"cannot watch {probe.name}") from error
            links.append(attach_perf_event(program, fd, what=probe.name))
    return links


def _iterator(program: KernelProgram, probes: Sequence[Probe], pid: int) -> list[Link]:
    from linscope.bpf.kernel.iterators import attach_iterator

    return [attach_iterator(program, pid=pid)]


def run_iterators(links: Sequence[Link]) -> None:
    """Run the programs of iterators once, over all that they visit."""
    from linscope.bpf.kernel.iterators import read_iterator

    for link in links:
        if link.how.startswith("iter"):
            read_iterator(link)


_ATTACHERS = {
    "tracepoint": _tracepoint, "rawtracepoint": _raw, "fentry": _tracing, "fexit": _tracing, "kprobe": _kprobe,
    "kretprobe": _kprobe, "uprobe": _uprobe, "uretprobe": _uprobe, "usdt": _uprobe, "profile": _clock,
    "interval": _clock, "software": _counter, "hardware": _counter, "watchpoint": _watchpoint, "iter": _iterator,
}  # fmt: skip
