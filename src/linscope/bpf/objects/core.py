"""CO-RE: instructions that depend on how the kernel has a type are fitted to a kernel's types.

An access "0:1:2" of a local type is followed to names; the names are looked for in the kernel's types of the same name,
flavors ("___old") aside; what is found changes the instruction.  What is not found makes it one that the verifier
refuses, unless nothing leads to it.
Source: Documentation/bpf/llvm_reloc.rst, "CO-RE Relocations"; tools/lib/bpf/relo_core.c (v6.1), the comments there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf_layout import size_of
from linscope.bpf.instructions import WIDE, Instruction, signed32
from linscope.bpf.objects import core_types
from linscope.bpf.program import POISON
from linscope.errors import FormatError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.binfmt.btf import Btf
    from linscope.bpf.objects.btf_ext import CoreRelocation
    from linscope.bpf.objects.target import Target

# enum bpf_core_relo_kind (include/uapi/linux/bpf.h)
(
    BYTE_OFFSET, BYTE_SIZE, FIELD_EXISTS, SIGNED, LSHIFT_U64, RSHIFT_U64, TYPE_ID_LOCAL, TYPE_ID_TARGET, TYPE_EXISTS,
    TYPE_SIZE, ENUMVAL_EXISTS, ENUMVAL_VALUE, TYPE_MATCHES,
) = range(13)  # fmt: skip
_FIELD_KINDS = range(BYTE_OFFSET, RSHIFT_U64 + 1)
_TYPE_KINDS = (TYPE_ID_LOCAL, TYPE_ID_TARGET, TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES)
_MAX_STEPS = 64  # of an access (BPF_CORE_SPEC_MAX_LEN)


class Step(NamedTuple):
    """A member that has a name, or an element of an array (name "")."""

    type: int  # the struct; of an element: the element's type
    place: int  # which member, which element
    name: str


class Access(NamedTuple):
    """Steps from a type on, and where they end."""

    btf: Btf
    steps: tuple[Step, ...]
    bit_offset: int


class Value(NamedTuple):
    """What an instruction is to hold.  size, type: of the field, for loads and stores; 0, None: as it is."""

    value: int
    size: int = 0
    type: bt.Type | None = None
    certain: bool = True  # a compiler surely put the same number there


def _fail(btf: Btf, what: str) -> FormatError:
    return FormatError(f"CO-RE relocation: {what}", where=btf.where)


def parse_access(btf: Btf, type_id: int, text: str) -> Access:
    """Follow "0:1:2" in the object's own types.  Raises FormatError."""
    try:
        indexes = [int(part) for part in text.split(":")]
    except ValueError:
        raise _fail(btf, f"no access {text!r}") from None
    if len(indexes) > _MAX_STEPS or min(indexes) < 0:
        raise _fail(btf, f"no access {text!r}")
    here = btf.resolve(type_id)
    steps = [Step(here, indexes[0], "")]
    offset = indexes[0] * size_of(btf, here) * 8
    for index in indexes[1:]:
        here = btf.resolve(here)
        kind = btf.type(here)
        if isinstance(kind, bt.Struct):
            if index >= len(kind.members):
                raise _fail(btf, f"{text!r}: no member {index} in {kind.name!r}")
            member = kind.members[index]
            offset += member.bit_offset
            if member.name:
                steps.append(Step(here, index, member.name))
            here = member.type
        elif isinstance(kind, bt.Array):
            here = btf.resolve(kind.element)
            if index >= kind.length and not _flexible(btf, steps, kind):
                raise _fail(btf, f"{text!r}: no element {index}")
            steps.append(Step(here, index, ""))
            offset += index * size_of(btf, here) * 8
        else:
            raise _fail(btf, f"{text!r} goes into what is neither struct nor array")
    return Access(btf, tuple(steps), offset)


def _flexible(btf: Btf, steps: Sequence[Step], array: bt.Array) -> bool:
    """Whether an array is the last member of its struct and has no length."""
    last = steps[-1]
    struct = btf.type(last.type) if last.name else None
    return not array.length and isinstance(struct, bt.Struct) and last.place == len(struct.members) - 1


def match_access(local: Access, target: Btf, type_id: int) -> Access | None:
    """The same steps by their names in a kernel's type; None: it has not all of them.  Raises FormatError."""
    here, offset = type_id, 0
    steps: list[Step] = []
    for number, step in enumerate(local.steps):
        here = target.resolve(here)
        if step.name:
            found = _find_member(local.btf, step, target, here, 0)
            if found is None:
                return None
            struct_id, index, more, here = found
            steps.append(Step(struct_id, index, step.name))
            offset += more
            continue
        if number:
            array = target.type(here)
            if not isinstance(array, bt.Array):
                return None
            if step.place >= array.length and not _flexible(target, steps, array):
                return None
            here = target.resolve(array.element)
        steps.append(Step(here, step.place, ""))
        offset += step.place * size_of(target, here) * 8
    return Access(target, tuple(steps), offset)


def _find_member(local: Btf, step: Step, target: Btf, type_id: int, depth: int) -> tuple[int, int, int, int] | None:
    """(struct, index, bit offset, type) of a member by name, also in anonymous members."""
    type_id = target.resolve(type_id)
    struct = target.type(type_id)
    if not isinstance(struct, bt.Struct):
        return None
    if depth > _MAX_STEPS:
        raise _fail(target, "structs lie too deep in each other")
    mine = local.type(step.type)
    assert isinstance(mine, bt.Struct)
    for index, member in enumerate(struct.members):
        if not member.name:
            found = _find_member(local, step, target, member.type, depth + 1)
            if found is not None:
                return found[0], found[1], found[2] + member.bit_offset, found[3]
        elif member.name == step.name:
            if not core_types.fields_compatible(local, mine.members[step.place].type, target, member.type):
                return None
            return type_id, index, member.bit_offset, member.type
    return None


def field_value(kind: int, access: Access | None) -> Value | None:
    """What a relocation of a field says of an access; None: nothing, for the field is not there."""
    if kind == FIELD_EXISTS:
        return Value(int(access is not None))
    if access is None:
        return None
    btf, step = access.btf, access.steps[-1]
    if step.name:
        struct = btf.type(step.type)
        assert isinstance(struct, bt.Struct)
        member = struct.members[step.place]
        field, bits = btf.resolve(member.type), member.bitfield_size
    else:
        field, bits = step.type, 0
    size = size_of(btf, field)
    if bits:
        if not size:
            raise _fail(btf, "a bit field without a type")
        begin = access.bit_offset // 8 // size * size
        while access.bit_offset + bits > (begin + size) * 8:
            size *= 2
            if size > 8:
                raise _fail(btf, f"the bit field {step.name!r} cannot be read at once")
            begin = access.bit_offset // 8 // size * size
    else:
        begin, bits = access.bit_offset // 8, size * 8
        if kind == BYTE_OFFSET:
            return Value(begin, size, btf.type(field))
    certain = not (step.name and member.bitfield_size)
    if kind == BYTE_OFFSET:
        return Value(begin, certain=False)
    if kind == BYTE_SIZE:
        return Value(size, certain=certain)
    if kind == SIGNED:
        what = btf.type(field)
        return Value(int(isinstance(what, bt.Int | bt.Enum) and what.signed))
    if kind == LSHIFT_U64:
        if btf.little_endian:
            return Value(64 - (access.bit_offset + bits - begin * 8), certain=certain)
        return Value((8 - size) * 8 + access.bit_offset - begin * 8, certain=certain)
    return Value(64 - bits)


def enum_value(local: Btf, name: str, target: Btf, type_id: int) -> int | None:
    """The value that an enum of the kernel gives to a name, flavors aside; None when it has none."""
    enum = target.type(target.resolve(type_id))
    if not isinstance(enum, bt.Enum):
        return None
    wanted = core_types.essential(name)
    return next((value for each, value in enum.values if core_types.essential(each) == wanted), None)


class Fitter:
    """Fits the instructions of one object to one target; candidates are looked for once a type."""

    def __init__(self, local: Btf, target: Target) -> None:
        """local: the object's types.  Raises UnsupportedError when the target's types are not known."""
        self.local = local
        self.target = target
        if target.btf is None:
            raise UnsupportedError(
                "the object is to be fitted to the kernel's types, which are not there", where=local.where,
                next_step="a kernel with CONFIG_DEBUG_INFO_BTF",
            )  # fmt: skip
        self.kernel = target.btf
        self._candidates: dict[int, list[tuple[Btf, int]]] = {}
        self._done: dict[tuple[int, str, int], tuple[Value | None, Value | None]] = {}

    def candidates(self, type_id: int) -> list[tuple[Btf, int]]:
        """Types of the kernel, else of its modules, that have a type's name and kind."""
        known = self._candidates.get(type_id)
        if known is not None:
            return known
        name, kind = core_types.essential(self.local.name(type_id)), self.local.kind(type_id)
        kinds = (bt.KIND_ENUM, bt.KIND_ENUM64) if kind in (bt.KIND_ENUM, bt.KIND_ENUM64) else (kind,)
        found = [(self.kernel, each) for each in find_flavors(self.kernel, name, kinds)]
        if not found:
            for module in self.target.modules:
                first = module.first_id
                found += [(module, each) for each in find_flavors(module, name, kinds) if each >= first]
        self._candidates[type_id] = found
        return found

    def values(self, type_id: int, text: str, kind: int) -> tuple[Value | None, Value | None]:
        """(what the compiler put there, what is right for the kernel; None: nothing is).  Raises FormatError."""
        key = (type_id, text, kind)
        if key not in self._done:
            self._done[key] = self._values(type_id, text, kind)
        return self._done[key]

    def _values(self, type_id: int, text: str, kind: int) -> tuple[Value | None, Value | None]:
        local = self.local
        if kind > TYPE_MATCHES:
            raise _fail(local, f"of the unknown kind {kind}")
        if kind in _TYPE_KINDS:
            if text != "0":
                raise _fail(local, f"a type with the access {text!r}")
            if kind == TYPE_ID_LOCAL:
                return Value(type_id, certain=False), Value(type_id)
        name = local.name(type_id)
        if not name or not type_id:
            raise _fail(local, f"type {type_id} has no name to look for")
        if kind in _TYPE_KINDS:
            return self._type_values(type_id, kind)
        if kind in _FIELD_KINDS:
            access = parse_access(local, type_id, text)
            accesses = (match_access(access, btf, each) for btf, each in self.candidates(type_id))
            found = [each for each in accesses if each is not None]
            if len({each.bit_offset for each in found}) > 1:
                raise _fail(local, f"{name}: the kernel's types of that name disagree about {text!r}")
            values = [field_value(kind, each) for each in found] or [field_value(kind, None)]
            return field_value(kind, access), self._agreed(values, name)
        enum = local.type(local.resolve(type_id))
        if not isinstance(enum, bt.Enum) or not text.isdigit() or int(text) >= len(enum.values):
            raise _fail(local, f"{name!r} has no value {text!r}")
        label, value = enum.values[int(text)]
        numbers = [enum_value(local, label, btf, each) for btf, each in self.candidates(type_id)]
        there = [number for number in numbers if number is not None]
        if kind == ENUMVAL_EXISTS:
            return Value(1), Value(int(bool(there)))
        return Value(value), self._agreed([Value(each) for each in there] or [None], name)

    def _type_values(self, type_id: int, kind: int) -> tuple[Value | None, Value | None]:
        local = self.local
        same = core_types.matches if kind == TYPE_MATCHES else core_types.compatible
        found = [(btf, each) for btf, each in self.candidates(type_id) if same(local, type_id, btf, each)]
        if kind == TYPE_SIZE:
            values: list[Value | None] = [Value(size_of(btf, each)) for btf, each in found]
            ours = Value(size_of(local, type_id))
        elif kind == TYPE_ID_TARGET:
            values = [Value(each) for _, each in found]
            ours = Value(type_id, certain=False)
        else:
            values = [Value(1) for _ in found]
            ours = Value(1)
        return ours, self._agreed(values or [Value(0)], local.name(type_id))

    def _agreed(self, values: Sequence[Value | None], name: str) -> Value | None:
        if len({each and each.value for each in values}) > 1:
            raise _fail(self.local, f"the kernel's types of the name {name!r} disagree")
        return values[0]

    def fit(
        self, instructions: list[Instruction], relocations: Sequence[CoreRelocation], accesses: Sequence[str]
    ) -> None:
        """Fit the instructions of a section in place; accesses: the text of each relocation's.  Raises FormatError."""
        for relocation, text in zip(relocations, accesses, strict=True):
            slot, rest = divmod(relocation.offset, 8)
            if rest or slot >= len(instructions):
                raise _fail(self.local, f"no instruction at {relocation.offset:#x}")
            old, new = self.values(relocation.type, text, relocation.kind)
            self._patch(instructions, slot, old, new)

    def _patch(self, instructions: list[Instruction], slot: int, old: Value | None, new: Value | None) -> None:
        one = instructions[slot]
        kind = one.code & 7
        if kind in (b.BPF_ALU, b.BPF_ALU64) and not one.code & b.BPF_X:
            if new is None:
                poison(instructions, slot)
                return
            self._check(old, one.imm, slot, mask=0xFFFFFFFF)
            instructions[slot] = one._replace(imm=signed32(new.value))
        elif kind in (b.BPF_LDX, b.BPF_ST, b.BPF_STX):
            if new is None or (old is not None and old.size != new.size and not _may_resize(old.type, new.type)):
                poison(instructions, slot)
                return
            self._check(old, one.off, slot, mask=0xFFFF)
            if not 0 <= new.value <= 0x7FFF:
                raise _fail(self.local, f"instruction {slot}: offset {new.value} is too large")
            code = one.code
            if old is not None and old.size != new.size:
                if b.SIZE_BYTES[code & 0x18] != old.size or new.size not in (1, 2, 4, 8):
                    raise _fail(self.local, f"instruction {slot} does not access {old.size} bytes")
                code = code & ~0x18 | {size: bits for bits, size in b.SIZE_BYTES.items()}[new.size]
            instructions[slot] = one._replace(code=code, off=new.value)
        elif one.code == WIDE and slot + 1 < len(instructions) and not one.src:
            if new is None:
                poison(instructions, slot)
                return
            following = instructions[slot + 1]
            self._check(old, (following.imm & 0xFFFFFFFF) << 32 | one.imm & 0xFFFFFFFF, slot, mask=(1 << 64) - 1)
            instructions[slot] = one._replace(imm=signed32(new.value))
            instructions[slot + 1] = following._replace(imm=signed32(new.value >> 32))
        else:
            raise _fail(self.local, f"instruction {slot} (code {one.code:#x}) cannot be fitted")

    def _check(self, old: Value | None, found: int, slot: int, mask: int) -> None:
        if old is not None and old.certain and (found ^ old.value) & mask:
            raise _fail(self.local, f"instruction {slot} has {found}, where its type says {old.value}")


def _may_resize(ours: bt.Type | None, theirs: bt.Type | None) -> bool:
    """Whether a load of another size reads the same: of pointers and of unsigned integers."""
    if isinstance(ours, bt.Pointer) and isinstance(theirs, bt.Pointer):
        return True
    return isinstance(ours, bt.Int) and isinstance(theirs, bt.Int) and not ours.signed and not theirs.signed


def poison(instructions: list[Instruction], slot: int, number: int = POISON) -> None:
    """Make an instruction a call that the verifier refuses when it can be reached."""
    bad = Instruction(b.BPF_JMP | b.BPF_CALL, 0, 0, 0, number)
    wide = instructions[slot].code == WIDE and slot + 1 < len(instructions)
    instructions[slot] = bad
    if wide:
        instructions[slot + 1] = bad


def find_flavors(btf: Btf, name: str, kinds: tuple[int, ...]) -> list[int]:
    """Types of a name or of a flavor of it ("name___2", as converters name what comes twice)."""
    found = list(btf.find(name, kinds))
    for each in sorted(flavor_names(btf, name)):
        found += btf.find(each, kinds)
    return found


def flavor_names(btf: Btf, name: str) -> set[str]:
    """Names in a BTF's strings, and in its base's, that are flavors of a name."""
    names = flavor_names(btf.base, name) if btf.base is not None else set()
    data, end = btf._data, btf._strings_end
    wanted = b"\0" + name.encode() + b"___"
    at = data.find(wanted, btf._strings_at, end)
    while at >= 0:
        text = data[at + 1 : data.find(b"\0", at + 1)].decode("utf-8", "replace")
        if core_types.essential(text) == name:
            names.add(text)
        at = data.find(wanted, at + 1, end)
    return names
