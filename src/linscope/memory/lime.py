"""LiME images: each range of RAM behind a head of 32 bytes.

Source: LiME's README, "Spec" (struct lime_mem_range_header, version 1).
"""

from __future__ import annotations

import struct

from linscope.errors import FormatError, UnsupportedError
from linscope.memory._pieces import Piece, PieceMemory, Source

SIGNATURE = b"EMiL"  # 0x4C694D45, little-endian
_HEAD = struct.Struct("<4sIQQ8x")  # magic, version, first address, last address
_MAX_RANGES = 1 << 16


class LimeMemory(PieceMemory):
    """Physical memory of a LiME image."""

    format = "LiME"

    def __init__(self, file: Source) -> None:
        """file: closed with it.  Raises FormatError, UnsupportedError."""
        pieces: list[Piece] = []
        at = 0
        while at < file.size:
            head = file.peek(at, _HEAD.size)
            if len(head) < _HEAD.size:
                break  # cut short
            magic, version, first, last = _HEAD.unpack(head)
            if magic != SIGNATURE or last < first or len(pieces) >= _MAX_RANGES:
                raise FormatError("no head of a range of memory", where=file.where, offset=at)
            if version != 1:
                raise UnsupportedError(f"LiME version {version}", where=file.where, offset=at + 4)
            at += _HEAD.size
            pieces.append(Piece(first, last + 1, at))
            at += last + 1 - first
        super().__init__(file, pieces)
        self._is_incomplete |= at != file.size
