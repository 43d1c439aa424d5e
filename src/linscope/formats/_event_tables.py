"""Raw records of one kind of trace event -> its typed table, by the event's format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.binfmt.event_format import EventFormat, Field, is_text
from linscope.binfmt.print_code import PrintContext
from linscope.binfmt.print_text import text_of
from linscope.binfmt.ring_buffer import gather_fields
from linscope.columns.growing import GrowingColumn
from linscope.columns.profile import EventTable

_SIZES = (1, 2, 4, 8)


def _dtype(field_: Field, order: str, size: int) -> np.dtype[Any]:
    return np.dtype(f"{order}{'i' if field_.signed else 'u'}{size}")


def _growing(like: NDArray[Any]) -> GrowingColumn:
    """A column for such rows; numbers become the machine's own byte order."""
    return GrowingColumn(like.dtype.newbyteorder("="), like.shape[1:])


@dataclass
class EventTableBuilder:
    """Columns of one event, chunk by chunk."""

    form: EventFormat
    order: str
    printing: PrintContext
    rows: GrowingColumn = field(default_factory=lambda: GrowingColumn(np.int64))
    parts: dict[str, Any] = field(default_factory=dict)  # field -> GrowingColumn, or list of str or bytes

    def width(self) -> int:
        """Bytes of the fixed part of a payload."""
        return max((f.offset + f.size for f in self.form.fields), default=0)

    def add(
        self,
        buffer: NDArray[np.uint8],
        at: NDArray[np.uint32],
        size: NDArray[np.uint32],
        rows: NDArray[np.int64],
    ) -> None:
        """Take payloads that begin at buffer[at] and have these sizes; those cut short are passed over."""
        width = max(self.width(), 1)
        if not (size >= width).all():
            whole = size >= width
            at, size, rows = at[whole], size[whole], rows[whole]
        if not len(at):
            return
        self.rows.extend(rows)
        fields = {one.name: one for one in self.form.fields}.values()  # damage may give two of them one name
        fixed = [one for one in fields if one.size]
        raw = dict(zip(fixed, gather_fields(buffer, at, [(one.offset, one.size) for one in fixed]), strict=True))
        for one in fields:
            rest = (buffer, at, size)
            column = self._column(one, raw[one], *rest) if one.size else self._tail(one, *rest)
            kept = self.parts.get(one.name)
            if kept is None:
                kept = self.parts[one.name] = [] if isinstance(column, list) else _growing(column)
            kept.extend(column)

    def _tail(self, one: Field, buffer: NDArray[np.uint8], at: NDArray[np.uint32], size: NDArray[np.uint32]) -> Any:
        """What is left of the record behind the other fields."""
        begin = at.astype(np.int64)
        return self._values(one, buffer, begin + one.offset, begin + size)

    def _column(
        self,
        one: Field,
        raw: NDArray[np.uint8],
        buffer: NDArray[np.uint8],
        at: NDArray[np.uint32],
        size: NDArray[np.uint32],
    ) -> Any:
        if one.dynamic:
            where = raw.view(self.order + "u4").astype(np.int64)
            offset, length = where & 0xFFFF, where >> 16
            if one.dynamic == "rel_loc":
                offset = offset + one.offset + one.size
            inside = offset + length <= size
            begin = at + offset
            return self._values(one, buffer, begin, begin + np.where(inside, length, 0))
        if one.length and is_text(one):
            return raw.view(f"S{one.size}")
        element = one.size // one.length if one.length else one.size
        if element not in _SIZES:
            return raw.view(f"V{one.size}")
        values = raw.view(_dtype(one, self.order, element))
        return values.reshape(-1, one.length) if one.length else values

    def _values(
        self, one: Field, buffer: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64]
    ) -> list[Any]:
        """Texts or bytes of any length."""
        if not (end > begin).any():
            return [""] * len(begin) if is_text(one) else [b""] * len(begin)
        pieces = zip(begin.tolist(), end.tolist(), strict=True)
        view = buffer.data
        if is_text(one):
            return [text_of(bytes(view[a:b])) for a, b in pieces]
        return [bytes(view[a:b]) for a, b in pieces]

    def finish(self) -> EventTable:
        """The table of all that was added."""
        columns = {name: kept if isinstance(kept, list) else kept.finish() for name, kept in self.parts.items()}
        name = f"{self.form.system}:{self.form.name}"
        return EventTable(name, self.rows.finish(), columns, self.form, self.printing)
