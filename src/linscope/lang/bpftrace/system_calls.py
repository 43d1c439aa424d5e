"""Functions that ask or change the system: kaddr, uaddr, reg, path, cgroup_path, signal, override, write_user ..."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.builtins import nsecs, of_task, process_ids, register, task_type
from linscope.lang.bpftrace.convert import Place, coerce, load, number, to_scalar
from linscope.lang.bpftrace.output_calls import need_unsafe
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS
from linscope.lang.bpftrace.values import constant, constant_text, lower, operand, scalar

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang.bpftrace.state import Body

# include/uapi/linux/bpf.h, enum bpf_func_id
_PROBE_WRITE_USER, _SOCKET_COOKIE, _OVERRIDE, _SIGNAL, _SKB_OUTPUT, _SIGNAL_THREAD, _PATH = (
    36,
    46,
    58,
    109,
    111,
    117,
    147,
)
_PATH_SIZE = 1024


def _kaddr(body: Body, node: sx.Call) -> ir.Expression:
    """The address of a kernel symbol."""
    body.script.options.lasting = False
    name = constant_text(body, node.arguments[0], "kaddr()'s symbol").decode(errors="replace")
    from linscope.lang.bpftrace.addresses import kernel_address

    address = kernel_address(name)
    if not address:
        raise Wrong(node.span, f"Failed to resolve kernel symbol: {name}")
    return ir.Number(t.UINT64, address)


def _uaddr(body: Body, node: sx.Call) -> ir.Expression:
    """The address of a symbol of the probed program, as a pointer to what it holds."""
    body.script.options.lasting = False
    from linscope.lang.bpftrace.addresses import user_address

    name = constant_text(body, node.arguments[0], "uaddr()'s symbol").decode(errors="replace")
    probe = body.probes[0]
    if not probe.path:
        raise Wrong(node.span, f"uaddr can not be used with {body.kind} probes")
    found = user_address(probe.path, name, body.script.options.child or body.script.options.pid)
    if found is None:
        raise Wrong(node.span, f"Could not resolve symbol: {probe.path}:{name}")
    address, size = found
    width = size if size in (1, 2, 4, 8) else 8
    return ir.Number(t.Pointer(t.Int(width, False), t.USER), address)


def _percpu_kaddr(body: Body, node: sx.Call) -> ir.Expression:
    """Where a kernel variable is on a processor, as a pointer to its type."""
    name = constant_text(body, node.arguments[0], "percpu_kaddr()'s symbol").decode(errors="replace")
    found = body.script.definitions.find_variable(name)
    if found is None:
        raise Wrong(node.span, f'Could not resolve variable "{name}" from BTF')
    btf_id, type = found
    cpu = scalar(body, node.arguments[1]) if len(node.arguments) > 1 else None
    return ir.PerCpuAddress(t.Pointer(type, t.KERNEL), btf_id, cpu)


def _reg(body: Body, node: sx.Call) -> ir.Expression:
    name = constant_text(body, node.arguments[0], "reg()'s register").decode(errors="replace")
    return register(body, name, node.span)


def _address(body: Body, node: sx.Expression | sx.TypeName) -> ir.Expression:
    """A pointer, or where a struct in memory lies."""
    found = operand(body, node)
    if isinstance(found, Place) and not isinstance(found.type, (t.Pointer, *INTEGERS)):
        return found.address
    return to_scalar(body, load(body, found) if isinstance(found, Place) else found, node.span, "a pointer")


def _path(body: Body, node: sx.Call) -> ir.Expression:
    """The path of a struct path: helper 147, which only some functions allow."""
    _need_types(body, node, "fentry", "fexit", "iter")
    size = constant(body, node.arguments[1], "path()'s size") if len(node.arguments) > 1 else _PATH_SIZE
    if not 0 < size <= body.script.string_size:
        size = _PATH_SIZE
    type = t.String(size)
    address = _address(body, node.arguments[0])
    return ir.Fill(type, _PATH, [address, ir.Destination(type), number(size)], "d_path", fails=True)


def _cgroup_path(body: Body, node: sx.Call) -> ir.Expression:
    pattern = ""
    if len(node.arguments) > 1:
        pattern = constant_text(body, node.arguments[1], "cgroup_path()'s hierarchy").decode(errors="replace")
    return ir.Convert(t.CgroupPath(pattern), scalar(body, node.arguments[0]))


def _cgroupid(body: Body, node: sx.Call) -> ir.Expression:
    import os

    body.script.options.lasting = False
    path = constant_text(body, node.arguments[0], "cgroupid()'s path").decode(errors="replace")
    try:
        return ir.Number(t.UINT64, os.stat(path).st_ino)
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        raise Wrong(node.span, f"Failed to get cgroup id of {path}: {getattr(error, 'strerror', error)}") from None


def _nsecs(body: Body, node: sx.Call) -> ir.Expression:
    return nsecs(body, node.span, _mode(node, "monotonic"))


def _mode(node: sx.Call, default: str) -> str:
    """The word in the brackets."""
    if not node.arguments:
        return default
    word = node.arguments[0]
    if not isinstance(word, sx.Identifier | sx.NamedType):
        raise Wrong(word.span, f"{node.name}() takes the name of a mode")
    return word.name


def _process(*, thread: bool) -> Callable[[Body, sx.Call], ir.Expression]:
    def lowered(body: Body, node: sx.Call) -> ir.Expression:
        mode = _mode(node, "curr_ns")
        if mode not in ("curr_ns", "init"):
            raise Wrong(node.arguments[0].span, f"Invalid PID namespace mode: {mode}", "curr_ns or init")
        return process_ids(body, thread=thread, initial=mode == "init")

    return lowered


def _of_task(body: Body, node: sx.Call) -> ir.Expression:
    """Of the thread, or of the task that is given."""
    name = node.name.removeprefix("__builtin_")
    if not node.arguments:
        return of_task(body, node.span, name)
    task = scalar(body, node.arguments[0], "a pointer to a task")
    if not isinstance(task.type, t.Pointer) or not isinstance(task.type.target, t.Struct):
        task = ir.Convert(t.Pointer(task_type(body), t.KERNEL), task)
    return of_task(body, node.span, name, task)


def _signal(number_: int) -> Callable[[Body, sx.Call], ir.Expression]:
    def lowered(body: Body, node: sx.Call) -> ir.Expression:
        need_unsafe(body, node)
        value = lower(body, node.arguments[0])
        if isinstance(value, ir.Bytes):
            import signal

            name = value.data.decode(errors="replace").upper()
            name = name if name.startswith("SIG") else f"SIG{name}"
            if name not in signal.Signals.__members__:
                raise Wrong(node.span, f"{name} is not a valid signal")
            value = number(signal.Signals[name].value)
        return ir.Helper(t.INT64, number_, [coerce(body.script, value, t.UINT32, node.span)], "send_signal", fails=True)

    return lowered


def _override(body: Body, node: sx.Call) -> ir.Expression:
    need_unsafe(body, node)
    if body.kind != "kprobe":
        raise Wrong(node.span, f'override can not be used with "{body.kind}" probes')
    value = coerce(body.script, scalar(body, node.arguments[0]), t.INT64, node.span)
    return ir.Helper(t.INT64, _OVERRIDE, [ir.Context(t.UINT64), value], "override_return")


def _write_user(body: Body, node: sx.Call) -> ir.Expression:
    need_unsafe(body, node)
    address = _address(body, node.arguments[0])
    value = lower(body, node.arguments[1])
    size = constant(body, node.arguments[2], "write_user()'s size")
    if value.type.is_scalar:
        value = ir.Build(t.Tuple((value.type,)), [(0, value)])
    if size > value.type.size:
        raise Wrong(node.span, f"write_user() writes {size} bytes of a value of {value.type.size}")
    arguments = [address, value, number(size)]
    return ir.Helper(t.INT64, _PROBE_WRITE_USER, arguments, "probe_write_user", fails=True)


def _need_types(body: Body, node: sx.Call, *kinds: str) -> None:
    """Raises Wrong: of this kind of probe the verifier does not know what the arguments point to."""
    if body.kind not in kinds:
        words = ", ".join(f"'{kind}'" for kind in kinds)
        raise Wrong(node.span, f"The {node.name} function can only be used with {words} probes")


def _socket_cookie(body: Body, node: sx.Call) -> ir.Expression:
    _need_types(body, node, "fentry", "fexit", "iter", "rawtracepoint")
    return ir.Helper(t.UINT64, _SOCKET_COOKIE, [_address(body, node.arguments[0])], "get_socket_cookie")


def _pointer_space(space: str) -> Callable[[Body, sx.Call], ir.Expression]:
    """kptr, uptr: a pointer into the kernel, or a process."""

    def lowered(body: Body, node: sx.Call) -> ir.Expression:
        value = scalar(body, node.arguments[0], "a pointer")
        target = value.type.target if isinstance(value.type, t.Pointer) else t.VOID
        return ir.Convert(t.Pointer(target, space), value)

    return lowered


def _skboutput(body: Body, node: sx.Call) -> ir.Expression:
    """skboutput(file, packet, length, offset): 0, or a negative errno."""
    _need_types(body, node, "fentry", "fexit", "rawtracepoint")
    path = constant_text(body, node.arguments[0], "skboutput()'s file")
    if not path:
        raise Wrong(node.arguments[0].span, "skboutput() needs the name of a file")
    packet = _address(body, node.arguments[1])
    length = coerce(body.script, scalar(body, node.arguments[2]), t.UINT64, node.span)
    offset = constant(body, node.arguments[3], "skboutput()'s offset")
    if not 0 <= offset < 1 << 16:
        raise Wrong(node.arguments[3].span, f"skboutput() cannot leave out {offset} bytes")
    event = body.script.event("skboutput", node.span, (t.UINT64, t.UINT32, t.UINT32), format=path)
    return ir.PacketOutput(t.INT64, event, packet, length, offset)


SYSTEM_CALLS = {
    "kaddr": (1, 1, _kaddr), "uaddr": (1, 1, _uaddr), "percpu_kaddr": (1, 2, _percpu_kaddr), "reg": (1, 1, _reg),
    "path": (1, 2, _path), "cgroup_path": (1, 2, _cgroup_path), "cgroupid": (1, 1, _cgroupid), "nsecs": (0, 1, _nsecs),
    "pid": (0, 1, _process(thread=False)), "tid": (0, 1, _process(thread=True)), "signal": (1, 1, _signal(_SIGNAL)),
    "signal_thread": (1, 1, _signal(_SIGNAL_THREAD)), "override": (1, 1, _override), "write_user": (3, 3, _write_user),
    "socket_cookie": (1, 1, _socket_cookie), "kptr": (1, 1, _pointer_space(t.KERNEL)),
    "uptr": (1, 1, _pointer_space(t.USER)), "skboutput": (4, 4, _skboutput), "ppid": (0, 1, _of_task),
    "pcomm": (0, 1, _of_task), "leader_comm": (0, 1, _of_task), "leader_tid": (0, 1, _of_task),
}  # fmt: skip
