"""Loads and stores through every kind of pointer: may it be, and what is in the register afterward.

Source: kernel/bpf/verifier.c, check_mem_access and the checks it calls.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi import bpf_contexts
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import stack, tnum
from linscope.bpf.verifier.context import check_context, find_field, is_read_allowed
from linscope.bpf.verifier.map_values import check_map_access, check_map_permission, load_map_value
from linscope.bpf.verifier.regions import check_no_offset, check_packet, check_region
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.registers import Register

NET_IP_ALIGN = 2  # what strict alignment assumes of packets
_DESCRIPTIONS = {
    r.FLOW_KEYS: "flow keys ", r.MAP_KEY: "key ", r.MAP_VALUE: "value ", r.CTX: "context ", r.STACK: "stack ",
    r.SOCKET: "sock ", r.SOCK_COMMON: "sock_common ", r.TCP_SOCK: "tcp_sock ", r.XDP_SOCK: "xdp_sock ",
}  # fmt: skip
_SOCKET_LAYOUTS = {
    r.SOCKET: "bpf_sock", r.SOCK_COMMON: "bpf_sock", r.TCP_SOCK: "bpf_tcp_sock", r.XDP_SOCK: "bpf_xdp_sock",
}  # fmt: skip
_PACKET_WRITERS = frozenset(
    (
        b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_PROG_TYPE_SCHED_ACT, b.BPF_PROG_TYPE_XDP, b.BPF_PROG_TYPE_LWT_XMIT,
        b.BPF_PROG_TYPE_SK_SKB, b.BPF_PROG_TYPE_SK_MSG,
    )
)  # fmt: skip
_PACKET_READERS = frozenset(
    (
        b.BPF_PROG_TYPE_LWT_IN, b.BPF_PROG_TYPE_LWT_OUT, b.BPF_PROG_TYPE_LWT_SEG6LOCAL, b.BPF_PROG_TYPE_SK_REUSEPORT,
        b.BPF_PROG_TYPE_FLOW_DISSECTOR, b.BPF_PROG_TYPE_CGROUP_SKB,
    )
)  # fmt: skip


def may_write_packet(checker: Checker) -> bool:
    """Whether programs of this type may store into packets: may_access_direct_pkt_data."""
    kind = checker.program.type
    return kind in _PACKET_WRITERS or kind == b.BPF_PROG_TYPE_CGROUP_SOCKOPT


def may_read_packet(checker: Checker) -> bool:
    """Whether helpers may read packets for programs of this type."""
    return may_write_packet(checker) or checker.program.type in _PACKET_READERS


def check_alignment(checker: Checker, number: int, off: int, size: int, *, strict_once: bool = False) -> None:
    """Whether an access is aligned where it must be.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    base = register.type & r.BASE
    strict = checker.strict or strict_once or base == r.STACK
    if not strict or size == 1:
        return
    value, mask = register.bounds[0], register.bounds[1]
    if base in r.PACKETS:
        moved = tnum.add((value, mask), ((NET_IP_ALIGN + register.off + off) & tnum.U64, 0))
        if not tnum.is_aligned(moved, size):
            raise Rejection(
                "misaligned",
                f"misaligned packet access off {NET_IP_ALIGN}+{tnum.text((value, mask))}+{register.off}+{off} "
                f"size {size}",
                number,
            )
        return
    moved = tnum.add((value, mask), ((register.off + off) & tnum.U64, 0))
    if not tnum.is_aligned(moved, size):
        raise Rejection(
            "misaligned",
            f"misaligned {_DESCRIPTIONS.get(base, '')}access off {tnum.text((value, mask))}+{register.off}+{off} "
            f"size {size}",
            number,
        )


def check_access(
    checker: Checker, number: int, off: int, size: int, *, write: bool, value: int = -1, strict_once: bool = False
) -> None:
    """A load or store of size bytes at off through register number; value: register loaded or stored, -1: none.

    Raises Rejection.
    """
    frame = checker.state.frames[-1]
    registers = frame.registers
    register = registers[number]
    kind = register.type
    if checker.strict or strict_once or kind == r.STACK:
        check_alignment(checker, number, off, size, strict_once=strict_once)
    off += register.off
    base = kind & r.BASE
    if kind == r.STACK:
        stack.check_range(checker, number, off, size, write=write)
        if write:
            stack.write(checker, number, off, size, value)
        else:
            stack.read(checker, number, off, size, value)
        return
    if kind == r.CTX:
        _check_leak(checker, value, write, "ctx")
        if value >= 0 or not write or checker.kernel >= (6, 1):
            check_no_offset(
                checker, register, number,
                fixed_fine=checker.kernel >= (6, 3) or checker.program.type == b.BPF_PROG_TYPE_SYSCALL,
            )  # fmt: skip
        result = check_context(checker, number, off, size, write=write)
        if not write and value >= 0:
            if result.type == r.SCALAR:
                result = r.OF_SIZE[size]
            registers[value] = result
        return
    if kind == r.MAP_VALUE:
        _check_leak(checker, value, write, "map")
        check_map_permission(checker, number, off, size, write=write)
        check_map_access(checker, number, off, size)
        load_map_value(checker, number, off, size, write=write, value=value)
        return
    if base == r.MEM and not kind & r.OR_NULL:
        if write and kind & r.RDONLY:
            raise Rejection("read-only", f"R{number} cannot write into {r.type_name(kind)}", number)
        _check_leak(checker, value, write, "mem")
        check_region(checker, number, off, size, register.info)  # type: ignore[arg-type]
        if kind & r.UNTRUSTED:
            checker.unproven.add(checker.slot)
    elif kind in r.PACKETS:
        if write and not may_write_packet(checker):
            raise Rejection("packet-read-only", "cannot write into packet", number)
        _check_leak(checker, value, write, "packet")
        check_packet(checker, number, off, size)
    elif kind == r.MAP_KEY:
        if write:
            raise Rejection("read-only", f"write to change key R{number} not allowed", number)
        check_region(checker, number, off, size, checker.map_of(register).key_size)
    elif kind == r.FLOW_KEYS:
        _check_leak(checker, value, write, "flow keys")
        if off < 0 or off + size > bpf_contexts.FLOW_KEYS_SIZE:
            raise Rejection("memory-out-of-bounds", f"invalid access to flow keys off={off} size={size}", number)
    elif kind in _SOCKET_LAYOUTS:
        if write:
            raise Rejection("read-only", f"R{number} cannot write into {r.type_name(kind)}", number)
        _check_socket(checker, number, off, size)
    elif kind == r.TP_BUFFER:
        _check_buffer(register, number, off, size)
    elif base == r.BUF and not kind & r.OR_NULL:
        if write and kind & r.RDONLY:
            raise Rejection("read-only", f"R{number} cannot write into {r.type_name(kind)}", number)
        _check_buffer(register, number, off, size, "rdonly" if kind & r.RDONLY else "rdwr")
    elif base == r.BTF_ID and not kind & r.OR_NULL:
        from linscope.bpf.verifier.kernel_types import check_struct_access

        result = check_struct_access(checker, number, off, size, write=write)
        checker.unproven.add(checker.slot)
        if not write and value >= 0:
            registers[value] = r.OF_SIZE[size] if result.type == r.SCALAR else result
        return
    elif kind == r.MAP_PTR:
        _check_map_struct(checker, number, off, size, write)
        checker.unproven.add(checker.slot)
        if not write and value >= 0:
            registers[value] = r.OF_SIZE[size]
        return
    else:
        raise Rejection(
            "null-pointer" if kind & r.OR_NULL else "not-a-pointer",
            f"R{number} invalid mem access '{r.type_name(kind)}'",
            number,
        )
    if not write and value >= 0:
        registers[value] = r.OF_SIZE[size]


def _check_leak(checker: Checker, value: int, write: bool, where: str) -> None:
    if write and value >= 0 and not checker.leaks_allowed:
        register = checker.state.frames[-1].registers[value]
        if register.type not in (r.SCALAR, r.NOT_INIT):
            raise Rejection("pointer-leak", f"R{value} leaks addr into {where}", value)


def _check_buffer(register: Register, number: int, off: int, size: int, name: str = "tracepoint") -> None:
    if off < 0:
        raise Rejection(
            "memory-out-of-bounds", f"R{number} invalid {name} buffer access: off={off}, size={size}", number
        )
    if register.bounds[1] or register.bounds[0]:
        raise Rejection(
            "variable-pointer",
            f"R{number} invalid variable buffer offset: off={off}, var_off={tnum.text(register.bounds[:2])}",
            number,
        )


def check_buffer(checker: Checker, number: int, off: int, size: int) -> None:
    """Whether a helper may use memory behind a buffer pointer.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    _check_buffer(register, number, off, size, "rdonly" if register.type & r.RDONLY else "rdwr")


_MAP_FIELDS = {0: 8, 8: 8, 16: 8, 24: 4, 28: 4, 32: 4, 36: 4, 40: 8, 48: 4, 52: 4}
_MAP_STRUCTS = {
    b.BPF_MAP_TYPE_ARRAY: "bpf_array", b.BPF_MAP_TYPE_PERCPU_ARRAY: "bpf_array",
    b.BPF_MAP_TYPE_HASH: "bpf_htab", b.BPF_MAP_TYPE_PERCPU_HASH: "bpf_htab", b.BPF_MAP_TYPE_LRU_HASH: "bpf_htab",
    b.BPF_MAP_TYPE_LRU_PERCPU_HASH: "bpf_htab", b.BPF_MAP_TYPE_RINGBUF: "bpf_ringbuf_map",
}  # fmt: skip


def _check_map_struct(checker: Checker, number: int, off: int, size: int, write: bool) -> None:
    """Fields of struct bpf_map read through a map pointer."""
    name = _MAP_STRUCTS.get(checker.map_of(checker.state.frames[-1].registers[number]).type, "bpf_map")
    if not checker.leaks_allowed:
        raise Rejection(
            "unprivileged-map-pointer", f"{name} access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", number
        )
    if off < 0:
        raise Rejection("memory-out-of-bounds", f"R{number} is {name} invalid negative access: off={off}", number)
    if write:
        raise Rejection("read-only", f"only read from {name} is supported", number)
    btf = checker.kernel_btf
    if btf is not None:
        from linscope.bpf.verifier.kernel_types import walk_struct

        type_id = btf.find_one("bpf_map")
        if type_id:
            walk_struct(checker, btf, type_id, off, size, number)
            return
    for at, length in _MAP_FIELDS.items():
        if at < off < at + length:
            raise Rejection(
                "kernel-struct-access",
                f"cannot access ptr member ops with moff {at} in struct bpf_map with off {off} size {size}",
                number,
            )


def _check_socket(checker: Checker, number: int, off: int, size: int) -> None:
    """Fields of bpf_sock and its companions.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    if register.bounds[bd.SMIN] < 0:
        raise Rejection(
            "negative-offset",
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check.",
            number,
        )
    fine = off >= 0 and off % size == 0
    if fine and register.type == r.SOCK_COMMON and 8 <= off < 24:
        fine = False
    if fine:
        field = find_field(_SOCKET_LAYOUTS[register.type], off)
        fine = field is not None and is_read_allowed(field, off, size)
    if not fine:
        raise Rejection(
            "memory-out-of-bounds",
            f"R{number} invalid {r.type_name(register.type)} access off={off} size={size}",
            number,
        )
