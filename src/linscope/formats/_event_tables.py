"""Raw records of one kind of trace event -> its typed table, by the event's format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.binfmt.event_format import EventFormat, Field, is_text
from linscope.binfmt.print_code import PrintContext
from linscope.binfmt.print_text import text_of
from linscope.columns.profile import EventTable

_SIZES = (1, 2, 4, 8)


def _dtype(field_: Field, order: str, size: int) -> np.dtype[Any]:
    return np.dtype(f"{order}{'i' if field_.signed else 'u'}{size}")


@dataclass
class EventTableBuilder:
    """Columns of one event, chunk by chunk."""

    form: EventFormat
    order: str
    printing: PrintContext
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    parts: dict[str, list[Any]] = field(default_factory=dict)

    def width(self) -> int:
        """Bytes of the fixed part of a payload."""
        return max((f.offset + f.size for f in self.form.fields), default=0)

    def add(
        self,
        buffer: NDArray[np.uint8],
        at: NDArray[np.int64],
        size: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> None:
        """Take payloads that begin at buffer[at] and have these sizes; those cut short are passed over."""
        width = max(self.width(), 1)
        whole = size >= width
        at, size, rows = at[whole], size[whole], rows[whole]
        if not len(at):
            return
        fixed = buffer[at[:, None] + np.arange(width)]
        self.rows.append(rows)
        for one in self.form.fields:
            self.parts.setdefault(one.name, []).append(self._column(one, fixed, buffer, at, size))

    def _column(
        self,
        one: Field,
        fixed: NDArray[np.uint8],
        buffer: NDArray[np.uint8],
        at: NDArray[np.int64],
        size: NDArray[np.int64],
    ) -> Any:
        if one.size == 0:  # what is left of the record
            starts, ends = (at + one.offset).tolist(), (at + size).tolist()
            tails = [buffer[a:b].tobytes() for a, b in zip(starts, ends, strict=True)]
            return [text_of(v) for v in tails] if is_text(one) else tails
        raw = np.ascontiguousarray(fixed[:, one.offset : one.offset + one.size])
        if one.dynamic:
            where = raw.view(self.order + "u4").reshape(-1).astype(np.int64)
            offset, length = where & 0xFFFF, where >> 16
            if one.dynamic == "rel_loc":
                offset = offset + one.offset + one.size
            inside = offset + length <= size
            pieces = zip((at + offset).tolist(), np.where(inside, length, 0).tolist(), strict=True)
            values = [buffer[start : start + count].tobytes() for start, count in pieces]
            return [text_of(v) for v in values] if is_text(one) else values
        if one.length and is_text(one):
            return raw.view(f"S{one.size}").reshape(-1)
        element = one.size // one.length if one.length else one.size
        if element not in _SIZES:
            return raw.view(f"V{one.size}").reshape(-1)
        values_of = raw.view(_dtype(one, self.order, element))
        return values_of if one.length else values_of.reshape(-1)

    def finish(self) -> EventTable:
        """The table of all that was added."""
        columns: dict[str, Any] = {}
        for name, parts in self.parts.items():
            if isinstance(parts[0], list):
                columns[name] = [value for part in parts for value in part]
            else:
                column = np.concatenate(parts)
                columns[name] = column.astype(column.dtype.newbyteorder("=")) if column.dtype.kind in "iu" else column
        rows = np.concatenate(self.rows) if self.rows else np.empty(0, np.int64)
        return EventTable(f"{self.form.system}:{self.form.name}", rows, columns, self.form, self.printing)
