"""Kernel images as far as anybody reads them here."""

from __future__ import annotations

import struct


def bzimage(release: str = "6.1.0-x", init_size: int = 50 << 20) -> bytes:
    """The head of a bzImage: its release, and the bytes that it needs to start."""
    head = bytearray(0x800)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x400)
    struct.pack_into("<I", head, 0x260, init_size)
    text = f"{release} (builder@host) #1 SMP".encode() + b"\0"
    head[0x600 : 0x600 + len(text)] = text
    return bytes(head)
