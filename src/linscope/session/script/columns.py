"""Values of a script as Arrow columns: which type each has, and what its columns are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from linscope.lang import types as t
from linscope.lang.unit import event_layout, is_variable
from linscope.session.script.histograms import histogram_bars
from linscope.session.script.map_values import toward_zero
from linscope.session.script.values import limited, make_codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from linscope.lang import ir
    from linscope.session.script.map_values import Entry, ScriptMap
    from linscope.session.script.resolver import Resolver

    Convert = Callable[[Any], Any]

_WORD_CHARACTERS = 60  # of an expression that is a column's name
TIME = pa.timestamp("us", "UTC")  # of ns Python makes no datetime
_OF_CONSTANTS = '"-0123456789'  # begins an expression that names nothing
_PAIRS = {"(": ")", "[": "]", "{": "}"}


class Kind:
    """The column of one type: ``convert`` makes what Arrow takes of a codec's value."""

    def __init__(self, arrow: pa.DataType, convert: Convert | None = None) -> None:
        """convert None: the value is what Arrow takes."""
        self.arrow = arrow
        self.convert: Convert = convert or (lambda value: value)


def kind_of(type: t.Type, resolver: Resolver) -> Kind:
    """Numbers stay numbers; symbols, users, addresses of the network are texts; a stack is a list of its lines."""
    if isinstance(type, t.Bool):
        return Kind(pa.bool_())
    if isinstance(type, t.Int):
        return Kind(_integer(type.width, signed=type.signed))
    if isinstance(type, t.Pointer):
        return Kind(pa.uint64())
    if isinstance(type, t.String):
        return Kind(pa.string(), lambda value: value.decode("utf-8", "replace"))
    if isinstance(type, t.Buffer):
        return Kind(pa.binary())
    if isinstance(type, t.Array):
        one = kind_of(type.element, resolver)
        return Kind(pa.list_(one.arrow), lambda value: [one.convert(part) for part in value])
    if isinstance(type, t.Tuple):
        return _struct(list(type.names) or _numbered(len(type.elements)), list(type.elements), resolver)
    if isinstance(type, t.Struct):
        fields = [field for field in type.fields if field.name or isinstance(field.type, t.Struct)]
        return _struct(unique([field.name or "" for field in fields]), [field.type for field in fields], resolver)
    if isinstance(type, t.Timestamp):
        if not resolver.clocks.is_known:
            return Kind(TIME, lambda value: None)
        ahead = resolver.clocks.ahead_ns(type.clock)
        return Kind(TIME, lambda value: (value + ahead) // 1000)
    codec = make_codec(type, resolver)
    if isinstance(type, t.Void):
        return Kind(pa.null())
    if isinstance(type, t.Stack):
        return Kind(pa.list_(pa.string()), lambda value: [line.strip() for line in codec.text(value).splitlines()[1:]])
    if isinstance(type, t.Aggregation) and getattr(type, "word", "") != "stats":
        signed = bool(getattr(type, "signed", False))
        return Kind(_integer(8, signed=signed), lambda value: int(codec.text(value)))
    return Kind(pa.string(), lambda value: _clean(codec.text(value)))


def _clean(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _integer(width: int, *, signed: bool) -> pa.DataType:
    return getattr(pa, f"{'int' if signed else 'uint'}{8 * width}")()


def _numbered(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def _struct(names: list[str], types: list[t.Type], resolver: Resolver) -> Kind:
    kinds = [kind_of(type, resolver) for type in types]
    fields = [pa.field(name, kind.arrow) for name, kind in zip(names, kinds, strict=True)]

    def convert(value: Any) -> dict[str, Any]:
        return {
            name: None if part is None else kind.convert(part)
            for name, kind, part in zip(names, kinds, value, strict=True)
        }  # fmt: skip

    return Kind(pa.struct(fields), convert)


def unique(names: Iterable[str]) -> list[str]:
    """Names that are all different: "x", "x_2"; "" becomes "value"."""
    found: list[str] = []
    for name in names:
        name = name or "value"
        number, made = 1, name
        while made in found:
            number += 1
            made = f"{name}_{number}"
        found.append(made)
    return found


def split_arguments(text: str) -> list[str]:
    """What stands between the commas of "(...)" or "[...]" with which a text begins; [] when it does not.

    >>> split_arguments('("%s, %d", comm, f(1, 2)) }')
    ['"%s, %d"', 'comm', 'f(1, 2)']
    """
    if text[:1] not in _PAIRS:
        return []
    waiting, parts, begin, at = [_PAIRS[text[0]]], [], 1, 1
    while at < len(text) and waiting:
        letter = text[at]
        if letter == '"':
            at += 1
            while at < len(text) and text[at] != '"':
                at += 2 if text[at] == "\\" else 1
        elif letter in _PAIRS:
            waiting.append(_PAIRS[letter])
        elif letter == waiting[-1]:
            waiting.pop()
            if not waiting:
                parts.append(text[begin:at])
        elif letter == "," and len(waiting) == 1:
            parts.append(text[begin:at])
            begin = at + 1
        at += 1
    return [" ".join(part.split()) for part in parts] if not waiting else []


def _named(words: list[str], count: int, other: str) -> list[str]:
    """Expressions as names of count columns; numbers behind ``other`` when they do not fit."""
    if len(words) != count:
        words = [other] if count == 1 else [f"{other}_{number}" for number in range(count)]
    return unique(other if word[:1] in _OF_CONSTANTS else word[:_WORD_CHARACTERS].removeprefix("$") for word in words)


class Statement:
    """A printf() or print() of a script: its records become batches, a column for each value.

    Columns are called as the script writes the values: "comm", "args.dport".
    """

    def __init__(self, unit: ir.Unit, event: ir.Event, resolver: Resolver) -> None:
        self.kind = event.kind
        begin, end = event.span
        self.line = unit.text.count("\n", 0, begin) + 1
        source = unit.text[begin:end]
        words = split_arguments(source[source.find("(") :]) if "(" in source else []
        self.types = list(event.values)
        self.offsets, self.fixed = event_layout(self.types)
        if event.kind == "printf":
            words = words[1:]
        self._parts: list[t.Type] = self.types
        only = self.types[0] if event.kind == "print" else None
        if isinstance(only, t.Tuple):  # a column for each of its elements
            self._parts = list(only.elements)
            inside = split_arguments(words[0]) if words else []
            self.names = list(only.names) or _named(inside, len(self._parts), "value")
        else:
            self.names = _named(words, len(self._parts), "value")
        self._is_tuple = isinstance(only, t.Tuple)
        self._kinds = [kind_of(type, resolver) for type in self._parts]
        self.schema = pa.schema([pa.field(n, k.arrow) for n, k in zip(self.names, self._kinds, strict=True)])
        self.names_now = any(_is_named_late(type) for type in self._parts)
        self._readers = [_reader(type, resolver) for type in self.types]

    def batch(self, records: Sequence[bytes]) -> pa.RecordBatch:
        """The records of this statement's event."""
        if not self._parts:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(records), pa.struct([])))
        plain = not self._is_tuple and all(isinstance(type, t.Int | t.Pointer) for type in self.types)
        if plain and not any(isinstance(record, Gapped) for record in records):
            return self._numbers(records)
        rows = [self._values(record) for record in records]
        columns = [
            pa.array([None if row[place] is None else kind.convert(row[place]) for row in rows], kind.arrow)
            for place, kind in enumerate(self._kinds)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _numbers(self, records: Sequence[bytes]) -> pa.RecordBatch:
        """All at once: the records are of one size."""
        formats = [f"<{'i' if k.arrow in _SIGNED else 'u'}{k.arrow.bit_width // 8}" for k in self._kinds]
        names = _numbered(len(formats))
        layout = np.dtype({"names": names, "formats": formats, "offsets": self.offsets, "itemsize": len(records[0])})
        table = np.frombuffer(b"".join(records), layout)
        columns = [
            pa.array(np.ascontiguousarray(table[name]), kind.arrow)
            for name, kind in zip(names, self._kinds, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _values(self, record: bytes) -> Sequence[Any]:
        at = self.fixed
        found = []
        for type, offset, read in zip(self.types, self.offsets, self._readers, strict=True):
            if is_variable(type):
                size = int.from_bytes(record[offset : offset + 4], "little")
                found.append(read(record[at : at + size], 0))
                at += size
            else:
                found.append(read(record, offset))
        return _without(found[0] if self._is_tuple else found, record, whole=not self._is_tuple)


class Gapped(bytes):
    """A record some of whose values were not recorded: at ``missing``, (value, element of a tuple or None)."""

    missing: Sequence[tuple[int, int | None]] = ()


def _without(values: Sequence[Any], record: bytes, *, whole: bool) -> Sequence[Any]:
    """Values, None where they were not recorded.  whole: they are the record's, else the elements of its only one."""
    if not isinstance(record, Gapped):
        return values
    made = list(values)
    for value, element in record.missing:
        if element is None:
            made = [None if place == value or not whole else one for place, one in enumerate(made)]
        elif whole:
            parts = made[value] if made[value] is not None else ()
            made[value] = tuple(None if place == element else part for place, part in enumerate(parts))
        else:
            made[element] = None
    return made


_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def _reader(type: t.Type, resolver: Resolver) -> Callable[[bytes, int], Any]:
    if isinstance(type, t.String) and type.limit:
        cut = limited(type, resolver)
        return lambda data, at: cut(data)
    if is_variable(type):
        return lambda data, at: data
    return make_codec(type, resolver).read


def _is_named_late(type: t.Type) -> bool:
    """Whether a value means nothing any more when the session is closed."""
    if isinstance(type, t.Tuple):
        return any(_is_named_late(element) for element in type.elements)
    return isinstance(type, t.Stack | t.UserSymbol)


class MapColumns:
    """A script's map as a table: a row for each key; of histograms for each bucket, of series for each interval."""

    def __init__(self, unit: ir.Unit, script_map: ScriptMap, resolver: Resolver) -> None:
        self.map = script_map
        self._resolver = resolver
        key = script_map.key_type
        self._key_kinds: list[Kind] = []
        self._key_types: list[t.Type] = []
        names: list[str] = []
        if key is not None:
            self._key_types = list(key.elements) if isinstance(key, t.Tuple) else [key]
            self._key_kinds = [kind_of(type, resolver) for type in self._key_types]
            given = list(key.names) if isinstance(key, t.Tuple) else []
            names = given or _named(_key_words(unit.text, script_map.name), len(self._key_types), "key")
        values = self._value_fields()
        names = unique([*names, *(name for name, _ in values)])
        arrows = [kind.arrow for kind in self._key_kinds] + [arrow for _, arrow in values]
        self.schema = pa.schema([pa.field(name, arrow) for name, arrow in zip(names, arrows, strict=True)])

    def _value_fields(self) -> list[tuple[str, pa.DataType]]:
        value = self.map.value
        if isinstance(value, t.Histogram | t.LinearHistogram):
            return [("low", pa.int64()), ("high", pa.int64()), ("count", pa.uint64())]
        if isinstance(value, t.TimeSeries):
            return [("time", TIME), ("value", _integer(8, signed=value.signed))]
        if isinstance(value, t.Count):
            return [("count", pa.uint64())]
        if isinstance(value, t.Sum):
            return [("sum", _integer(8, signed=value.signed))]
        if isinstance(value, t.Average) and value.word == "stats":
            number = _integer(8, signed=value.signed)
            return [("count", pa.uint64()), ("average", number), ("total", number)]
        if isinstance(value, t.Extreme | t.Average):
            return [(value.word, _integer(8, signed=value.signed))]
        return [("value", kind_of(value, self._resolver).arrow)]

    def table(self, entries: list[Entry] | None = None) -> pa.RecordBatch:
        """All of it, in the order in which it is printed.  entries: these only."""
        rows = []
        tuple_key = isinstance(self.map.key_type, t.Tuple)
        for key, value in self.map.entries() if entries is None else entries:
            head: list[Any] = []
            if self._key_kinds:
                read = self.map.key_codec.read(key, 0)
                parts = read if tuple_key else (read,)
                missing = self.map.missing(key)
                if missing and not tuple_key:
                    missing = 1
                head = [
                    None if missing >> place & 1 else kind.convert(part)
                    for place, (kind, part) in enumerate(zip(self._key_kinds, parts, strict=True))
                ]
            rows += [[*head, *tail] for tail in self._values(value)]
        columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(self.schema)]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _values(self, value: Any) -> list[list[Any]]:
        kind = self.map.value
        if value is None:  # not recorded
            return [[None]]
        if isinstance(kind, t.Histogram | t.LinearHistogram):
            return [list(bar) for bar in histogram_bars(kind, value)]
        if isinstance(kind, t.TimeSeries):
            ahead = self._resolver.clocks.ahead_ns("monotonic")
            if not self._resolver.clocks.is_known:
                return [[None, point] for _, point in sorted(value.items())]
            return [[(epoch * kind.interval_ns + ahead) // 1000, point] for epoch, point in sorted(value.items())]
        if isinstance(kind, t.Average) and kind.word == "stats":
            return [[value[0], toward_zero(value[1], value[0]), value[1]]]
        if isinstance(kind, t.Aggregation):
            return [[value]]
        return [[kind_of(kind, self._resolver).convert(value)]]


def _key_words(text: str, name: str) -> list[str]:
    """How the script writes the key of a map where it is first used with one."""
    at = 0
    while (at := text.find(f"{name}[", at)) >= 0:
        words = split_arguments(text[at + len(name) :])
        if words:
            return words
        at += 1
    return []


def text_batch(texts: Sequence[bytes]) -> pa.RecordBatch:
    """A column "text"."""
    return pa.RecordBatch.from_arrays(
        [pa.array([one.decode("utf-8", "replace") for one in texts], pa.string())], ["text"]
    )
