"""-z: pieces of the rings as COMPRESSED records (tools/perf/util/zstd.c; linscope.abi.perf_file)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from linscope.abi.perf_file import PERF_RECORD_COMPRESSED
from linscope.session.rings import Compressor

_PIECE = 48 << 10  # a frame of that many bytes fits into a record's 64 KiB even when it does not shrink


def compressor(level: int) -> Compressor:
    """A function from pieces of records to COMPRESSED records, each one zstd frame of up to 48 KiB."""
    import zstandard

    context = zstandard.ZstdCompressor(level=level)

    def compress(parts: Sequence[memoryview | bytes]) -> list[bytes]:
        data = b"".join(parts)
        records = []
        for start in range(0, len(data), _PIECE):
            frame = context.compress(data[start : start + _PIECE])
            records.append(struct.pack("=IHH", PERF_RECORD_COMPRESSED, 0, 8 + len(frame)) + frame)
        return records

    return compress
