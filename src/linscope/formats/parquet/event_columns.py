"""Records of one kind of trace event <-> columns of native types, by the event's format.

    prev_comm char[16]          string          in front of the first NUL
    filename __data_loc char[]  string
    args unsigned long[6]       list of 6 uint64
    success bool                bool
    skbaddr void *              uint64

The record is made again of its columns.  Where they do not tell all of it (bytes behind a NUL, text that is no UTF-8, a
record that was cut short), the column ``record`` has its bytes; else it is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linscope.binfmt.event_format import EventFormat, Field, element_size, is_text
from linscope.binfmt.ring_buffer import gather_fields
from linscope.formats.parquet import ragged

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

RECORD = "record"
_NUMBERS = (1, 2, 4, 8)
_ALIGNMENT = 8  # bytes
_PADDING = 16  # bytes that a record may be longer than its fields: of the struct, and of what it lies in
_LARGEST = 1 << 32  # what offsets of the native code can count


class Column(NamedTuple):
    """A column of one event's table."""

    name: str
    field: Field
    kind: str  # number, bool, numbers, text, bytes; those of any length: texts, lists, binaries
    arrow: pa.DataType
    element: int  # bytes of a number


def _number(size: int, signed: bool) -> pa.DataType:
    return getattr(pa, f"{'int' if signed else 'uint'}{8 * size}")()


def _column(name: str, one: Field, long_size: int) -> Column:
    if one.dynamic or not one.size:
        if is_text(one):
            return Column(name, one, "texts", pa.string(), 1)
        size = element_size(one.type, long_size)
        if size not in _NUMBERS or size == 1:
            return Column(name, one, "binaries", pa.binary(), 1)
        return Column(name, one, "lists", pa.list_(_number(size, one.signed)), size)
    if one.length and is_text(one):
        return Column(name, one, "text", pa.string(), 1)
    size = one.size // one.length if one.length else one.size
    if size not in _NUMBERS or size * max(one.length, 1) != one.size:
        return Column(name, one, "bytes", pa.binary(one.size), 1)
    if one.length:
        return Column(name, one, "numbers", pa.list_(_number(size, one.signed), one.length), size)
    if one.type in ("bool", "_Bool") and size == 1:
        return Column(name, one, "bool", pa.bool_(), 1)
    return Column(name, one, "number", _number(size, one.signed), size)


class EventColumns:
    """The columns of one event, and both ways between them and records."""

    def __init__(
        self, form: EventFormat, *, taken: Collection[str] = (), big_endian: bool = False, long_size: int = 8
    ) -> None:
        """taken: names of other columns: a field of such a name is called args_NAME; of the recorded kernel: the rest.

        Records are made again in the order of this machine's bytes, little-endian.
        """
        self.form = form
        self.order = ">" if big_endian else "<"
        self.columns: list[Column] = []
        names = {*taken, RECORD}
        for one in (*form.common[1:], *form.fields):
            name = one.name
            while name in names:
                name = f"args_{name}"
            names.add(name)
            self.columns.append(_column(name, one, long_size))
        self.width = max((f.offset + f.size for f in (*form.common, *form.fields)), default=0)
        self.of_any_length = [column for column in self.columns if column.kind in ("texts", "lists", "binaries")]
        self.fields = [pa.field(column.name, column.arrow) for column in self.columns]
        self.fields.append(pa.field(RECORD, pa.binary()))

    # -- records -> columns

    def encode(self, data: Any, at: NDArray[np.uint64], size: NDArray[np.uint32]) -> list[pa.Array]:
        """The columns of the records that begin at data[at], in the order of ``fields``."""
        buffer = np.frombuffer(data, np.uint8)
        begin, length = at.astype(np.int64), size.astype(np.int64)
        fixed = self._fixed(buffer, begin, length)
        exact = length >= self.width
        if self.form.common:
            exact &= self._numbers(fixed, self.form.common[0], self.form.common[0].size) == self.form.id
        end = np.full(len(at), self.width, np.int64)  # of what the columns tell of each record
        made = []
        for column in self.columns:
            if column in self.of_any_length:
                made.append(self._encode_any(column, buffer, fixed, (begin, length), end, exact))
            else:
                made.append(self._encode(column, fixed, exact))
        exact &= (length >= end) & (length < end + _PADDING)
        odd = np.flatnonzero(~exact)
        record = pa.nulls(len(at), pa.binary())
        if len(odd) and self.order == "<":
            whole = ragged.gather(buffer, begin[odd], length[odd])
            kept = ragged.binaries(whole, length[odd])
            place = np.zeros(len(at), np.int64)
            place[odd] = np.arange(len(odd))
            record = kept.take(pa.array(place, mask=exact))
        return [*made, record]

    def _fixed(self, buffer: NDArray[np.uint8], begin: NDArray[np.int64], length: NDArray[np.int64]) -> Any:
        """The fixed part of each record; zeros where it was cut short."""
        whole = length >= self.width
        if whole.all() and len(begin):
            low, high = int(begin.min()), int(begin.max()) + self.width
            if high - low < _LARGEST:
                near = (begin - low).astype(np.uint32)
                return gather_fields(buffer[low:high], near, [(0, self.width)])[0].reshape(-1, self.width)
        fixed = np.zeros((len(begin), self.width), np.uint8)
        fixed[whole] = buffer[begin[whole][:, None] + np.arange(self.width)]
        return fixed

    def _numbers(self, fixed: NDArray[np.uint8], one: Field, size: int) -> NDArray[Any]:
        raw = np.ascontiguousarray(fixed[:, one.offset : one.offset + one.size]).reshape(-1)
        kind = f"{'i' if one.signed else 'u'}{size}"
        return raw.view(self.order + kind).astype("=" + kind, copy=False)

    def _encode(self, column: Column, fixed: NDArray[np.uint8], exact: NDArray[np.bool_]) -> pa.Array:
        one = column.field
        if column.kind == "number":
            return pa.array(self._numbers(fixed, one, column.element))
        if column.kind == "numbers":
            values = pa.array(self._numbers(fixed, one, column.element))
            return pa.FixedSizeListArray.from_arrays(values, one.length)
        raw = np.ascontiguousarray(fixed[:, one.offset : one.offset + one.size])
        if column.kind == "bool":
            exact &= raw[:, 0] < 2
            return pa.array(raw[:, 0] != 0)
        if column.kind == "bytes":
            return pa.Array.from_buffers(column.arrow, len(raw), [None, pa.py_buffer(raw)])
        widths = np.full(len(raw), one.size, np.int64)
        lengths = ragged.text_lengths(raw.reshape(-1), widths)
        inside = np.arange(one.size) < lengths[:, None]
        exact &= ((raw == 0) | inside).all(axis=1)
        texts, fits = ragged.strings(raw[inside], lengths)
        exact &= fits
        return texts

    def _encode_any(
        self, column: Column, buffer: NDArray[np.uint8], fixed: NDArray[np.uint8],
        place: tuple[NDArray[np.int64], NDArray[np.int64]], end: NDArray[np.int64], exact: NDArray[np.bool_],
    ) -> pa.Array:  # fmt: skip
        """A column of pieces of any length; end: of the record as it is made again, moved on by the piece."""
        begin, length = place
        one, text = column.field, column.kind == "texts"
        if one.size:
            told = self._numbers(fixed, one._replace(signed=False), 4).astype(np.int64)
            offset, count = told & 0xFFFF, told >> 16
            offset = offset + (one.offset + one.size if one.dynamic == "rel_loc" else 0)
        else:  # what is left of the record
            offset, count = np.full(len(begin), one.offset, np.int64), np.maximum(length - one.offset, 0)
        inside = offset + count <= length
        count = np.where(inside, count, 0)
        exact &= inside & ((offset == end) | ((count == 0) & (not text)))
        pieces = ragged.gather(buffer, begin + offset, count)
        if text:
            lengths = ragged.text_lengths(pieces, count)
            exact &= lengths < count  # it has its NUL, and nothing behind it but what fills up the record
            if one.size:
                exact &= lengths + 1 == count
            end += lengths + 1
            keep = np.arange(len(pieces)) - np.repeat(np.cumsum(count) - count, count) < np.repeat(lengths, count)
            texts, fits = ragged.strings(pieces[keep], lengths)
            exact &= fits
            return texts
        whole = count // column.element
        exact &= whole * column.element == count
        end += count
        if column.kind == "binaries":
            return ragged.binaries(pieces, count)
        if not (whole * column.element == count).all():
            pieces = ragged.gather(buffer, begin + offset, whole * column.element)
        kind = f"{'i' if one.signed else 'u'}{column.element}"
        return ragged.lists(pieces.view(self.order + kind).astype("=" + kind), whole)

    # -- columns -> records

    def decode(self, batch: pa.RecordBatch) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
        """(data, where each record begins in it, its bytes).  Raises KeyError for a column that is not there."""
        count = len(batch)
        fixed = np.zeros((count, self.width), np.uint8)
        if self.form.common:
            self._put(fixed, self.form.common[0], np.full(count, self.form.id, "<u8"))
        pieces: list[tuple[Column, NDArray[np.uint8], NDArray[np.int64]]] = []
        for column in self.columns:
            array = batch.column(column.name)
            if array.type != column.arrow:
                array = array.cast(column.arrow)
            if column in self.of_any_length:
                pieces.append((column, *self._any(column, array)))
            else:
                self._decode(column, array, fixed)
        data, at, size = _assembled(fixed, pieces)
        return _with_records(data, at, size, batch.column(RECORD) if RECORD in batch.schema.names else None)

    @staticmethod
    def _put(fixed: NDArray[np.uint8], one: Field, values: NDArray[Any]) -> None:
        if len(fixed):
            raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(fixed), -1)
            fixed[:, one.offset : one.offset + one.size] = raw[:, : one.size]

    def _decode(self, column: Column, array: pa.Array, fixed: NDArray[np.uint8]) -> None:
        one = column.field
        if column.kind == "text":
            texts, lengths = ragged.pieces_of(array)
            starts = np.cumsum(lengths) - lengths
            shown = np.minimum(lengths, one.size)
            padded = np.zeros(len(fixed) * one.size, np.uint8)
            if (shown < lengths).any():
                texts = ragged.gather(texts, starts, shown)
            ragged.scatter(padded, np.arange(len(fixed)) * one.size, shown, texts)
            self._put(fixed, one, padded)
        elif column.kind == "bytes":
            raw = b"".join(value or bytes(one.size) for value in array.to_pylist())
            self._put(fixed, one, np.frombuffer(raw, np.uint8))
        elif column.kind == "numbers":
            if array.null_count:
                array = pa.array([value or [0] * one.length for value in array.to_pylist()], column.arrow)
            self._put(fixed, one, array.flatten().fill_null(0).to_numpy(zero_copy_only=False))
        else:
            array = array.fill_null(False if column.kind == "bool" else 0)
            self._put(fixed, one, array.to_numpy(zero_copy_only=False))

    @staticmethod
    def _any(column: Column, array: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(bytes, length of each) of pieces as a record has them."""
        if column.kind == "lists":
            values, count = ragged.values_of(array)
            return np.ascontiguousarray(values).view(np.uint8), count * column.element
        pieces, lengths = ragged.pieces_of(array)
        if column.kind == "binaries":
            return pieces, lengths
        ended = np.zeros(len(pieces) + len(lengths), np.uint8)  # each text with its NUL
        starts = np.cumsum(lengths) - lengths
        ragged.scatter(ended, starts + np.arange(len(lengths)), lengths, pieces)
        return ended, lengths + 1


def _assembled(
    fixed: NDArray[np.uint8], pieces: Sequence[tuple[Column, NDArray[np.uint8], NDArray[np.int64]]]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Records one behind the other: their fixed parts, and behind each its pieces."""
    count, width = fixed.shape
    size = np.full(count, width, np.int64)
    offsets = []
    for column, _, length in pieces:
        offsets.append(size.copy())
        one = column.field
        if one.size:
            base = one.offset + one.size if one.dynamic == "rel_loc" else 0
            EventColumns._put(fixed, one, (length << 16 | size - base).astype("<u4"))
        size += length
    if not pieces:
        return fixed.reshape(-1), np.arange(count) * width, size
    size += -size % _ALIGNMENT
    at = np.cumsum(size) - size
    data = np.zeros(int(size.sum()), np.uint8)
    ragged.scatter(data, at, np.full(count, width, np.int64), fixed.reshape(-1))
    for offset, (_, raw, length) in zip(offsets, pieces, strict=True):
        ragged.scatter(data, at + offset, length, raw)
    return data, at, size


def _with_records(
    data: NDArray[np.uint8], at: NDArray[np.int64], size: NDArray[np.int64], record: pa.Array | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """With the records that are kept as they were in place of those that were made."""
    if record is None or record.null_count == len(record):
        return data, at, size
    rows = np.flatnonzero(record.is_valid().to_numpy(zero_copy_only=False))
    kept, length = ragged.pieces_of(record.take(pa.array(rows)).cast(pa.binary()))
    at, size = at.copy(), size.copy()
    at[rows] = len(data) + np.cumsum(length) - length
    size[rows] = length
    return np.concatenate([data, kept]), at, size
