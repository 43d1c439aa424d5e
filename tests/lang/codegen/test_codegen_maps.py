"""Maps: set, read, deleted, added to, aggregated; beside Python and beside unit.py's buckets."""

from __future__ import annotations

import random

import pytest
from codegen_units import (
    CPUS,
    Outcome,
    Place,
    binary,
    check,
    compare,
    get,
    number,
    printf,
    text,
    unit,
    word,
)  # fmt: skip

from linscope.bpf.vm.machine import Machine
from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.codegen import Options, generate
from linscope.lang.unit import bucket_count, histogram_bucket, linear_bucket

PAIR = t.Tuple((t.INT32, t.String(12)))


def context_of(*values: int) -> bytes:
    return b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in values).ljust(96, b"\0")


def told(out: Outcome) -> list[int]:
    """All values of the last event as integers."""
    return [int.from_bytes(value, "little", signed=True) for value in out.events[-1][1]]


def errors(out: Outcome) -> list[tuple[bytes, int]]:
    """(helper, result) of the errors that were told."""
    return [
        (event.format, int.from_bytes(values[0], "little", signed=True))
        for event, values in out.events
        if event.kind == "helper_error"
    ]


def tell(*values: ir.Expression) -> tuple[ir.Event, ir.Emit]:
    event = printf(*(t.INT64 for _ in values))
    return event, ir.Emit(event, [ir.Convert(t.INT64, one) for one in values])


def pair(first: int, second: bytes) -> ir.Build:
    return ir.Build(PAIR, [(0, number(first, t.INT32)), (4, text(second, 12))])


@pytest.mark.parametrize("type", [t.INT8, t.UINT16, t.INT32, t.INT64, t.UINT64, t.BOOL])
def test_values_of_all_widths(place: Place, type: t.Type) -> None:
    """One value and many, set and read, absent and deleted."""
    one, many = ir.Map("@one", None, type), ir.Map("@many", type, type)
    value = ir.Convert(type, word(0))
    event, emit = tell(
        ir.MapGet(type, one, None), ir.MapGet(type, many, value), ir.MapGet(type, many, number(1, type)),
        ir.MapHas(t.BOOL, many, value), ir.MapHas(t.BOOL, many, number(1, type)),
        ir.MapDelete(t.BOOL, many, value), ir.MapDelete(t.BOOL, many, value), ir.MapHas(t.BOOL, many, value),
        ir.MapDelete(t.BOOL, one, None), ir.MapGet(type, one, None), ir.MapHas(t.BOOL, one, None),
    )  # fmt: skip
    body = [ir.MapSet(one, None, value), ir.MapSet(many, value, value), emit]
    out = place.run(unit(body, maps=[one, many], events=[event]), context=context_of(0xFEDCBA9876543200))
    bits = 8 * type.size
    wanted = 0xFEDCBA9876543200 & (1 << bits) - 1 if type is not t.BOOL else 1
    if type.signed and wanted >> bits - 1:
        wanted -= 1 << bits
    wanted = (wanted + (1 << 63)) % (1 << 64) - (1 << 63)
    here = int(type is t.BOOL)  # its 1 is the key that is asked for
    assert told(out) == [wanted, wanted, here, 1, here, 1, 0, 0, 1, 0, 1]


def test_keys_and_values_in_memory(place: Place) -> None:
    """Tuples with strings as keys, strings and structs as values."""
    texts, tuples = ir.Map("@texts", PAIR, t.String(40)), ir.Map("@tuples", t.INT64, PAIR)
    last = ir.Map("@last", None, t.String(300))
    body: list[ir.Statement] = [
        ir.MapSet(texts, pair(1, b"one"), text(b"the first", 40)),
        ir.MapSet(texts, pair(-1, b"one"), text(b"the second", 40)),
        ir.MapSet(tuples, number(5), pair(7, b"seven")),
        ir.MapSet(tuples, number(6), ir.MapGet(PAIR, tuples, number(5))),
        ir.MapSet(tuples, number(8), ir.MapGet(PAIR, tuples, number(7))),
        ir.MapSet(last, None, text(b"x" * 280, 300)),
    ]
    event = printf(t.String(40), t.String(40), t.String(300), PAIR)
    body.append(
        ir.Emit(event, [
            ir.MapGet(t.String(40), texts, pair(-1, b"one")), ir.MapGet(t.String(40), texts, pair(-1, b"on")),
            ir.MapGet(t.String(300), last, None), ir.MapGet(PAIR, tuples, number(6)),
        ])
    )  # fmt: skip
    out = place.run(unit(body, maps=[texts, tuples, last], events=[event]))
    one, two = (n.to_bytes(4, "little", signed=True) + b"one".ljust(12, b"\0") for n in (1, -1))
    assert out.map(texts) == {one: [b"the first".ljust(40, b"\0")], two: [b"the second".ljust(40, b"\0")]}
    seven = b"\7\0\0\0seven".ljust(16, b"\0")
    assert out.map(tuples) == {
        key.to_bytes(8, "little"): [value] for key, value in ((5, seven), (6, seven), (8, bytes(16)))
    }
    assert out.events[0][1] == [b"the second", b"", b"x" * 280, seven]


def test_a_map_is_made_of_itself(place: Place) -> None:
    """The new value is whole before any of it is seen."""
    swapped = ir.Map("@swapped", None, t.Tuple((t.INT64, t.INT64)))
    value = swapped.value
    old = ir.MapGet(value, swapped, None)
    parts: list[tuple[int, ir.Expression]] = [(0, ir.Part(t.INT64, old, 8)), (8, ir.Part(t.INT64, old, 0))]
    body = [
        ir.MapSet(swapped, None, ir.Build(value, [(0, number(1)), (8, number(2))])),
        ir.MapSet(swapped, None, ir.Build(value, parts)),
    ]
    out = place.run(unit(body, maps=[swapped]))
    assert out.map(swapped) == {bytes(4): [b"\2" + bytes(7) + b"\1" + bytes(7)]}


def test_a_full_map_says_so(place: Place) -> None:
    small, counts = ir.Map("@small", t.INT64, t.INT64, "hash", 2), ir.Map("@counts", t.INT64, t.Count(), "hash", 2)
    added = ir.Map("@added", t.INT64, t.INT64, "hash", 2)
    body: list[ir.Statement] = []
    for key in range(3):
        node = ir.MapSet(small, number(key), number(1))
        node.span = (10 + key, 12 + key)
        body += [
            node, ir.Aggregate(counts, number(key), None),
            ir.Evaluate(ir.MapAdd(t.INT64, added, number(key), number(2))),
        ]  # fmt: skip
    out = place.run(unit(body, maps=[small, counts, added], text="\n" * 20))
    assert errors(out) == [(b"map_update_elem", -7)] * 3
    assert out.events[0][0].span == (12, 14)
    assert out.numbers(small) == {0: 1, 1: 1} and len(out.map(counts)) == 2 and out.numbers(added) == {0: 2, 1: 2}


@pytest.mark.parametrize("type", [t.INT8, t.UINT16, t.INT32, t.UINT32, t.INT64])
def test_additions(place: Place, type: t.Type) -> None:
    """MapAdd gives the old or the new value, wraps in its width, and makes what is not there."""
    one, many = ir.Map("@one", None, type), ir.Map("@many", t.INT32, type)
    step = number(100, type)
    values: list[ir.Expression] = []
    for map_, key in ((one, None), (many, number(3, t.INT32))):
        for old in (False, True, False):
            values.append(ir.MapAdd(type, map_, key, step, old))
    event, emit = tell(*values)
    out = place.run(unit([emit], maps=[one, many], events=[event]))
    bits = 8 * type.size
    wrapped = [n if not type.signed or n < 1 << bits - 1 else n - (1 << bits) for n in (100, 100, 300 % (1 << bits))]
    assert told(out) == wrapped * 2
    assert list(out.numbers(one).values()) == [wrapped[2]] and out.numbers(many) == {3: wrapped[2]}


def test_a_value_goes_to_a_variable(place: Place) -> None:
    """MapHas: the variable is changed only when the key is there."""
    kept, pairs = ir.Map("@kept", t.INT64, t.INT32), ir.Map("@pairs", t.INT64, PAIR)
    found, other = ir.Variable("$found", t.INT32), ir.Variable("$other", PAIR)
    event = printf(t.BOOL, t.INT32, t.BOOL, t.INT32, t.BOOL, PAIR)
    body = [
        ir.MapSet(kept, number(1), number(-5, t.INT32)),
        ir.MapSet(pairs, number(1), pair(3, b"three")),
        ir.Set(found, number(9, t.INT32)),
        ir.Emit(event, [
            ir.MapHas(t.BOOL, kept, number(2), found), get(found), ir.MapHas(t.BOOL, kept, number(1), found),
            get(found), ir.MapHas(t.BOOL, pairs, number(1), other), get(other),
        ]),
    ]  # fmt: skip
    out = place.run(unit(body, maps=[kept, pairs], events=[event]))
    five = (-5).to_bytes(4, "little", signed=True)
    assert out.events[0][1] == [b"\0", b"\x09\0\0\0", b"\1", five, b"\1", b"\3\0\0\0three".ljust(16, b"\0")]


@pytest.mark.parametrize("kind", ["lruhash", "percpuhash", "percpulruhash"])
def test_declared_kinds(place: Place, kind: str) -> None:
    kept = ir.Map("@kept", t.INT64, t.INT64, kind, 8)
    event, emit = tell(ir.MapGet(t.INT64, kept, number(4)))
    out = place.run(unit([ir.MapSet(kept, number(4), number(44)), emit], maps=[kept], events=[event]))
    assert told(out) == [44] and len(out.map(kept)) == 1


def test_the_number_of_keys(place: Place) -> None:
    kept = ir.Map("@kept", t.INT64, t.INT64)
    event, emit = tell(ir.MapLength(t.INT64, kept))
    body: list[ir.Statement] = [ir.MapSet(kept, number(key), number(key)) for key in range(5)]
    body.append(ir.If(compare("==", ir.MapLength(t.INT64, kept), number(5)), [emit], []))
    assert told(place.run(unit(body, maps=[kept], events=[event]))) == [5]


# -- aggregations

AGGREGATIONS: list[t.Type] = [
    t.Count(), t.Sum(True), t.Sum(False), t.Extreme("min", True), t.Extreme("max", True), t.Extreme("min", False),
    t.Extreme("max", False), t.Average("avg", True), t.Average("stats", True), t.Average("avg", False),
]  # fmt: skip


def model(kind: t.Type, values: list[int]) -> int:
    """The integer of an aggregation, wrapped to 64 bits."""
    if isinstance(kind, t.Count):
        return len(values)
    if not kind.signed:
        values = [value & (1 << 64) - 1 for value in values]
    if isinstance(kind, t.Sum):
        result = sum(values)
    elif isinstance(kind, t.Extreme):
        result = (min if kind.word == "min" else max)(values)
    else:
        total = sum(values)
        total = (total + (1 << 63)) % (1 << 64) - (1 << 63) if kind.signed else total % (1 << 64)
        result = abs(total) // len(values) * (-1 if total < 0 else 1)
    return (result + (1 << 63)) % (1 << 64) - (1 << 63)


VALUES = [5, -3, 1 << 40, -(1 << 50), 0, 7]


def all_aggregations(keyed: bool) -> tuple[ir.Unit, list[ir.Map]]:
    """VALUES added to a map of each kind, which then is read."""
    maps = [ir.Map(f"@a{at}", t.INT64 if keyed else None, kind) for at, kind in enumerate(AGGREGATIONS)]
    key = number(3) if keyed else None
    body: list[ir.Statement] = []
    for one in maps:
        for value in VALUES:
            given = None if isinstance(one.value, t.Count) else number(value)
            body.append(ir.Aggregate(one, key, given))
    missing = number(4) if keyed else None
    event, emit = tell(
        *(ir.Aggregated(t.INT64, one, key) for one in maps),
        *(ir.Aggregated(t.INT64, one, missing) for one in maps if keyed),
    )
    return unit([*body, emit], maps=maps, events=[event]), maps


@pytest.mark.parametrize("keyed", [False, True])
def test_aggregations_over_all_cpus(place: Place, keyed: bool) -> None:
    """Each CPU has its own value; read, they are one."""
    made, maps = all_aggregations(keyed)
    out = place.run(made, cpus=(0, 1))
    for one in maps:
        (per_cpu,) = out.map(one).values()
        assert len(per_cpu) == CPUS and per_cpu[0] == per_cpu[1] != bytes(len(per_cpu[0]))
    assert told(out) == [model(one.value, VALUES * 2) for one in maps] + [0] * len(maps) * keyed


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("jit", [False, True])
def test_many_cpus_are_a_loop(keyed: bool, jit: bool) -> None:
    made, maps = all_aggregations(keyed)
    built = generate(made, Options(cpus=40))
    check(built)
    machine = Machine(built.programs[0], jit=jit, cpus=40)
    for cpu in (0, 17, 39):
        machine.row.cpu = cpu
        machine.run(bytes(96))
    out = Outcome(made, built, 0, [], [data for _, data in machine.maps["events"].drain()])
    assert told(out) == [model(one.value, VALUES * 3) for one in maps] + [0] * len(maps) * keyed


def buckets(out: Outcome, map_: ir.Map, size: int = 4) -> dict[int, int]:
    """Bucket -> count over all CPUs, of those that are not zero; keys must be (1, ...) of INT32 or none."""
    found: dict[int, int] = {}
    for key, values in out.map(map_).items():
        if map_.key is not None:
            assert key[: map_.key.size] == (1).to_bytes(map_.key.size, "little")
            assert not any(key[map_.key.size : -4])
        total = sum(int.from_bytes(value[:8], "little") for value in values)
        if total:
            found[int.from_bytes(key[-4:], "little")] = total
    return found


@pytest.mark.parametrize("bits", range(6))
@pytest.mark.parametrize("key", [None, t.INT64, t.INT8], ids=["scalar", "i64", "i8"])
def test_histograms(place: Place, bits: int, key: t.Type | None) -> None:
    kind = t.Histogram(bits)
    map_ = ir.Map("@h", key, kind)
    numbers = random.Random(bits)
    values = [0, 1, 2, -1, -(1 << 63), (1 << 63) - 1, (1 << bits) - 1, 1 << bits, (1 << bits) + 1]
    values += [numbers.getrandbits(numbers.randrange(1, 64)) for _ in range(14)]
    wanted: dict[int, int] = {}
    given = number(1, key) if key is not None else None
    body: list[ir.Statement] = []
    for at, value in enumerate(values):
        times = None if at % 3 else number(at + 2)
        body.append(ir.Aggregate(map_, given, number(value), times))
        bucket = histogram_bucket(value, bits)
        assert bucket < bucket_count(kind)
        wanted[bucket] = wanted.get(bucket, 0) + (1 if times is None else at + 2)
    assert buckets(place.run(unit(body, maps=[map_])), map_) == wanted


@pytest.mark.parametrize("key", [None, t.INT32], ids=["scalar", "i32"])
def test_linear_histograms(place: Place, key: t.Type | None) -> None:
    for kind in (
        t.LinearHistogram(0, 100, 10),
        t.LinearHistogram(-50, 49, 7),
        t.LinearHistogram(-(1 << 62), 1 << 62, 1 << 58),
    ):
        map_ = ir.Map("@l", key, kind)
        values = [kind.least + at * kind.step + move for at in range(-1, 4) for move in (-1, 0, 1)]
        values += [kind.most - 1, kind.most, kind.most + 1, (1 << 63) - 1, -(1 << 63)]
        given = number(1, key) if key is not None else None
        body: list[ir.Statement] = [ir.Aggregate(map_, given, number(value)) for value in values]
        wanted: dict[int, int] = {}
        for value in values:
            wanted[linear_bucket(value, kind)] = wanted.get(linear_bucket(value, kind), 0) + 1
        assert buckets(place.run(unit(body, maps=[map_])), map_) == wanted


@pytest.mark.parametrize("way", ["", "avg", "max", "min", "sum"])
def test_time_series(place: Place, way: str) -> None:
    """A bucket for each interval, which begins anew when it comes round."""
    kind = t.TimeSeries(10, 4, way, True)
    map_ = ir.Map("@t", None, kind)
    points = [(5, -7), (11, 3), (12, 9), (19, -2), (45, 6), (46, 8), (52, 1)]
    body: list[ir.Statement] = [ir.Aggregate(map_, None, number(value), None, number(now)) for now, value in points]
    out = place.run(unit(body, maps=[map_]))
    wanted: dict[int, tuple[int, int, int]] = {}
    for now, value in points:
        epoch = now // 10
        old, count, before = wanted.get(epoch % 4, (0, 0, -1))
        if before != epoch:
            wanted[epoch % 4] = (value, 1, epoch)
        elif way in ("avg", "sum"):
            wanted[epoch % 4] = (old + value, count + 1, epoch)
        else:
            chosen = {"": value, "max": max(old, value), "min": min(old, value)}[way]
            wanted[epoch % 4] = (chosen, count + 1, epoch)
    found = {}
    for key, values in out.map(map_).items():
        value, count, epoch = (int.from_bytes(values[0][at : at + 8], "little", signed=True) for at in (0, 8, 16))
        if count:
            found[int.from_bytes(key, "little")] = (value, count, epoch)
    assert found == wanted


def test_time_series_by_the_clock(place: Place) -> None:
    map_ = ir.Map("@t", t.INT64, t.TimeSeries(1 << 62, 3, "sum", True))
    out = place.run(unit([ir.Aggregate(map_, number(1), number(5))] * 2, maps=[map_]))
    assert [values[0][:16] for values in out.map(map_).values()] == [b"\x0a" + bytes(7) + b"\2" + bytes(7)]


def test_clearing_what_adds_up(place: Place) -> None:
    """delete() of an aggregation without a key, and of a key."""
    one, many = ir.Map("@one", None, t.Average("avg", True)), ir.Map("@many", t.INT64, t.Count())
    body = [
        ir.Aggregate(one, None, number(5)), ir.Aggregate(many, number(2), None),
        ir.Evaluate(ir.MapDelete(t.BOOL, one, None)), ir.Evaluate(ir.MapDelete(t.BOOL, many, number(2))),
    ]  # fmt: skip
    out = place.run(unit(body, maps=[one, many]))
    assert out.map(one)[bytes(4)][0] == bytes(16) and out.map(many) == {}


def test_arithmetic_of_maps(place: Place) -> None:
    one = ir.Map("@one", None, t.INT64)
    event, emit = tell(
        binary("*", ir.MapGet(t.INT64, one, None), binary("+", number(3), ir.MapGet(t.INT64, one, None)))
    )
    assert told(place.run(unit([ir.MapSet(one, None, number(4)), emit], maps=[one], events=[event]))) == [28]
