"""A plain, slow walk over perf.data, independent of linscope: what records there are, in the order of the file.

Source: tools/perf/Documentation/perf.data-file-format.txt.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import zstandard


class Record(NamedTuple):
    type: int
    misc: int
    body: bytes


def plain_records(blob: bytes) -> Iterator[Record]:
    """Records of a file or pipe, those in compressed ones in their place; ends at damage."""
    order = "<" if blob[:8] == b"PERFILE2" else ">"
    (header_size,) = struct.unpack_from(order + "Q", blob, 8)
    if header_size == 16:
        start, end = 16, len(blob)
    else:
        start, size = struct.unpack_from(order + "QQ", blob, 40)
        end = min(start + size, len(blob)) if size else len(blob)
    yield from _walk(blob, start, end, order, zstandard.ZstdDecompressor().decompressobj(), bytearray())


def _walk(
    blob: bytes, at: int, end: int, order: str, unpack: zstandard.ZstdDecompressionObj, pending: bytearray
) -> Iterator[Record]:
    while at + 8 <= end:
        kind, misc, size = struct.unpack_from(order + "IHH", blob, at)
        if size < 8 or at + size > end:
            return
        body = blob[at + 8 : at + size]
        at += size
        if kind == 66:  # tracing data follow the record
            at += (struct.unpack_from(order + "I", body)[0] + 7) // 8 * 8
        elif kind == 71:  # so do AUX data
            at += struct.unpack_from(order + "Q", body)[0]
        if kind in (81, 83):
            packed = body if kind == 81 else body[8 : 8 + struct.unpack_from(order + "Q", body)[0]]
            pending += unpack.decompress(packed)
            inner = bytes(pending)
            used = 0
            for record in _walk(inner, 0, len(inner), order, unpack, bytearray()):
                used += 8 + len(record.body)
                yield record
            del pending[:used]
            continue
        yield Record(kind, misc, body)
