"""Arguments of helper functions: is each register what the prototype asks for.

Source: kernel/bpf/verifier.c, check_func_arg, check_reg_type, check_helper_mem_access, process_spin_lock,
process_timer_func.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import stack
from linscope.bpf.verifier.dynptrs import check_dynptr
from linscope.bpf.verifier.map_values import (
    check_kernel_pointer_type,
    check_map_access,
    check_map_permission,
    fields_of,
    is_constant_map,
)
from linscope.bpf.verifier.memory import check_access, check_alignment, check_buffer, may_read_packet, may_write_packet
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.regions import check_no_offset, check_packet, check_region
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.program import Map
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.registers import Register

_MAX_SIZE = 1 << 29  # BPF_MAX_VAR_SIZ
_KEYS = (r.STACK, r.PACKET, r.PACKET_META, r.MAP_KEY, r.MAP_VALUE)
_MEMORY = (*_KEYS, r.MEM, r.MEM | r.RECORD, r.BUF)
_SOCKETS = (r.SOCK_COMMON, r.SOCKET, r.TCP_SOCK, r.XDP_SOCK)
_ACCEPTED: dict[str, tuple[int, ...]] = {
    "key": _KEYS, "value": _KEYS, "size": (r.SCALAR,), "size0": (r.SCALAR,), "alloc_size": (r.SCALAR,),
    "map": (r.MAP_PTR,), "ctx": (r.CTX,), "sock_common": _SOCKETS, "btf_sock": (*_SOCKETS, r.BTF_ID),
    "socket": (r.SOCKET,), "btf": (r.BTF_ID,), "spin_lock": (r.MAP_VALUE,), "mem": _MEMORY, "rmem": _MEMORY,
    "wmem": _MEMORY, "record": (r.MEM | r.RECORD,), "percpu": (r.BTF_ID | r.PERCPU,), "func": (r.FUNC,),
    "stack": (r.STACK,), "string": (r.MAP_VALUE,), "timer": (r.MAP_VALUE,), "kptr_at": (r.MAP_VALUE,),
    "dynptr": (r.STACK, r.DYNPTR),
}  # fmt: skip
_NEWER_KEYS = _MEMORY
_ANY_OFFSET = frozenset(
    (
        r.STACK, r.PACKET, r.PACKET_META, r.MAP_KEY, r.MAP_VALUE, r.MEM, r.MEM | r.RDONLY, r.MEM | r.RECORD, r.BUF,
        r.BUF | r.RDONLY, r.SCALAR,
    )
)  # fmt: skip
_SOCKET_NAMES = frozenset(
    (
        "sock_common", "sock", "inet_sock", "inet_connection_sock", "tcp_sock", "tcp6_sock", "udp_sock", "udp6_sock",
        "request_sock", "inet_request_sock", "tcp_request_sock", "inet_timewait_sock", "tcp_timewait_sock",
        "unix_sock", "mptcp_sock", "raw_sock", "raw6_sock",
    )
)  # fmt: skip


class Meta:
    """What the arguments of one call told."""

    __slots__ = (
        "fill", "func", "helper", "kptr", "map", "packet_fine", "pending", "ref", "release", "release_dynptr",
        "size", "size_max", "uid", "uninit_dynptr", "variable",
    )  # fmt: skip

    def __init__(self, helper: str, packet_fine: bool) -> None:
        """helper: name; packet_fine: pointers into packets are allowed."""
        self.helper = helper
        self.packet_fine = packet_fine
        self.map: Map | None = None
        self.uid = 0
        self.func: Register | None = None
        self.pending = ""  # word of the memory whose size comes next
        self.fill: list[tuple[int, int]] = []  # (register, bytes) of stack that the helper fills
        self.size = 0  # of what is allocated
        self.size_max = 0
        self.ref = 0
        self.release = 0  # number of the register whose reference is released
        self.release_dynptr = False
        self.uninit_dynptr = 0
        self.variable: object = None
        self.kptr: tuple[str, int] | None = None


def check_argument(checker: Checker, number: int, word: str, meta: Meta) -> None:
    """One argument, in register number; word: of ``linscope.abi.bpf_prototypes``.  Raises Rejection."""
    register = checker.read(number)
    if word == "any":
        if checker.is_pointer(register):
            raise Rejection("pointer-leak", f"R{number} leaks addr into helper function", number)
        return
    if register.type in r.PACKETS:
        readable = may_read_packet(checker)
        if checker.program.type != b.BPF_PROG_TYPE_CGROUP_SOCKOPT and not meta.packet_fine:
            readable = False
        if not readable:
            raise Rejection("helper-packet", "helper access to the packet is not allowed", number)
    release = word.startswith("-")
    nullable = word.endswith("?")
    word = word.strip("-?")
    raw = word.endswith("!")
    word = word.rstrip("!")
    word, _, detail = word.partition(":")
    if word == "value" and meta.map is not None:
        word, raw = _value_word(checker, word, raw, meta)
    base_word = "mem" if word.startswith("fixed") else word
    if not (nullable and r.is_null(register)):
        _check_type(checker, register, number, base_word, detail, nullable, release, meta)
        _check_offset(checker, register, number, base_word, release)
    if release:
        if base_word == "dynptr":
            meta.release_dynptr = True
        elif not register.ref and not r.is_null(register):
            raise Rejection(
                "release-unreferenced", f"R{number} must be referenced when passed to release function", number
            )
        meta.release = number
    if register.ref and base_word != "dynptr":
        meta.ref = register.ref
    _check_word(checker, register, number, word, detail, nullable=nullable, raw=raw, meta=meta)


def _value_word(checker: Checker, word: str, raw: bool, meta: Meta) -> tuple[str, bool]:
    map = meta.map
    assert map is not None
    if map.type in (b.BPF_MAP_TYPE_SOCKMAP, b.BPF_MAP_TYPE_SOCKHASH):
        if raw:
            raise Rejection("map-type", "invalid arg_type for sockmap/sockhash")
        return "btf_sock", False
    if map.type == b.BPF_MAP_TYPE_BLOOM_FILTER and meta.helper == "map_peek_elem":
        return word, False
    return word, raw


def _check_type(
    checker: Checker, register: Register, number: int, word: str, detail: str, nullable: bool, release: bool,
    meta: Meta,
) -> None:  # fmt: skip
    kind = register.type & ~r.TRUSTED
    if word in ("rmem", "key") or (word == "value" and checker.kernel >= (6, 2)):
        kind &= ~r.RDONLY
    if nullable:
        kind &= ~r.OR_NULL
    accepted = _ACCEPTED[word]
    if word in ("key", "value") and checker.kernel >= (6, 2):
        accepted = _NEWER_KEYS
    if word == "kptr_at" or (word == "btf" and detail == "kptr"):
        accepted = _ACCEPTED[word]
    if kind not in accepted:
        expected = ", ".join(r.type_name(one) for one in accepted)
        got = r.type_name(register.type)
        rule = "null-pointer" if register.type & r.OR_NULL and kind & ~r.OR_NULL in accepted else "argument-type"
        raise Rejection(rule, f"R{number} type={got} expected={expected}", number)
    if kind == r.BTF_ID:
        if detail == "kptr":
            if meta.kptr is not None:
                check_kernel_pointer_type(checker, register, number, meta.kptr)
            return
        name = r.struct_name(register) or str(register.info[1] if isinstance(register.info, tuple) else "")
        wanted = detail or "sock_common"
        fine = name in _SOCKET_NAMES if wanted == "sock_common" else name == wanted
        if not fine and not contains_struct(register, wanted):
            raise Rejection("argument-type", f"R{number} is of type {name} but {wanted} is expected", number)


def contains_struct(register: Register, wanted: str) -> bool:
    """Whether the struct has the wanted one where the pointer points: at its begin, or as a member."""
    from linscope.binfmt import btf_types as bt

    if not isinstance(register.info, tuple) or register.info[0] is None:
        return False
    btf, type_id = register.info
    off = register.off
    for _ in range(16):
        struct = btf.type(btf.resolve(type_id))
        if not isinstance(struct, bt.Struct):
            return False
        if struct.name == wanted and not off:
            return True
        for member in reversed(struct.members):
            if member.bit_offset // 8 <= off:
                off -= member.bit_offset // 8
                type_id = member.type
                break
        else:
            return False
    return False


def _check_offset(checker: Checker, register: Register, number: int, word: str, release: bool) -> None:
    """Which pointers may have been moved: check_func_arg_reg_off."""
    kind = register.type & ~r.TRUSTED
    if word == "dynptr" and kind == r.STACK:
        if register.off % 8 or register.bounds[1]:
            raise Rejection("dynptr", "cannot pass in dynptr at an offset", number)
        return
    if kind in _ANY_OFFSET and word != "record":
        return
    fixed_fine = False
    if kind & r.BASE == r.BTF_ID:
        if release and register.off:
            raise Rejection("modified-pointer", f"R{number} must have zero offset when passed to release func", number)
        fixed_fine = True
    check_no_offset(checker, register, number, fixed_fine=fixed_fine)


def _check_word(
    checker: Checker, register: Register, number: int, word: str, detail: str, *, nullable: bool, raw: bool,
    meta: Meta,
) -> None:  # fmt: skip
    if word == "map":
        if meta.map is not None and (meta.map is not register.info or meta.uid != register.uid):
            raise Rejection(
                "timer",
                f"timer pointer in R1 map_uid={meta.uid} doesn't match map pointer in R2 map_uid={register.uid}",
                number,
            )
        meta.map = checker.map_of(register)
        meta.uid = register.uid
    elif word == "key":
        if meta.map is None:
            raise Rejection("argument-type", "invalid map_ptr to access map->key", number)
        check_memory(checker, number, meta.map.key_size)
    elif word == "value":
        if nullable and r.is_null(register):
            return
        if meta.map is None:
            raise Rejection("argument-type", "invalid map_ptr to access map->value", number)
        size = meta.map.value_size
        if check_memory(checker, number, size, write=raw, raw=raw):
            meta.fill.append((number, size))
    elif word in ("mem", "rmem", "wmem"):
        meta.pending = word + ("!" if raw else "")
    elif word.startswith("fixed"):
        size = int(word[5:])
        if check_memory(checker, number, size, write=raw, raw=raw):
            meta.fill.append((number, size))
        if raw:
            check_alignment(checker, number, 0, size, strict_once=True)
    elif word in ("size", "size0"):
        _check_size(checker, register, number, word == "size0", meta)
    elif word == "alloc_size":
        if register.bounds[1]:
            raise Rejection("not-constant", f"R{number} is not a known constant'", number)
        meta.size = register.bounds[0]
        mark_precise(checker, number)
    elif word == "func":
        meta.func = register
    elif word == "spin_lock":
        _spin_lock(checker, register, number, lock=meta.helper == "spin_lock")
    elif word == "timer":
        _timer(checker, register, number, meta)
    elif word == "string":
        _constant_string(checker, register, number)
    elif word == "percpu":
        meta.variable = register.info
    elif word == "kptr_at":
        _kernel_pointer(checker, register, number, meta)
    elif word == "dynptr":
        check_dynptr(checker, register, number, detail, raw=raw, meta=meta)


def _check_size(checker: Checker, register: Register, number: int, zero_allowed: bool, meta: Meta) -> None:
    """The size of the memory in the register before: check_mem_size_reg."""
    bounds = register.bounds
    meta.size_max = bounds[bd.UMAX]
    write = meta.pending in ("wmem", "mem!")
    raw = meta.pending.endswith("!") and not bounds[1]
    written = meta.pending == "mem"
    if bounds[bd.SMIN] < 0:
        raise Rejection(
            "negative-size", f"R{number} min value is negative, either use unsigned or 'var &= const'", number
        )
    if not bounds[bd.UMIN] and (not zero_allowed or checker.kernel < (6, 10)):
        check_memory(checker, number - 1, 0, write=write, zero_allowed=zero_allowed, raw=raw, written=written)
    if bounds[bd.UMAX] >= _MAX_SIZE:
        raise Rejection(
            "unbounded-size",
            f"R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'", number,
        )  # fmt: skip
    most = bounds[bd.UMAX]
    if check_memory(checker, number - 1, most, write=write, zero_allowed=zero_allowed, raw=raw, written=written):
        meta.fill.append((number - 1, most))
    mark_precise(checker, number)


def check_memory(
    checker: Checker, number: int, size: int, *, write: bool = False, zero_allowed: bool = False, raw: bool = False,
    written: bool = False,
) -> bool:  # fmt: skip
    """Whether a helper may use size bytes behind register number; raw: it only fills them.

    write: the memory must be writable; written: what is in the stack there may change.

    True when it is stack that is to be marked as filled.  Raises Rejection.
    """
    register = checker.state.frames[-1].registers[number]
    kind = register.type & ~r.TRUSTED
    if kind == r.STACK:
        filled = stack.check_initialized(
            checker, number, register.off, size, helper=True, zero_allowed=zero_allowed, raw=raw,
            written=write or written,
        )  # fmt: skip
        return filled and size > 0
    if kind == r.MAP_VALUE:
        check_map_permission(checker, number, register.off, size, write=write)
        check_map_access(checker, number, register.off, size, zero_allowed=zero_allowed, helper=True)
        return False
    if kind in r.PACKETS:
        if write and not may_write_packet(checker):
            raise Rejection("packet-read-only", "cannot write into packet", number)
        check_packet(checker, number, register.off, size, zero_allowed=zero_allowed)
        return False
    base = kind & r.BASE
    if kind == r.MAP_KEY:
        if write:
            raise Rejection("read-only", f"R{number} cannot write into {r.type_name(kind)}", number)
        check_region(checker, number, register.off, size, checker.map_of(register).key_size)
        return False
    if base == r.MEM and not kind & r.OR_NULL:
        if write and kind & r.RDONLY:
            raise Rejection("read-only", f"R{number} cannot write into {r.type_name(kind)}", number)
        check_region(checker, number, register.off, size, register.info, zero_allowed=zero_allowed)  # type: ignore[arg-type]
        return False
    if base == r.BUF and not kind & r.OR_NULL:
        if write and kind & r.RDONLY:
            raise Rejection("read-only", f"R{number} cannot write into {r.type_name(kind)}", number)
        check_buffer(checker, number, register.off, size)
        return False
    if kind == r.CTX and checker.program.type == b.BPF_PROG_TYPE_SYSCALL:
        if size:
            check_access(checker, number, size - 1, 1, write=write)
        elif not zero_allowed:
            raise Rejection("zero-size", "invalid zero-sized read", number)
        return False
    if zero_allowed and not size and r.is_null(register):
        return False
    raise Rejection("argument-type", f"R{number} type={r.type_name(register.type)} expected=fp", number)


# -- special places in maps


def _spin_lock(checker: Checker, register: Register, number: int, *, lock: bool) -> None:
    state = checker.state
    map = checker.map_of(register)
    off = _special(checker, register, number, "bpf_spin_lock")
    at = register.off + register.bounds[bd.SMIN]
    if off != at:
        raise Rejection("spin-lock", f"off {at} doesn't point to 'struct bpf_spin_lock'", number)
    if lock:
        if state.lock is not None:
            raise Rejection("spin-lock", "Locking two bpf_spin_locks are not allowed", number)
        state.lock = (map, register.id)
        return
    if state.lock is None:
        raise Rejection("spin-lock", "bpf_spin_unlock without taking a lock", number)
    if state.lock[0] is not map or state.lock[1] != register.id:
        raise Rejection("spin-lock", "bpf_spin_unlock of different lock", number)
    state.lock = None


def _special(checker: Checker, register: Register, number: int, name: str) -> int:
    map = checker.map_of(register)
    if register.bounds[1]:
        raise Rejection(
            "special-field",
            f"R{number} doesn't have constant offset. {name} has to be at the constant offset", number,
        )  # fmt: skip
    if not map.value_type or checker.program.btf is None:
        raise Rejection("needs-btf", f"map '{map.name}' has to have BTF in order to use {name}", number)
    off = fields_of(checker, map).offset_of(name)
    if off < 0:
        raise Rejection("special-field", f"map '{map.name}' doesn't have 'struct {name}'", number)
    return off


def _timer(checker: Checker, register: Register, number: int, meta: Meta) -> None:
    off = _special(checker, register, number, "bpf_timer")
    at = register.off + register.bounds[bd.SMIN]
    if off != at:
        raise Rejection("timer", f"off {at} doesn't point to 'struct bpf_timer' that is at {off}", number)
    meta.map = checker.map_of(register)
    meta.uid = register.uid


def _kernel_pointer(checker: Checker, register: Register, number: int, meta: Meta) -> None:
    map = checker.map_of(register)
    if register.bounds[1]:
        raise Rejection(
            "special-field",
            f"R{number} doesn't have constant offset. kptr has to be at the constant offset", number,
        )  # fmt: skip
    if not map.value_type or checker.program.btf is None:
        raise Rejection("needs-btf", f"map '{map.name}' has to have BTF in order to use bpf_kptr_xchg", number)
    fields = fields_of(checker, map)
    if not fields.pointers:
        raise Rejection("special-field", f"map '{map.name}' has no valid kptr", number)
    at = register.off + register.bounds[bd.SMIN]
    if at not in fields.pointers:
        raise Rejection("special-field", f"off={at} doesn't point to kptr", number)
    if fields.pointers[at][0] != "kptr_ref" and not (
        checker.kernel >= (6, 4) and fields.pointers[at][0] in ("kptr", "percpu_kptr")
    ):
        raise Rejection("special-field", f"off={at} kptr isn't referenced kptr", number)
    meta.kptr = fields.pointers[at]


def _constant_string(checker: Checker, register: Register, number: int) -> None:
    map = checker.map_of(register)
    if not is_constant_map(map):
        raise Rejection("constant-string", f"R{number} does not point to a readonly map'", number)
    if register.bounds[1]:
        raise Rejection("constant-string", f"R{number} is not a constant address'", number)
    if map.type != b.BPF_MAP_TYPE_ARRAY:
        raise Rejection("constant-string", "no direct value access support for this map type", number)
    check_map_access(checker, number, register.off, map.value_size - register.off, helper=True)
    at = register.off + register.bounds[bd.SMIN]
    if b"\0" not in map.initial[at : map.value_size].ljust(map.value_size - at, b"\0"):
        raise Rejection("constant-string", "string is not zero-terminated", number)
