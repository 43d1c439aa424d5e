"""Scalars: arithmetic at edge values in all widths and signs, conversions, conditions, variables; beside Python."""

from __future__ import annotations

import itertools

import pytest
from codegen_units import InMachine, Place, binary, compare, get, number, printf, unit, word

from linscope.lang import ir
from linscope.lang import types as t

INTS = [t.INT8, t.INT16, t.INT32, t.INT64, t.UINT8, t.UINT16, t.UINT32, t.UINT64]
SIGNS = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]


def wrap(value: int, type: t.Type) -> int:
    bits = 8 * type.size
    value &= (1 << bits) - 1
    return value - (1 << bits) if type.signed and value >> bits - 1 else value


def edges(type: t.Type) -> list[int]:
    bits = 8 * type.size
    top = 1 << bits - 1
    return sorted({wrap(value, type) for value in (0, 1, 2, 3, 7, -1, -2, -7, top, top - 1, top + 1, 100)})


def model(sign: str, left: int, right: int, type: t.Type) -> int:
    if sign == "+":
        result = left + right
    elif sign == "-":
        result = left - right
    elif sign == "*":
        result = left * right
    elif sign == "/":
        result = 0 if not right else abs(left) // abs(right) * (-1 if (left < 0) != (right < 0) else 1)
    elif sign == "%":
        result = left if not right else abs(left) % abs(right) * (-1 if left < 0 else 1)
    elif sign == "&":
        result = left & right
    elif sign == "|":
        result = left | right
    elif sign == "^":
        result = left ^ right
    elif sign == "<<":
        result = left << (right & 63)
    else:
        result = left >> (right & 63)
    return wrap(result, type)


def results(place: Place, expressions: list[ir.Expression], **named: object) -> list[int]:
    """The values of many expressions, told in one event."""
    event = printf(*(t.INT64 for _ in expressions))
    values = [ir.Convert(t.INT64, one) if one.type != t.INT64 else one for one in expressions]
    out = place.run(unit([ir.Emit(event, values)], events=[event]), **named)
    return [int.from_bytes(value, "little", signed=True) for value in out.events[0][1]]


def context_of(*values: int) -> bytes:
    return b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in values).ljust(96, b"\0")


@pytest.mark.parametrize("type", INTS, ids=[f"{'i' if one.signed else 'u'}{8 * one.size}" for one in INTS])
def test_arithmetic(place: Place, type: t.Type) -> None:
    """All operators, both operands known only at run time, and the right one a constant."""
    pairs = list(itertools.product(edges(type), edges(type)))
    pairs = pairs[:: 7 if isinstance(place, InMachine) else 5]
    cut = ir.Convert(type, word(0)), ir.Convert(type, word(1))
    for left, right in pairs:
        context = context_of(left, right)
        both = [binary(sign, *cut) for sign in SIGNS]
        constant = [binary(sign, cut[0], number(right, type)) for sign in SIGNS]
        flags = [ir.Convert(t.INT64, compare(sign, *cut)) for sign in COMPARISONS]
        fixed = [ir.Convert(t.INT64, compare(sign, cut[0], number(right, type))) for sign in COMPARISONS]
        found = results(place, [*both, *constant, *flags, *fixed], context=context)
        wanted = [wrap(model(sign, left, right, type), t.INT64) for sign in SIGNS] * 2
        python = {"==": left == right, "!=": left != right, "<": left < right, "<=": left <= right,
                  ">": left > right, ">=": left >= right}  # fmt: skip
        wanted += [int(python[sign]) for sign in COMPARISONS] * 2
        assert found == wanted, (left, right)


def test_conversions(place: Place) -> None:
    """Every type to every other, and to bool and back."""
    for value in (0, 1, -1, 127, 128, 255, 256, 32768, 65535, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, -256):
        expressions: list[ir.Expression] = []
        wanted: list[int] = []
        for first, second in itertools.product(INTS, INTS):
            expressions.append(ir.Convert(second, ir.Convert(first, word(0))))
            wanted.append(wrap(wrap(wrap(value, first), second), t.INT64))
        expressions += [ir.Convert(t.INT64, ir.Convert(t.BOOL, ir.Convert(one, word(0)))) for one in INTS]
        wanted += [int(wrap(value, one) != 0) for one in INTS]
        assert results(place, expressions, context=context_of(value)) == wanted


def test_signs(place: Place) -> None:
    for type in INTS:
        for value in edges(type):
            cut = ir.Convert(type, word(0))
            swapped = int.from_bytes((value & (1 << 8 * type.size) - 1).to_bytes(type.size, "big"), "little")
            expressions: list[ir.Expression] = [
                ir.Unary(type, "-", cut), ir.Unary(type, "~", cut), ir.Unary(t.BOOL, "!", cut),
            ]  # fmt: skip
            wanted = [wrap(-value, type), wrap(~value, type), int(not value)]
            if not type.signed and type.size > 1:
                expressions.append(ir.Unary(type, "bswap", cut))
                wanted.append(swapped)
            found = results(place, expressions, context=context_of(value))
            assert found == [wrap(one, t.INT64) for one in wanted]


def test_deep_expressions_find_room(place: Place) -> None:
    """What waits for its right operand lies in a register or on the stack; there is enough of both."""

    def tree(depth: int, at: int) -> tuple[ir.Expression, int]:
        if not depth:
            return ir.Convert(t.INT64, word(at % 8)), at % 8 + 1
        left, first = tree(depth - 1, 2 * at)
        right, second = tree(depth - 1, 2 * at + 1)
        return binary("-", left, right), first - second

    made, value = tree(7, 1)
    # a chain to the right, in which every left operand waits
    chain: ir.Expression = ir.Convert(t.INT64, word(1))
    total = 2
    for step in range(60):
        chain = binary("-", ir.Convert(t.INT64, word(step % 8)), chain)
        total = step % 8 + 1 - total
    found = results(place, [made, chain], context=context_of(*range(1, 9)))
    assert found == [value, total]


def test_logic_looks_at_the_right_side_only_when_it_counts(place: Place) -> None:
    seen = ir.Map("@seen", t.INT64, t.INT64)

    def marked(key: int, value: int) -> ir.Expression:
        return ir.Do(t.INT64, [ir.MapSet(seen, number(key), number(1))], ir.Convert(t.INT64, word(value)))

    cases = [("&&", 0, 1), ("&&", 1, 0), ("&&", 1, 1), ("||", 0, 1), ("||", 1, 0), ("||", 0, 0)]
    kept = ir.Map("@kept", t.INT64, t.INT64)
    body: list[ir.Statement] = []
    for key, (sign, left, right) in enumerate(cases):
        node = ir.Logical(t.BOOL, sign, marked(10 * key, left), marked(10 * key + 1, right))
        body.append(ir.MapSet(kept, number(2 * key), ir.Convert(t.INT64, node)))
        chosen = ir.Choice(t.INT64, node, number(7), number(9))
        body.append(ir.MapSet(kept, number(2 * key + 1), chosen))
    out = place.run(unit(body, maps=[seen, kept]), context=context_of(0, 5))
    wanted, keys = {}, set()
    for key, (sign, left, right) in enumerate(cases):
        value = bool(left and right) if sign == "&&" else bool(left or right)
        wanted |= {2 * key: int(value), 2 * key + 1: 7 if value else 9}
        keys |= {10 * key} | ({10 * key + 1} if bool(left) == (sign == "&&") else set())
    assert out.numbers(kept) == wanted
    assert set(out.numbers(seen)) == keys


def test_variables_of_all_widths(place: Place) -> None:
    """Each has its own storage, zero at first, and keeps its sign."""
    kept = ir.Map("@kept", t.INT64, t.INT64)
    variables = [ir.Variable(f"$v{place}", type) for place, type in enumerate(INTS)]
    body: list[ir.Statement] = []
    for key, one in enumerate(variables):  # read before they are set
        body.append(ir.MapSet(kept, number(100 + key), ir.Convert(t.INT64, get(one))))
    body += [ir.Set(one, ir.Convert(one.type, word(0))) for one in variables]
    for key, one in enumerate(variables):
        body.append(ir.MapSet(kept, number(key), ir.Convert(t.INT64, get(one))))
    body += [ir.Set(one, None) for one in variables[:2]]
    for key, one in enumerate(variables[:2]):
        body.append(ir.MapSet(kept, number(200 + key), ir.Convert(t.INT64, get(one))))
    value = 0xFFF1F2F3F4F5F6F7
    out = place.run(unit(body, maps=[kept]), cpus=(0, 0), context=context_of(value)).numbers(kept)
    assert [out[key] for key in range(8)] == [wrap(wrap(value, one), t.INT64) for one in INTS]
    assert {out[100 + key] for key in range(8)} == {0} and {out[200], out[201]} == {0}


def test_what_a_program_returns(place: Place) -> None:
    body = [ir.If(compare("==", word(0), number(5, t.UINT64)), [ir.Return(number(7))], []), ir.Return()]
    assert place.run(unit(body), context=context_of(5)).result == 7
    assert place.run(unit(body), context=context_of(6)).result == 0
    assert place.run(unit([])).result == 0
