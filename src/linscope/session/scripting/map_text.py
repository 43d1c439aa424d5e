"""Maps as bpftrace prints them: text, and the data of JSON."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.session.script.values import json_integer, json_string, make_codec
from linscope.session.scripting.bars import histogram_rows, histogram_text, series_rows, series_text
from linscope.session.scripting.map_contents import number_of, quotient, sort_entries

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from linscope.lang import ir
    from linscope.session.scripting.resolver import Resolver


class MapPrinter:
    """How one map is shown."""

    def __init__(self, source: ir.Map, resolver: Resolver) -> None:
        self.source = source
        self.resolver = resolver
        self.key = self._key_text() if source.key is not None else None
        kind = source.value
        self.codec = None if isinstance(kind, t.Aggregation) else make_codec(kind, resolver)

    def _key_text(self) -> Callable[[Any], list[str]]:
        """The parts of a key, as text."""
        kind = self.source.key
        assert kind is not None
        if isinstance(kind, t.Tuple) and not kind.names:
            codecs = [make_codec(one, self.resolver) for one in kind.elements]
            return lambda value: [codec.text(part) for codec, part in zip(codecs, value, strict=True)]
        codec = make_codec(kind, self.resolver)
        return lambda value: [codec.text(value)]

    def _keys(self, key: Any) -> list[str]:
        assert self.key is not None
        before, self.resolver.stack_indent = self.resolver.stack_indent, 4
        try:
            return self.key(key)
        finally:
            self.resolver.stack_indent = before

    def value_text(self, value: Any, div: int = 0) -> str:
        """A value alone."""
        kind = self.source.value
        if isinstance(kind, t.Average) and kind.word == "stats":
            return f"{{ .count = {value[1]}, .average = {number_of(kind, value)}, .total = {value[0]} }}"
        if isinstance(kind, t.Aggregation):
            return str(_divided(number_of(kind, value), div))
        assert self.codec is not None
        if div and isinstance(kind, t.Int):
            value = quotient(value, div)
        return self.codec.text(value)

    def text(self, found: list[tuple[Any, Any]], top: int = 0, div: int = 0) -> str:
        """All entries, the last ``top`` of them (0: all), numbers divided by ``div`` (0: not)."""
        sort_entries(self.source, found)
        kind = self.source.value
        lines = []
        newest = max((max(value, default=0) for _, value in found), default=0) if isinstance(kind, t.TimeSeries) else 0
        for key, value in found[-top:] if top else found:
            name = self.source.name if self.key is None else f"{self.source.name}[{', '.join(self._keys(key))}]"
            if isinstance(kind, t.Histogram | t.LinearHistogram):
                lines.append(f"{name}:\n{histogram_text(kind, _scaled(value, div))}\n")
            elif isinstance(kind, t.TimeSeries):
                lines.append(f"{name}:\n{series_text(kind, value, self._wall_offset(), newest)}\n")
            else:
                lines.append(f"{name}: {self.value_text(value, div)}\n")
        return "".join(lines)

    def _wall_offset(self) -> int:
        import os

        if os.environ.get("BPFTRACE_DUMMY_TS_MAP"):
            return 0  # times are those of a map, from 1970 on
        from linscope.session.script.clock import Clocks

        return Clocks().ahead_ns("monotonic")

    # -- JSON

    @property
    def json_type(self) -> str:
        """The kind of message that shows the map."""
        kind = self.source.value
        if isinstance(kind, t.Histogram | t.LinearHistogram):
            return "hist"
        if isinstance(kind, t.TimeSeries):
            return "tseries"
        return "stats" if isinstance(kind, t.Average) else "map"

    def json(self, found: list[tuple[Any, Any]], top: int = 0, div: int = 0) -> str:
        """The data of the message: {"@name": ...}."""
        sort_entries(self.source, found)
        shown = found[-top:] if top else found
        name = json_string(self.source.name)
        if self.key is None:
            return f"{{{name}: {self.json_value(shown[0][1], div) if shown else '{}'}}}"
        parts = [f"{json_string(','.join(self._keys(key)))}: {self.json_value(value, div)}" for key, value in shown]
        return f"{{{name}: {{{', '.join(parts)}}}}}"

    def json_value(self, value: Any, div: int = 0) -> str:
        """A value in JSON."""
        kind = self.source.value
        if isinstance(kind, t.Histogram | t.LinearHistogram):
            rows = histogram_rows(kind, _scaled(value, div))
            return "[" + ", ".join(_object(row) for row in rows) + "]"
        if isinstance(kind, t.TimeSeries):
            rows_ = series_rows(kind, value, self._wall_offset())
            return "[" + ", ".join(_object(row) for row in rows_) + "]"
        if isinstance(kind, t.Average) and kind.word == "stats":
            return _object({"count": value[1], "average": number_of(kind, value), "total": value[0]})
        if isinstance(kind, t.Aggregation):
            return json_integer(_divided(number_of(kind, value), div))
        assert self.codec is not None
        return self.codec.json(quotient(value, div) if div and isinstance(kind, t.Int) else value)


def _object(row: dict[str, Any]) -> str:
    parts = (f'"{name}": {json_string(v) if isinstance(v, str) else v}' for name, v in row.items())
    return "{" + ", ".join(parts) + "}"


def _divided(number: int, div: int) -> int:
    return quotient(number, div) if div else number


def _scaled(counts: dict[int, int], div: int) -> dict[int, int]:
    return {bucket: count // div for bucket, count in counts.items()} if div else counts
