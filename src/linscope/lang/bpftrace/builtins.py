"""Values that a script can name without declaring them: pid, comm, nsecs, args, curtask ...

Each is a function (body, span) -> expression; ``pid`` and ``pid()`` are the same.  Source: bpftrace docs/stdlib.md.
Helper numbers: include/uapi/linux/bpf.h, enum bpf_func_id.
"""

from __future__ import annotations

import os

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import registers
from linscope.lang.bpftrace.arguments import FENTRY, REGISTERS, find_arguments, find_return
from linscope.lang.bpftrace.convert import CONTEXT, Place, add, at, load, number, text
from linscope.lang.bpftrace.members import member
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.state import NeedsOneProbe
from linscope.lang.unit import LEADER_COMM, PARENT, PARENT_COMM

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span

_KTIME, _RANDOM, _CPU, _PID_TGID, _UID_GID, _COMM = 5, 7, 8, 14, 15, 16
_CURRENT_TASK, _NUMA_NODE, _CGROUP, _JIFFIES, _NS_PID_TGID, _FUNCTION = 35, 42, 80, 118, 120, 173
_CLOCKS = {"monotonic": (5, "ktime_get_ns"), "boot": (125, "ktime_get_boot_ns"), "tai": (208, "ktime_get_tai_ns")}
_COMM_TYPE = t.Array(t.Int(1, True, "char"), 16)
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # include/uapi/linux/nsfs.h, PROC_PID_INIT_INO
PROBES_ON_INSTRUCTIONS = ("kprobe", "kretprobe", "uprobe", "uretprobe", "usdt")
_PROBES_WITH_REGISTERS = (*PROBES_ON_INSTRUCTIONS, "profile", "interval", "software", "hardware", "watchpoint")


def _helper(number_: int, name: str, type: t.Type = t.UINT64, *arguments: ir.Expression) -> ir.Helper:
    return ir.Helper(type, number_, list(arguments), name)


def _half(whole: ir.Expression, upper: bool) -> ir.Expression:
    """32 bits of 64."""
    if upper:
        whole = ir.Binary(t.UINT64, ">>", whole, number(32, t.UINT64))
    return ir.Convert(t.UINT32, whole)


def namespace() -> tuple[int, int] | None:
    """(device, inode) of our PID namespace, None when it is the first one."""
    try:
        found = os.stat("/proc/self/ns/pid")
    except OSError:
        return None
    return None if found.st_ino == _INITIAL_PID_NAMESPACE else (found.st_dev, found.st_ino)


def process_ids(body: Body, *, thread: bool, initial: bool = False) -> ir.Expression:
    """tgid or thread id, as our PID namespace numbers them (initial: as the first one does)."""
    here = None if initial or body.script.options.replay else namespace()
    if here is None:
        return _half(_helper(_PID_TGID, "get_current_pid_tgid"), not thread)
    pair = t.Array(t.UINT32, 2)
    numbers = [number(part, t.UINT64) for part in here]
    filled = ir.Fill(pair, _NS_PID_TGID, [*numbers, ir.Destination(pair), number(8)], "get_ns_current_pid_tgid")
    return ir.Part(t.UINT32, filled, 0 if thread else 4)  # struct bpf_pidns_info: pid, tgid


def pid(body: Body, span: Span) -> ir.Expression:
    """The process (tgid)."""
    return process_ids(body, thread=False)


def tid(body: Body, span: Span) -> ir.Expression:
    """The thread."""
    return process_ids(body, thread=True)


def uid(body: Body, span: Span) -> ir.Expression:
    """The user."""
    return _half(_helper(_UID_GID, "get_current_uid_gid"), False)


def gid(body: Body, span: Span) -> ir.Expression:
    """The group."""
    return _half(_helper(_UID_GID, "get_current_uid_gid"), True)


def username(body: Body, span: Span) -> ir.Expression:
    """The user, by name."""
    return ir.Convert(t.UserName(), uid(body, span))


def comm(body: Body, span: Span) -> ir.Expression:
    """The thread's name."""
    return ir.Fill(t.COMM, _COMM, [ir.Destination(t.COMM), number(16)], "get_current_comm")


def nsecs(body: Body, span: Span, clock: str = "monotonic") -> ir.Expression:
    """Nanoseconds of a clock.  Raises Wrong: no such clock."""
    if clock == "sw_tai":
        import time

        offset = time.clock_gettime_ns(time.CLOCK_TAI) - time.monotonic_ns()
        body.script.options.lasting = False
        return add(nsecs(body, span), offset)
    if clock not in _CLOCKS:
        raise Wrong(span, f"Invalid timestamp mode: {clock}", "monotonic, boot, tai or sw_tai")
    return _helper(*_CLOCKS[clock])


def elapsed(body: Body, span: Span) -> ir.Expression:
    """Nanoseconds since the script was started."""
    start = body.script.options.start_ns
    body.script.options.lasting = False
    if start is None:
        import time

        start = body.script.options.start_ns = time.monotonic_ns()
    return ir.Binary(t.UINT64, "-", nsecs(body, span), number(start, t.UINT64))


def cpu(body: Body, span: Span) -> ir.Expression:
    """The processor."""
    return _helper(_CPU, "get_smp_processor_id", t.UINT32)


def rand(body: Body, span: Span) -> ir.Expression:
    """A random number of 32 bits."""
    return _helper(_RANDOM, "get_prandom_u32", t.UINT32)


def cgroup(body: Body, span: Span) -> ir.Expression:
    """The process's cgroup (version 2), by number."""
    return _helper(_CGROUP, "get_current_cgroup_id")


def numaid(body: Body, span: Span) -> ir.Expression:
    """The memory node."""
    return _helper(_NUMA_NODE, "get_numa_node_id", t.UINT32)


def jiffies(body: Body, span: Span) -> ir.Expression:
    """The kernel's clock ticks."""
    return _helper(_JIFFIES, "jiffies64")


def ncpus(body: Body, span: Span) -> ir.Expression:
    """Processors that there can be."""
    from linscope.bpf.kernel.maps import possible_cpus

    return ir.Number(t.UINT64, possible_cpus())


def cpid(body: Body, span: Span) -> ir.Expression:
    """The process that -c started.  Raises Wrong."""
    child = body.script.options.child
    body.script.options.lasting = False
    if not child:
        raise Wrong(span, "cpid cannot be used without child command", "start one with -c")
    return ir.Number(t.UINT32, child)


def has_cpid(body: Body, span: Span) -> ir.Expression:
    """Whether -c started a process."""
    body.script.options.lasting = False
    return ir.Number(t.BOOL, int(bool(body.script.options.child)))


def task_type(body: Body) -> t.Type:
    """struct task_struct: the script's own, else the kernel's."""
    return body.script.definitions.find_type("struct", "task_struct") or t.Struct("task_struct", 0, list)


def curtask(body: Body, span: Span) -> ir.Expression:
    """The kernel's struct task_struct of the thread."""
    return _helper(_CURRENT_TASK, "get_current_task", t.Pointer(task_type(body), t.KERNEL))


# what is asked of a task: the way to it, and where recordings have it (None: it is the process)
_OF_TASK: dict[str, tuple[tuple[str, str], int | None]] = {
    "ppid": (("real_parent", "tgid"), PARENT), "pcomm": (("real_parent", "comm"), PARENT_COMM),
    "leader_comm": (("group_leader", "comm"), LEADER_COMM), "leader_tid": (("group_leader", "pid"), None),
}  # fmt: skip


def of_task(body: Body, span: Span, name: str, task: ir.Expression | None = None) -> ir.Expression:
    """ppid, pcomm, leader_comm or leader_tid.  task: a pointer to it; None: the thread's."""
    path, recorded = _OF_TASK[name]
    if task is None and (known := body.script.options.recorded) is not None and not known.captures:
        if recorded is None:
            return process_ids(body, thread=False)
        type = _COMM_TYPE if path[1] == "comm" else t.UINT32
        return load(body, Place(type, add(ir.Family(t.UINT64), recorded), t.KERNEL, span))
    found: ir.Expression | Place = task or curtask(body, span)
    for field in path:
        found = member(body, found, field, span)
    value = load(body, found) if isinstance(found, Place) else found
    return value if path[1] == "comm" else ir.Convert(t.UINT32, value)


def ppid(body: Body, span: Span) -> ir.Expression:
    """The parent process."""
    return of_task(body, span, "ppid")


def pcomm(body: Body, span: Span) -> ir.Expression:
    """The parent's name."""
    return of_task(body, span, "pcomm")


def leader_comm(body: Body, span: Span) -> ir.Expression:
    """The name of the process's first thread."""
    return of_task(body, span, "leader_comm")


def leader_tid(body: Body, span: Span) -> ir.Expression:
    """The process's first thread."""
    return of_task(body, span, "leader_tid")


def ctx(body: Body, span: Span) -> ir.Expression:
    """The program's context."""
    if body.kind == "iter":
        target = body.script.definitions.find_type("struct", f"bpf_iter__{body.probes[0].target}")
        if target is not None:
            return ir.Context(t.Pointer(target, CONTEXT))
    return ir.Context(t.Pointer(t.VOID, t.KERNEL))


def args(body: Body, span: Span) -> ir.Expression | Place:
    """The event's arguments, as a struct.  Raises Wrong."""
    found = find_arguments(body, span)
    if body.syscalls or body.probes[0].arguments == REGISTERS:
        return Place(found, ir.FromContext(t.UINT64, 0), t.KERNEL, span)
    return Place(found, ir.Context(t.UINT64), CONTEXT, span)


def _was_fentry(body: Body) -> bool:
    return body.probes[0].arguments == FENTRY


def retval(body: Body, span: Span) -> ir.Expression:
    """What the function returned.  Raises Wrong."""
    if body.kind == "kretprobe" and _was_fentry(body):  # see kprobes_instead.py
        type, _ = find_return(body, span)
        return ir.FromContext(type if type.is_scalar else t.UINT64, registers.OFFSETS[registers.RETURN])
    if body.kind in ("kretprobe", "uretprobe"):
        return ir.FromContext(t.UINT64, registers.OFFSETS[registers.RETURN])
    if body.kind == "fexit":
        type, offset = find_return(body, span)
        return ir.FromContext(type, offset)
    raise Wrong(span, "The retval builtin can only be used with 'kretprobe' and 'uretprobe' and 'fexit' probes")


def argument(body: Body, place: int, span: Span) -> ir.Expression:
    """arg0, arg1 ...  Raises Wrong."""
    if body.kind in ("kprobe", "uprobe"):
        if place >= len(registers.ARGUMENTS):
            raise Wrong(span, f"arg{place}: this machine passes {len(registers.ARGUMENTS)} arguments in registers")
        return ir.FromContext(t.UINT64, registers.OFFSETS[registers.ARGUMENTS[place]])
    if body.kind in ("rawtracepoint", "fentry", "fexit"):
        return ir.FromContext(t.UINT64, 8 * place)
    if body.kind == "usdt":
        from linscope.lang.bpftrace.usdt_arguments import usdt_argument

        return usdt_argument(body, place, span)
    kinds = "'kprobe', 'uprobe', 'usdt' and 'rawtracepoint'"
    raise Wrong(span, f"The arg{place} builtin can only be used with {kinds} probes")


def func(body: Body, span: Span) -> ir.Expression:
    """The traced function.  Raises Wrong."""
    if body.kind in ("kprobe", "kretprobe") and not _was_fentry(body):  # else see kprobes_instead.py
        return ir.Helper(t.KernelSymbol(), _FUNCTION, [ir.Context(t.UINT64)], "get_func_ip")
    if body.kind in ("kprobe", "kretprobe", "fentry", "fexit", "uprobe", "uretprobe", "usdt"):
        return one_name(body, body.probes[0].target or body.probes[0].name)
    raise Wrong(span, f"func can not be used with {body.kind} probes")


def one_name(body: Body, name: str) -> ir.Expression:
    """A name that belongs to one probe.  Raises NeedsOneProbe."""
    if len(body.probes) > 1:
        raise NeedsOneProbe
    return ir.Number(body.script.probe_name, body.script.name_number(name))


def probe(body: Body, span: Span) -> ir.Expression:
    """The probe's name."""
    if not body.syscalls:
        return one_name(body, body.probes[0].name)
    return ir.Binary(
        body.script.probe_name, "+", syscall_number(body), number(syscall_names(body), t.UINT64)
    )  # fmt: skip


def syscall_number(body: Body) -> ir.Expression:
    """The system call that this program is run for."""
    if body.syscalls == "sys_enter":
        return ir.FromContext(t.UINT64, 8)
    return ir.Load(t.UINT64, add(ir.FromContext(t.UINT64, 0), registers.SYSCALL_NUMBER), t.KERNEL)


def syscall_names(body: Body) -> int:
    """Number of the name of system call 0: those of all others follow."""
    script = body.script
    first = f"\0{body.syscalls}"  # a name that no probe has marks the place
    if first not in script.probe_names:
        script.name_number(first)
        start = len(script.probe_names)
        pairs = ((script.definitions.syscall_number(probe.target), probe.name) for probe in body.all_probes)
        numbers = {place: name for place, name in pairs if place is not None}
        script.probe_names += ["" for _ in range(max(numbers) + 1)]
        for place, name in numbers.items():
            script.probe_names[start + place] = name
        script.probe_name.__dict__["names"] = tuple(script.probe_names)
    return script.probe_names.index(first) + 1


def probetype(body: Body, span: Span) -> ir.Expression:
    """The kind of the probe."""
    kind = "special" if body.is_begin and body.kind not in ("test", "bench") else body.kind
    if body.probes[0].arguments == REGISTERS:
        kind = "tracepoint"
    return text(kind.encode())


def usermode(body: Body, span: Span) -> ir.Expression:
    """Whether the thread was in user mode.  Raises Wrong."""
    if not registers.IS_X86:
        raise Wrong(span, "'usermode' builtin is only supported on x86_64")
    if body.is_begin:
        return ir.Number(t.UINT8, 1)
    if body.kind in _PROBES_WITH_REGISTERS:
        low = ir.Binary(t.UINT64, "&", ir.FromContext(t.UINT64, registers.OFFSETS["cs"]), number(3, t.UINT64))
        return ir.Convert(t.UINT8, ir.Convert(t.BOOL, low))
    return ir.Number(t.UINT8, 0)


def register(body: Body, name: str, span: Span) -> ir.Expression:
    """reg("ip").  Raises Wrong."""
    offset = registers.find_register(name)
    if offset is None:
        raise Wrong(span, f"'{name}' is not a valid register on this architecture", ", ".join(registers.OFFSETS))
    if body.kind not in _PROBES_WITH_REGISTERS:
        raise Wrong(span, f"reg can not be used with {body.kind} probes")
    return ir.FromContext(t.UINT64, offset)


def stack(body: Body, kind: str, mode: str = "", depth: int = 127) -> ir.Expression:
    """kstack, ustack."""
    mode = mode or str(body.script.settings["stack_mode"])
    return ir.StackTrace(t.Stack(kind, mode, depth))


BUILTINS: dict[str, Callable[[Body, Span], ir.Expression | Place]] = {
    function.__name__: function
    for function in (
        pid, tid, uid, gid, username, comm, nsecs, elapsed, cpu, rand, cgroup, numaid, jiffies, ncpus, cpid, has_cpid,
        curtask, ppid, pcomm, leader_comm, leader_tid, ctx, args, retval, func, probe, probetype, usermode,
    )
}  # fmt: skip
BUILTINS["kstack"] = lambda body, span: stack(body, t.KERNEL)
BUILTINS["ustack"] = lambda body, span: stack(body, t.USER)


def find_builtin(name: str) -> Callable[[Body, Span], ir.Expression | Place] | None:
    """The builtin of a name; None: there is none."""
    name = name.removeprefix("__builtin_")
    if name[:3] == "arg" and name[3:].isdigit():
        place = int(name[3:])
        return lambda body, span: argument(body, place, span)
    return BUILTINS.get(name)


def builtin(body: Body, name: str, span: Span) -> ir.Expression | Place | None:
    """The value of a builtin; None: there is none of that name.  Raises Wrong."""
    found = find_builtin(name)
    if found is None:
        return None
    value = found(body, span)
    return value if isinstance(value, Place) else at(value, span)
