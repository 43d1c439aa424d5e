"""Programs at their probes: which call attaches what.

Every function gives links; the caller closes them.  Many functions of the kernel, or places in files, get one link
together where the kernel has such links.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.errors import SystemCallError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from linscope.bpf.kernel.links import Link
    from linscope.bpf.kernel.maps import KernelMap
    from linscope.bpf.kernel.programs import KernelProgram
    from linscope.bpf.program import Program
    from linscope.lang import ir
    from linscope.lang.probe import Probe

    Refused = tuple[Sequence[Probe], SystemCallError]

OURS = ("begin", "end", "self", "test", "bench")  # what linscope runs itself
FUNCTIONS = ("fentry", "fexit")  # what the kernel calls from a function's own code
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


_TOGETHER = 3  # probes of one program from which on one link is made for all
_MULTI = (b.BPF_TRACE_KPROBE_MULTI, b.BPF_TRACE_UPROBE_MULTI)


# what is hit all the time, by the beginning of its name; cost.py says how often
_HOT_EVENTS = (
    "sched_switch", "sched_wak", "sched_stat_runtime", "sys_enter", "sys_exit", "kmalloc", "kfree", "kmem_cache_",
    "mm_page_", "rss_stat", "irq_", "softirq_", "local_timer_", "hrtimer_", "timer_", "page_fault_", "lock_",
    "contention_", "rcu_", "net_dev_", "netif_", "napi_poll", "consume_skb", "tlb_flush", "cpu_idle", "preempt_",
    "write_msr", "read_msr",
)  # fmt: skip
_SCHEDULER = (
    "__schedule", "schedule", "finish_task_switch", "try_to_wake_up", "ttwu_", "pick_next_task", "update_curr",
)  # fmt: skip
_MEMORY_AND_LOCKS = (
    "_raw_spin_", "mutex_lock", "mutex_unlock", "__fget", "fget", "fput", "kmalloc", "__kmalloc", "kfree",
    "kmem_cache_", "__slab_", "slab_", "__rcu_read_", "rcu_", "security_", "do_syscall_64", "syscall_", "x64_sys_call",
    "vfs_read", "vfs_write", "ksys_read", "ksys_write", "copy_from_user", "_copy_to_user", "_copy_from_user",
    "copy_to_user", "__check_object_size", "ktime_get", "__mod_",
)  # fmt: skip
HOT_FUNCTIONS = (
    (_SCHEDULER, "ctxt"),
    (("handle_mm_fault", "do_user_addr_fault", "exc_page_fault", "asm_exc_page_fault"), "pgfault"),
    (("__alloc_pages", "__alloc_frozen_pages", "get_page_from_freelist", "free_unref_page"), "pgalloc"),
    (("__netif_receive_skb", "netif_receive_skb", "dev_queue_xmit", "__dev_queue_xmit", "napi_poll"), "packets"),
    (_MEMORY_AND_LOCKS, "kernel time"),
)
_HOT_CALLS = (
    "malloc", "free", "calloc", "realloc", "memcpy", "memset", "memcmp", "memmove", "strlen", "strcmp", "strcpy",
    "pthread_mutex_lock", "pthread_mutex_unlock", "clock_gettime", "_Znwm", "_ZdlPv", "_ZdlPvm", "_Znam",
    "_PyEval_EvalFrameDefault", "PyObject_Malloc", "PyObject_Free", "_Py_Dealloc",
)  # fmt: skip
_HOT_PERIOD_NS = 250_000  # of profile
MANY = 200  # functions of one probe


def is_hot(probe: Probe) -> bool:
    """Whether a probe may be hit so often that it costs."""
    kind, name = probe.kind, probe.target
    if kind in ("tracepoint", "rawtracepoint"):
        return name.startswith(_HOT_EVENTS)
    if kind in ("kprobe", "kretprobe", "fentry", "fexit"):
        return any(name.startswith(begin) for begin, _ in HOT_FUNCTIONS)
    return name in _HOT_CALLS if kind in ("uprobe", "uretprobe") else kind == "profile" and probe.count < _HOT_PERIOD_NS


def may_cost(unit: ir.Unit) -> bool:
    """Whether a script has such a probe, or puts one on many functions."""
    for one in unit.programs:
        probes = one.probes
        if one.dispatch is not None or len(probes) > MANY or any(map(is_hot, probes)):
            return True
    return False


class NoTrampoline(Exception):
    """Kernel functions take no program into their code: the script is to be compiled again, with kprobes.

    refused: functions ("*": every one), each with the reason; error: of the first of them.
    """

    def __init__(self, refused: dict[str, str], error: SystemCallError) -> None:
        self.refused = refused
        self.error = error
        super().__init__(str(error))


class Attached:
    """A link and its probe: the first, when several have one link."""

    __slots__ = ("link", "probe")

    def __init__(self, probe: Probe, link: Link) -> None:
        self.probe = probe
        self.link = link


def multi_attach_type(source: ir.Program) -> int:
    """BPF_TRACE_*_MULTI when a program's probes can have one link; else 0."""
    probes = source.probes
    if len(probes) < _TOGETHER:
        return 0
    kind = probes[0].kind
    if kind in ("kprobe", "kretprobe") and not any(probe.offset or not probe.target for probe in probes):
        return b.BPF_TRACE_KPROBE_MULTI
    return b.BPF_TRACE_UPROBE_MULTI if kind in ("uprobe", "uretprobe") else 0


def load_program(unit: ir.Unit, source: ir.Program, program: Program, maps: Sequence[KernelMap]) -> KernelProgram:
    """Load a program for its probes.

    Raises SourceError when the verifier refuses it, SystemCallError (VerifierError when it refuses the function).
    """
    from linscope.bpf.kernel.errors import VerifierError
    from linscope.bpf.kernel.programs import load

    lines, program.lines = program.lines, []
    program.license = str(unit.settings.get("license", "GPL"))
    multi = multi_attach_type(source)
    try:
        if multi and _has_links_for_many(multi):
            program.attach_type = multi
        return load(program, maps)
    except VerifierError as refused:
        from linscope.session.script.refusal import explain_refusal
        from linscope.session.script.trampolines import is_about_the_function

        if is_about_the_function(source, refused):
            raise

        program.lines = lines
        raise explain_refusal(unit, program, refused) from refused


def _has_links_for_many(kind: int) -> bool:
    """Whether the kernel makes links of this kind: asked with a link to nothing, which is refused for another reason.

    Source: kernel/trace/bpf_trace.c: without CONFIG_FPROBE or CONFIG_UPROBES the call is EOPNOTSUPP; where the kind is
    unknown, loading a program for it is EINVAL (bpf_prog_load_check_attach) or the link is.
    """
    from errno import ENOTSUP

    from linscope.bpf.instructions import Instruction
    from linscope.bpf.kernel.attach_multi import attach_kprobe_multi, attach_uprobe_multi
    from linscope.bpf.kernel.programs import load
    from linscope.bpf.program import Program

    nothing = [Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_K, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)]
    try:
        with load(Program(nothing, type=b.BPF_PROG_TYPE_KPROBE, name="none", attach_type=kind), []) as probe:
            if kind == b.BPF_TRACE_KPROBE_MULTI:
                attach_kprobe_multi(probe, ["there is no such function"]).close()
            else:
                attach_uprobe_multi(probe, "/nonexistent", [0]).close()
    except SystemCallError as error:
        return error.errno in (2, 3) and error.errno != ENOTSUP  # ENOENT, ESRCH: it has looked for them
    return True


def attach(program: KernelProgram, source: ir.Program, pid: int = 0) -> Iterator[Attached | Refused]:
    """Run a program at all of its probes; those that the kernel refuses come with its reason.

    pid: only in this process, where the kind allows it.
    """
    probes = source.probes
    if source.dispatch is not None:
        from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint

        side = "sys_exit" if probes[0].target.startswith("sys_exit") else "sys_enter"
        yield from _tried(probes, lambda: [attach_raw_tracepoint(program, side)])
    elif program.attach_type in _MULTI:
        yield from _attach_together(program, probes, pid)
    else:
        attacher = _ATTACHERS[probes[0].kind]
        for probe in probes:
            yield from _tried([probe], lambda one=probe: attacher(program, one, pid))  # type: ignore[misc]


def _tried(probes: Sequence[Probe], call: Callable[[], list[Link]]) -> Iterator[Attached | Refused]:
    try:
        links = call()
    except SystemCallError as refused:
        yield probes, refused
        return
    for link in links:
        yield Attached(probes[0], link)


def _attach_together(program: KernelProgram, probes: Sequence[Probe], pid: int) -> Iterator[Attached | Refused]:
    from linscope.bpf.kernel.attach_multi import attach_kprobe_multi, attach_uprobe_multi

    returns = probes[0].kind in ("kretprobe", "uretprobe")
    if program.attach_type == b.BPF_TRACE_KPROBE_MULTI:
        names = [probe.target for probe in probes]
        yield from _tried(probes, lambda: [attach_kprobe_multi(program, names, retprobe=returns)])
        return
    files: dict[tuple[str, int], list[Probe]] = {}
    for probe in probes:
        files.setdefault((probe.path, probe.pid or pid), []).append(probe)
    for (path, process), members in files.items():
        places = [probe.address for probe in members]
        yield from _tried(
            members,
            lambda path=path, process=process, places=places: [  # type: ignore[misc]
                attach_uprobe_multi(program, path, places, retprobe=returns, pid=process)
            ],
        )


def _tracepoint(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_tracepoint

    return [attach_tracepoint(program, probe.module, probe.target)]


def _raw(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_raw import attach_raw_tracepoint, attach_tracing

    if program.attach_type == b.BPF_TRACE_RAW_TP:
        return [attach_tracing(program)]
    return [attach_raw_tracepoint(program, probe.target)]


def _tracing(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_raw import attach_tracing

    return [attach_tracing(program)]


def _kprobe(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_kprobe

    if not probe.target:
        return [_kprobe_at(program, probe.address)]
    return [attach_kprobe(program, probe.target, offset=probe.offset, retprobe=probe.kind == "kretprobe")]


def _kprobe_at(program: KernelProgram, address: int) -> Link:
    """A kprobe at an address instead of a function."""
    from linscope.bpf.kernel.attach_perf import attach_kprobe, attach_perf_event, pmu_type
    from linscope.sys import perf_event_open as sys_perf
    from linscope.sys.bpf_errors import explain

    kind = pmu_type("kprobe")
    if kind is None:
        return attach_kprobe(program, f"{address:#x}")  # tracefs takes an address for a symbol
    try:
        fd = sys_perf.perf_event_open(sys_perf.Attr(type=kind, config2=address, sample_period=1), -1, 0)
    except OSError as error:
        raise explain(error, f"cannot attach to kprobe {address:#x}", why="no probe can be put there") from error
    return attach_perf_event(program, fd, what=f"kprobe {address:#x}")


def _uprobe(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_uprobe

    return [
        attach_uprobe(
            program, probe.path, probe.address, retprobe=probe.kind == "uretprobe", semaphore=probe.semaphore,
            pid=probe.pid or pid or -1,
        )
    ]  # fmt: skip


def _clock(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_counter, online_cpus

    cpus = online_cpus()[:1] if probe.kind == "interval" else None
    return attach_counter(program, _SOFTWARE, _CPU_CLOCK, period=probe.count, cpus=cpus)


def _counter(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_counter

    hardware = probe.kind == "hardware"
    config, period = (_HARDWARE_EVENTS if hardware else _SOFTWARE_EVENTS)[probe.target]
    kind = _HARDWARE if hardware else _SOFTWARE
    return attach_counter(program, kind, config, period=probe.count or period, pid=pid or -1)


def _watchpoint(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.attach_perf import attach_perf_event, online_cpus
    from linscope.sys import perf_event_open as sys_perf
    from linscope.sys.bpf_errors import explain

    pid = probe.pid or pid
    links: list[Link] = []
    modes = sum({"r": 1, "w": 2, "x": 4}[letter] for letter in probe.target)
    for cpu in [-1] if pid else online_cpus():
        attr = sys_perf.Attr(type=_BREAKPOINT, sample_period=1)
        attr.bp_type, attr.config1, attr.config2 = modes, probe.address, 8 if modes == 4 else probe.count
        try:
            fd = sys_perf.perf_event_open(attr, pid or -1, cpu)
        except OSError as error:
            for link in links:
                link.close()
            why = "the address is no multiple of the length, or the processor has no such watchpoint"
            raise explain(error, f"cannot watch {probe.name}", why=why if error.errno == 22 else "") from error
        links.append(attach_perf_event(program, fd, what=probe.name))
    return links


def _iterator(program: KernelProgram, probe: Probe, pid: int) -> list[Link]:
    from linscope.bpf.kernel.iterators import attach_iterator

    return [attach_iterator(program, pid=pid)]


def run_iterator(one: Attached) -> None:
    """Run an iterator's program once, over all that it visits; one with a path is pinned for others to read."""
    if one.probe.path:
        path = one.probe.path
        one.link.pin(path if path.startswith("/") else f"/sys/fs/bpf/{path}")
        return
    from linscope.bpf.kernel.iterators import read_iterator

    read_iterator(one.link)


_ATTACHERS = {
    "tracepoint": _tracepoint, "rawtracepoint": _raw, "fentry": _tracing, "fexit": _tracing, "kprobe": _kprobe,
    "kretprobe": _kprobe, "uprobe": _uprobe, "uretprobe": _uprobe, "usdt": _uprobe, "profile": _clock,
    "interval": _clock, "software": _counter, "hardware": _counter, "watchpoint": _watchpoint, "iter": _iterator,
}  # fmt: skip
