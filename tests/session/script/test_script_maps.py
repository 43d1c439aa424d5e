"""Maps as they are printed, beside what bpftrace's own tests expect."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.unit import bucket_offset, histogram_bucket, linear_bucket
from linscope.session.script.map_values import ScriptMap, json_line
from linscope.session.script.resolver import Resolver

RESOLVER = Resolver({})
CPUS = 2
OUTPUTS = Path("/work/shared/conformance/bpftrace/outputs")
LINEAR = t.LinearHistogram(0, 10, 2)


class Stored:
    """A map in memory."""

    def __init__(self, entries: dict[bytes, bytes], width: int) -> None:
        self.entries = entries
        self.width = width

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self.entries.items())

    def delete(self, key: bytes) -> object:
        return self.entries.pop(key, None)

    def update(self, key: bytes, value: bytes) -> object:
        self.entries[key] = value
        return None


def counts(key: t.Type | None, value: t.Type, filled: dict[bytes, dict[int, int]], name: str = "@") -> ScriptMap:
    """A map of histograms: {key: {bucket: count}}."""
    offset = bucket_offset(key)
    entries = {}
    for one, buckets in filled.items():
        for bucket, count in buckets.items():
            entries[one.ljust(offset, b"\0") + struct.pack("<I", bucket)] = struct.pack("<QQ", count - 1, 1)
    return ScriptMap(ir.Map(name, key, value), Stored(entries, 8 * CPUS), RESOLVER)


def buckets(values: Iterable[int], bits: int = 0) -> dict[int, int]:
    found: dict[int, int] = {}
    for value in values:
        bucket = histogram_bucket(value, bits)
        found[bucket] = found.get(bucket, 0) + 1
    return found


def plain(key: t.Type | None, value: t.Type, entries: dict[bytes, bytes], name: str = "@m") -> ScriptMap:
    width = value.size * (CPUS if isinstance(value, t.Aggregation) else 1)
    return ScriptMap(ir.Map(name, key, value), Stored(entries, width), RESOLVER)


def expected(name: str) -> str:
    path = OUTPUTS / name
    if not path.exists():
        pytest.skip(f"needs the conformance suite: {path}")
    return path.read_text()


def test_histograms_are_drawn() -> None:
    made = counts(None, t.Histogram(0), {b"": buckets([-1, 2, 3, 7, 20])})
    assert made.text() == expected("hist.txt")
    assert counts(None, t.Histogram(0), {b"": buckets([3, 20])}).text() == expected("hist_2_values.txt")
    linear: dict[int, int] = {}
    for value in (2, 3, 7, -1, 11):
        linear[linear_bucket(value, LINEAR)] = linear.get(linear_bucket(value, LINEAR), 0) + 1
    assert counts(None, LINEAR, {b"": linear}).text() == expected("lhist.txt")


def test_histograms_in_json() -> None:
    fine = counts(None, t.Histogram(3), {b"": buckets(range(1024), 3)})
    assert json.loads(json_line(fine)) == json.loads(expected("hist_2args.json"))
    big = counts(None, t.Histogram(0), {b"": buckets([10 << 30])})
    assert json.loads(json_line(big)) == json.loads(expected("hist_10g.json"))
    several = counts(
        t.String(16), t.Histogram(0), {b"curl": buckets([-1, 0, 511, 1024, 1025]), b"bpftrace": buckets([2])}
    )
    assert json_line(several).index("bpftrace") < json_line(several).index("curl")  # by their totals
    assert json.loads(json_line(several)) == json.loads(expected("hist_multiple.json"))


def test_labels_have_letters() -> None:
    lines = counts(None, t.Histogram(0), {b"": buckets([512, 1 << 20, 3 << 40])}).text().splitlines()
    heads = [line.partition(")")[0] for line in lines[1:-1]]
    assert heads[0] == "[512, 1K" and heads[11] == "[1M, 2M" and heads[-1] == "[2T, 4T"


def test_numbers_are_sorted_by_value_and_the_last_are_kept() -> None:
    entries = {bytes([key]): struct.pack("<QQ", count, 1) for key, count in ((5, 8), (1, 1), (7, 1))}
    made = plain(t.INT8, t.Count(), entries)
    assert made.text() == "@m[1]: 2\n@m[7]: 2\n@m[5]: 9\n"
    assert made.text(top=2) == "@m[7]: 2\n@m[5]: 9\n"
    assert made.text(top=9, div=2) == "@m[1]: 1\n@m[7]: 1\n@m[5]: 4\n"


def test_other_values_are_sorted_by_key() -> None:
    made = plain(t.String(4), t.String(4), {b"b\0\0\0": b"q\0\0\0", b"a\0\0\0": b"r\0\0\0"})
    assert made.text() == "@m[a]: r\n@m[b]: q\n"
    assert json_line(made) == '{"type": "map", "data": {"@m": {"a": "r", "b": "q"}}}\n'


def test_keys_of_several_parts() -> None:
    key = t.Tuple((t.INT64, t.String(8)))
    made = plain(key, t.INT64, {struct.pack("<q8s", 1, b"abc"): struct.pack("<q", 5)})
    assert made.text() == "@m[1, abc]: 5\n"
    assert '"1,abc": 5' in json_line(made)


def test_aggregations_of_all_cpus() -> None:
    def of(kind: t.Type, *cpus: bytes) -> str:
        return plain(None, kind, {bytes(4): b"".join(cpus)}).text()

    pair = struct.Struct("<qQ").pack
    assert of(t.Extreme("min", True), pair(3, 1), pair(-2, 1)) == "@m: -2\n"
    assert of(t.Extreme("max", True), pair(-3, 1), pair(0, 0)) == "@m: -3\n"
    assert of(t.Average("avg", True), pair(-7, 1), pair(0, 1)) == "@m: -3\n"
    assert of(t.Average("stats", True), pair(4, 2), pair(2, 1)) == "@m: { .count = 3, .average = 2, .total = 6 }\n"
    assert of(t.Sum(True), struct.pack("<q", -5), struct.pack("<q", 2)) == "@m: -3\n"


def test_what_was_never_written_is_zero() -> None:
    record = t.Tuple((t.INT8, t.Tuple((t.INT8, t.String(3)))), ("a", "b"))
    assert plain(None, record, {}).text() == "@m: { .a = 0, .b = (0, ) }\n"
    stats = t.Average("stats", False)
    assert plain(None, stats, {}).text() == "@m: { .count = 0, .average = 0, .total = 0 }\n"


def test_clear_and_zero() -> None:
    made = plain(t.INT8, t.INT64, {b"\1": struct.pack("<q", 5)})
    made.zero()
    assert made.text() == "@m[1]: 0\n" and not made.is_empty()
    made.clear()
    assert made.is_empty() and made.text() == ""
    single = plain(None, t.INT64, {bytes(4): struct.pack("<q", 5)})
    single.clear()
    assert single.cleared and single.is_empty()
    histogram = counts(None, t.Histogram(0), {b"": {3: 2}}, "@hist")
    histogram.zero()
    assert json.loads(json_line(histogram)) == json.loads(expected("hist_zero.json"))


def series(word: str, points: dict[int, tuple[int, int]], intervals: int = 5, *, signed: bool = False) -> ScriptMap:
    """A scalar map of a time series, on one CPU: {epoch: (value, count)}."""
    kind = t.TimeSeries(100_000_000, intervals, word, signed)
    entries = {
        struct.pack("<I", epoch % intervals): struct.pack("<qQQ", value, count, epoch) + bytes(24)
        for epoch, (value, count) in points.items()
    }
    return ScriptMap(ir.Map("@a", None, kind), Stored(entries, 48), RESOLVER, real_series=False)


@pytest.mark.parametrize(
    ("word", "value", "name"),
    [
        ("", (9, 10), "tseries"), ("avg", (45, 10), "tseries_avg"), ("min", (0, 10), "tseries_min"),
        ("max", (9, 10), "tseries_max"),
    ],
)  # fmt: skip
def test_time_series(word: str, value: tuple[int, int], name: str) -> None:
    made = series(word, dict.fromkeys(range(5, 10), value))
    import time

    hour = time.strftime("%H", time.localtime(0))
    assert made.text().rstrip("\n") == expected(f"{name}.txt").replace("%H", hour).rstrip("\n")
    assert json.loads(json_line(made)) == json.loads(expected(f"{name}.json"))


def test_a_time_series_around_zero() -> None:
    values = [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4]
    made = series("", {epoch: (value, 1) for epoch, value in enumerate(values, 1)}, 20, signed=True)
    import time

    hour = time.strftime("%H", time.localtime(0))
    plot = expected("tseries_zigzag.txt").replace("%H", hour)
    assert made.text().replace("@a:", "@:", 1).rstrip("\n") == plot.rstrip("\n")
