"""Values of the intermediate form: constants, conversions between types, and what lies behind addresses."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import INTEGERS, type_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body, Script
    from linscope.lang.bpftrace.syntax import Span

# What is a number, though it is not printed as one
NUMBERS = (*INTEGERS, t.KernelSymbol, t.Timestamp, t.UserName, t.ErrorText, t.SyscallName, t.SignalName, t.GfpFlags)
_SUFFIXES = {"u": (False, 0), "l": (True, 8), "ll": (True, 8)}  # signed, least size
CONTEXT = "context"  # the space of what lies in the program's context, read from it directly


class Place:
    """Memory at an address that is not ours: a value of ``type``, read only when it is needed."""

    __slots__ = ("address", "bit_offset", "bit_size", "space", "span", "type")

    def __init__(
        self, type: t.Type, address: ir.Expression, space: str, span: Span, bit_offset: int = 0, bit_size: int = 0
    ) -> None:
        """address: a scalar; bit_offset, bit_size: as in types.Field."""
        self.type = type
        self.address = address
        self.space = space
        self.span = span
        self.bit_offset = bit_offset
        self.bit_size = bit_size


def at(node: ir.Expression, span: Span) -> ir.Expression:
    """The expression with its place in the script."""
    node.__dict__["span"] = span
    return node


def number(value: int, type: t.Type = t.INT64) -> ir.Number:
    """A constant, cut to its type."""
    bits = 8 * type.size
    value &= (1 << bits) - 1
    if type.signed and value >> bits - 1:
        value -= 1 << bits
    return ir.Number(type, value)


def literal(value: int, suffix: str = "") -> ir.Number:
    """A number as it was written: of the smallest signed type that holds it."""
    signed, least = True, 1
    lower = suffix.lower()
    if lower in ("u", "ul", "lu", "ull", "llu"):
        signed, least = False, 8 if "l" in lower else 1
    elif lower in _SUFFIXES:
        signed, least = _SUFFIXES[lower]
    if signed and value > (1 << 63) - 1:
        return ir.Number(t.UINT64, value)
    for width in (1, 2, 4, 8):
        low, high = (-(1 << 8 * width - 1), (1 << 8 * width - 1) - 1) if signed else (0, (1 << 8 * width) - 1)
        if width >= least and low <= value <= high:
            break
    return ir.Number(t.Int(width, signed), value)


def text(data: bytes) -> ir.Bytes:
    """A constant string."""
    return ir.Bytes(t.String(len(data) + 1), data)


def add(address: ir.Expression, offset: int) -> ir.Expression:
    """An address some bytes further."""
    if not offset:
        return address
    if isinstance(address, ir.Number):
        return ir.Number(t.UINT64, (address.value + offset) & (1 << 64) - 1)
    if isinstance(address, ir.Binary) and address.sign == "+" and isinstance(address.right, ir.Number):
        return ir.Binary(t.UINT64, "+", address.left, ir.Number(t.UINT64, address.right.value + offset))
    return ir.Binary(t.UINT64, "+", address, ir.Number(t.UINT64, offset & (1 << 64) - 1))


def load(body: Body, place: Place) -> ir.Expression:
    """The value at a place."""
    found = _load(place)
    return at(found, place.span)


def _load(place: Place) -> ir.Expression:
    type, address = place.type, place.address
    if place.space == CONTEXT and type.is_scalar and not isinstance(type, t.Void):
        found: ir.Expression = ir.FromContext(_word_of(type) if place.bit_size else type, context_offset(address))
        return _bit_field(found, place) if place.bit_size else found
    if place.space == CONTEXT:
        return _load(Place(type, address, t.KERNEL, place.span))
    if place.bit_size:
        return _bit_field(ir.Load(_word_of(type), address, place.space), place)
    if isinstance(type, t.String):
        return ir.LoadString(t.String(type.width + 1), address, place.space)
    if is_characters(type):
        return ir.LoadString(t.String(type.size + 1), address, place.space)
    if isinstance(type, t.Void):
        return ir.Number(t.Void(0), 0)
    return ir.Load(type, address, place.space)


def context_offset(address: ir.Expression) -> int:
    """Bytes from the context's start, of an address in it."""
    return address.right.value if isinstance(address, ir.Binary) and isinstance(address.right, ir.Number) else 0


def is_characters(type: t.Type) -> bool:
    """Whether a type is an array of char: printed as a string."""
    return isinstance(type, t.Array) and isinstance(type.element, t.Int) and type.element.name == "char"


def _word_of(type: t.Type) -> t.Type:
    return t.Int(type.size, False)


def _bit_field(word: ir.Expression, place: Place) -> ir.Expression:
    """The bits of a field that were read with those around them."""
    return bits(word, place.type, place.bit_offset, place.bit_size)


def bits(word: ir.Expression, type: t.Type, offset: int, size: int) -> ir.Expression:
    """Some bits of a word, lowest first, as a value of a type."""
    wide = t.INT64 if type.signed else t.UINT64
    lifted = ir.Binary(wide, "<<", ir.Convert(wide, word), number(64 - offset - size, wide))
    lowered = ir.Binary(wide, ">>", lifted, number(64 - size, wide))
    return ir.Convert(type, lowered)


def is_number(type: t.Type) -> bool:
    """Whether a value can be calculated with."""
    return isinstance(type, NUMBERS)


def to_scalar(body: Body, value: ir.Expression, span: Span, what: str = "an integer") -> ir.Expression:
    """A value as a scalar; aggregations give their number.  Raises Wrong."""
    if isinstance(value.type, t.Aggregation):
        return total(value)
    if value.type.is_scalar and not isinstance(value.type, t.Void):
        return value
    raise Wrong(span, f"expected {what}, found a value of type '{type_text(value.type)}'")


def total(value: ir.Expression) -> ir.Expression:
    """The integer of an aggregation in memory."""
    kind = value.type
    signed = not isinstance(kind, t.Count) and kind.signed
    return ir.Total(t.INT64 if signed or isinstance(kind, t.Count) else t.UINT64, value)


def truth(body: Body, value: ir.Expression, span: Span) -> ir.Expression:
    """A value as a condition: whether it is not 0.  Raises Wrong."""
    if isinstance(value.type, t.Tuple) and value.type.names:
        raise Wrong(span, "expected a condition, found a record", "values are compared with ==")
    value = to_scalar(body, value, span, "a condition")
    if isinstance(value.type, t.Bool):
        return value
    if isinstance(value, ir.Number):
        return ir.Number(t.BOOL, int(value.value != 0))
    return at(ir.Convert(t.BOOL, value), span)


def coerce(script: Script, value: ir.Expression, type: t.Type, span: Span) -> ir.Expression:
    """A value as another type that was found to hold it (see join_types).  Raises Wrong."""
    have = value.type
    if have is type or (have == type and type.is_scalar == have.is_scalar):
        return value
    if isinstance(have, t.Aggregation) and not isinstance(type, t.Aggregation):
        return coerce(script, total(value), type, span)
    if type.is_scalar and have.is_scalar:
        if isinstance(value, ir.Number):
            changed = int(value.value != 0) if isinstance(type, t.Bool) else value.value
            return at(number(changed, type), span)
        return at(ir.Convert(type, value), span)
    if isinstance(have, t.ProbeName) and isinstance(type, t.String):
        if not isinstance(value, ir.Number):
            raise Wrong(span, "the name of the probe cannot be changed here: several probes share this program")
        return at(ir.Bytes(type, script.probe_names[value.value].encode()), span)
    if isinstance(have, t.String) and isinstance(type, t.String):
        if isinstance(value, ir.Bytes):
            return at(ir.Bytes(type, value.data[: type.width - 1]), span)
        return at(ir.Reinterpret(type, value), span)
    if isinstance(have, t.Buffer) and isinstance(type, t.Buffer):
        return at(ir.Reinterpret(type, value), span)
    if isinstance(have, t.Tuple) and isinstance(type, t.Tuple) and len(have.elements) == len(type.elements):
        return _coerce_tuple(script, value, have, type, span)
    raise Wrong(span, f"a value of type '{type_text(have)}' cannot become one of type '{type_text(type)}'")


def _coerce_tuple(script: Script, value: ir.Expression, have: t.Tuple, type: t.Tuple, span: Span) -> ir.Expression:
    order = [have.names.index(name) for name in type.names] if type.names else list(range(len(type.elements)))
    if not isinstance(value, ir.Build | ir.Get | ir.Part):  # its parts are asked for one by one
        kept = ir.Variable("", have)
        once = _coerce_tuple(script, ir.Get(have, kept), have, type, span)
        return ir.Do(type, [ir.Set(kept, value)], once)
    offsets = have.offsets
    parts = []
    built = dict(value.parts) if isinstance(value, ir.Build) else {}
    for element, offset, place in zip(type.elements, type.offsets, order, strict=True):
        part = built.get(offsets[place]) or ir.Part(have.elements[place], value, offsets[place])
        parts.append((offset, coerce(script, part, element, span)))
    return at(ir.Build(type, parts), span)
