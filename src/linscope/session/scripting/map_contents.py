"""What the script's maps hold: entries of the kernel's maps -> keys and values, those of all CPUs put together."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.unit import BUCKETED, bucket_offset
from linscope.session.script.values import make_codec

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from linscope.lang import ir
    from linscope.session.scripting.resolver import Resolver

    Entries = Iterable[tuple[bytes, bytes]]


def read_entries(source: ir.Map, entries: Entries, resolver: Resolver) -> list[tuple[Any, Any]]:
    """(key, value) of all entries; key None for a scalar map, else as its codec reads it.

    Values: as the codec reads them; of Count and Sum a number, of Extreme (value, whether there is one), of Average
    (total, count), of histograms {bucket: count}, of a TimeSeries {epoch: value}.
    """
    kind = source.value
    read_key = make_codec(source.key, resolver).read if source.key is not None else None
    if isinstance(kind, BUCKETED):
        return _bucketed(source, entries, read_key)
    if isinstance(kind, t.Aggregation):
        return [(read_key(key, 0) if read_key else None, add_up(kind, value)) for key, value in entries]
    read_value = make_codec(kind, resolver).read
    return [(read_key(key, 0) if read_key else None, read_value(value, 0)) for key, value in entries]


def _numbers(data: bytes, at: int, count: int, signed: bool) -> list[int]:
    return [int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "little", signed=signed) for i in range(count)]


def add_up(kind: t.Type, data: bytes) -> Any:
    """The value of all CPUs of a plain aggregation."""
    signed = bool(getattr(kind, "signed", False))
    step = kind.size + 7 & ~7
    parts = range(0, len(data), step)
    if isinstance(kind, t.Extreme):
        known = [one for one in (_numbers(data, at, 2, signed) for at in parts) if one[1]]
        values = [one[0] for one in known]
        return ((min if kind.word == "min" else max)(values), 1) if values else (0, 0)
    if isinstance(kind, t.Average):
        pairs = [_numbers(data, at, 2, signed) for at in parts]
        return _wrapped(sum(one[0] for one in pairs), signed), sum(one[1] for one in pairs)
    return _wrapped(sum(_numbers(data, at, 1, signed)[0] for at in parts), signed)


def _wrapped(value: int, signed: bool) -> int:
    """A sum as 64 bits hold it."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if signed and value >> 63 else value


def _bucketed(source: ir.Map, entries: Entries, read_key: Callable[[bytes, int], Any] | None) -> list[tuple[Any, Any]]:
    at = bucket_offset(source.key)
    kind = source.value
    found: dict[bytes, dict[int, Any]] = {}
    for key, data in entries:
        bucket = int.from_bytes(key[at : at + 4], "little")
        values = found.setdefault(key[: source.key.size] if source.key is not None else b"", {})
        if isinstance(kind, t.TimeSeries):
            _add_interval(kind, data, values)
        else:
            count = sum(_numbers(data, 0, len(data) // 8, False))
            if count:
                values[bucket] = count
    if isinstance(kind, t.TimeSeries):
        for values in found.values():
            _finish_series(kind, values)
    if source.key is None and not found:
        found[b""] = {}
    return [(read_key(key, 0) if read_key else None, values) for key, values in found.items()]


def _add_interval(kind: t.TimeSeries, data: bytes, values: dict[int, Any]) -> None:
    """One place of the ring: the newest of what the CPUs have in it."""
    for at in range(0, len(data), 24):
        value = _numbers(data, at, 1, kind.signed)[0]
        count, epoch = _numbers(data, at + 8, 2, False)
        if not count:
            continue
        known = values.get(epoch)
        values[epoch] = (value, count) if known is None else _merged(kind.word, known, (value, count))


def _merged(word: str, one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    count = one[1] + other[1]
    if word in ("avg", "sum"):
        return one[0] + other[0], count
    if word in ("min", "max"):
        return (min if word == "min" else max)(one[0], other[0]), count
    return other[0], count


def _finish_series(kind: t.TimeSeries, values: dict[int, Any]) -> None:
    """Keep the last intervals, and their numbers only."""
    if not values:
        return
    newest = max(values)
    for epoch in [one for one in values if one <= newest - kind.intervals]:
        del values[epoch]
    for epoch, (value, count) in values.items():
        values[epoch] = quotient(value, count) if kind.word == "avg" else value


def quotient(number: int, by: int) -> int:
    """Division as C has it: towards zero."""
    result = abs(number) // abs(by)
    return -result if (number < 0) != (by < 0) else result


def number_of(kind: t.Type, value: Any) -> int:
    """The number of an aggregation: count, sum, min, max or average."""
    if isinstance(kind, t.Average):
        total, count = value
        return quotient(total, count) if count else 0
    return int(value[0]) if isinstance(kind, t.Extreme) else int(value)


def sort_entries(source: ir.Map, found: list[tuple[Any, Any]]) -> None:
    """In the order in which they are printed: by value, the largest last; by key where values have no order."""
    kind = source.value
    found.sort(key=lambda entry: _order(entry[0]))
    if isinstance(kind, t.Histogram | t.LinearHistogram):
        found.sort(key=lambda entry: sum(entry[1].values()))
    elif (isinstance(kind, t.Average) and kind.word == "stats") or (
        isinstance(kind, t.Aggregation) and not isinstance(kind, t.TimeSeries)
    ):
        found.sort(key=lambda entry: number_of(kind, entry[1]))
    elif kind.is_scalar:
        found.sort(key=lambda entry: entry[1])


def _order(key: Any) -> Any:
    """A key that can be compared with others of its map."""
    if isinstance(key, tuple | list):
        return tuple(_order(one) for one in key)
    return key if key is not None else 0
