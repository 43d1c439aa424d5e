"""The tracing-data section: formats of the tracepoints in a recording.

Source: tools/perf/util/trace-event-read.c (same blob as in trace.dat v6): magic 0x17 0x08 0x44 "tracing", version
string, one byte of byte order, one byte of size of long, u32 page size, "header_page\\0" + u64 size + text,
"header_event\\0" + u64 size + text, u32 count of ftrace formats (u64 size + text each), u32 count of systems (name\\0,
u32 count of formats, u64 size + text each), u32 size + kallsyms text, u32 size + printk formats, and since 0.6
u64 size + saved cmdlines.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from linscope.errors import FormatError

_MAGIC = b"\x17\x08\x44tracing"


class Field(NamedTuple):
    """One field of an event, as its format file declares it."""

    name: str
    type: str  # C type as declared, without the name: "char", "__data_loc char[]", "unsigned long"
    offset: int  # bytes from the start of the raw record
    size: int  # bytes
    signed: bool
    length: int  # elements of an array; 0: not an array
    dynamic: (
        str  # "": in place; "data_loc" or "rel_loc": a u32 of (length << 16 | offset) that points at the data
    )


@dataclass(frozen=True)
class EventFormat:
    """A tracepoint's format: /sys/kernel/tracing/events/SYSTEM/NAME/format."""

    system: str
    name: str
    id: int
    common: tuple[Field, ...]
    fields: tuple[Field, ...]
    print_format: str


@dataclass
class TracingData:
    """All that the section holds."""

    big_endian: bool = False
    long_size: int = 8
    page_size: int = 4096
    events: dict[int, EventFormat] = field(default_factory=dict)
    printk_formats: str = ""


def _parse_field(line: str) -> Field | None:
    parts = dict(p.strip().split(":", 1) for p in line.strip().rstrip(";").split(";") if ":" in p)
    try:
        declaration, offset, size = parts["field"].strip(), int(parts["offset"]), int(parts["size"])
        signed = int(parts.get("signed", "0")) == 1
    except (KeyError, ValueError):
        return None
    count = 0
    dynamic = "data_loc" if declaration.startswith("__data_loc") else ""
    dynamic = "rel_loc" if declaration.startswith("__rel_loc") else dynamic
    if declaration.endswith("]") and not dynamic:
        declaration, _, inside = declaration[:-1].rpartition("[")
        count = int(inside) if inside.isdigit() else -1  # -1: a symbol; the size decides
    type_, _, name = declaration.rpartition(" ")
    if dynamic:
        type_ = type_.removeprefix("__data_loc").removeprefix("__rel_loc").strip()
    if count == -1:
        count = size // max(1, _element_size(type_))
    return Field(name, type_, offset, size, signed, count, dynamic)


def _element_size(type_: str) -> int:
    words = type_.split()
    if "char" in words or "u8" in words or "__u8" in words:
        return 1
    if "short" in words or "u16" in words or "__u16" in words:
        return 2
    return 8 if "long" in words or "u64" in words or "__u64" in words or "*" in type_ else 4


def parse_format(text: str, system: str) -> EventFormat | None:
    """The text of a format file; None if it is not one."""
    name, id_, print_format = "", -1, ""
    groups: list[list[Field]] = [[], []]
    group = 0
    lines = iter(text.splitlines())
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("name:"):
            name = stripped[5:].strip()
        elif stripped.startswith("ID:"):
            number = stripped[3:].strip()
            id_ = int(number) if number.isdigit() else -1
        elif stripped.startswith("field:"):
            parsed = _parse_field(stripped)
            if parsed is not None:
                groups[group].append(parsed)
        elif stripped.startswith("print fmt:"):
            print_format = "\n".join([stripped[len("print fmt:") :].strip(), *lines])
        elif not stripped and groups[0]:
            group = 1  # an empty line ends the common fields
    if not name or id_ < 0:
        return None
    return EventFormat(system, name, id_, tuple(groups[0]), tuple(groups[1]), print_format)


class _Blob:
    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset
        self.at = 0
        self.order = "<"

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise FormatError("the tracing data are cut off", offset=self.offset + self.at)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, code: str) -> int:
        value: int = struct.unpack(self.order + code, self.take(struct.calcsize("=" + code)))[0]
        return value

    def string(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise FormatError("the tracing data are cut off", offset=self.offset + self.at)
        text = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return text

    def text(self, code: str = "Q") -> str:
        return self.take(self.number(code)).decode(errors="replace")


def parse_tracing_data(data: bytes, *, offset: int) -> TracingData:
    """The section's contents; offset: of the section in the file, for errors.  Raises FormatError.

    Damage behind the event formats (kallsyms, printk formats) is ignored.
    """
    blob = _Blob(data, offset)
    if blob.take(len(_MAGIC)) != _MAGIC:
        raise FormatError("the tracing data do not start as such", offset=offset)
    blob.string()  # version
    tracing = TracingData(big_endian=blob.take(1) == b"\1")
    blob.order = ">" if tracing.big_endian else "<"
    tracing.long_size = blob.take(1)[0]
    tracing.page_size = blob.number("I")
    blob.take(len(b"header_page\0"))
    blob.text()
    blob.take(len(b"header_event\0"))
    blob.text()
    for _ in range(blob.number("I")):
        _add(tracing, blob.text(), "ftrace")
    for _ in range(blob.number("I")):
        system = blob.string()
        for _ in range(blob.number("I")):
            _add(tracing, blob.text(), system)
    try:
        blob.text("I")  # kallsyms
        tracing.printk_formats = blob.text("I")
    except FormatError:
        pass  # only names of string addresses are lost
    return tracing


def _add(tracing: TracingData, text: str, system: str) -> None:
    parsed = parse_format(text, system)
    if parsed is not None:
        tracing.events[parsed.id] = parsed
