"""How the types of BTF lie in memory: sizes, and where a member is that C names by a path.

Source: Documentation/bpf/btf.rst; C11 6.7.2.1 for anonymous members.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.errors import FormatError, UnknownNameError, UsageError

_MAX_DEPTH = 32  # arrays of arrays
_POINTER_SIZE = 8  # bytes; BTF does not say, and linscope reads 64-bit kernels


class Place(NamedTuple):
    """Where a member is, from the start of the struct on."""

    type: int
    bit_offset: int
    bitfield_size: int  # bits; 0: no bit field


def size_of(btf: Btf, type_id: int) -> int:
    """sizeof a type in bytes; 0 for void, functions, and what is declared only.

    Raises FormatError when types are damaged or lie in each other in a circle.
    """
    count = 1
    for _ in range(_MAX_DEPTH):
        type_id = btf.resolve(type_id)
        if size := btf.size(type_id):
            return count * size
        match btf.type(type_id):
            case bt.Array(element=element, length=length):
                count *= length
                type_id = element
            case bt.Var(type=target):
                type_id = target
            case bt.Pointer():
                return count * _POINTER_SIZE
            case _:
                return 0
    raise FormatError(f"BTF type {type_id} is an array of itself", where=btf.where, offset=0)


def find_member(btf: Btf, struct_id: int, name: str) -> Place | None:
    """A member of a struct or union by its name, also inside anonymous members; None when it has none.

    struct_id: of a struct or union, typedefs and qualifiers are passed over.  Raises FormatError.
    """
    for found, base in _iter_members(btf, struct_id):
        if found.name == name:
            return place_of(btf, found, base)
    return None


def _iter_members(btf: Btf, struct_id: int) -> Iterator[tuple[bt.Member, int]]:
    """(member, bit offset of the struct that it is in) of all with a name, those of anonymous members last."""
    seen: set[int] = set()  # damaged types can lie in themselves
    pending = [(struct_id, 0)]
    for type_id, base in pending:
        type_id = btf.resolve(type_id)
        struct = btf.type(type_id)
        if isinstance(struct, bt.Struct) and type_id not in seen:
            seen.add(type_id)
            for one in struct.members:
                if one.name:
                    yield one, base
                else:
                    pending.append((one.type, base + one.bit_offset))


def place_of(btf: Btf, member: bt.Member, base: int = 0) -> Place:
    """Where a member is, from base bits on.  Raises FormatError."""
    if not member.bitfield_size:
        # older compilers have an integer of fewer bits instead of a flag in the struct
        number = btf.type(btf.resolve(member.type))
        if isinstance(number, bt.Int) and number.bits and (number.bits < 8 * number.size or number.offset):
            return Place(member.type, base + member.bit_offset + number.offset, number.bits)
    return Place(member.type, base + member.bit_offset, member.bitfield_size)


def member_names(btf: Btf, struct_id: int) -> list[str]:
    """Names of the members of a struct or union, those of anonymous members among them.  Raises FormatError."""
    return [one.name for one, _ in _iter_members(btf, struct_id)]


def element_place(btf: Btf, array_id: int, index: int) -> Place | None:
    """An element of an array; None when the type is no array.  Raises FormatError."""
    array = btf.type(btf.resolve(array_id))
    if not isinstance(array, bt.Array):
        return None
    return Place(array.element, 8 * index * size_of(btf, array.element), 0)


def type_name(btf: Btf, type_id: int) -> str:
    """What C calls a type, short: "struct sock *", "unsigned int", "char [16]".  Raises FormatError."""
    prefix, suffix = "", ""
    for _ in range(_MAX_DEPTH):
        match btf.type(type_id):
            case bt.Pointer(target=target):
                suffix = "*" + suffix
                type_id = target
            case bt.Array(element=target, length=length):
                suffix += f" [{length}]"
                type_id = target
            case bt.Qualifier(keyword=keyword, target=target):
                if suffix.startswith("*"):  # of what is pointed to; a pointer's own tells readers nothing
                    prefix = f"{keyword} {prefix}"
                type_id = target
            case bt.TypeTag(target=target):
                type_id = target
            case bt.Struct(name=name, is_union=is_union) | bt.Forward(name=name, is_union=is_union):
                return _spell(f"{prefix}{'union' if is_union else 'struct'} {name or '{...}'}", suffix)
            case bt.Enum(name=name):
                return _spell(f"{prefix}enum {name or '{...}'}", suffix)
            case bt.FuncProto():
                return _spell(f"{prefix}function", suffix)
            case _:
                return _spell(prefix + (btf.name(type_id) or "?"), suffix)
    return _spell(prefix + "...", suffix)


def _spell(name: str, suffix: str) -> str:
    return name if not suffix or suffix.startswith(" [") else f"{name} {suffix}"


def member(btf: Btf, struct_id: int, path: str) -> Place:
    """Where a member is that C would name by ``.path``: "f_path.dentry", "comm[2]", "__sk_common.skc_dport".

    Pointers are not followed.  Raises UnknownNameError (with near names) for a member that is not there, UsageError
    for a path that is none, FormatError for damaged types.
    """
    place = Place(struct_id, 0, 0)
    rest = path
    while rest:
        if rest.startswith("["):
            index, bracket, rest = rest[1:].partition("]")
            inner = element_place(btf, place.type, int(index)) if bracket and index.isdigit() else None
            if inner is None:
                raise UsageError(f"no element [{index}] in {path!r}", why=f"it is {type_name(btf, place.type)}")
        else:
            end = min((rest.find(mark) for mark in ".[" if mark in rest), default=len(rest))
            name, rest = rest[:end], rest[end:]
            inner = find_member(btf, place.type, name)
            if inner is None:
                raise UnknownNameError(f"member of {type_name(btf, place.type)}", name, member_names(btf, place.type))
        place = Place(inner.type, place.bit_offset + inner.bit_offset, inner.bitfield_size)
        if rest.startswith("."):
            rest = rest[1:]
            if not rest:
                raise UsageError(f"the path {path!r} ends with a dot")
    return place
