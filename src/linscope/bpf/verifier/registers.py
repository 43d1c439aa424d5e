"""Registers as the verifier sees them: a type, an offset, identities and bounds.

A ``Register`` is never changed once it stands in a frame; states share them, and a change is a new one.  So copying a
state copies lists of references.
Source: include/linux/bpf.h, enum bpf_reg_type; include/linux/bpf_verifier.h, struct bpf_reg_state.
"""

from __future__ import annotations

from linscope.bpf.verifier import bounds as bd

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.bounds import Bounds

# base types
(
    NOT_INIT, SCALAR, CTX, MAP_PTR, MAP_VALUE, MAP_KEY, STACK, PACKET_META, PACKET, PACKET_END, FLOW_KEYS, SOCKET,
    SOCK_COMMON, TCP_SOCK, TP_BUFFER, XDP_SOCK, BTF_ID, MEM, BUF, FUNC, DYNPTR,
) = range(21)  # fmt: skip
BASE = 0xFF
# flags beside the base type
OR_NULL = 1 << 8
RDONLY = 1 << 9
RECORD = 1 << 10  # of a ring buffer: MEM_ALLOC, since v6.2 MEM_RINGBUF
USER = 1 << 11
PERCPU = 1 << 12
UNTRUSTED = 1 << 13
TRUSTED = 1 << 14

NAMES = (
    "?", "scalar", "ctx", "map_ptr", "map_value", "map_key", "fp", "pkt_meta", "pkt", "pkt_end", "flow_keys", "sock",
    "sock_common", "tcp_sock", "tp_buffer", "xdp_sock", "ptr_", "mem", "buf", "func", "dynptr_ptr",
)  # fmt: skip
SOCKETS = frozenset((SOCKET, SOCK_COMMON, TCP_SOCK, XDP_SOCK))
PACKETS = frozenset((PACKET, PACKET_META))
PACKETS_ANY = frozenset((PACKET, PACKET_META, PACKET_END))
_PREFIXES = (
    (RDONLY, "rdonly_"), (RECORD, "ringbuf_"), (USER, "user_"), (PERCPU, "percpu_"), (UNTRUSTED, "untrusted_"),
    (TRUSTED, "trusted_"),
)  # fmt: skip


class Register:
    """What is known of one register or spilled value."""

    __slots__ = ("bounds", "id", "info", "off", "range", "ref", "type", "uid")

    def __init__(
        self, type: int, bounds: Bounds = bd.ZERO, off: int = 0, id: int = 0, ref: int = 0, info: object = None,
        range: int = 0, uid: int = 0,
    ) -> None:  # fmt: skip
        """type: base type and flags; bounds: of the number, or of what is added to the pointer beside off.

        id: pointers with one may be NULL together, packet pointers have their variable part in common, numbers are
        equal; ref: of the reference that must be released; range: bytes behind a packet pointer that are known to be
        there (negative: it is beyond the end); uid: of a map found in a map.
        info: Map of maps, map keys and map values, frame number of stack pointers, size of memory, first slot of
        functions, (Btf, type id) of kernel structs.
        """
        self.type = type
        self.bounds = bounds
        self.off = off
        self.id = id
        self.ref = ref
        self.info = info
        self.range = range
        self.uid = uid

    def __repr__(self) -> str:
        return f"<Register {text(self)}>"

    def with_bounds(self, bounds: Bounds) -> Register:
        """The same with other bounds."""
        return Register(self.type, bounds, self.off, self.id, self.ref, self.info, self.range, self.uid)

    def with_type(self, type: int) -> Register:
        """The same of another type."""
        return Register(type, self.bounds, self.off, self.id, self.ref, self.info, self.range, self.uid)

    def with_id(self, id: int) -> Register:
        """The same with another id."""
        return Register(self.type, self.bounds, self.off, id, self.ref, self.info, self.range, self.uid)

    def with_range(self, range: int) -> Register:
        """The same with another range."""
        return Register(self.type, self.bounds, self.off, self.id, self.ref, self.info, range, self.uid)


UNINITIALIZED = Register(NOT_INIT, bd.UNKNOWN)
UNKNOWN = Register(SCALAR, bd.UNKNOWN)
ZERO = Register(SCALAR, bd.ZERO)
_CONSTANTS = [Register(SCALAR, bd.known(value)) for value in range(64)]


def constant(value: int) -> Register:
    """A known number."""
    return _CONSTANTS[value] if 0 <= value < 64 else Register(SCALAR, bd.known(value))


OF_SIZE = {size: Register(SCALAR, bd.of_size(size)) for size in (1, 2, 4, 8)}


def is_null(register: Register) -> bool:
    """Whether it is the number 0."""
    return register.type == SCALAR and not register.bounds[0] and not register.bounds[1]


def is_constant(register: Register) -> bool:
    """Whether it is one known number."""
    return register.type == SCALAR and not register.bounds[1]


def struct_name(register: Register) -> str:
    """Name of the kernel struct that it points to, "" for other types."""
    if register.type & BASE != BTF_ID or not isinstance(register.info, tuple):
        return ""
    btf, type_id = register.info
    if isinstance(type_id, str):
        return type_id
    return str(btf.name(type_id)) if btf is not None else ""


def type_name(type: int, name: str = "") -> str:
    """As the kernel's messages call a type: ``scalar``, ``map_value_or_null``, ``rdonly_mem``, ``ptr_``."""
    base = type & BASE
    prefix = "".join(word for flag, word in _PREFIXES if type & flag)
    if base == BTF_ID:
        return f"{prefix}ptr_{'or_null_' if type & OR_NULL else ''}{name}"
    return f"{prefix}{NAMES[base]}{'_or_null' if type & OR_NULL else ''}"


def text(register: Register) -> str:
    """As the verifier's log shows a register: ``map_value(id=1,off=4,umax=7)``."""
    base = register.type & BASE
    if register.type == NOT_INIT:
        return "uninitialized"
    if register.type == SCALAR:
        if not register.bounds[1]:
            return str(register.bounds[bd.SMIN])
        parts = [f"id={register.id}"] if register.id else []
        known = bd.text(register.bounds)
        return f"scalar({','.join([*parts, known] if known else parts)})"
    name = type_name(register.type, struct_name(register))
    parts = []
    if register.id:
        parts.append(f"id={register.id}")
    if register.ref:
        parts.append(f"ref_obj_id={register.ref}")
    if register.off:
        parts.append(f"off={register.off}")
    if base in PACKETS:
        parts.append(f"r={register.range}")
    if base in (MAP_PTR, MAP_VALUE, MAP_KEY):
        parts += [f"ks={getattr(register.info, 'key_size', 0)}", f"vs={getattr(register.info, 'value_size', 0)}"]
    if base == MEM:
        parts.append(f"sz={register.info}")
    if register.bounds != bd.ZERO:
        parts.append(bd.text(register.bounds) if register.bounds[1] else f"imm={register.bounds[bd.SMIN]}")
    if base == STACK:
        return f"fp{register.off + register.bounds[bd.SMIN] if not register.bounds[1] else f'({chr(44).join(parts)})'}"
    return f"{name}({','.join(part for part in parts if part)})"
