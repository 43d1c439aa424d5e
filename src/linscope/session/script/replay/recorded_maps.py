"""Maps whose keys and values may not have been recorded, and events with such values: shown as ``<not recorded>``."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang import types as t
from linscope.session.script.map_values import ScriptMap, _comparable
from linscope.session.script.printf import Conversion, parse_format
from linscope.session.script.values import NOT_RECORDED, make_codec, string_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from linscope.session.script.map_values import Entry, Storage
    from linscope.session.script.resolver import Resolver
    from linscope.session.script.values import Codec

def without(type: t.Type, elements: int) -> t.Type:
    """A type whose value was not recorded; of a tuple the elements whose bits are set."""
    if isinstance(type, t.Tuple):
        parts = tuple(t.Unrecorded(one) if elements >> place & 1 else one for place, one in enumerate(type.elements))
        return t.Tuple(parts, type.names)
    return t.Unrecorded(type) if elements else type


class RecordedMap(ScriptMap):
    """A ScriptMap that knows of types.Recorded."""

    def __init__(self, declared: ir.Map, storage: Storage, resolver: Resolver) -> None:
        """storage: stays the caller's.  Values of ``entries`` are None where they were not recorded."""
        super().__init__(declared, storage, resolver)
        self._marked_key = declared.key if isinstance(declared.key, t.Recorded) else None
        self._marked_value = declared.value if isinstance(declared.value, t.Recorded) else None
        if self._marked_value is not None:
            self.value = self._marked_value.inner

    @property
    def key_type(self) -> t.Type | None:
        """Of its keys, as the script has it."""
        return self._marked_key.inner if self._marked_key is not None else self.declared.key

    def missing(self, key: bytes) -> int:
        """Bits for what was not recorded of a key."""
        return 0 if self._marked_key is None else self._mask(key)

    @property
    def key_codec(self) -> Codec:
        """Of its keys, without what was not recorded."""
        if self._marked_key is not None and self._key is None:
            self._key = make_codec(self._marked_key.inner, self._resolver)
        return super().key_codec

    def _sort_key(self, key: bytes) -> tuple[Any, ...]:
        if self._marked_key is None:
            return super()._sort_key(key)
        return (*_comparable(self._marked_key.inner, self.key_codec.read(key, 0)), self._mask(key))

    def _mask(self, key: bytes) -> int:
        assert self._marked_key is not None
        at = self._marked_key.mask_offset
        return int.from_bytes(key[at : at + 8], "little")

    def key_text(self, key: bytes, between: str = ", ") -> str:
        """A key; the elements of a tuple without its parentheses."""
        if self._marked_key is None:
            return super().key_text(key, between)
        type = without(self._marked_key.inner, self._mask(key))
        codec = make_codec(type, self._resolver)
        value = codec.read(key, 0)
        if isinstance(type, t.Tuple) and not type.names:
            texts = [make_codec(element, self._resolver).text for element in type.elements]
            return between.join([text(part) for text, part in zip(texts, value, strict=True)])
        return codec.text(value)

    def _reducer(self) -> Callable[[bytes], Any]:
        read = super()._reducer()
        if self._marked_value is None:
            return read
        at = self._marked_value.mask_offset
        return lambda data: None if any(data[at : at + 8]) else read(data)

    def _order(self) -> Callable[[Any], Any]:
        order = super()._order()
        return order if self._marked_value is None else lambda value: 0 if value is None else order(value)

    def _writer(self, entries: list[Entry], div: int, *, json: bool) -> Callable[[Any], str]:
        write = super()._writer(entries, div, json=json)
        if self._marked_value is None:
            return write
        missing = f'"{NOT_RECORDED}"' if json else NOT_RECORDED
        return lambda value: missing if value is None else write(value)


def event_without(event: ir.Event, places: Sequence[tuple[int, int | None]], mask: int) -> ir.Event:
    """An event some of whose values were not recorded; bit i of mask: that at places[i], (value, element or None)."""
    missing: dict[int, int] = {}
    for bit, (value, element) in enumerate(places):
        if mask >> bit & 1:
            missing[value] = missing.get(value, 0) | (-1 if element is None else 1 << element)
    values = tuple(without(one, missing.get(place, 0)) for place, one in enumerate(event.values))
    format = event.format
    if event.kind not in ("print", "join", "time"):
        whole = {place for place in missing if isinstance(values[place], t.Unrecorded)}
        format = _as_texts(format, whole)
    return ir.Event(event.kind, values, format, event.map, event.span, event.within)


def _as_texts(format: bytes, places: set[int]) -> bytes:
    """A format whose conversions of these values are %s."""
    parts: list[str] = []
    place = 0
    for part in parse_format(string_text(format)):
        if not isinstance(part, Conversion):
            parts.append(part.replace("%", "%%"))
            continue
        if place in places:
            flags = "".join(letter for letter in part.flags if letter == "-")
            parts.append(f"%{flags}{part.width}s")
        else:
            point = "" if part.precision is None else f".{part.precision}"
            parts.append(f"%{part.flags}{part.width}{point}{part.length}{part.letter}")
        place += 1
    return "".join(parts).encode("utf-8", "surrogateescape")
