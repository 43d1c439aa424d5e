"""A small writer of perf.data pipes in either byte order, independent of linscope's own."""

from __future__ import annotations

import struct

SAMPLE_ID_ALL = 18  # bit of the attr's flags on little-endian machines; 63 - 18 on big-endian ones


class Pipe:
    """Events first, then records; ``data()`` is the whole."""

    def __init__(self, order: str = "<") -> None:
        self.order = order
        magic = b"PERFILE2" if order == "<" else b"2ELIFREP"
        self._parts = [magic + struct.pack(order + "Q", 16)]

    def event(self, config: int, sample_type: int, ids: list[int], read_format: int = 0, kind: int = 1) -> None:
        """A software event (kind 2: a tracepoint) with sample_id_all."""
        flags = 1 << (SAMPLE_ID_ALL if self.order == "<" else 63 - SAMPLE_ID_ALL)
        attr = struct.pack(self.order + "IIQQQQQ", kind, 64, config, 1, sample_type, read_format, flags) + bytes(16)
        self.record(64, 0, attr + struct.pack(f"{self.order}{len(ids)}Q", *ids))

    def record(self, kind: int, misc: int, body: bytes) -> None:
        body += bytes(-len(body) % 8)
        self._parts.append(struct.pack(self.order + "IHH", kind, misc, 8 + len(body)) + body)

    def tracing_data(self, formats: dict[str, list[bytes]]) -> None:
        """The formats of tracepoints, by system."""
        data = b"\x17\x08Dtracing0.6\0" + bytes([self.order == ">", 8]) + self.pack("I", 4096)
        data += b"".join(name + b"\0" + self.pack("Q", 0) for name in (b"header_page", b"header_event"))
        data += self.pack("II", 0, len(formats))
        for system, texts in formats.items():
            data += system.encode() + b"\0" + self.pack("I", len(texts))
            data += b"".join(self.pack("Q", len(text)) + text for text in texts)
        data += self.pack("IIQ", 0, 0, 0)
        data += bytes(-len(data) % 8)
        self._parts.append(self.pack("IHHII", 66, 0, 16, len(data), 0) + data)

    def pack(self, code: str, *values: int) -> bytes:
        return struct.pack(self.order + code, *values)

    def text(self, text: str) -> bytes:
        raw = text.encode() + b"\0"
        return raw + bytes(-len(raw) % 8)

    def data(self) -> bytes:
        return b"".join(self._parts)
