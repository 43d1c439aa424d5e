"""Functions on strings, bytes and addresses: str, buf, strncmp, ntop, strftime, ksym ..."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace import syntax as sx
from linscope.lang.bpftrace.builtins import process_ids, stack
from linscope.lang.bpftrace.convert import CONTEXT, Place, coerce, load, number, text, to_scalar
from linscope.lang.bpftrace.members import default_space, load_array
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text
from linscope.lang.bpftrace.values import constant, constant_text, lower, operand, scalar

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.lang.bpftrace.state import Body

_AF_INET, _AF_INET6 = 2, 10  # include/linux/socket.h
_MOST_FRAMES = 1024
_USUAL_FRAMES = 127  # PERF_MAX_STACK_DEPTH
_STACK_MODES = ("bpftrace", "perf", "raw", "build_id")


def _space(body: Body, place: Place | ir.Expression) -> str:
    """The address space that a pointer means."""
    if isinstance(place.type, t.Pointer) and place.type.space in (t.USER, t.KERNEL):
        return place.type.space
    if isinstance(place, Place) and place.space in (t.USER, t.KERNEL):
        return place.space
    return default_space(body)


def _str(body: Body, node: sx.Call) -> ir.Expression:
    """str(pointer or array[, length]); str($1) of a parameter."""
    first = node.arguments[0]
    if (given := _parameter_text(body, first)) is not None:
        return text(given)
    found = operand(body, first)
    if not isinstance(found, Place) and isinstance(found.type, t.String | t.ProbeName):
        for one in node.arguments[1:]:
            scalar(body, one)
        return found
    limit: ir.Expression | None = None
    most = body.script.string_size - 1
    width, cut = most + 1, most
    if len(node.arguments) > 1:
        limit = scalar(body, node.arguments[1])
        if isinstance(limit, ir.Number):
            if limit.value < 0:
                raise Wrong(node.arguments[1].span, f"str() cannot be negative ({limit.value})")
            width, cut, limit = min(limit.value, most) + 1, 0, None
            cut = most if width == most + 1 else 0
        else:
            limit = coerce(body.script, limit, t.UINT64, node.span)
    if isinstance(found, Place) and isinstance(found.type, t.String | t.Array):
        size = min(width, found.type.size + 1) if found.type.size else width
        space = t.KERNEL if found.space == CONTEXT else found.space
        return ir.LoadString(t.String(size, cut if size == width else 0), found.address, space, limit)
    value = load(body, found) if isinstance(found, Place) else found
    if isinstance(value.type, t.Array) and isinstance(value.type.element, t.Int) and value.type.element.width == 1:
        return ir.Reinterpret(t.String(value.type.size + 1), value)
    if not isinstance(value.type, (*INTEGERS, t.Pointer)):
        raise Wrong(
            first.span,
            f"str() expects an integer or a pointer type as first argument ({type_text(value.type)} provided)",
        )
    return ir.LoadString(t.String(width, cut), value, _space(body, found if isinstance(found, Place) else value), limit)


def _parameter_text(body: Body, node: sx.Expression | sx.TypeName) -> bytes | None:
    """The text of a positional parameter, also of ``$1 + 3``, which begins at its fourth character."""
    given = body.script.options.parameters
    if isinstance(node, sx.Parameter) and node.number > 0:
        return given[node.number - 1].encode() if node.number <= len(given) else b""
    if isinstance(node, sx.Binary) and node.sign == "+" and isinstance(node.left, sx.Parameter):
        inner = _parameter_text(body, node.left)
        return None if inner is None else inner[constant(body, node.right, "the offset") :]
    return None


def _buf(body: Body, node: sx.Call) -> ir.Expression:
    """buf(pointer or array[, length])."""
    found = operand(body, node.arguments[0])
    length = scalar(body, node.arguments[1]) if len(node.arguments) > 1 else None
    most = body.script.string_size - 1
    array = isinstance(found.type, t.Array | t.String)
    if length is None:
        if not array:
            raise Wrong(node.span, "buf() expects a length argument for non-array type " + type_text(found.type))
        length = number(found.type.size)
    capacity = min(length.value if isinstance(length, ir.Number) else most, most)
    if capacity < 0:
        raise Wrong(node.span, "buf() cannot be negative")
    if isinstance(length, ir.Number):
        length = number(capacity, t.UINT32)
    kind = t.Buffer(max(capacity, 1))
    if array and isinstance(found, Place):
        address, space = found.address, t.KERNEL if found.space == CONTEXT else found.space
        return ir.LoadBuffer(kind, address, space, coerce(body.script, length, t.UINT32, node.span))
    value = load(body, found) if isinstance(found, Place) else found
    if array:
        inside = ir.Reinterpret(t.Array(t.UINT8, kind.capacity), value)
        return ir.Build(kind, [(0, coerce(body.script, length, t.UINT32, node.span)), (4, inside)])
    address = to_scalar(body, value, node.span, "a pointer")
    return ir.LoadBuffer(kind, address, _space(body, value), coerce(body.script, length, t.UINT32, node.span))


def _string(body: Body, node: sx.Expression | sx.TypeName, name: str) -> ir.Expression:
    """An argument that is a string.  Raises Wrong."""
    value = lower(body, node)
    if isinstance(value.type, t.ProbeName):
        return coerce(body.script, value, t.String(max(map(len, body.script.probe_names)) + 1), node.span)
    if isinstance(value.type, t.Array) and isinstance(value.type.element, t.Int) and value.type.element.width == 1:
        return ir.Reinterpret(t.String(value.type.size + 1), value)
    if not isinstance(value.type, t.String):
        raise Wrong(node.span, f"{name}() only supports string arguments ({type_text(value.type)} provided)")
    return value


def _strncmp(body: Body, node: sx.Call) -> ir.Expression:
    """0 when the first characters are equal, else 1."""
    left, right = (_string(body, one, "strncmp") for one in node.arguments[:2])
    count = constant(body, node.arguments[2], "strncmp()'s size")
    if count < 0:
        raise Wrong(node.arguments[2].span, "Builtin strncmp requires a non-negative size")
    if isinstance(left, ir.Bytes) and isinstance(right, ir.Bytes):
        return ir.Number(t.UINT64, int(left.data[:count] != right.data[:count]))
    return ir.CompareStrings(t.UINT64, left, right, count)


def _strcontains(body: Body, node: sx.Call) -> ir.Expression:
    left, right = (_string(body, one, "strcontains") for one in node.arguments)
    if isinstance(left, ir.Bytes) and isinstance(right, ir.Bytes):
        return ir.Number(t.BOOL, int(right.data in left.data))
    return ir.Compare(t.BOOL, ">=", ir.FindString(t.INT64, left, right), number(0))


def _strstr(body: Body, node: sx.Call) -> ir.Expression:
    left, right = (_string(body, one, "strstr") for one in node.arguments)
    if isinstance(left, ir.Bytes) and isinstance(right, ir.Bytes):
        return ir.Number(t.INT64, left.data.find(right.data))
    return ir.FindString(t.INT64, left, right)


def _str_concat(body: Body, node: sx.Call) -> ir.Expression:
    left, right = (_string(body, one, "str_concat") for one in node.arguments)
    if isinstance(left, ir.Bytes) and isinstance(right, ir.Bytes):
        return text(left.data + right.data)
    return ir.ConcatStrings(t.String(left.type.size + right.type.size - 1), left, right)


def _strlen(body: Body, node: sx.Call) -> ir.Expression:
    value = _string(body, node.arguments[0], "strlen")
    if isinstance(value, ir.Bytes):
        return ir.Number(t.UINT64, len(value.data.split(b"\0")[0]))
    return ir.StringLength(t.UINT64, value)


def _strcap(body: Body, node: sx.Call) -> ir.Expression:
    return ir.Number(t.UINT64, _string(body, node.arguments[0], "strcap").type.size)


def _memcmp(body: Body, node: sx.Call) -> ir.Expression:
    """0 when the first bytes of two values are equal, else 1."""
    count = constant(body, node.arguments[2], "memcmp()'s size")
    sides = []
    for one in node.arguments[:2]:
        found = operand(body, one)
        value = load_array(body, found) if isinstance(found, Place) else found
        sides.append(ir.Reinterpret(t.Array(t.UINT8, count), value))
    return ir.Convert(t.UINT64, ir.Compare(t.BOOL, "!=", sides[0], sides[1]))


def _strftime(body: Body, node: sx.Call) -> ir.Expression:
    format = constant_text(body, node.arguments[0], "strftime()'s format").decode(errors="replace")
    second = node.arguments[1]
    clock = "monotonic"
    if isinstance(second, sx.Call) and second.name == "nsecs" and second.arguments:
        clock = getattr(second.arguments[0], "name", clock)
    value = scalar(body, second)
    return ir.Convert(t.Timestamp(format, clock), value)


def _ntop(body: Body, node: sx.Call) -> ir.Expression:
    """ntop([family,] address)."""
    family = scalar(body, node.arguments[0]) if len(node.arguments) > 1 else None
    found = operand(body, node.arguments[-1])
    value = load_array(body, found) if isinstance(found, Place) and isinstance(found.type, t.Array | t.String) else None
    value = value or (load(body, found) if isinstance(found, Place) else found)
    if isinstance(value.type, INTEGERS):
        address: ir.Expression = coerce(body.script, value, t.UINT32, node.span)
        family = family or number(_AF_INET, t.UINT32)
    elif isinstance(value.type, t.Array | t.String) and value.type.size in (4, 16):
        address = value
        family = family or number(_AF_INET if value.type.size == 4 else _AF_INET6, t.UINT32)
    else:
        raise Wrong(node.span, f"ntop() expects an integer or array argument, got {type_text(value.type)}")
    return ir.Build(t.Inet(), [(0, coerce(body.script, family, t.UINT32, node.span)), (4, address)])


def _pton(body: Body, node: sx.Call) -> ir.Expression:
    import socket

    word = constant_text(body, node.arguments[0], "pton()'s address").decode(errors="replace")
    family = socket.AF_INET6 if ":" in word else socket.AF_INET
    try:
        data = socket.inet_pton(family, word)
    except (OSError, ValueError):  # ValueError: a NUL in it
        raise Wrong(node.arguments[0].span, f"pton() expects an valid IPv4/IPv6 address, got {word}") from None
    return ir.Bytes(t.Array(t.UINT8, len(data)), data)


def _macaddr(body: Body, node: sx.Call) -> ir.Expression:
    found = operand(body, node.arguments[0])
    if not isinstance(found.type, t.Array | t.String) or found.type.size != 6:
        raise Wrong(node.span, f"macaddr() only supports 6-byte arrays ({type_text(found.type)} provided)")
    value = load_array(body, found) if isinstance(found, Place) else found
    return ir.Reinterpret(t.Mac(), value)


def _ksym(body: Body, node: sx.Call) -> ir.Expression:
    value = scalar(body, node.arguments[0], "an address")
    return ir.Convert(t.KernelSymbol(), value)


def _usym(body: Body, node: sx.Call) -> ir.Expression:
    address = coerce(body.script, scalar(body, node.arguments[0], "an address"), t.UINT64, node.span)
    if len(node.arguments) > 1:
        process = coerce(body.script, scalar(body, node.arguments[1]), t.UINT32, node.span)
    else:
        process = process_ids(body, thread=False, initial=True)
    return ir.Build(t.UserSymbol(), [(0, address), (8, process)])


def _stack(kind: str) -> Callable[[Body, sx.Call], ir.Expression]:
    def lowered(body: Body, node: sx.Call) -> ir.Expression:
        mode, depth = "", 127
        for one in node.arguments:
            if isinstance(one, sx.Identifier) and one.name in _STACK_MODES:
                mode = one.name
                continue
            if isinstance(one, sx.Identifier):
                raise Wrong(one.span, f"Unknown stack mode: '{one.name}'", ", ".join(_STACK_MODES))
            depth = constant(body, one, f"{node.name}()'s limit")
            if not 1 <= depth <= _MOST_FRAMES:
                raise Wrong(one.span, f"{node.name}([int limit]): limit shouldn't exceed {_MOST_FRAMES}, {depth} given")
            if depth > _USUAL_FRAMES and not body.script.options.replay and depth > (most := _frames_of_kernel()):
                raise Wrong(
                    one.span, f"{node.name}({depth}): this kernel keeps at most {most} frames",
                    f"sysctl kernel.perf_event_max_stack={depth}",
                )  # fmt: skip
        return stack(body, kind, mode, depth)

    return lowered


def _dw_ustack(body: Body, node: sx.Call) -> ir.Expression:
    body.script.check_unstable(node.span, "dw_ustack")
    body.script.problems.warn(node.span, "dw_ustack() follows frame pointers here, as ustack() does")
    return _stack(t.USER)(body, node)


def _frames_of_kernel() -> int:
    """kernel.perf_event_max_stack (kernel/events/callchain.c); what maps of stacks may hold."""
    try:
        with open("/proc/sys/kernel/perf_event_max_stack", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return _MOST_FRAMES


def _typed(type: t.Type) -> Callable[[Body, sx.Call], ir.Expression]:
    """A number that is printed as a name."""

    def lowered(body: Body, node: sx.Call) -> ir.Expression:
        return ir.Convert(type, scalar(body, node.arguments[0]))

    return lowered


def _bswap(body: Body, node: sx.Call) -> ir.Expression:
    value = scalar(body, node.arguments[0])
    if not isinstance(value.type, INTEGERS):
        raise Wrong(node.span, f"bswap() only supports integer arguments ({type_text(value.type)} provided)")
    type = t.Int(value.type.size, False)
    if isinstance(value, ir.Number):
        data = (value.value & (1 << 8 * type.size) - 1).to_bytes(type.size, "little")
        return ir.Number(type, int.from_bytes(data, "big"))
    value = coerce(body.script, value, type, node.span)
    return ir.Unary(type, "bswap", value) if type.size > 1 else value


TEXT_CALLS = {
    "str": (1, 2, _str), "buf": (1, 2, _buf), "strncmp": (3, 3, _strncmp), "strcontains": (2, 2, _strcontains),
    "strstr": (2, 2, _strstr), "strlen": (1, 1, _strlen), "strcap": (1, 1, _strcap), "memcmp": (3, 3, _memcmp),
    "strftime": (2, 2, _strftime), "ntop": (1, 2, _ntop), "pton": (1, 1, _pton), "macaddr": (1, 1, _macaddr),
    "ksym": (1, 1, _ksym), "usym": (1, 2, _usym), "kstack": (0, 2, _stack(t.KERNEL)), "ustack": (0, 2, _stack(t.USER)),
    "dw_ustack": (0, 2, _dw_ustack), "strerror": (1, 1, _typed(t.ErrorText())),
    "syscall_name": (1, 1, _typed(t.SyscallName())), "signal_name": (1, 1, _typed(t.SignalName())),
    "bswap": (1, 1, _bswap), "str_concat": (2, 2, _str_concat),
}  # fmt: skip
