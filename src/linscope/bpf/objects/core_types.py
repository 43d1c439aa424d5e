"""When two types are the same for CO-RE: an object's and a kernel's, compared by their structure.

Source: tools/lib/bpf/relo_core.c (v6.1): the comments of bpf_core_fields_are_compat, bpf_core_types_are_compat and
__bpf_core_types_match say the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linscope.binfmt import btf_types as bt
from linscope.errors import FormatError

if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf

_MAX_DEPTH = 32
_ENUMS = (bt.KIND_ENUM, bt.KIND_ENUM64)
_COMPOSITES = (bt.KIND_STRUCT, bt.KIND_UNION)


def essential(name: str) -> str:
    """A name without its flavor: "task_struct___old" -> "task_struct"."""
    at = name.rfind("___")
    while at > 0:
        after = at + 3
        if name[at - 1] != "_" and after < len(name) and name[after] != "_":
            return name[:at]
        at = name.rfind("___", 0, at + 2)
    return name


def same_kind(one: int, other: int) -> bool:
    """Whether two KIND_* are the same; the kinds of enum are."""
    return one == other or (one in _ENUMS and other in _ENUMS)


def fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Whether a member can be read where a program expects another type's.  Raises FormatError."""
    for _ in range(_MAX_DEPTH):
        local_id, target_id = local.resolve(local_id), target.resolve(target_id)
        ours, theirs = local.kind(local_id), target.kind(target_id)
        if ours in _COMPOSITES and theirs in _COMPOSITES:
            return True
        if not same_kind(ours, theirs):
            return False
        if ours in (bt.KIND_PTR, bt.KIND_FLOAT):
            return True
        if ours == bt.KIND_FWD or ours in _ENUMS:
            name, other = essential(local.name(local_id)), essential(target.name(target_id))
            return not name or not other or name == other
        if ours == bt.KIND_INT:
            return _no_bit_offset(local, local_id) and _no_bit_offset(target, target_id)
        if ours != bt.KIND_ARRAY:
            return False
        local_id, target_id = _element(local, local_id), _element(target, target_id)
    raise FormatError(f"BTF type {local_id} is too deep", where=local.where)


def _no_bit_offset(btf: Btf, type_id: int) -> bool:
    kind = btf.type(type_id)
    return isinstance(kind, bt.Int) and not kind.offset


def _element(btf: Btf, type_id: int) -> int:
    kind = btf.type(type_id)
    assert isinstance(kind, bt.Array)
    return kind.element


def _pointed_to(btf: Btf, type_id: int) -> int:
    kind = btf.type(type_id)
    assert isinstance(kind, bt.Pointer)
    return kind.target


def compatible(local: Btf, local_id: int, target: Btf, target_id: int, depth: int = _MAX_DEPTH) -> bool:
    """Whether a type of the kernel can stand for the object's; names were compared before.  Raises FormatError."""
    if not same_kind(local.kind(local_id), target.kind(target_id)):
        return False
    while depth > 0:
        depth -= 1
        local_id, target_id = local.resolve(local_id), target.resolve(target_id)
        ours = local.kind(local_id)
        if not same_kind(ours, target.kind(target_id)):
            return False
        if ours in (bt.KIND_VOID, bt.KIND_FWD, *_COMPOSITES, *_ENUMS):
            return True
        if ours == bt.KIND_INT:
            return _no_bit_offset(local, local_id) and _no_bit_offset(target, target_id)
        if ours == bt.KIND_PTR:
            local_id, target_id = _pointed_to(local, local_id), _pointed_to(target, target_id)
        elif ours == bt.KIND_ARRAY:
            local_id, target_id = _element(local, local_id), _element(target, target_id)
        elif ours == bt.KIND_FUNC_PROTO:
            mine, other = local.type(local_id), target.type(target_id)
            assert isinstance(mine, bt.FuncProto) and isinstance(other, bt.FuncProto)
            if len(mine.parameters) != len(other.parameters) or mine.variadic != other.variadic:
                return False
            for one, two in zip(mine.parameters, other.parameters, strict=True):
                if not compatible(local, local.resolve(one.type), target, target.resolve(two.type), depth):
                    return False
            local_id, target_id = mine.returns, other.returns
        else:
            return False
    raise FormatError(f"BTF type {local_id} is too deep", where=local.where)


def matches(
    local: Btf, local_id: int, target: Btf, target_id: int, *, behind_pointer: bool = False, depth: int = _MAX_DEPTH
) -> bool:
    """Whether a type of the kernel has all that the object's has, of the same names and kinds.  Raises FormatError."""
    if depth <= 0:
        raise FormatError(f"BTF type {local_id} is too deep", where=local.where)
    for _ in range(_MAX_DEPTH):
        local_id, target_id = local.resolve(local_id), target.resolve(target_id)
        if not _same_name(local.name(local_id), target.name(target_id)):
            return False
        mine, other = local.type(local_id), target.type(target_id)
        if isinstance(mine, bt.Void):
            return isinstance(other, bt.Void)
        if isinstance(mine, bt.Forward):
            if isinstance(other, bt.Forward):
                return mine.is_union == other.is_union
            return behind_pointer and isinstance(other, bt.Struct) and mine.is_union == other.is_union
        if isinstance(mine, bt.Enum):
            return isinstance(other, bt.Enum) and mine.size == other.size and _has_all_values(mine, other)
        if isinstance(mine, bt.Struct):
            if behind_pointer:
                return isinstance(other, bt.Struct | bt.Forward) and mine.is_union == other.is_union
            if not isinstance(other, bt.Struct) or mine.is_union != other.is_union:
                return False
            return all(_has_member(local, one, target, other, depth) for one in mine.members)
        if isinstance(mine, bt.Int):
            return isinstance(other, bt.Int) and mine.size == other.size and mine.signed == other.signed
        if isinstance(mine, bt.Pointer) and isinstance(other, bt.Pointer):
            behind_pointer = True
            local_id, target_id = mine.target, other.target
        elif isinstance(mine, bt.Array) and isinstance(other, bt.Array):
            if mine.length != other.length:
                return False
            local_id, target_id = mine.element, other.element
        elif isinstance(mine, bt.FuncProto) and isinstance(other, bt.FuncProto):
            if len(mine.parameters) != len(other.parameters) or mine.variadic != other.variadic:
                return False
            for one, two in zip(mine.parameters, other.parameters, strict=True):
                if not matches(
                    local, one.type, target, two.type, behind_pointer=behind_pointer, depth=depth - 1
                ):
                    return False
            local_id, target_id = mine.returns, other.returns
        else:
            return False
    raise FormatError(f"BTF type {local_id} is too deep", where=local.where)


def _same_name(local: str, target: str) -> bool:
    return essential(local) == essential(target)


def _has_all_values(mine: bt.Enum, other: bt.Enum) -> bool:
    names = {essential(name) for name, _ in other.values}
    return all(essential(name) in names for name, _ in mine.values)


def _has_member(local: Btf, wanted: bt.Member, target: Btf, struct: bt.Struct, depth: int) -> bool:
    return any(
        matches(local, wanted.type, target, other.type, depth=depth - 1)
        for other in struct.members
        if _same_name(wanted.name, other.name)
    )
