"""Access to the context, by the fields that each program type has.

Source: kernel/bpf/verifier.c, check_ctx_access; the facts are in ``linscope.abi.bpf_contexts``.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi.bpf_contexts import ATTACH_FIELDS, ATTACH_WRITES, CONTEXTS, LAYOUTS
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.abi.bpf_contexts import Field
    from linscope.bpf.verifier.checker import Checker

_POINTERS = {
    "packet": r.PACKET, "packet_meta": r.PACKET_META, "packet_end": r.PACKET_END, "sock_common": r.SOCK_COMMON,
    "socket": r.SOCKET, "flow_keys": r.FLOW_KEYS, "tp_buffer": r.TP_BUFFER,
}  # fmt: skip
_BTF_TYPES = (b.BPF_PROG_TYPE_TRACING, b.BPF_PROG_TYPE_LSM, b.BPF_PROG_TYPE_STRUCT_OPS, b.BPF_PROG_TYPE_EXT)


def find_field(layout: str, off: int) -> Field | None:
    """The field of a layout that has a byte; None for padding and what is beyond."""
    for field in LAYOUTS[layout]:
        if field.offset <= off < field.offset + field.size:
            return field
    return None


def is_read_allowed(field: Field, off: int, size: int) -> bool:
    """Whether an aligned access of size bytes reads this field in a way it can be read."""
    ways = field.ways
    if ways == "n":
        return size <= 4
    if ways == "N":
        return True
    if ways == "a":
        return off + size <= field.offset + field.size
    if ways == "f":
        return off == field.offset and size <= 4
    if ways == "w":
        return size <= 4 or (off % 8 == 0 and off + size <= field.offset + field.size)
    if ways == "h":
        return size in (2, 4)
    if ways == "d":
        return size <= 2 or (size == 4 and off == field.offset)
    return ways == str(size)


def is_write_allowed(field: Field, off: int, size: int) -> bool:
    """Whether a writable field may be written so: 4 bytes, its own size, or anything in a scratch area."""
    if field.ways == "a":
        return off + size <= field.offset + field.size
    if field.ways == "w":
        return size == 4 or (size == 8 and off % 8 == 0 and off + size <= field.offset + field.size)
    if field.ways == "8":
        return size == 8
    return size == 4


def check_context(checker: Checker, number: int, off: int, size: int, *, write: bool) -> Register:
    """What a load of size bytes at off from the context gives; for stores only whether it may be.

    Raises Rejection.
    """
    program = checker.program
    if program.type in _BTF_TYPES or (program.type == b.BPF_PROG_TYPE_RAW_TRACEPOINT and program.target):
        from linscope.bpf.verifier.kernel_types import check_argument_access

        return check_argument_access(checker, number, off, size, write=write)
    result = _access(checker, off, size, write)
    if result is None:
        raise Rejection("context-access", f"invalid bpf_context access off={off} size={size}", number)
    return result


def _access(checker: Checker, off: int, size: int, write: bool) -> Register | None:
    kind, attach = checker.program.type, checker.attach_type
    context = CONTEXTS.get(kind)
    if context is None or off < 0 or off % size:
        return None
    if context.layout == "__sk_buff" and off == 180 and kind in (b.BPF_PROG_TYPE_SCHED_CLS, b.BPF_PROG_TYPE_SCHED_ACT):
        return r.UNKNOWN if size == 1 and not write else None
    field = find_field(context.layout, off)
    if field is None:
        return None
    name = field.name
    if name in context.denied:
        return None
    allowed = ATTACH_FIELDS.get((kind, name))
    if allowed is not None and attach not in allowed:
        return None
    root_only = name in ("data", "data_end") or (write and name == "tstamp")
    if root_only and kind == b.BPF_PROG_TYPE_CGROUP_SKB and not checker.capable:
        return None
    if write:
        writers = ATTACH_WRITES.get((kind, name))
        if name not in context.writable or (writers is not None and attach not in writers):
            return None
        return r.UNKNOWN if is_write_allowed(field, off, size) else None
    pointer = context.pointers.get(name)
    if pointer is None:
        return r.UNKNOWN if is_read_allowed(field, off, size) else None
    if pointer.startswith("btf:"):
        from linscope.bpf.verifier.kernel_types import pointer_to

        return pointer_to(checker, pointer[4:]) if size == 8 else None
    if not is_read_allowed(field, off, size):
        return None
    base = _POINTERS[pointer.rstrip("?")]
    if pointer.endswith("?"):
        return Register(base | r.OR_NULL, bd.ZERO, id=checker.new_id())
    return Register(base, bd.ZERO)
