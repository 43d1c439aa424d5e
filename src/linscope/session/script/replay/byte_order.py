"""Records of a machine with another order of bytes, as this one has them: programs read them as they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linscope.binfmt.event_format import parse_format
from linscope.errors import UnsupportedError
from linscope.formats.parquet.event_columns import EventColumns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linscope.session.script.replay.contents import Contents, Window


def native_windows(contents: Contents, windows: Iterable[Window]) -> Iterator[Window]:
    """Windows of big-endian records, with records of the same values in little-endian order.

    Records without a format, and what lies in one behind its fields, are left out.  Raises UnsupportedError for a
    recording of a script: nobody knows what the bytes are that it read.
    """
    if contents.session:
        raise UnsupportedError("a recording of a script on a big-endian machine", where=contents.where)
    columns: dict[int, EventColumns | None] = {}
    for window in windows:
        at, size = np.zeros(len(window.at), np.uint64), np.zeros(len(window.size), np.uint32)
        parts: list[NDArray[np.uint8]] = [np.zeros(1, np.uint8)]
        end = 1
        for number in np.unique(window.event).tolist():
            if number not in columns:
                columns[number] = _columns_of(contents, number)
            made = columns[number]
            if made is None:
                continue
            rows = np.flatnonzero(window.event == number)
            batch = pa.RecordBatch.from_arrays(
                made.encode(window.data, window.at[rows], window.size[rows]), schema=pa.schema(made.fields)
            )
            data, begin, length = made.decode(batch)
            at[rows], size[rows] = begin + end, length
            parts.append(data)
            end += len(data)
        yield window._replace(data=np.concatenate(parts), at=at, size=size)


def _columns_of(contents: Contents, number: int) -> EventColumns | None:
    system, _, event = contents.events[number].partition(":")
    text = contents.read_format(system, event) if contents.is_tracepoint[number] else None
    form = parse_format(text, system) if text else None
    return EventColumns(form, big_endian=True, long_size=contents.origin.long_size) if form is not None else None
