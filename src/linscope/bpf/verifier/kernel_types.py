"""Pointers to the kernel's own structs, and arguments of tracing programs, as BTF describes them.

Source: kernel/bpf/btf.c, btf_ctx_access, btf_struct_access; kernel/bpf/verifier.c, check_ptr_to_btf_access.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import tnum
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.bpf.verifier.checker import Checker

_STRUCTS = (bt.KIND_STRUCT, bt.KIND_UNION)


def find_struct(checker: Checker, name: str) -> int:
    """Id of a struct in the kernel's BTF, 0 when there is none or no BTF."""
    btf = checker.kernel_btf
    return btf.find_one(name, _STRUCTS) if btf is not None else 0


def pointer_to(checker: Checker, name: str, *, or_null: bool = False, trusted: bool = True) -> Register:
    """A pointer to a struct of the kernel."""
    kind = r.BTF_ID | (r.OR_NULL if or_null else 0) | (r.TRUSTED if trusted and checker.kernel >= (6, 2) else 0)
    found = find_struct(checker, name)
    info = (checker.kernel_btf, found) if found else (None, name)
    return Register(kind, bd.ZERO, id=checker.new_id() if or_null else 0, info=info)


def check_struct_access(checker: Checker, number: int, off: int, size: int, *, write: bool) -> Register:
    """What a load from a kernel struct gives; stores are for the kernel only.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    name = r.struct_name(register)
    if off < 0:
        raise Rejection("kernel-struct-access", f"R{number} is ptr_{name} invalid negative access: off={off}", number)
    if register.bounds[1] or register.bounds[0]:
        raise Rejection(
            "kernel-struct-access",
            f"R{number} is ptr_{name} invalid variable offset: off={off}, var_off={tnum.text(register.bounds[:2])}",
            number,
        )
    if register.type & r.USER:
        raise Rejection("kernel-struct-access", f"R{number} is ptr_{name} access user memory: off={off}", number)
    if register.type & r.PERCPU:
        raise Rejection("kernel-struct-access", f"R{number} is ptr_{name} access percpu memory: off={off}", number)
    if write:
        raise Rejection("kernel-struct-access", "only read is supported", number)
    info = register.info
    if not isinstance(info, tuple) or info[0] is None or not isinstance(info[1], int):
        return r.OF_SIZE[size]
    try:
        return walk_struct(checker, info[0], info[1], off, size, number)
    except FormatError:
        return r.OF_SIZE[size]


def walk_struct(checker: Checker, btf: Btf, type_id: int, off: int, size: int, number: int) -> Register:
    """The value of size bytes at off in a struct: a number, or a pointer to another struct.  Raises Rejection."""
    type_id = btf.resolve(type_id)
    for _ in range(32):
        struct = btf.type(type_id)
        if not isinstance(struct, bt.Struct):
            break
        if off + size > struct.size:
            last = struct.members[-1] if struct.members else None
            flexible = btf.type(btf.resolve(last.type)) if last is not None else None
            if not (isinstance(flexible, bt.Array) and not flexible.length) or last is None:
                raise Rejection(
                    "kernel-struct-access",
                    f"access beyond struct {struct.name} at off {off} size {size}", number,
                )  # fmt: skip
            return r.OF_SIZE[size]
        inner = _member_at(btf, struct, off, size, number)
        if inner is None:
            return r.OF_SIZE[size]
        member_off, inner_id = inner
        found = btf.type(inner_id)
        off -= member_off
        while isinstance(found, bt.Array):
            element = btf.resolve(found.element)
            step = _size(btf, element)
            if not step:
                return r.OF_SIZE[size]
            off %= step
            inner_id, found = element, btf.type(element)
        if isinstance(found, bt.Struct):
            type_id = inner_id
            continue
        if isinstance(found, bt.Pointer):
            if size != 8 or off:
                raise Rejection(
                    "kernel-struct-access",
                    f"cannot access ptr member in struct {struct.name} with off {off} size {size}", number,
                )  # fmt: skip
            return _pointer(checker, btf, found)
        return r.OF_SIZE[size]
    return r.OF_SIZE[size]


def _size(btf: Btf, type_id: int) -> int:
    from linscope.binfmt.btf_layout import size_of

    try:
        return size_of(btf, type_id)
    except FormatError:
        return 0


def _member_at(btf: Btf, struct: bt.Struct, off: int, size: int, number: int) -> tuple[int, int] | None:
    for member in struct.members:
        start = member.bit_offset // 8
        if member.bitfield_size:
            if start <= off < (member.bit_offset + member.bitfield_size + 7) // 8:
                return None
            continue
        if start > off:
            break
        inner = btf.resolve(member.type)
        length = _size(btf, inner)
        if off < start + length:
            if off + size > start + length:
                if struct.is_union:
                    continue
                raise Rejection(
                    "kernel-struct-access",
                    f"access beyond the end of member {member.name} (mend:{start + length}) in struct "
                    f"{struct.name} with off {off} size {size}",
                    number,
                )
            return start, inner
    return None


def _pointer(checker: Checker, btf: Btf, pointer: bt.Pointer) -> Register:
    target = pointer.target
    flags = 0
    for _ in range(16):
        found = btf.type(target)
        if isinstance(found, bt.TypeTag):
            flags |= {"user": r.USER, "percpu": r.PERCPU}.get(found.name, 0)
            target = found.target
        elif isinstance(found, (bt.Qualifier, bt.Typedef)):
            target = found.target
        else:
            break
    if isinstance(btf.type(target), bt.Struct):
        return Register(r.BTF_ID | flags, bd.ZERO, info=(btf, target))
    return r.UNKNOWN


# -- arguments of tracing programs


def check_argument_access(checker: Checker, number: int, off: int, size: int, *, write: bool) -> Register:
    """What a load of an argument gives, by the prototype of what the program is attached to.  Raises Rejection."""
    program = checker.program
    if off < 0 or off >= 96 or write or off % size:
        raise Rejection("context-access", f"invalid bpf_context access off={off} size={size}", number)
    prototype = find_prototype(checker)
    if prototype is None:
        return r.OF_SIZE[size]
    btf, proto, skip = prototype
    name = program.target
    if off % 8:
        raise Rejection("context-access", f"func '{name}' offset {off} is not multiple of 8", number)
    index = off // 8
    parameters = proto.parameters[skip:]
    if index >= len(parameters):
        returns = program.attach_type in (b.BPF_TRACE_FEXIT, b.BPF_MODIFY_RETURN, b.BPF_LSM_MAC, b.BPF_LSM_CGROUP)
        if index == len(parameters) and returns:
            type_id = proto.returns
            if program.attach_type != b.BPF_TRACE_FEXIT:
                return r.OF_SIZE[size]
        else:
            raise Rejection("context-access", f"func '{name}' doesn't have {index + 1}-th argument", number)
    else:
        type_id = parameters[index].type
    resolved = btf.resolve(type_id)
    found = btf.type(resolved)
    if not isinstance(found, bt.Pointer):
        if isinstance(found, (bt.Int, bt.Enum)):
            return r.OF_SIZE[size]
        raise Rejection(
            "context-access", f"func '{name}' arg{index} has type {bt.KIND_NAMES[btf.kind(resolved)]}", number
        )
    if size != 8:
        raise Rejection("context-access", f"func '{name}' size {size} must be 8", number)
    result = _pointer(checker, btf, found)
    if result.type == r.SCALAR:
        if program.attach_type == b.BPF_TRACE_ITER and index < len(parameters):
            # void *: of iterators over maps, memory of the size that attaching will check (bpf_ctx_arg_aux)
            flags = r.OR_NULL | (r.RDONLY if parameters[index].name == "key" else 0)
            return Register(r.BUF | flags, bd.ZERO, id=checker.new_id())
        return r.UNKNOWN
    or_null = program.attach_type == b.BPF_TRACE_ITER and index > 0
    kind = result.type | (r.TRUSTED if checker.kernel >= (6, 2) else 0) | (r.OR_NULL if or_null else 0)
    return Register(kind, bd.ZERO, id=checker.new_id() if or_null else 0, info=result.info)


def find_prototype(checker: Checker) -> tuple[Btf, bt.FuncProto, int] | None:
    """(BTF, prototype, arguments to skip) of what a tracing program is attached to; None when not known."""
    btf = checker.kernel_btf
    program = checker.program
    if btf is None or not program.target:
        return None
    attach = program.attach_type
    if attach == b.BPF_TRACE_RAW_TP or program.type == b.BPF_PROG_TYPE_RAW_TRACEPOINT:
        type_id = btf.find_one(f"btf_trace_{program.target}", (bt.KIND_TYPEDEF,))
        if not type_id:
            return None
        found = btf.type(btf.resolve(type_id))
        proto = btf.type(found.target) if isinstance(found, bt.Pointer) else None
        return (btf, proto, 1) if isinstance(proto, bt.FuncProto) else None
    name = program.target
    if attach == b.BPF_TRACE_ITER and not name.startswith("bpf_iter_"):
        name = f"bpf_iter_{name}"
    if program.type == b.BPF_PROG_TYPE_LSM and not name.startswith("bpf_lsm_"):
        name = f"bpf_lsm_{name}"
    type_id = btf.find_one(name, (bt.KIND_FUNC,))
    if not type_id:
        return None
    function = btf.type(type_id)
    proto = btf.type(function.proto) if isinstance(function, bt.Func) else None
    return (btf, proto, 0) if isinstance(proto, bt.FuncProto) else None


def load_variable(checker: Checker, type_id: int) -> Register:
    """The address of a variable of the kernel: BPF_PSEUDO_BTF_ID.  Raises Rejection."""
    btf = checker.kernel_btf
    if btf is None:
        raise Rejection(
            "kernel-btf", "kernel is missing BTF, make sure CONFIG_DEBUG_INFO_BTF=y is specified in Kconfig."
        )
    try:
        found = btf.type(type_id)
        if not isinstance(found, bt.Var):
            raise Rejection("kernel-btf", f"pseudo btf_id {type_id} in ldimm64 isn't KIND_VAR.")
        inner = btf.resolve(found.type)
        struct = btf.type(inner)
        percpu = _is_percpu(btf, type_id)
        if percpu:
            return Register(r.BTF_ID | r.PERCPU, bd.ZERO, info=(btf, inner))
        if isinstance(struct, bt.Struct):
            return Register(r.BTF_ID, bd.ZERO, info=(btf, inner))
        return Register(r.MEM | r.RDONLY, bd.ZERO, info=_size(btf, inner))
    except FormatError:
        raise Rejection("kernel-btf", f"ldimm64 insn specifies invalid btf_id {type_id}.") from None


def _is_percpu(btf: Btf, type_id: int) -> bool:
    section = btf.find_one(".data..percpu", (bt.KIND_DATASEC,))
    found = btf.type(section) if section else None
    return isinstance(found, bt.DataSection) and any(one.variable == type_id for one in found.variables)
