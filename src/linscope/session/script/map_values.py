"""The script's maps: read from the kernel, CPUs added up, sorted, and printed as text or JSON.

Source: bpftrace 0.26: sorted by value where it is a number, histograms by their total, time series by their newest
interval, all others by key; print's top takes the last of these.
"""

from __future__ import annotations

import struct

from linscope.lang import ir
from linscope.lang import types as t
from linscope.lang.unit import BUCKETED, bucket_offset
from linscope.session.script.histograms import (
    histogram_json,
    histogram_text,
    series_json,
    series_points,
    series_text,
)
from linscope.session.script.values import json_integer, json_string, make_codec

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from linscope.session.script.resolver import Resolver
    from linscope.session.script.values import Codec

    Entry = tuple[bytes, Any]  # key, value: see ScriptMap.entries

    class Storage(Protocol):
        """A map of the kernel, or of the user-space machine; width: bytes of a value, of all CPUs where it has them."""

        width: int

        def items(self) -> Iterable[tuple[bytes, bytes]]: ...

        def delete(self, key: bytes) -> object: ...

        def update(self, key: bytes, value: bytes) -> object: ...


_SCALAR_KEY = bytes(4)
_NUMBERS = (t.Int, t.Count, t.Sum, t.Extreme, t.Average)


def toward_zero(total: int, count: int) -> int:
    """C's division of integers; 0 by 0."""
    if not count:
        return 0
    return total // count if total >= 0 else -(-total // count)


class ScriptMap:
    """One map of a script and its map in the kernel."""

    def __init__(self, declared: ir.Map, storage: Storage, resolver: Resolver, *, real_series: bool = True) -> None:
        """storage: stays the caller's; real_series: the epochs of a time series are of CLOCK_MONOTONIC."""
        self.declared = declared
        self.name = declared.name
        self.value = declared.value
        self.storage = storage
        self.cleared = False  # and is not printed at the end unless something was put in since
        self.before_emptied: Callable[[], None] | None = None  # called before clear() and zero()
        self._resolver = resolver
        self._real_series = real_series
        self._key: Codec | None = None
        self._value: Codec | None = None
        self._per_cpu = declared.kind.startswith("percpu") and not isinstance(declared.value, t.Aggregation)

    @property
    def is_scalar(self) -> bool:
        """Whether it has one value and no keys."""
        return self.declared.key is None

    @property
    def key_type(self) -> t.Type | None:
        """Of its keys; None: it has none."""
        return self.declared.key

    def missing(self, key: bytes) -> int:
        """Of a key, bits for the elements of a tuple that were not recorded; of others not 0 when they were not."""
        return 0

    @property
    def key_codec(self) -> Codec:
        """Of its keys."""
        if self._key is None:
            assert self.declared.key is not None
            self._key = make_codec(self.declared.key, self._resolver)
        return self._key

    @property
    def value_codec(self) -> Codec:
        """Of its values, when they are no aggregations."""
        if self._value is None:
            self._value = make_codec(self.value, self._resolver)
        return self._value

    # -- reading

    def entries(self) -> list[Entry]:
        """(bytes of the key, value) of all, sorted.

        A value is a number (also of aggregations), (count, total) of stats(), {bucket: count} of histograms, {epoch:
        value} of time series, else the value of its codec.
        """
        if isinstance(self.value, BUCKETED):
            found = list(self.buckets().items())
        else:
            reduce = self._reducer()
            found = [(key, reduce(value)) for key, value in self.storage.items()]
            if self.is_scalar and not found:
                found = [(_SCALAR_KEY, reduce(bytes(self.storage.width)))]
        if self.is_scalar:
            return found
        order = self._order()
        decoded = [(order(value), self._sort_key(key), key, value) for key, value in found]
        decoded.sort(key=lambda entry: entry[:2])
        return [(key, value) for _, _, key, value in decoded]

    def _order(self) -> Callable[[Any], Any]:
        value = self.value
        if isinstance(value, t.Average) and value.word == "stats":
            return lambda pair: toward_zero(pair[1], pair[0])
        if isinstance(value, _NUMBERS):
            return lambda number: number
        if isinstance(value, t.Histogram | t.LinearHistogram):
            return lambda counts: sum(counts.values())
        if isinstance(value, t.TimeSeries):
            return lambda points: max(points, default=0)
        return lambda value: 0

    def _sort_key(self, key: bytes) -> tuple[Any, ...]:
        return _comparable(self.declared.key, self.key_codec.read(key, 0))

    def buckets(self) -> dict[bytes, dict[int, Any]]:
        """{key: {bucket: count}} of a histogram, unsorted; of time series {key: {epoch: value}}."""
        offset = bucket_offset(self.declared.key)
        size = self.declared.key.size if self.declared.key is not None else 4
        series = self.value if isinstance(self.value, t.TimeSeries) else None
        found: dict[bytes, dict[int, Any]] = {_SCALAR_KEY: {}} if self.is_scalar else {}
        for key, value in self.storage.items():
            bucket = int.from_bytes(key[offset : offset + 4], "little")
            buckets = found.setdefault(_SCALAR_KEY if self.is_scalar else key[:size], {})
            if series is None:
                buckets[bucket] = sum(struct.unpack(f"<{len(value) // 8}Q", value))
            else:
                point = _series_point(series, value)
                if point is not None:
                    buckets[point[0]] = point[1]
        return found

    def _reducer(self) -> Callable[[bytes], Any]:
        """Bytes of a value (of all CPUs) -> value."""
        value = self.value
        if isinstance(value, t.Count):
            return lambda data: sum(struct.unpack(f"<{len(data) // 8}Q", data)) & (1 << 64) - 1
        if isinstance(value, t.Sum):
            signed = value.signed
            return lambda data: _wrap(sum(struct.unpack(f"<{len(data) // 8}Q", data)), signed)
        if isinstance(value, t.Extreme):
            return _extreme(value)
        if isinstance(value, t.Average):
            return _average(value)
        read = self.value_codec.read
        if not self._per_cpu:
            return lambda data: read(data, 0)
        step = value.size + 7 & ~7
        if isinstance(value, t.Int):
            bits, is_signed = 8 * value.width, value.signed
            return lambda data: _wrap(sum(read(data, at) for at in range(0, len(data), step)), is_signed, bits)
        return lambda data: read(
            next((d for at in range(0, len(data), step) if any(d := data[at : at + step])), data), 0
        )

    # -- changing

    def clear(self) -> None:
        """Remove all keys; of a scalar map the value, and then it is not printed at the end."""
        self.cleared = True
        if self.is_scalar:
            self.zero()
            return
        if self.before_emptied is not None:
            self.before_emptied()
        for key in [key for key, _ in self.storage.items()]:
            self.storage.delete(key)

    def zero(self) -> None:
        """All values become zero; keys stay."""
        if self.before_emptied is not None:
            self.before_emptied()
        nothing = bytes(self.storage.width)
        for key in [key for key, _ in self.storage.items()]:
            self.storage.update(key, nothing)

    def is_empty(self) -> bool:
        """Whether a scalar map's value is zero, or another map has no keys."""
        if not self.is_scalar:
            return next(iter(self.storage.items()), None) is None
        return not any(any(value) for _, value in self.storage.items())

    # -- printing

    @property
    def json_type(self) -> str:
        """The type of its JSON line."""
        if isinstance(self.value, t.Histogram | t.LinearHistogram):
            return "hist"
        if isinstance(self.value, t.TimeSeries):
            return "tseries"
        return "stats" if isinstance(self.value, t.Average) else "map"

    def text(self, top: int = 0, div: int = 0) -> str:
        """All entries, or the last ``top``; numbers are divided by div."""
        entries = self.entries()
        write = self._writer(entries, div, json=False)
        lines = []
        block = isinstance(self.value, BUCKETED)
        for key, value in entries[-top:] if top else entries:
            name = self.name if self.is_scalar else f"{self.name}[{self.key_text(key)}]"
            lines.append(f"{name}:\n{write(value)}\n" if block else f"{name}: {write(value)}\n")
        return "".join(lines)

    def json(self, top: int = 0, div: int = 0) -> str:
        """The value of its name in a JSON line."""
        entries = self.entries()
        write = self._writer(entries, div, json=True)
        if self.is_scalar:
            return write(entries[0][1])
        kept = entries[-top:] if top else entries
        return "{" + ", ".join([f"{json_string(self.key_text(k, ','))}: {write(v)}" for k, v in kept]) + "}"

    def key_text(self, key: bytes, between: str = ", ") -> str:
        """A key; the elements of a tuple without its parentheses."""
        type, codec = self.declared.key, self.key_codec
        value = codec.read(key, 0)
        if isinstance(type, t.Tuple) and not type.names:
            texts = [make_codec(element, self._resolver).text for element in type.elements]
            return between.join([text(part) for text, part in zip(texts, value, strict=True)])
        return codec.text(value)

    def _writer(self, entries: list[Entry], div: int, *, json: bool) -> Callable[[Any], str]:
        value, div = self.value, div or 1
        if isinstance(value, t.Histogram | t.LinearHistogram):
            kind = value
            draw = histogram_json if json else histogram_text
            return lambda counts: draw(kind, counts, div)
        if isinstance(value, t.TimeSeries):
            series = value
            last = max((epoch for _, points in entries for epoch in points), default=0)
            first = last - series.intervals + 1
            ahead = self._resolver.clocks.ahead_ns("monotonic") if self._real_series else 0
            plot = series_json if json else series_text
            return lambda points: plot(series, series_points(points, first, last) if points else [], ahead)
        if isinstance(value, t.Average) and value.word == "stats":
            form = (
                '{{"count": {}, "average": {}, "total": {}}}'
                if json
                else "{{ .count = {}, .average = {}, .total = {} }}"
            )
            return lambda pair: form.format(pair[0], toward_zero(toward_zero(pair[1], pair[0]), div), pair[1])
        if isinstance(value, _NUMBERS):
            number = json_integer if json else str
            return lambda amount: number(toward_zero(amount, div))
        return self.value_codec.json if json else self.value_codec.text


def _wrap(value: int, signed: bool, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> bits - 1 else value


def _extreme(kind: t.Extreme) -> Callable[[bytes], int]:
    pair = struct.Struct("<qQ" if kind.signed else "<QQ")
    choose = min if kind.word == "min" else max
    return lambda data: choose((value for value, some in pair.iter_unpack(data) if some), default=0)


def _average(kind: t.Average) -> Callable[[bytes], Any]:
    pair = struct.Struct("<qQ" if kind.signed else "<QQ")
    stats = kind.word == "stats"

    def reduce(data: bytes) -> Any:
        pairs = list(pair.iter_unpack(data))
        total, count = _wrap(sum(one for one, _ in pairs), kind.signed), sum(one for _, one in pairs)
        return (count, total) if stats else toward_zero(total, count)

    return reduce


def _series_point(kind: t.TimeSeries, data: bytes) -> tuple[int, int] | None:
    """(epoch, value) of the newest epoch that a bucket has on any CPU."""
    step = struct.Struct("<qQQ" if kind.signed else "<QQQ")
    filled = [(epoch, count, value) for value, count, epoch in step.iter_unpack(data) if count]
    if not filled:
        return None
    newest = max(epoch for epoch, _, _ in filled)
    values = [(count, value) for epoch, count, value in filled if epoch == newest]
    if kind.word == "sum":
        return newest, sum(value for _, value in values)
    if kind.word == "avg":
        return newest, toward_zero(sum(value for _, value in values), sum(count for count, _ in values))
    if kind.word in ("min", "max"):
        return newest, (min if kind.word == "min" else max)(value for _, value in values)
    return newest, max(values)[1]  # the last one of the CPU that had most: CPUs have no common order


def _comparable(type: t.Type | None, value: Any) -> tuple[Any, ...]:
    """What keys are sorted by."""
    if isinstance(type, t.Tuple):
        return tuple(_comparable(element, part) for element, part in zip(type.elements, value, strict=True))
    return (value,) if isinstance(value, int | bytes | str) else (repr(value),)


def json_line(script_map: ScriptMap, top: int = 0, div: int = 0) -> str:
    """The whole JSON line of a map."""
    name = json_string(script_map.name)
    return f'{{"type": "{script_map.json_type}", "data": {{{name}: {script_map.json(top, div)}}}}}\n'
