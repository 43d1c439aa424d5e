"""Pieces of bytes of any length, many at once: out of a buffer into Arrow's arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def _places(begin: Numbers, length: Numbers, total: int) -> Numbers:
    """The place of each byte of pieces that begin there."""
    starts = np.cumsum(length) - length
    places: Numbers = np.arange(total) + np.repeat(begin - starts, length)
    return places


def gather(data: NDArray[Any], begin: Numbers, length: Numbers) -> NDArray[Any]:
    """The pieces data[begin : begin + length], one behind the other."""
    found: NDArray[Any] = data[_places(begin, length, int(length.sum()))]
    return found


def scatter(out: NDArray[np.uint8], begin: Numbers, length: Numbers, pieces: NDArray[np.uint8]) -> None:
    """The way back: put pieces that lie one behind the other where they begin."""
    out[_places(begin, length, int(length.sum()))] = pieces


def text_lengths(pieces: NDArray[np.uint8], length: Numbers) -> Numbers:
    """Of pieces one behind the other: the bytes of each up to its first NUL."""
    starts = np.cumsum(length) - length
    ends = np.append(np.flatnonzero(pieces == 0), len(pieces))
    found: Numbers = np.minimum(ends[np.searchsorted(ends, starts)] - starts, length)
    return found


def binaries(pieces: NDArray[np.uint8], length: Numbers) -> pa.Array:
    """Pieces one behind the other as Arrow's binary."""
    return _arrow(pa.binary(), pieces, length)


def strings(pieces: NDArray[np.uint8], length: Numbers) -> tuple[pa.Array, NDArray[np.bool_]]:
    """(pieces as Arrow's string, which of them are UTF-8); those that are not have replacement characters."""
    fits = np.ones(len(length), np.bool_)
    if not len(pieces) or int(pieces.max()) < 0x80:
        return _arrow(pa.string(), pieces, length), fits
    starts = np.cumsum(length) - length
    odd = np.unique(np.searchsorted(starts, np.flatnonzero(pieces >= 0x80), side="right") - 1)
    texts = [bytes(pieces[a : a + n]) for a, n in zip(starts.tolist(), length.tolist(), strict=True)]
    for row in odd.tolist():
        made = texts[row].decode("utf-8", "replace").encode()
        fits[row] = made == texts[row]
        texts[row] = made
    return pa.array(texts, pa.binary()).cast(pa.string()), fits


def _arrow(type: Any, pieces: NDArray[np.uint8], length: Numbers) -> pa.Array:
    offsets = np.zeros(len(length) + 1, np.int32)
    np.cumsum(length, out=offsets[1:])
    data = np.ascontiguousarray(pieces)
    return pa.Array.from_buffers(type, len(length), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def lists(values: NDArray[Any], count: Numbers) -> pa.Array:
    """Values one behind the other as lists of so many."""
    offsets = np.zeros(len(count) + 1, np.int32)
    np.cumsum(count, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def pieces_of(array: pa.Array) -> tuple[NDArray[np.uint8], Numbers]:
    """(bytes one behind the other, length of each) of Arrow's string or binary; nothing where it is null."""
    if array.null_count:
        array = array.fill_null(b"" if pa.types.is_binary(array.type) else "")
    _, offsets_buffer, data = array.buffers()
    if not len(array):
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    whole = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return whole[int(offsets[0]) : int(offsets[-1])], np.diff(offsets).astype(np.int64)


def values_of(array: pa.Array) -> tuple[NDArray[Any], Numbers]:
    """(values one behind the other, number of each) of Arrow's lists."""
    if array.null_count:
        array = pa.array([one or [] for one in array.to_pylist()], array.type)
    count = np.diff(array.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
    return array.flatten().to_numpy(zero_copy_only=False), count
