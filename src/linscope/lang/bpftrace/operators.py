"""Arithmetic, comparisons and logic: the types of their operands, and constants folded.

Integers are calculated in 64 bits: signed, unless both operands are unsigned (a constant that is not negative goes with
the other one).  Source: bpftrace docs/language.md, Types and Operators.
"""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.bpftrace.convert import at, coerce, is_number, literal, number, to_scalar, truth
from linscope.lang.bpftrace.problems import Wrong
from linscope.lang.bpftrace.type_names import join_types, type_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.lang.bpftrace.state import Body
    from linscope.lang.bpftrace.syntax import Span

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_TEXTS = (t.String, t.ProbeName)


def common_sign(left: ir.Expression, right: ir.Expression) -> bool:
    """Whether the two are calculated with as signed numbers."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, ir.Number) and one.value >= 0 and one.type.signed:
            return other.type.signed
    return left.type.signed or right.type.signed


def binary(body: Body, sign: str, left: ir.Expression, right: ir.Expression, span: Span) -> ir.Expression:
    """``left sign right``.  Raises Wrong."""
    if sign in COMPARISONS:
        return compare(body, sign, left, right, span)
    for side in (left, right):
        if not isinstance(side.type, t.Aggregation) and (not side.type.is_scalar or isinstance(side.type, t.Void)):
            kinds = f"'{type_text(left.type)}' and '{type_text(right.type)}'"
            raise Wrong(span, f"The {sign} operator can not be used on expressions of types {kinds}")
    left, right = to_scalar(body, left, span), to_scalar(body, right, span)
    if isinstance(left.type, t.Pointer) or isinstance(right.type, t.Pointer):
        return _pointer_arithmetic(sign, left, right, span)
    for side in (left, right):
        if not is_number(side.type):
            raise Wrong(span, f"The {sign} operator can not be used on expressions of type '{type_text(side.type)}'")
    if isinstance(left, ir.Number) and isinstance(right, ir.Number):
        return at(fold(sign, left, right), span)
    wide = t.INT64 if common_sign(left, right) else t.UINT64
    if sign in ("<<", ">>"):
        wide = t.INT64 if left.type.signed else t.UINT64
    left, right = coerce(body.script, left, wide, span), coerce(body.script, right, wide, span)
    if sign == ">>" and wide is t.INT64:  # zeros come from the left, as in bpftrace; in constants the sign does
        shifted = ir.Binary(t.UINT64, sign, ir.Convert(t.UINT64, left), ir.Convert(t.UINT64, right))
        return at(ir.Convert(wide, shifted), span)
    return at(ir.Binary(wide, sign, left, right), span)


def fold(sign: str, left: ir.Number, right: ir.Number) -> ir.Number:
    """The result of two constants, as small as it can be."""
    a, b = left.value, right.value
    signed = common_sign(left, right)
    if sign == "+":
        result = a + b
    elif sign == "-":
        result = a - b
    elif sign == "*":
        result = a * b
    elif sign in ("/", "%"):
        quotient = abs(a) // abs(b) if b else 0
        quotient = -quotient if (a < 0) != (b < 0) else quotient
        result = quotient if sign == "/" else a - quotient * b
    elif sign == "<<":
        result = a << (b & 63)
    elif sign == ">>":
        result = a >> (b & 63)
    else:
        result = a & b if sign == "&" else a | b if sign == "|" else a ^ b
    if not all(side.type == literal(side.value).type for side in (left, right)):  # one was cast
        return number(result, t.INT64 if signed else t.UINT64)
    if signed and -(1 << 63) <= result < 1 << 63:
        return literal(result)
    if signed and 0 <= result < 1 << 64 and sign in "*+":
        return ir.Number(t.UINT64, result)
    return number(result, t.INT64 if signed else t.UINT64)


def _pointer_arithmetic(sign: str, left: ir.Expression, right: ir.Expression, span: Span) -> ir.Expression:
    """A pointer moved by elements; the difference of two pointers counts them."""
    if isinstance(left.type, t.Pointer) and isinstance(right.type, t.Pointer):
        if sign == "-":
            size = max(left.type.target.size, 1)
            distance = ir.Binary(t.INT64, "-", ir.Convert(t.INT64, left), ir.Convert(t.INT64, right))
            return at(ir.Binary(t.INT64, "/", distance, number(size)), span)
    elif sign == "+" or (sign == "-" and isinstance(left.type, t.Pointer)):
        pointer, count = (left, right) if isinstance(left.type, t.Pointer) else (right, left)
        assert isinstance(pointer.type, t.Pointer)
        moved = ir.Binary(pointer.type, sign, pointer, scaled(count, pointer.type))
        return at(moved, span)
    elif sign in ("&", "|", "^", ">>", "<<", "%", "/", "*"):
        wide = [ir.Convert(t.UINT64, side) for side in (left, right)]
        return at(ir.Binary(t.UINT64, sign, wide[0], wide[1]), span)
    kinds = f"'{type_text(left.type)}' and '{type_text(right.type)}'"
    raise Wrong(span, f"The {sign} operator can not be used on {kinds}")


def scaled(count: ir.Expression, pointer: t.Pointer) -> ir.Expression:
    """A number of elements as bytes."""
    size = max(pointer.target.size, 1)
    if isinstance(count, ir.Number):
        return number(count.value * size)
    wide = ir.Convert(t.INT64, count)
    return wide if size == 1 else ir.Binary(t.INT64, "*", wide, number(size))


def compare(body: Body, sign: str, left: ir.Expression, right: ir.Expression, span: Span) -> ir.Expression:
    """A comparison: a bool.  Raises Wrong."""
    if isinstance(left.type, _TEXTS) and isinstance(right.type, _TEXTS):
        return _compare_texts(body, sign, left, right, span)
    if isinstance(left.type, t.Aggregation) or isinstance(right.type, t.Aggregation) or (
        left.type.is_scalar and right.type.is_scalar
    ):  # fmt: skip
        return _compare_scalars(body, sign, to_scalar(body, left, span), to_scalar(body, right, span), span)
    joined = join_types(left.type, right.type)
    if sign not in ("==", "!=") or joined is None or left.type.is_scalar:
        kinds = f"'{type_text(left.type)}' and '{type_text(right.type)}'"
        raise Wrong(span, f"Type mismatch for '{sign}': comparing {kinds}")
    script = body.script
    made = ir.Compare(t.BOOL, sign, coerce(script, left, joined, span), coerce(script, right, joined, span))
    return at(made, span)


def _compare_scalars(
    body: Body, sign: str, left: ir.Expression, right: ir.Expression, span: Span
) -> ir.Expression:  # fmt: skip
    if isinstance(left, ir.Number) and isinstance(right, ir.Number):
        a, b = left.value, right.value
        results = {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
        return at(ir.Number(t.BOOL, int(results[sign])), span)
    wide = t.INT64 if common_sign(left, right) else t.UINT64
    if isinstance(left.type, t.Stack):
        wide = t.UINT64
    made = ir.Compare(t.BOOL, sign, coerce(body.script, left, wide, span), coerce(body.script, right, wide, span))
    return at(made, span)


def _compare_texts(body: Body, sign: str, left: ir.Expression, right: ir.Expression, span: Span) -> ir.Expression:
    if sign not in ("==", "!="):
        raise Wrong(span, f"The {sign} operator can not be used on strings", "compare strings with == and !=")
    script = body.script
    if isinstance(left, ir.Bytes) and isinstance(right, ir.Bytes):
        return at(ir.Number(t.BOOL, int((left.data == right.data) == (sign == "=="))), span)
    for one, other in ((left, right), (right, left)):
        if isinstance(one.type, t.ProbeName) and isinstance(other, ir.Bytes):
            wanted = script.name_number(other.data.decode(errors="replace"))
            return _compare_scalars(body, sign, ir.Convert(t.UINT64, one), number(wanted, t.UINT64), span)
    sides = [
        coerce(script, side, t.String(max(map(len, script.probe_names)) + 1), span)
        if isinstance(side.type, t.ProbeName)
        else side
        for side in (left, right)
    ]
    differ = at(ir.CompareStrings(t.INT64, sides[0], sides[1]), span)
    return at(ir.Compare(t.BOOL, sign, differ, number(0)), span)


def logical(body: Body, sign: str, left: ir.Expression, right: ir.Expression, span: Span) -> ir.Expression:
    """``&&``, ``||``."""
    left, right = truth(body, left, span), truth(body, right, span)
    if isinstance(left, ir.Number):
        return right if bool(left.value) == (sign == "&&") else at(ir.Number(t.BOOL, left.value), span)
    return at(ir.Logical(t.BOOL, sign, left, right), span)


def unary(body: Body, sign: str, operand: ir.Expression, span: Span) -> ir.Expression:
    """``-``, ``~``, ``!``, ``+``.  Raises Wrong."""
    if sign == "!":
        condition = truth(body, operand, span)
        if isinstance(condition, ir.Number):
            return at(ir.Number(t.BOOL, int(not condition.value)), span)
        return at(ir.Unary(t.BOOL, "!", condition), span)
    operand = to_scalar(body, operand, span)
    if not is_number(operand.type):
        raise Wrong(span, f"The {sign} operator can not be used on expressions of type '{type_text(operand.type)}'")
    if sign == "+":
        return operand
    if isinstance(operand, ir.Number):
        value = -operand.value if sign == "-" else ~operand.value
        if sign == "~" and not operand.type.signed:
            return at(number(value, operand.type), span)
        return at(literal(value) if -(1 << 63) <= value < 1 << 63 else number(value), span)
    wide = t.UINT64 if sign == "~" and not operand.type.signed else t.INT64
    return at(ir.Unary(wide, sign, coerce(body.script, operand, wide, span)), span)


def choose(
    body: Body, condition: ir.Expression, yes: ir.Expression, no: ir.Expression, span: Span
) -> ir.Expression:  # fmt: skip
    """``condition ? yes : no``.  Raises Wrong: they have no common type."""
    condition = truth(body, condition, span)
    joined = join_types(yes.type, no.type)
    if joined is None:
        kinds = f"('{type_text(yes.type)}' and '{type_text(no.type)}')"
        raise Wrong(span, f"Ternary operator must return the same type: have {kinds}")
    yes, no = coerce(body.script, yes, joined, span), coerce(body.script, no, joined, span)
    if isinstance(condition, ir.Number):
        return yes if condition.value else no
    return at(ir.Choice(joined, condition, yes, no), span)
