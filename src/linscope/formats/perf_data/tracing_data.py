"""The tracing-data section: formats of the tracepoints in a recording.

Source: tools/perf/util/trace-event-read.c (same blob as in trace.dat v6): magic 0x17 0x08 0x44 "tracing", version
string, one byte of byte order, one byte of size of long, u32 page size, "header_page\\0" + u64 size + text,
"header_event\\0" + u64 size + text, u32 count of ftrace formats (u64 size + text each), u32 count of systems (name\\0,
u32 count of formats, u64 size + text each), u32 size + kallsyms text, u32 size + printk formats, and since 0.6
u64 size + saved cmdlines.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from linscope.binfmt.event_format import EventFormat, parse_format, parse_printk_formats
from linscope.binfmt.print_code import PrintContext
from linscope.errors import FormatError

_MAGIC = b"\x17\x08\x44tracing"
_ID = re.compile(r"^ID:\s*(\d+)\s*$", re.MULTILINE)


class EventFormats:
    """The formats of a recording by event id: those that are asked for are parsed, a recording has 2,500."""

    def __init__(self) -> None:
        self._texts: dict[int, tuple[str, str]] = {}  # system, text
        self._parsed: dict[int, EventFormat | None] = {}

    def add(self, system: str, text: str) -> None:
        """Take the text of a format file; what is none is passed over."""
        found = _ID.search(text)
        if found is not None:
            self._texts[int(found[1])] = system, text
            self._parsed.pop(int(found[1]), None)

    def get(self, number: int) -> EventFormat | None:
        """The format of that id, None without one."""
        if number not in self._parsed and number in self._texts:
            system, text = self._texts[number]
            self._parsed[number] = parse_format(text, system)
        return self._parsed.get(number)

    def values(self) -> Iterator[EventFormat]:
        """All of them, parsed."""
        for number in self._texts:
            if (form := self.get(number)) is not None:
                yield form

    def texts(self) -> dict[str, list[str]]:
        """The texts as they were, by system."""
        found: dict[str, list[str]] = {}
        for system, text in self._texts.values():
            found.setdefault(system, []).append(text)
        return found


@dataclass
class TracingData:
    """All that the section holds."""

    big_endian: bool = False
    long_size: int = 8
    page_size: int = 4096
    events: EventFormats = field(default_factory=EventFormats)
    printk_formats: str = ""
    header_page: str = ""  # the format of a ring buffer's page
    header_event: str = ""
    kallsyms: str = ""
    end: int = 0  # of what was understood, in the section

    def printing(self) -> PrintContext:
        """What the formats refer to."""
        return PrintContext(self.long_size, self.big_endian, parse_printk_formats(self.printk_formats))


class Blob:
    """Reads numbers and texts one after the other; running out of bytes is a FormatError."""

    def __init__(self, data: bytes | mmap.mmap, offset: int) -> None:
        self.data = data
        self.offset = offset
        self.at = 0
        self.order = "<"

    def take(self, size: int) -> bytes:
        """That many bytes."""
        if size > len(self.data) - self.at:
            raise FormatError("the tracing data are cut off", offset=self.offset + self.at)
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def number(self, code: str) -> int:
        """One number; code: as struct has it."""
        value: int = struct.unpack(self.order + code, self.take(struct.calcsize("=" + code)))[0]
        return value

    def string(self) -> str:
        """Text up to its NUL."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise FormatError("the tracing data are cut off", offset=self.offset + self.at)
        text = self.data[self.at : end].decode(errors="replace")
        self.at = end + 1
        return text

    def text(self, code: str = "Q") -> str:
        """A number, and text of so many bytes."""
        return self.take(self.number(code)).decode(errors="replace")


def parse_tracing_data(data: bytes | mmap.mmap, *, offset: int) -> TracingData:
    """The section's contents; offset: of the section in the file, for errors.  Raises FormatError.

    Damage behind the event formats (kallsyms, printk formats) is ignored.
    """
    blob = Blob(data, offset)
    if blob.take(len(_MAGIC)) != _MAGIC:
        raise FormatError("the tracing data do not start as such", offset=offset)
    blob.string()  # version
    tracing = TracingData(big_endian=blob.take(1) == b"\1")
    blob.order = ">" if tracing.big_endian else "<"
    tracing.long_size = blob.take(1)[0]
    tracing.page_size = blob.number("I")
    blob.take(len(b"header_page\0"))
    tracing.header_page = blob.text()
    blob.take(len(b"header_event\0"))
    tracing.header_event = blob.text()
    for _ in range(blob.number("I")):
        tracing.events.add("ftrace", blob.text())
    for _ in range(blob.number("I")):
        system = blob.string()
        for _ in range(blob.number("I")):
            tracing.events.add(system, blob.text())
    try:
        tracing.kallsyms = blob.text("I")
        tracing.printk_formats = blob.text("I")
    except FormatError:
        pass  # only names of string addresses are lost
    tracing.end = blob.at
    return tracing

