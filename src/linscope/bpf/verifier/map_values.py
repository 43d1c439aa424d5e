"""Values of maps: what may be read and written there, locks, timers and kernel pointers inside, constants.

Source: kernel/bpf/verifier.c, check_map_access, check_map_kptr_access, bpf_map_direct_read; kernel/bpf/btf.c,
btf_parse_fields.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.regions import check_no_offset, check_region
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.program import Map
    from linscope.bpf.verifier.checker import Checker

_SPECIAL = {"bpf_spin_lock": 4, "bpf_timer": 16, "bpf_wq": 16, "bpf_list_head": 16, "bpf_rb_root": 16}
_DIRECT = frozenset((b.BPF_MAP_TYPE_ARRAY, b.BPF_MAP_TYPE_ARENA))


class Fields:
    """Special fields of a map's value, by offset."""

    __slots__ = ("pointers", "special")

    def __init__(self) -> None:
        self.special: dict[int, str] = {}  # offset -> bpf_spin_lock, bpf_timer, ...
        self.pointers: dict[int, tuple[str, int]] = {}  # offset -> (kptr or kptr_ref, type id of the struct)

    def offset_of(self, name: str) -> int:
        """Where the first field of a kind is, -1 when there is none."""
        return next((off for off, kind in self.special.items() if kind == name), -1)


NO_FIELDS = Fields()


def fields_of(checker: Checker, map: Map) -> Fields:
    """The special fields of a map's value, as its BTF says; none without."""
    if not map.value_type or checker.program.btf is None:
        return NO_FIELDS
    cache: dict[int, Fields] = checker.field_cache
    found = cache.get(map.value_type)
    if found is None:
        found = cache[map.value_type] = Fields()
        try:
            _collect(checker.program.btf, map.value_type, 0, found, 0)
        except FormatError:
            return NO_FIELDS
    return found


def _collect(btf: Btf, type_id: int, base: int, found: Fields, depth: int) -> None:
    struct = btf.type(btf.resolve(type_id))
    if not isinstance(struct, bt.Struct) or depth > 8:
        return
    for member in struct.members:
        off = base + member.bit_offset // 8
        inner_id = btf.resolve(member.type)
        inner = btf.type(inner_id)
        if isinstance(inner, bt.Struct):
            if inner.name in _SPECIAL:
                found.special[off] = inner.name
            else:
                _collect(btf, inner_id, off, found, depth + 1)
        elif isinstance(inner, bt.Pointer):
            tag, target = _tag(btf, inner.target)
            if tag:
                found.pointers[off] = (tag, target)


def _tag(btf: Btf, type_id: int) -> tuple[str, int]:
    for _ in range(16):
        one = btf.type(type_id)
        if isinstance(one, bt.TypeTag):
            if one.name in ("kptr", "kptr_ref", "kptr_untrusted", "percpu_kptr"):
                return one.name, btf.resolve(one.target)
            type_id = one.target
        elif isinstance(one, bt.Qualifier):
            type_id = one.target
        else:
            break
    return "", 0


def has_spin_lock(checker: Checker, map: Map) -> bool:
    """Whether values of a map have a struct bpf_spin_lock."""
    return fields_of(checker, map).offset_of("bpf_spin_lock") >= 0


def check_map_permission(checker: Checker, number: int, off: int, size: int, *, write: bool) -> None:
    """Whether programs may write (or read) values of a map at all.  Raises Rejection."""
    map = checker.map_of(checker.state.frames[-1].registers[number])
    if write and map.flags & b.BPF_F_RDONLY_PROG:
        raise Rejection(
            "map-read-only", f"write into map forbidden, value_size={map.value_size} off={off} size={size}", number
        )
    if not write and map.flags & b.BPF_F_WRONLY_PROG:
        raise Rejection(
            "map-write-only", f"read from map forbidden, value_size={map.value_size} off={off} size={size}", number
        )


def check_map_access(
    checker: Checker, number: int, off: int, size: int, *, zero_allowed: bool = False, helper: bool = False
) -> None:
    """Whether [off, off + size) is in the value, and no lock or timer in it.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    map = checker.map_of(register)
    check_region(checker, number, off, size, map.value_size, zero_allowed=zero_allowed)
    fields = fields_of(checker, map)
    if fields is NO_FIELDS:
        return
    low, high = off + register.bounds[bd.SMIN], off + register.bounds[bd.UMAX] + size
    for at, name in fields.special.items():
        if low < at + _SPECIAL[name] and at < high:
            raise Rejection("special-field", f"{name} cannot be accessed directly by load/store", number)
    for at in fields.pointers:
        if low < at + 8 and at < high:
            if helper:
                raise Rejection("special-field", "kptr cannot be accessed indirectly by helper", number)
            if register.bounds[1]:
                raise Rejection("special-field", "kptr access cannot have variable offset", number)
            if low != at:
                raise Rejection("special-field", f"kptr access misaligned expected={at} off={low}", number)
            if size != 8:
                raise Rejection("special-field", "kptr access size must be BPF_DW", number)


def is_constant_map(map: Map) -> bool:
    """Whether nobody can change the values any more: bpf_map_is_rdonly."""
    return map.frozen and bool(map.flags & b.BPF_F_RDONLY_PROG)


def load_map_value(checker: Checker, number: int, off: int, size: int, *, write: bool, value: int) -> None:
    """After the checks: what a load from a map's value gives; stores of kernel pointers.  Raises Rejection."""
    registers = checker.state.frames[-1].registers
    register = registers[number]
    map = checker.map_of(register)
    fields = fields_of(checker, map)
    if fields.pointers and not register.bounds[1]:
        at = off + register.bounds[bd.SMIN]
        if at in fields.pointers:
            _kernel_pointer(checker, number, at, write, value, fields)
            return
    if write or value < 0:
        return
    if not register.bounds[1] and is_constant_map(map) and map.type in _DIRECT:
        at = off + register.bounds[0]
        data = map.initial[at : at + size].ljust(size, b"\0")
        registers[value] = r.constant(int.from_bytes(data, "little"))
    else:
        registers[value] = r.OF_SIZE[size]


def _kernel_pointer(checker: Checker, number: int, at: int, write: bool, value: int, fields: Fields) -> None:
    tag, target = fields.pointers[at]
    instruction = checker.code[checker.slot]
    kind = instruction.code & 7
    if instruction.code & 0xE0 != b.BPF_MEM:
        raise Rejection("special-field", "kptr in map can only be accessed using BPF_MEM instruction mode", number)
    referenced = tag == "kptr_ref" or (tag == "kptr" and checker.kernel >= (6, 4))
    if kind != b.BPF_LDX and referenced:
        raise Rejection("special-field", "store to referenced kptr disallowed", number)
    if kind == b.BPF_LDX:
        if value >= 0:
            checker.state.frames[-1].registers[value] = Register(
                r.BTF_ID | r.OR_NULL | r.UNTRUSTED,
                bd.ZERO,
                id=checker.new_id(),
                info=kernel_pointer_info(checker, target),
            )
    elif kind == b.BPF_STX:
        register = checker.state.frames[-1].registers[value]
        if not r.is_null(register):
            check_kernel_pointer_type(checker, register, value, fields.pointers[at])
    elif instruction.imm:
        raise Rejection("special-field", f"BPF_ST imm must be 0 when storing to kptr at off={at}", number)


def kernel_pointer_info(checker: Checker, target: int) -> tuple[Btf | None, int | str]:
    """The kernel's struct of the name that a kernel pointer in a map has in the program's BTF."""
    from linscope.bpf.verifier.kernel_types import find_struct

    name = checker.program.btf.name(target) if checker.program.btf is not None else ""
    found = find_struct(checker, name)
    return (checker.kernel_btf, found) if found else (None, name)


def check_kernel_pointer_type(checker: Checker, register: Register, number: int, field: tuple[str, int]) -> None:
    """Whether a pointer may be kept in a field of a map.  Raises Rejection."""
    tag, target = field
    btf = checker.program.btf
    name = btf.name(target) if btf is not None else ""
    untrusted_fine = tag in ("kptr", "kptr_untrusted") and checker.kernel < (6, 4)
    flags = r.OR_NULL | r.TRUSTED | (r.UNTRUSTED if untrusted_fine else 0)
    got = r.struct_name(register)
    if register.type & r.BASE != r.BTF_ID or register.type & ~(r.BASE | flags) or got != name:
        expected = f"ptr_{name}" + (f" or untrusted_ptr_{name}" if untrusted_fine else "")
        raise Rejection(
            "special-field",
            f"invalid kptr access, R{number} type={r.type_name(register.type, got)} expected={expected}",
            number,
        )
    check_no_offset(checker, register, number, fixed_fine=True)
    if register.off:
        raise Rejection(
            "special-field",
            f"access beyond struct {name} at off {register.off} size 0",
            number,
        )
