"""Fields, elements, addresses and casts.

What lies in the memory of the kernel or of a process stays a Place until its value is needed: ``a->b.c[3]`` reads once.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace.convert import (
    CONTEXT,
    NUMBERS,
    Place,
    add,
    at,
    bits,
    coerce,
    context_offset,
    load,
    number,
    to_scalar,
    total,
)
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span

_INDEX_DIGITS = 9  # of an element's number that are looked at
_OUTSIDE = "Array access out of bounds. This can lead to unexpected results."


def dereference(value: ir.Expression, span: Span, default: str) -> Place:
    """What a pointer points to.  default: the space of pointers without one.  Raises Wrong."""
    if isinstance(value.type, t.Pointer):
        target = value.type.target
        if isinstance(target, t.Void):
            raise Wrong(span, "a pointer to void cannot be followed", "cast it: *(int32 *)ptr")
        return Place(target, value, value.type.space if value.type.space != t.ANY else default, span)
    if isinstance(value.type, INTEGERS):  # an address without a type
        return Place(t.INT64, value, default, span)
    raise Wrong(span, f"Can not dereference type '{type_text(value.type)}'. It's not a pointer.")


def member(body: Body, of: ir.Expression | Place, name: str, span: Span) -> ir.Expression | Place:
    """``of.name``; of a pointer what it points to.  Raises Wrong."""
    if isinstance(of, Place) and isinstance(of.type, t.Pointer):
        of = dereference(load(body, of), span, of.space if of.space != CONTEXT else t.KERNEL)
    elif isinstance(of, ir.Expression) and isinstance(of.type, t.Pointer):
        of = dereference(of, span, default_space(body))
    if isinstance(of.type, t.Tuple):
        return _element(body, of, name, span)
    if not isinstance(of.type, t.Struct):
        raise Wrong(span, f"Can not access field '{name}' on expression of type '{type_text(of.type)}'")
    field = of.type.find(name)
    if field is None:
        raise Wrong(span, f"{of.type.tag} {of.type.name} has no member named '{name}'", near_field(of.type, name))
    return member_at(body, of, field, span)


def near_field(type: t.Struct, name: str) -> str:
    """A hint: the field that may have been meant."""
    from difflib import get_close_matches

    names = [field.name for field in type.fields if field.name]
    found = get_close_matches(name, names, 1)
    if found:
        return f"did you mean {found[0]}?"
    return f"it has {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}" if names else ""


def member_at(body: Body, of: ir.Expression | Place, field: t.Field, span: Span) -> ir.Expression | Place:
    """A field of a struct in memory."""
    if isinstance(of, Place):
        if field.location:
            return _dynamic(of, field, span)
        return Place(field.type, add(of.address, field.offset), of.space, span, field.bit_offset, field.bit_size)
    if field.bit_size:
        word = ir.Part(t.Int(field.type.size, False), of, field.offset)
        return at(bits(word, field.type, field.bit_offset, field.bit_size), span)
    part = ir.Part(field.type, of, field.offset)
    return at(part, span)


def _dynamic(of: Place, field: t.Field, span: Span) -> Place:
    """A tracepoint's field that lies behind the others: a u32 says where (low 16 bits: offset, high: bytes)."""
    where = ir.FromContext(t.UINT32, context_offset(of.address) + field.offset)
    low = ir.Binary(t.UINT64, "&", ir.Convert(t.UINT64, where), number(0xFFFF, t.UINT64))
    base = add(of.address, field.offset + 4 if field.location == "rel_loc" else 0)
    return Place(field.type, ir.Binary(t.UINT64, "+", base, low), t.KERNEL, span)


def _element(body: Body, of: ir.Expression | Place, name: str, span: Span) -> ir.Expression:
    value = load(body, of) if isinstance(of, Place) else of
    type = value.type
    assert isinstance(type, t.Tuple)
    if type.names:
        if name not in type.names:
            raise Wrong(span, f"the record has no field named '{name}'", f"it has {', '.join(type.names)}")
        place = type.names.index(name)
    elif not name.isdigit():
        raise Wrong(span, f"a tuple has elements .0 to .{len(type.elements) - 1}, not .{name}")
    else:
        place = int(name[:_INDEX_DIGITS])
    return element_at(value, place, span)


def element_at(value: ir.Expression, place: int, span: Span) -> ir.Expression:
    """An element of a tuple.  Raises Wrong."""
    type = value.type
    assert isinstance(type, t.Tuple)
    if not 0 <= place < len(type.elements):
        raise Wrong(span, f"Invalid tuple index: {place}. Found {len(type.elements)} elements in tuple.")
    if isinstance(value, ir.Build):
        return value.parts[place][1]
    return at(ir.Part(type.elements[place], value, type.offsets[place]), span)


def index(body: Body, of: ir.Expression | Place, place: ir.Expression, span: Span) -> ir.Expression | Place:
    """``of[place]``.  Raises Wrong."""
    place = to_scalar(body, place, span, "an index")
    if not isinstance(place.type, NUMBERS):
        raise Wrong(
            span, f"The array index operator [] can only accept integer indices. Got {type_text(place.type)} index."
        )  # fmt: skip
    if isinstance(of.type, t.Pointer):
        pointer = load(body, of) if isinstance(of, Place) else of
        return _index_pointer(body, pointer, place, span)
    if isinstance(of.type, t.Tuple):
        value = load(body, of) if isinstance(of, Place) else of
        if not isinstance(place, ir.Number):
            raise Wrong(span, "the index of a tuple must be a constant")
        return element_at(value, place.value, span)
    element, count = _elements(of.type, span)
    if isinstance(place, ir.Number):
        if place.value < 0 or (count and place.value >= count):
            raise Wrong(span, f"the index {place.value} is out of bounds for array of size {count}")
        if isinstance(of, Place):
            return Place(element, add(of.address, place.value * element.size), of.space, span)
        return at(ir.Part(element, of, place.value * element.size), span)
    if isinstance(of, Place) and not count:
        return Place(element, _moved(of.address, place, element.size), of.space, span)
    value = load_array(body, of) if isinstance(of, Place) else of
    outside = body.script.runtime_error(span, _OUTSIDE)
    return at(ir.Element(element, value, coerce(body.script, place, t.UINT64, span), count, outside), span)


def load_array(body: Body, place: Place) -> ir.Expression:
    """All bytes of an array, also of characters."""
    type = place.type
    if isinstance(type, t.String):
        type = t.Array(t.Int(1, True, "char"), type.width)
    return at(ir.Load(type, place.address, t.KERNEL if place.space == CONTEXT else place.space), place.span)


def _elements(type: t.Type, span: Span) -> tuple[t.Type, int]:
    if isinstance(type, t.Array):
        return type.element, type.count
    if isinstance(type, t.String):
        return t.Int(1, True, "char"), type.width
    if isinstance(type, t.Buffer):
        return t.UINT8, type.capacity
    raise Wrong(span, f"The array index operator [] can not be used on type '{type_text(type)}'")


def _index_pointer(body: Body, pointer: ir.Expression, place: ir.Expression, span: Span) -> Place:
    assert isinstance(pointer.type, t.Pointer)
    base = dereference(pointer, span, default_space(body))
    if isinstance(place, ir.Number):
        return Place(base.type, add(pointer, place.value * base.type.size), base.space, span)
    return Place(base.type, _moved(pointer, place, base.type.size), base.space, span)


def _moved(address: ir.Expression, place: ir.Expression, size: int) -> ir.Expression:
    distance = ir.Binary(t.INT64, "*", ir.Convert(t.INT64, place), number(size))
    return ir.Binary(t.UINT64, "+", address, ir.Convert(t.UINT64, distance))


def default_space(body: Body) -> str:
    """Where pointers without a mark point in a program."""
    if body.probes[0].is_in_user_space:
        return t.USER
    if body.kind in ("kprobe", "kretprobe", "fentry", "fexit", "rawtracepoint", "iter"):
        return t.KERNEL
    return t.ANY


def cast(body: Body, operand: ir.Expression | Place, type: t.Type, span: Span) -> ir.Expression:
    """``(type)operand``.  Raises Wrong."""
    if isinstance(operand, Place):
        whole = isinstance(type, t.Array | t.Int) and isinstance(operand.type, t.Array | t.String)
        operand = load_array(body, operand) if whole else load(body, operand)
    have = operand.type
    if isinstance(have, t.Aggregation):
        operand, have = total(operand), t.INT64
    if isinstance(type, t.Pointer):
        space = have.space if isinstance(have, t.Pointer) and type.space == t.ANY else type.space
        if space == t.ANY:
            space = default_space(body)
        pointer = t.Pointer(type.target, space)
        value = to_scalar(body, operand, span)
        if isinstance(value, ir.Number):
            return at(ir.Number(pointer, value.value & (1 << 8 * min(have.size, 8)) - 1), span)
        return at(ir.Convert(pointer, value), span)
    if type.is_scalar and have.is_scalar:
        return coerce(body.script, operand, type, span)
    if isinstance(type, t.Array) and not type.count and type.element.size:
        type = t.Array(type.element, have.size // type.element.size)
    if isinstance(type, t.Array) or (isinstance(have, t.Array | t.String) and type.is_scalar):
        if isinstance(type, t.Array) and type.size < have.size and isinstance(have, INTEGERS) and have.size == 8:
            pass  # a number is cut to the array's size
        elif isinstance(type, t.Array) and type.size != have.size and not isinstance(operand, ir.Number):
            raise Wrong(
                span,
                f"Cannot cast from '{type_text(have)}' to '{type_text(type)}': the sizes differ",
                "uint8[] fits any",
            )
        if isinstance(operand, ir.Number) and operand.type.size < type.size <= 8:
            operand = number(operand.value, t.Int(type.size, operand.type.signed))
        return at(ir.Reinterpret(type, operand), span)
    if isinstance(type, t.String) and isinstance(have, t.String):
        return coerce(body.script, operand, type, span)
    if isinstance(type, t.Struct) and isinstance(have, t.Pointer):  # "(struct s)ptr": an old spelling
        return cast(body, operand, t.Pointer(type), span)
    raise Wrong(span, f"Cannot cast from '{type_text(have)}' to '{type_text(type)}'")
