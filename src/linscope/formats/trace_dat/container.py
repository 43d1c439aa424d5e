"""trace.dat's outside: header, sections and options, down to where the pages of each CPU lie.

Version 6 is a sequence of parts; version 7 a list of options that point at sections, which may be compressed.
Source: trace-cmd.dat.v6(5), trace-cmd.dat.v7(5).
"""

from __future__ import annotations

import mmap
import re
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

from linscope.errors import FormatError, UnsupportedError
from linscope.formats.perf_data.tracing_data import Blob, TracingData, parse_tracing_data
from linscope.formats.trace_dat import options as opt

MAGIC = b"\x17\x08\x44tracing"
_COMPRESSED = 1  # flag of a section
LARGEST_PIECE = 1 << 30  # bytes that one compressed piece may become
_MOST_CPUS = 1 << 16
_SECTIONS = frozenset(range(opt.HEADER_INFO, opt.CMDLINES + 1))
_COMMIT_SIZE = re.compile(r"commit;\s*offset:\s*\d+;\s*size:\s*(\d+)")


class CpuData(NamedTuple):
    """The pages of one CPU."""

    cpu: int
    offset: int
    size: int  # bytes in the file


@dataclass
class Buffer:
    """One trace instance."""

    name: str  # "" is the top one
    clock: str
    cpus: list[CpuData]
    compressed: bool = False
    page_size: int = 0  # 0: the machine's
    text: tuple[int, int] | None = None  # offset and bytes of a latency tracer's text, which is there instead of pages


@dataclass
class Container:
    """What a file holds."""

    version: int
    tracing: TracingData
    cmdlines: dict[int, str] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    options: dict[int, list[bytes]] = field(default_factory=dict)
    algorithm: str = "none"
    problems: list[Exception] = field(default_factory=list)

    def order(self) -> str:
        """Byte order, in struct's sign."""
        return ">" if self.tracing.big_endian else "<"

    def long_size(self) -> int:
        """Bytes of the kernel's long, which a 32-bit trace-cmd need not share."""
        found = _COMMIT_SIZE.search(self.tracing.header_page)
        return int(found[1]) if found and found[1] in ("4", "8") else self.tracing.long_size

    def text_option(self, number: int) -> str:
        """An option that is text, "" without it."""
        values = self.options.get(number)
        return values[0].split(b"\0", 1)[0].decode(errors="replace").strip() if values else ""


def read_container(data: bytes | mmap.mmap, where: str) -> Container:
    """All but the pages.  Raises FormatError, or UnsupportedError for another version."""
    blob = Blob(data, 0)
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise FormatError("no trace.dat", where=where, offset=0)
    blob.at = len(MAGIC)
    version = blob.string()
    if version == "6":
        return _version_6(data)
    if version == "7":
        return _Version7(data).read()
    raise UnsupportedError(f"trace.dat of version {version!r}", where=where, offset=len(MAGIC), why="6 and 7 are read")


def parse_cmdlines(text: str) -> dict[int, str]:
    """Names of tasks by pid: "12 bash" a line."""
    found = {}
    for line in text.splitlines():
        pid, _, name = line.strip().partition(" ")
        if pid.isdigit():
            found[int(pid)] = name
    return found


def _clock(text: str) -> str:
    """The clock in brackets of tracefs' file trace_clock; text itself when it names just one."""
    found = re.search(r"\[(\S+)\]", text)
    return found[1] if found else text.strip("\0 \n")


def _version_6(data: bytes | mmap.mmap) -> Container:
    made = Container(6, parse_tracing_data(data, offset=0))
    blob = Blob(data, 0)
    blob.order, blob.at = made.order(), made.tracing.end
    made.cmdlines = parse_cmdlines(blob.text())
    cpus = blob.number("I")
    if not 0 < cpus < _MOST_CPUS:
        raise FormatError(f"{cpus} CPUs", offset=blob.at - 4)
    instances: list[tuple[int, str]] = []
    at, part = blob.at, blob.take(10)
    if part == b"options  \0":
        _options_6(blob, made, instances)
        at, part = blob.at, blob.take(10)
    if part == b"latency  \0":
        made.buffers.append(Buffer("", "", [], text=(blob.at, len(data) - blob.at)))
        return made
    if part != b"flyrecord\0":
        raise FormatError("neither options nor pages", offset=at)
    top = _pages_6(blob, made, "", cpus)
    made.buffers.append(top)
    for offset, name in instances:
        try:
            blob.at = offset
            if blob.take(10) != b"flyrecord\0":
                raise FormatError(f"no pages of instance {name!r}", offset=offset)
            made.buffers.append(_pages_6(blob, made, name, cpus))
        except FormatError as error:
            made.problems.append(error)
    return made


def _options_6(blob: Blob, made: Container, instances: list[tuple[int, str]]) -> None:
    while option := blob.number("H"):
        value = blob.take(blob.number("I"))
        made.options.setdefault(option, []).append(value)
        if option == opt.BUFFER:
            inner = Blob(value, blob.at - len(value))
            inner.order = blob.order
            instances.append((inner.number("Q"), inner.string()))


def _pages_6(blob: Blob, made: Container, name: str, cpus: int) -> Buffer:
    pages = [CpuData(cpu, blob.number("Q"), blob.number("Q")) for cpu in range(cpus)]
    clock = ""
    if opt.TRACECLOCK in made.options:
        clock = _clock(blob.text())
    return Buffer(name, clock, pages)


class _Version7:
    """Follows the options of a file of version 7."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.blob = Blob(data, 0)
        self.made = Container(7, TracingData())

    def read(self) -> Container:
        """Header, options, then the sections that options name."""
        blob, made = self.blob, self.made
        blob.at = len(MAGIC) + 2
        made.tracing.big_endian = blob.take(1) == b"\1"
        blob.order = made.order()
        made.tracing.long_size = blob.take(1)[0]
        made.tracing.page_size = blob.number("I")
        made.algorithm = blob.string()
        blob.string()  # its version
        if made.algorithm not in ("none", "zlib", "zstd"):
            raise UnsupportedError(f"compression by {made.algorithm!r}", offset=18, why="zlib and zstd are read")
        seen = set()
        at = blob.number("Q")
        while at:
            if at in seen:
                raise FormatError("the options go in a circle", offset=at)
            seen.add(at)
            at = self.options(at)
        return made

    def section(self, at: int) -> tuple[Blob, int]:
        """The contents of a section, unpacked, and its id."""
        blob = self.blob
        blob.at = at
        number, flags = blob.number("H"), blob.number("H")
        blob.number("I")  # its description
        size = blob.number("Q")
        start = blob.at
        if flags & _COMPRESSED:
            packed, unpacked = blob.number("I"), blob.number("I")
            content = unpack(self.made.algorithm, blob.take(packed), unpacked, start)
        else:
            content = blob.take(size)
        inner = Blob(content, start)
        inner.order = blob.order
        return inner, number

    def options(self, at: int) -> int:
        """One section of options; returns where the next one is, 0: nowhere."""
        inner, _ = self.section(at)
        while True:
            option = inner.number("H")
            value = Blob(inner.take(inner.number("I")), at)
            value.order = inner.order
            if option == opt.DONE:
                return value.number("Q")
            self.made.options.setdefault(option, []).append(bytes(value.data))
            if option == opt.BUFFER:
                self.made.buffers.append(self.buffer(value))
            elif option == opt.BUFFER_TEXT:
                self.made.buffers.append(self.text_buffer(value))
            elif option in _SECTIONS:
                self.part(option, value.number("Q"))

    def buffer(self, value: Blob) -> Buffer:
        """One trace instance."""
        at = value.number("Q")
        made = Buffer(value.string(), _clock(value.string()), [], page_size=value.number("I"))
        count = value.number("I")
        if count > _MOST_CPUS:
            raise FormatError(f"{count} CPUs", offset=value.offset)
        made.cpus = [CpuData(value.number("I"), value.number("Q"), value.number("Q")) for _ in range(count)]
        self.blob.at = at + 2
        made.compressed = bool(self.blob.number("H") & _COMPRESSED)
        return made

    def text_buffer(self, value: Blob) -> Buffer:
        """One with the text of a latency tracer."""
        at = value.number("Q")
        made = Buffer(value.string(), _clock(value.string()), [])
        self.blob.at = at + 2
        made.compressed = bool(self.blob.number("H") & _COMPRESSED)
        self.blob.number("I")
        size = self.blob.number("Q")
        made.text = self.blob.at, size
        return made

    def part(self, option: int, at: int) -> None:
        """A section with formats or names."""
        inner, _ = self.section(at)
        tracing = self.made.tracing
        if option == opt.HEADER_INFO:
            inner.string()
            tracing.header_page = inner.text()
            inner.string()
            tracing.header_event = inner.text()
        elif option == opt.FTRACE_EVENTS:
            for _ in range(inner.number("I")):
                tracing.events.add("ftrace", inner.text())
        elif option == opt.EVENT_FORMATS:
            for _ in range(inner.number("I")):
                system = inner.string()
                for _ in range(inner.number("I")):
                    tracing.events.add(system, inner.text())
        elif option == opt.KALLSYMS:
            tracing.kallsyms = inner.text("I")
        elif option == opt.PRINTK:
            tracing.printk_formats = inner.text("I")
        else:
            self.made.cmdlines = parse_cmdlines(inner.text())


def unpack(algorithm: str, packed: bytes, size: int, offset: int) -> bytes:
    """The contents of a compressed piece.  Raises FormatError."""
    if size > LARGEST_PIECE:
        raise FormatError(f"a compressed piece of {size} bytes", offset=offset)
    content = bytearray(size)
    unpack_into(algorithm, packed, memoryview(content), offset)
    return bytes(content)


def unpack_into(algorithm: str, packed: bytes, target: memoryview, offset: int) -> None:
    """Fill target with the contents of a compressed piece, which has just as many bytes.  Raises FormatError."""
    if algorithm == "zlib":
        try:
            content = zlib.decompressobj().decompress(packed, len(target) + 1)
        except zlib.error as error:
            raise FormatError("a compressed piece is damaged", offset=offset, why=str(error)) from None
        size = len(content)
        target[:size] = content[: len(target)]
    else:
        import zstandard

        try:
            told = zstandard.frame_content_size(packed)
            if told not in (-1, len(target)):  # -1: the frame does not tell
                raise FormatError(f"a compressed piece holds {told} bytes, not {len(target)}", offset=offset)
            with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
                size = reader.readinto(target)
                size += len(reader.read(1)) if size == len(target) else 0
        except zstandard.ZstdError as error:
            raise FormatError("a compressed piece is damaged", offset=offset, why=str(error)) from None
    if size != len(target):
        raise FormatError(f"a compressed piece holds {size} bytes, not {len(target)}", offset=offset)
