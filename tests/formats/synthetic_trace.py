"""Made-up trace.dat contents of any byte order and size of long: formats, records, pages of the ring buffer."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from linscope.formats.trace_dat.writer import TraceBuffer, TraceDatContents

PAGE = 4096
_CODES = {"char": "b", "unsigned char": "B", "unsigned short": "H", "int": "i", "unsigned int": "I", "u32": "I"}
_CODES |= {"u16": "H", "u64": "Q", "s64": "q", "unsigned long long": "Q"}
_LONGS = {"long": "iq", "unsigned long": "IQ", "resource_size_t": "IQ"}
_COMMON = (
    ("unsigned short", "common_type"),
    ("unsigned char", "common_flags"),
    ("unsigned char", "common_preempt_count"),
    ("int", "common_pid"),
)


class Kind(NamedTuple):
    """A kind of event: its fields are (type, name), name[N] an array, name[] the rest of the record."""

    system: str
    name: str
    id: int
    fields: Sequence[tuple[str, str]]
    print_format: str


class Machine(NamedTuple):
    """What recorded."""

    big_endian: bool = False
    long_size: int = 8

    @property
    def order(self) -> str:
        return ">" if self.big_endian else "<"

    def code(self, type_: str) -> str:
        return _LONGS[type_][self.long_size == 8] if type_ in _LONGS else _CODES[type_]

    def layout(self, kind: Kind) -> list[tuple[str, str, str, int, int, int]]:
        """(type, name, struct code, count, offset, bytes) of each field, aligned as C does."""
        found, at = [], 0
        for type_, declared in (*_COMMON, *kind.fields):
            count_text = declared.partition("[")[2]
            dynamic = type_.startswith("__data_loc")
            code = "I" if dynamic else self.code(type_)
            size = struct.calcsize("=" + code)
            count = int(count_text[:-1] or 0) if count_text and not dynamic else 1
            at += -at % size
            found.append((type_, declared, "s" if type_ == "char" and count_text else code, count, at, size * count))
            at += size * count
        return found

    def format_text(self, kind: Kind) -> bytes:
        lines = [f"name: {kind.name}", f"ID: {kind.id}", "format:"]
        for number, (type_, declared, code, _, offset, size) in enumerate(self.layout(kind)):
            name = declared.partition("[")[0] if type_.startswith("__data_loc") else declared
            lines.append(f"\tfield:{type_} {name};\toffset:{offset};\tsize:{size};\tsigned:{int(code.islower())};")
            if number == len(_COMMON) - 1:
                lines.append("")
        return "\n".join([*lines, "", f"print fmt: {kind.print_format}", ""]).encode()

    def record(self, kind: Kind, pid: int, values: Sequence[Any]) -> bytes:
        """The raw record; values: int, bytes, tuples of arrays; str for a __data_loc."""
        made, behind = bytearray(), b""
        layout = self.layout(kind)
        end = max(offset + size for *_, offset, size in layout)
        for (type_, _, code, _, offset, size), value in zip(layout, (kind.id, 0, 0, pid, *values), strict=True):
            made.extend(bytes(offset - len(made)))
            if type_.startswith("__data_loc"):
                text = value.encode() + b"\0"
                made += struct.pack(self.order + "I", len(text) << 16 | end + len(behind))
                behind += text
            elif isinstance(value, bytes):
                made += value.ljust(size, b"\0") if size else value
            elif isinstance(value, tuple):
                made += struct.pack(f"{self.order}{len(value)}{code}", *value)
            else:
                made += struct.pack(self.order + code, value)
        return bytes(made) + behind

    def event(self, delta: int, data: bytes) -> bytes:
        """A ring-buffer event, with an extended time in front where it needs one."""
        made = b""
        if delta >= 1 << 27:
            made, delta = self._head(30, delta & ((1 << 27) - 1)) + struct.pack(self.order + "I", delta >> 27), 0
        padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
        if len(padded) <= 28 * 4:
            return made + self._head(len(padded) // 4, delta) + padded
        return made + self._head(0, delta) + struct.pack(self.order + "I", len(padded) + 4) + padded

    def _head(self, kind: int, delta: int) -> bytes:
        return struct.pack(self.order + "I", kind << 27 | delta if self.big_endian else kind | delta << 5)

    def pages(self, records: Iterable[tuple[int, bytes]]) -> bytes:
        """Pages of (time, record) in time order."""
        room = PAGE - 8 - self.long_size
        pages: list[tuple[int, bytes]] = []
        start, last, body = 0, 0, b""
        for time, data in records:
            event = self.event(time - last, data) if body else self.event(0, data)
            if len(body) + len(event) > room:
                pages.append((start, body))
                body, event = b"", self.event(0, data)
            start = start if body else time
            body, last = body + event, time
        code = self.order + ("QQ" if self.long_size == 8 else "QI")
        pages.append((start, body))
        return b"".join((struct.pack(code, at, len(one)) + one).ljust(PAGE, b"\0") for at, one in pages)

    def contents(self, kinds: Sequence[Kind], cpus: Sequence[bytes], folder: Path, **more: Any) -> TraceDatContents:
        """Contents with these pages by CPU."""
        formats: dict[str, list[bytes]] = {}
        for kind in kinds:
            formats.setdefault(kind.system, []).append(self.format_text(kind))
        files = []
        for cpu, data in enumerate(cpus):
            path = folder / f"{self.big_endian}{self.long_size}.{cpu}"
            path.write_bytes(data)
            files.append((cpu, str(path), None))
        size = self.long_size
        header_page = (
            "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
            f"\tfield: local_t commit;\toffset:8;\tsize:{size};\tsigned:1;\n"
            f"\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
            f"\tfield: char data;\toffset:{8 + size};\tsize:{PAGE - 8 - size};\tsigned:0;\n"
        )
        header_event = (
            "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n"
            "\tarray       :   32 bits\n\n"
            "\tpadding     : type == 29\n\ttime_extend : type == 30\n\tdata max type_len  == 28\n"
        )
        return TraceDatContents(
            header_page=header_page.encode(),
            header_event=header_event.encode(),
            formats=formats,
            buffers=[TraceBuffer(cpus=files)],
            page_size=PAGE,
            long_size=size,
            big_endian=self.big_endian,
            **more,
        )
