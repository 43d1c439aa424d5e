"""Which variables may be read before they are set, what loops assign, how deep they are nested."""

from __future__ import annotations

from codegen_units import compare, get, number, word

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen.analysis import Analysis

A, B, C = (ir.Variable(name, t.INT64) for name in ("$a", "$b", "$c"))
CONDITION = compare("==", word(0), number(1, t.UINT64))


def set_to(one: ir.Variable, value: int = 1) -> ir.Set:
    return ir.Set(one, number(value))


def use(one: ir.Variable) -> ir.Statement:
    return ir.Evaluate(get(one))


def unset(*body: ir.Statement) -> set[str]:
    return {one.name for one in Analysis(ir.Program("p", [], list(body))).unset}


def test_what_is_set_on_one_way_only_may_be_read_unset() -> None:
    assert unset(set_to(A), use(A)) == set()
    assert unset(use(A), set_to(A)) == {"$a"}
    assert unset(ir.If(CONDITION, [set_to(A)], []), use(A)) == {"$a"}
    assert unset(ir.If(CONDITION, [set_to(A), set_to(B)], [set_to(A)]), use(A), use(B)) == {"$b"}
    assert unset(ir.If(CONDITION, [set_to(A), use(A)], [])) == set()
    both = ir.Choice(t.INT64, CONDITION, ir.Do(t.INT64, [set_to(A)], number(1)), number(2))
    assert unset(ir.Evaluate(both), use(A)) == {"$a"}
    right = ir.Logical(t.BOOL, "&&", CONDITION, ir.Do(t.BOOL, [set_to(A)], number(1, t.BOOL)))
    assert unset(ir.Evaluate(right), use(A)) == {"$a"}


def test_what_is_set_at_all_ends_of_a_function() -> None:
    leaves = ir.If(CONDITION, [set_to(A), set_to(B), ir.Leave()], [])
    assert unset(ir.Inlined([leaves, set_to(A)]), use(A), use(B)) == {"$b"}
    assert unset(ir.Inlined([leaves, set_to(A), ir.Leave(), use(C)]), use(A)) == {"$c"}
    both = ir.If(CONDITION, [set_to(A), ir.Leave()], [set_to(A), set_to(B), ir.Leave()])
    assert unset(ir.Inlined([both]), use(A), use(B)) == {"$b"}
    assert unset(ir.Inlined([ir.Inlined([ir.Leave()]), set_to(A)]), use(A)) == set()
    assert unset(ir.Inlined([ir.While(CONDITION, [set_to(A), ir.Leave()])]), use(A)) == {"$a"}


def test_loops_may_have_no_round() -> None:
    start = ir.Variable("$s", t.INT64)
    loop = ir.ForRange(B, number(0), number(9), [use(B), set_to(A)], start)
    known = Analysis(ir.Program("p", [], [loop, use(A), ir.While(CONDITION, [ir.While(CONDITION, [set_to(C)])])]))
    assert {one.name for one in known.unset} == {"$a"}
    assert {one.name for one in known.changing} == {"$a", "$c"} and known.depth == 2
    assert list(known.variables) == [start, B, A, C]


def test_system_calls_know_nothing_of_each_other() -> None:
    known = Analysis(ir.Program("p", [], [], {1: [set_to(A), use(A)], 2: [use(A)]}))
    assert known.unset == {A}


def test_a_value_that_a_map_may_not_have() -> None:
    key = ir.MapHas(t.BOOL, ir.Map("@m", t.INT64, t.INT64), number(1), A)
    assert unset(ir.Evaluate(key), use(A)) == {"$a"}


def test_a_key_is_made_after_the_value() -> None:
    numbers = ir.Map("@m", t.INT64, t.INT64)
    key = ir.Do(t.INT64, [set_to(A)], number(1))
    assert unset(ir.MapSet(numbers, key, get(A))) == {"$a"}
    assert unset(ir.Evaluate(ir.MapAdd(t.INT64, numbers, key, get(A)))) == {"$a"}
