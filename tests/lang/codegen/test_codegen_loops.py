"""Loops: break, continue and return, nested in each other; over maps; beside Python."""

from __future__ import annotations

import pytest
from codegen_units import Place, binary, check, compare, get, number, printf, text, unit, word

from linscope.errors import UsageError
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import Options, generate

SUM = ir.Map("@sum", None, t.INT64)


def add(value: ir.Expression) -> ir.Statement:
    return ir.Evaluate(ir.MapAdd(t.INT64, SUM, None, value))


def variable(name: str) -> ir.Variable:
    return ir.Variable(name, t.INT64)


def for_range(one: ir.Variable, first: ir.Expression, last: ir.Expression, body: list[ir.Statement]) -> ir.ForRange:
    return ir.ForRange(one, first, last, body, variable(f"{one.name}_start"))


def increase(one: ir.Variable) -> ir.Set:
    return ir.Set(one, binary("+", get(one), number(1)))


def context_of(*values: int) -> bytes:
    return b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in values).ljust(96, b"\0")


def signed(place: int) -> ir.Expression:
    return ir.Convert(t.INT64, word(place))


def test_ranges(place: Place) -> None:
    """From first to below last, both looked at once; nothing when last is not above; a body may set the variable."""
    i = variable("$i")
    for first, last in ((0, 10), (-5, 5), (3, 3), (9, 2), (1, 2)):
        body: list[ir.Statement] = [for_range(i, signed(0), signed(1), [add(get(i)), ir.Set(i, number(1000))])]
        out = place.run(unit(body, maps=[SUM]), context=context_of(first, last))
        assert out.numbers(SUM) == {0: sum(range(first, last))}


def test_while_with_break_and_continue(place: Place) -> None:
    i = variable("$i")
    odd = compare("==", binary("%", get(i), number(2)), number(1))
    loop = ir.While(
        compare("<", get(i), signed(0)),
        [
            increase(i), ir.If(odd, [ir.Continue()], []),
            ir.If(compare(">", get(i), number(20)), [ir.Break()], []), add(get(i)),
        ],
    )  # fmt: skip
    for limit in (0, 7, 50):
        out = place.run(unit([ir.Set(i, number(0)), loop], maps=[SUM]), context=context_of(limit))
        at = total = 0
        while at < limit:
            at += 1
            if at % 2:
                continue
            if at > 20:
                break
            total += at
        assert out.numbers(SUM) == {0: total}


def test_loops_in_loops_leave_only_their_own(place: Place) -> None:
    i, j, k = variable("$i"), variable("$j"), variable("$k")
    inner = ir.While(
        compare("<", get(k), number(10)),
        [increase(k), ir.If(compare("==", get(k), get(i)), [ir.Break()], []), add(binary("*", get(j), get(k)))],
    )
    skip = ir.If(compare("==", get(j), number(3)), [ir.Continue()], [])
    middle = for_range(j, number(0), get(i), [skip, ir.Set(k, number(0)), inner])
    outer = for_range(i, number(0), signed(0), [middle, ir.If(compare("==", get(i), number(5)), [ir.Break()], [])])
    out = place.run(unit([outer, add(number(100000))], maps=[SUM]), context=context_of(8))
    total = 100000
    for a in range(8):
        for b in range(a):
            if b == 3:
                continue
            c = 0
            while c < 10:
                c += 1
                if c == a:
                    break
                total += b * c
        if a == 5:
            break
    assert out.numbers(SUM) == {0: total}


def test_return_leaves_all(place: Place) -> None:
    """From the innermost of three loops, with a value."""
    i, j, k = variable("$i"), variable("$j"), variable("$k")
    here = compare("==", binary("+", get(i), binary("+", get(j), get(k))), signed(0))
    innermost = for_range(k, number(0), number(4), [ir.If(here, [ir.Return(binary("+", get(i), number(40)))], []),
                                                   add(number(1))])  # fmt: skip
    body = [for_range(i, number(0), number(4), [for_range(j, number(0), number(4), [innermost])]), ir.Return(number(9))]
    for wanted in (0, 5, 9, 100):
        out = place.run(unit(body, maps=[SUM]), context=context_of(wanted))
        count, result = 0, 9
        for a, b, c in ((a, b, c) for a in range(4) for b in range(4) for c in range(4)):
            if a + b + c == wanted:
                result = a + 40
                break
            count += 1
        assert (out.result, out.numbers(SUM)) == (result, {0: count})


def test_an_endless_loop_is_told(place: Place) -> None:
    """It ends by itself, after eight million rounds, and the program goes on."""
    event = ir.Event("runtime_error", (), b"endless")
    loop = ir.While(number(1), [], event)
    if place.name != "kernel":
        check(generate(unit([loop], events=[event]), place.options()))  # the machine's budget would end it before
        return
    out = place.run(unit([loop, add(number(1))], maps=[SUM], events=[event]))
    assert [one for one, _ in out.events] == [event] and out.numbers(SUM) == {0: 1}


def test_all_keys_and_values_of_a_map(place: Place) -> None:
    """Integers, and tuples with strings in them; the map may be changed meanwhile."""
    numbers, texts = ir.Map("@n", t.INT32, t.INT64), ir.Map("@t", t.String(20), t.Tuple((t.INT8, t.String(100))))
    pair, triple = t.Tuple((t.INT32, t.INT64)), t.Tuple((texts.key or t.VOID, texts.value))
    both, each = ir.Variable("$kv", pair), ir.Variable("$t", triple)
    event = printf(t.String(20), t.INT8, t.String(100))
    body: list[ir.Statement] = [ir.MapSet(numbers, number(key, t.INT32), number(key * 10)) for key in range(1, 5)]
    for key in (b"one", b"three"):
        value = ir.Build(texts.value, [(0, number(len(key), t.INT8)), (1, text(key * 9, 100))])
        body.append(ir.MapSet(texts, text(key, 20), value))
    key_part = ir.Convert(t.INT64, ir.Part(t.INT32, get(both), 0))
    body += [
        ir.ForMap(both, numbers, [
            ir.If(compare("==", key_part, number(2)), [ir.Continue()], []),
            add(binary("+", key_part, ir.Part(t.INT64, get(both), 8))),
            ir.Evaluate(ir.MapDelete(t.BOOL, numbers, ir.Part(t.INT32, get(both), 0))),
        ]),
        ir.ForMap(each, texts, [
            ir.Emit(event, [ir.Part(t.String(20), get(each), 0), ir.Part(t.INT8, get(each), 20),
                            ir.Part(t.String(100), get(each), 21)]),
        ]),
    ]  # fmt: skip
    out = place.run(unit(body, maps=[numbers, texts, SUM], events=[event]))
    assert out.numbers(SUM) == {0: 11 * (1 + 3 + 4)} and out.numbers(numbers) == {2: 20}
    assert sorted(values for _, values in out.events) == [[b"one", b"\3", b"one" * 9], [b"three", b"\5", b"three" * 9]]


def test_break_and_return_in_a_loop_over_a_map(place: Place) -> None:
    numbers = ir.Map("@n", t.INT64, t.INT64)
    both = ir.Variable("$kv", t.Tuple((t.INT64, t.INT64)))
    body: list[ir.Statement] = [ir.MapSet(numbers, number(key), number(1)) for key in range(5)]
    leave: list[ir.Statement] = [ir.If(compare("==", signed(0), number(1)), [ir.Break()], [ir.Return(number(3))])]
    body += [ir.ForMap(both, numbers, [add(number(1)), *leave]), ir.Return(number(4))]
    for how, result in ((1, 4), (2, 3)):
        out = place.run(unit(body, maps=[numbers, SUM]), context=context_of(how))
        assert (out.result, out.numbers(SUM)) == (result, {0: 1})


def test_aggregations_in_a_loop_are_those_of_all_cpus(place: Place) -> None:
    kinds: list[t.Type] = [
        t.Count(),
        t.Sum(True),
        t.Extreme("min", True),
        t.Extreme("max", False),
        t.Average("avg", True),
    ]
    maps = [ir.Map(f"@a{at}", t.INT64, kind) for at, kind in enumerate(kinds)]
    event = printf(t.INT64, t.INT64, t.INT64)
    body: list[ir.Statement] = []
    for at, one in enumerate(maps):
        pair = t.Tuple((t.INT64, one.value))
        both = ir.Variable(f"$kv{at}", pair)
        for value in (4, 9, 20):
            given = None if isinstance(one.value, t.Count) else number(value)
            body.append(ir.Aggregate(one, number(7), given))
        total = ir.Total(t.INT64, ir.Part(one.value, get(both), 8))
        body.append(ir.ForMap(both, one, [ir.Emit(event, [number(at), ir.Part(t.INT64, get(both), 0), total])]))
    out = place.run(unit(body, maps=maps, events=[event]), cpus=(0, 1))
    told = [[int.from_bytes(value, "little") for value in values] for _, values in out.events[-len(kinds) :]]
    assert told == [[0, 7, 6], [1, 7, 66], [2, 7, 4], [3, 7, 20], [4, 7, 11]]


@pytest.mark.parametrize("depth", range(1, 6))
def test_loops_nested_as_deep_as_the_stack_allows(place: Place, depth: int) -> None:
    """Each callback has its part of the kernel's 512 bytes; what finds no room there lies in scratch."""
    names = [variable(f"$v{at}") for at in range(depth)]
    waiting: ir.Expression = number(0)
    for at in range(24 if depth < 4 else 6):
        waiting = binary("-", get(names[at % depth]), waiting)
    inside: list[ir.Statement] = [
        add(waiting),
        ir.MapSet(SUMS, ir.Build(KEY, [(0, get(names[0])), (8, waiting)]), waiting),
    ]
    for one in reversed(names):
        inside = [for_range(one, number(0), number(2), inside), *inside[:1]]
    made = unit(inside, maps=[SUM, SUMS])
    out = place.run(made, checked=depth < 4)  # the kernel's verifier is faster
    assert out.numbers(SUM).keys() == {0} and out.map(SUMS)


KEY = t.Tuple((t.INT64, t.INT64))
SUMS = ir.Map("@sums", KEY, t.INT64)


def test_too_many_loops_are_told() -> None:
    inside: list[ir.Statement] = [add(number(1))]
    for at in range(6):
        inside = [for_range(variable(f"$v{at}"), number(0), number(2), inside)]
    with pytest.raises(UsageError, match="6 loops inside of each other"):
        generate(unit(inside, maps=[SUM]), Options(cpus=1))


def test_leaving_a_function_out_of_its_loops(place: Place) -> None:
    """The program goes on behind it; the loop that the function stands in as well."""
    i, j, k = variable("$i"), variable("$j"), variable("$k")
    here = compare("==", binary("+", get(j), get(k)), signed(0))
    inner = for_range(k, number(0), number(4), [ir.If(here, [ir.Leave()], []), add(number(1))])
    function = ir.Inlined([for_range(j, number(0), get(i), [inner]), add(number(1000))])
    body = [for_range(i, number(0), number(4), [function, add(number(10000))]), ir.Return(number(9))]
    for wanted in (0, 3, 5, 100):
        out = place.run(unit(body, maps=[SUM]), context=context_of(wanted))
        total = 0
        for a in range(4):
            pairs = [b + c for b in range(a) for c in range(4)]
            total += pairs.index(wanted) if wanted in pairs else len(pairs) + 1000
            total += 10000
        assert (out.result, out.numbers(SUM)) == (9, {0: total})


def test_a_program_ends_in_a_loop_of_a_function(place: Place) -> None:
    """return and the end of the function, from the same loop."""
    i = variable("$i")
    ends = ir.If(compare("==", get(i), signed(0)), [ir.Return(number(5))], [])
    leaves = ir.If(compare("==", get(i), signed(1)), [ir.Leave()], [])
    function = ir.Inlined([for_range(i, number(0), number(9), [ends, leaves]), add(number(1))])
    for first, second, result, count in ((3, 5, 5, 0), (5, 3, 6, 10), (100, 100, 6, 11)):
        body = [function, add(number(10)), ir.Return(number(6))]
        out = place.run(unit(body, maps=[SUM]), context=context_of(first, second))
        assert (out.result, out.numbers(SUM)) == (result, {0: count})
