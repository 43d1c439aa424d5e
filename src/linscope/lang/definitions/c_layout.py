"""Where the members of a struct or union of C lie.

Source: System V ABI for x86-64, 3.1.2 (bit fields: as gcc does with -mno-ms-bitfields); the same on aarch64.
"""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.nodes import Node
from linscope.lang.types import round_up


class Member(Node):
    """A member as it is declared."""

    name: str
    type: t.Type
    bits: int = -1  # of a bit field; -1: it is none
    align: int = 0  # asked for by an attribute; 0: none is
    is_packed: bool = False


def set_alignment(type: t.Type, align: int) -> None:
    """Note an alignment that the type itself does not tell."""
    type.__dict__["_align"] = align


def alignment(type: t.Type) -> int:
    """Bytes that C puts a value of a type at a multiple of."""
    own = type.__dict__.get("_align")
    if own:
        return int(own)
    if isinstance(type, t.Void):
        return type.size or 1
    if isinstance(type, t.Array):
        return alignment(type.element)
    if isinstance(type, t.Struct):
        return max((alignment(field.type) for field in type.fields), default=1)
    return type.align


def lay_out(
    members: list[Member], *, is_union: bool, is_packed: bool, least: int = 1
) -> tuple[list[t.Field], int, int]:
    """(fields, size, align) of a struct or union.  least: an alignment that an attribute asks for."""
    fields: list[t.Field] = []
    bit, size, align = 0, 0, max(least, 1)  # bit: where the next member may begin
    for member in members:
        type = member.type
        own = 1 if is_packed or member.is_packed else alignment(type)
        own = max(own, member.align)
        bit = 0 if is_union else bit
        if member.bits < 0:
            bit = round_up(bit, 8 * own)
            fields.append(t.Field(member.name, type, bit // 8))
            bit += 8 * type.size
            align = max(align, own)
        elif not member.bits:
            bit = round_up(bit, 8 * type.size)
        else:
            unit = 8 * max(type.size, 1)
            is_free = is_packed or member.is_packed  # to lie across two units
            if not is_free and bit // unit != (bit + member.bits - 1) // unit:
                bit = round_up(bit, unit)
            fields += _bit_field(member, bit, unit)
            bit += member.bits
            if member.name:
                align = max(align, own)
        size = max(size, (bit + 7) // 8)
    return fields, round_up(size, align), align


def _bit_field(member: Member, bit: int, unit: int) -> list[t.Field]:
    """The field, in the unit of its type that holds it; in bytes of a packed struct the unit may begin anywhere."""
    if not member.name:
        return []
    offset = bit // unit * (unit // 8)
    if bit - 8 * offset + member.bits > unit:  # of a packed struct: across two units
        offset = bit // 8
    return [t.Field(member.name, member.type, offset, bit - 8 * offset, member.bits)]
