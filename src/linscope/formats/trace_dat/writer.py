"""Writes a trace.dat: formats, names and options, then the pages of each CPU from the files that a recorder filled.

Pages stay as the kernel made them and pass through a buffer of one chunk, so that memory does not grow with the
recording.  The file appears whole or not at all.  Loads no numpy: this is the end of a recording.
Source: trace-cmd.dat.v6(5), trace-cmd.dat.v7(5).
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from linscope.errors import OutputError, UsageError
from linscope.formats.trace_dat import options as opt

__all__ = ["COMPRESSIONS", "CpuFile", "TraceBuffer", "TraceDatContents", "write_trace_dat"]

COMPRESSIONS = ("none", "zlib", "zstd")
_CHUNK = 1 << 18  # bytes of pages that are copied, or compressed into one piece, at once
_COMPRESSED = 1
_SECTION_HEAD = 16  # bytes
_ZSTD_LEVEL = 3
_DESCRIPTIONS = {
    opt.DONE: "options",
    opt.BUFFER: "buffer flyrecord",
    opt.STRINGS: "strings",
    opt.HEADER_INFO: "headers",
    opt.FTRACE_EVENTS: "ftrace events",
    opt.EVENT_FORMATS: "events format",
    opt.KALLSYMS: "kallsyms",
    opt.PRINTK: "printk",
    opt.CMDLINES: "command lines",
    opt.BUFFER_TEXT: "buffer latency",
}

CpuFile = tuple[int, "str | int", "int | None"]  # number of the CPU; path or descriptor; bytes, None: all there are


class TraceBuffer:
    """One trace instance and where its data are."""

    def __init__(
        self,
        name: str = "",
        clock: str = "local",
        page_size: int = 0,
        cpus: Iterable[CpuFile] = (),
        *,
        text: bytes | None = None,
    ) -> None:
        """name: "" for the top instance.  clock: its name, or the text of tracefs' file trace_clock.
        page_size: bytes of a sub-buffer of the ring, 0: a page of the machine.
        cpus: (CPU, path or descriptor, bytes) of files that hold whole pages of per_cpu/cpuN/trace_pipe_raw; a page
        that was read short is filled up with zeros, and what is left at the end is not taken.
        text: instead of pages, the text of the file ``trace``, as a latency tracer's recording has it.
        """
        self.name = name
        self.clock = clock
        self.page_size = page_size
        self.cpus = list(cpus)
        self.text = text

    def clock_name(self) -> str:
        """The clock alone."""
        found = re.search(r"\[(\S+)\]", self.clock)
        return found[1] if found else self.clock.strip()

    def clock_list(self) -> str:
        """The clock in brackets, as tracefs has it among the others."""
        return self.clock if "[" in self.clock else f"[{self.clock.strip()}]\n"


class TraceDatContents:
    """All of a trace.dat but its pages; texts are those of tracefs' files, empty where the recorder could not read."""

    def __init__(
        self,
        *,
        header_page: bytes = b"",
        header_event: bytes = b"",
        formats: Mapping[str, Sequence[bytes]] | None = None,
        kallsyms: bytes = b"",
        printk_formats: bytes = b"",
        cmdlines: bytes = b"",
        options: Iterable[tuple[int, bytes]] = (),
        buffers: Iterable[TraceBuffer] = (),
        page_size: int = 0,
        long_size: int = 0,
        big_endian: bool | None = None,
    ) -> None:
        """formats: texts of events/SYSTEM/NAME/format by system, "ftrace" among them.
        options: (number, value) of trace_dat.options, without TRACECLOCK, BUFFER and those that name sections.
        page_size, long_size, big_endian: of the recorded machine; without them, of this one.
        """
        self.header_page = header_page
        self.header_event = header_event
        self.formats = dict(formats or {})
        self.kallsyms = kallsyms
        self.printk_formats = printk_formats
        self.cmdlines = cmdlines
        self.options = list(options)
        self.buffers = list(buffers)
        self.page_size = page_size or os.sysconf("SC_PAGE_SIZE")
        self.long_size = long_size or struct.calcsize("l")
        self.big_endian = struct.pack("=H", 1) == b"\0\1" if big_endian is None else big_endian

    def order(self) -> str:
        """Byte order, in struct's sign."""
        return ">" if self.big_endian else "<"


def write_trace_dat(
    path: str, contents: TraceDatContents, *, version: int = 7, compression: str = "zstd", level: int = _ZSTD_LEVEL
) -> int:
    """Write the file; returns its bytes.

    version: 6 or 7; 6 knows no compression, then ``compression`` does not count.  level: of zstd.
    Raises OutputError when the disk is full or the folder cannot be written, and then leaves nothing behind; OSError
    when the pages cannot be read; UsageError for a version or compression that does not exist.
    """
    if version not in (6, 7):
        raise UsageError(f"no trace.dat has version {version}", next_step="version 6 or 7")
    if version == 7 and compression not in COMPRESSIONS:
        raise UsageError(f"trace.dat is not compressed by {compression}", next_step=" or ".join(COMPRESSIONS))
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name}.{os.getpid()}.new")
    try:
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OutputError("the recording cannot be begun", where=path, why=error.strerror or "") from None
    try:
        try:
            out = _Output(fd, path)
            (_Version6(out, contents) if version == 6 else _Version7(out, contents, compression, level)).write()
        finally:
            os.close(fd)
        os.rename(new, path)  # noqa: PTH104 - pathlib costs start-up time
    except BaseException:
        os.unlink(new)
        raise
    return out.at


class _Output:
    """Writes from the front on; numbers that are known late are filled in."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.at = 0

    def write(self, data: bytes) -> None:
        """Append."""
        self._put(data, self.at)
        self.at += len(data)

    def fill_in(self, data: bytes, at: int) -> None:
        """Replace what was written at an offset."""
        self._put(data, at)

    def align(self, size: int) -> None:
        """Zeros up to the next multiple of size."""
        self.write(bytes(-self.at % size))

    def _put(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self.fd, view, at)
                view, at = view[done:], at + done
        except OSError as error:
            raise OutputError("the recording cannot be written", where=self.path, why=error.strerror or "") from None


def _pages(source: str | int, size: int | None, page_size: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Once: the bytes of whole pages in a file, and these in chunks."""
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC) if isinstance(source, str) else source
    try:
        there = os.fstat(fd).st_size
        whole = (there if size is None else min(size, there)) // page_size * page_size
        yield whole, _chunks(fd, whole, max(_CHUNK // page_size, 1) * page_size)
    finally:
        if isinstance(source, str):
            os.close(fd)


def _chunks(fd: int, size: int, chunk: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        wanted = min(chunk, size - at)
        data = os.pread(fd, wanted, at)
        while 0 < len(data) < wanted:
            more = os.pread(fd, wanted - len(data), at + len(data))
            if not more:
                break
            data += more
        yield data.ljust(wanted, b"\0")  # a file that was cut off meanwhile has zeros there: pages without events
        at += wanted


class _Part:
    """Builds the bytes of a section."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.parts: list[bytes] = []

    def number(self, code: str, value: int) -> None:
        """One number; code: as struct has it."""
        self.parts.append(struct.pack(self.order + code, value))

    def text(self, content: bytes, code: str = "Q") -> None:
        """A number, and text of so many bytes."""
        self.number(code, len(content))
        self.parts.append(content)

    def string(self, text: str | bytes) -> None:
        """Text and its NUL."""
        self.parts.append((text.encode() if isinstance(text, str) else text) + b"\0")

    def option(self, number: int, value: bytes) -> None:
        """An option."""
        self.number("H", number)
        self.number("I", len(value))
        self.parts.append(value)

    def bytes(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)


class _Writer:
    """What both versions share."""

    version = 0

    def __init__(self, out: _Output, contents: TraceDatContents) -> None:
        self.out = out
        self.contents = contents
        self.order = contents.order()

    def write(self) -> None:
        """All of the file."""
        raise NotImplementedError

    def head(self) -> bytes:
        """Magic, version, byte order, size of long and of a page."""
        contents = self.contents
        made = b"\x17\x08\x44tracing" + f"{self.version}".encode() + b"\0"
        return made + struct.pack(self.order + "BBI", contents.big_endian, contents.long_size, contents.page_size)

    def headers(self, part: _Part) -> None:
        """The formats of a page and of an event's head."""
        part.string("header_page")
        part.text(self.contents.header_page)
        part.string("header_event")
        part.text(self.contents.header_event)

    def own_formats(self, part: _Part) -> None:
        """Formats of the events of the tracers."""
        own = self.contents.formats.get("ftrace", ())
        part.number("I", len(own))
        for text in own:
            part.text(text)

    def other_formats(self, part: _Part) -> None:
        """Formats of the tracepoints."""
        others = {system: texts for system, texts in self.contents.formats.items() if system != "ftrace"}
        part.number("I", len(others))
        for system, texts in others.items():
            part.string(system)
            part.number("I", len(texts))
            for text in texts:
                part.text(text)

    def symbols(self, part: _Part) -> None:
        """kallsyms."""
        part.text(self.contents.kallsyms, "I")

    def strings(self, part: _Part) -> None:
        """printk_formats."""
        part.text(self.contents.printk_formats, "I")

    def names(self, part: _Part) -> None:
        """saved_cmdlines."""
        part.text(self.contents.cmdlines)

    def cpus(self) -> int:
        """CPUs of the machine, as far as the buffers tell."""
        return 1 + max((cpu for buffer in self.contents.buffers for cpu, _, _ in buffer.cpus), default=0)

    def page_size(self, buffer: TraceBuffer) -> int:
        """Bytes of a buffer's page."""
        return buffer.page_size or self.contents.page_size

    def copy(self, buffer: TraceBuffer, source: str | int, size: int | None) -> tuple[int, int]:
        """Append pages as they are; returns their offset and bytes."""
        begin = self.out.at
        for _, chunks in _pages(source, size, self.page_size(buffer)):
            for chunk in chunks:
                self.out.write(chunk)
        return begin, self.out.at - begin


class _Version6(_Writer):
    version = 6

    def write(self) -> None:
        contents, out = self.contents, self.out
        part = _Part(self.order)
        part.parts.append(self.head())
        self.headers(part)
        self.own_formats(part)
        self.other_formats(part)
        self.symbols(part)
        self.strings(part)
        self.names(part)
        cpus = self.cpus()
        part.number("I", cpus)
        top = next((buffer for buffer in contents.buffers if not buffer.name), TraceBuffer())
        if top.text is not None:
            part.parts.append(b"latency  \0" + top.text)
            out.write(part.bytes())
            return
        instances = [buffer for buffer in contents.buffers if buffer is not top]
        part.parts.append(b"options  \0")
        for number, value in contents.options:
            part.option(number, value)
        part.option(opt.TRACECLOCK, top.clock_list().encode() + b"\0")
        out.write(part.bytes())
        places = []
        for buffer in instances:
            part = _Part(self.order)
            part.option(opt.BUFFER, bytes(8) + buffer.name.encode() + b"\0")
            places.append(out.at + 6)
            out.write(part.bytes())
        out.write(struct.pack(self.order + "H", opt.DONE))
        self.pages(top, cpus)
        for buffer, place in zip(instances, places, strict=True):
            out.fill_in(struct.pack(self.order + "Q", out.at), place)
            self.pages(buffer, cpus)

    def pages(self, buffer: TraceBuffer, cpus: int) -> None:
        """One instance: where the pages of each CPU are, its clock, the pages."""
        out = self.out
        out.write(b"flyrecord\0")
        table = out.at
        out.write(bytes(16 * cpus))
        part = _Part(self.order)
        part.text(buffer.clock_list().encode() + b"\0")
        out.write(part.bytes())
        out.align(self.contents.page_size)
        found = [(out.at, 0)] * cpus
        for cpu, source, size in buffer.cpus:
            found[cpu] = self.copy(buffer, source, size)
        out.fill_in(b"".join(struct.pack(self.order + "QQ", *one) for one in found), table)


class _Version7(_Writer):
    version = 7

    def __init__(self, out: _Output, contents: TraceDatContents, compression: str, level: int) -> None:
        super().__init__(out, contents)
        self.compression = compression
        self.compress, self.compression_version = _compressor(compression, level)
        self.options = _Part(self.order)
        self.flags = 0 if compression == "none" else _COMPRESSED
        self.strings_at: dict[int, int] = {}  # of each section's description
        self.texts = b""
        for number, text in _DESCRIPTIONS.items():
            self.strings_at[number] = len(self.texts)
            self.texts += text.encode() + b"\0"

    def write(self) -> None:
        out, order = self.out, self.order
        part = _Part(order)
        part.parts.append(self.head())
        part.string(self.compression)
        part.string(self.compression_version)
        out.write(part.bytes())
        place = out.at
        out.write(bytes(8))
        for number, make in (
            (opt.HEADER_INFO, self.headers),
            (opt.FTRACE_EVENTS, self.own_formats),
            (opt.EVENT_FORMATS, self.other_formats),
            (opt.KALLSYMS, self.symbols),
            (opt.PRINTK, self.strings),
            (opt.CMDLINES, self.names),
        ):
            part = _Part(order)
            make(part)
            self.section(number, part.bytes())
        for number, value in self.contents.options:
            self.options.option(number, value)
        top = next((buffer for buffer in self.contents.buffers if not buffer.name), TraceBuffer())
        self.options.option(opt.TRACECLOCK, top.clock_list().encode() + b"\0")
        self.options.option(opt.CPUCOUNT, struct.pack(order + "I", self.cpus()))
        # The options go before the pages, so that a copy that was cut off still tells where these are.
        begin = out.at
        buffers = self.contents.buffers
        size = len(self.all_options([self.buffer_option(one, 0, [(0, 0)] * len(one.cpus)) for one in buffers]))
        out.write(self.section_head(opt.DONE, 0, size) + bytes(size))
        options = self.all_options([self.buffer(one) for one in buffers])
        out.fill_in(options, begin + _SECTION_HEAD)
        out.fill_in(struct.pack(order + "Q", begin), place)
        out.write(self.section_head(opt.STRINGS, 0, len(self.texts)) + self.texts)

    def all_options(self, buffers: Iterable[bytes]) -> bytes:
        """The section of options, those of the buffers at its end."""
        end = _Part(self.order)
        end.option(opt.DONE, bytes(8))
        return self.options.bytes() + b"".join(buffers) + end.bytes()

    def section_head(self, number: int, flags: int, size: int) -> bytes:
        """What a section begins with."""
        return struct.pack(self.order + "HHIQ", number, flags, self.strings_at[number], size)

    def section(self, number: int, content: bytes) -> None:
        """One with formats or names, and the option that points at it."""
        self.options.option(number, struct.pack(self.order + "Q", self.out.at))
        if self.flags:
            packed = self.compress(content)
            content = struct.pack(self.order + "II", len(packed), len(content)) + packed
        self.out.write(self.section_head(number, self.flags, len(content)) + content)

    def buffer(self, buffer: TraceBuffer) -> bytes:
        """Write the section of one instance; returns its option."""
        out = self.out
        begin = out.at
        out.write(self.section_head(_number_of(buffer), self.flags, 0))
        places = []
        if buffer.text is not None:
            self.packed(iter([buffer.text])) if self.flags else out.write(buffer.text)
        else:
            if not self.flags:
                out.align(self.page_size(buffer))
            places = [self.pages(buffer, source, size) for _, source, size in buffer.cpus]
        out.fill_in(struct.pack(self.order + "Q", out.at - begin - _SECTION_HEAD), begin + 8)
        return self.buffer_option(buffer, begin, places)

    def buffer_option(self, buffer: TraceBuffer, section: int, places: Sequence[tuple[int, int]]) -> bytes:
        """The option of one instance; section: where it begins; places: offset and bytes of each CPU's pages."""
        value = _Part(self.order)
        value.number("Q", section)
        value.string(buffer.name)
        value.string(buffer.clock_name())
        if buffer.text is None:
            value.number("I", self.page_size(buffer))
            value.number("I", len(buffer.cpus))
            for (cpu, _, _), (at, length) in zip(buffer.cpus, places, strict=True):
                value.parts.append(struct.pack(self.order + "IQQ", cpu, at, length))
        option = _Part(self.order)
        option.option(_number_of(buffer), value.bytes())
        return option.bytes()

    def pages(self, buffer: TraceBuffer, source: str | int, size: int | None) -> tuple[int, int]:
        """The pages of one CPU; returns their offset and their bytes in this file, 0 without any."""
        if not self.flags:
            return self.copy(buffer, source, size)
        begin = self.out.at
        for whole, chunks in _pages(source, size, self.page_size(buffer)):
            if whole:
                self.packed(chunks)
        return begin, self.out.at - begin

    def packed(self, chunks: Iterator[bytes]) -> None:
        """How many pieces, then each with its sizes."""
        out, order = self.out, self.order
        place, count = out.at, 0
        out.write(bytes(4))
        for chunk in chunks:
            packed = self.compress(chunk)
            out.write(struct.pack(order + "II", len(packed), len(chunk)) + packed)
            count += 1
        out.fill_in(struct.pack(order + "I", count), place)


def _number_of(buffer: TraceBuffer) -> int:
    """The number of a buffer's option and section."""
    return opt.BUFFER if buffer.text is None else opt.BUFFER_TEXT


def _compressor(name: str, level: int) -> tuple[Callable[[bytes], bytes], str]:
    """The function that compresses, and its library's version."""
    if name == "zstd":
        import zstandard

        version = ".".join(map(str, zstandard.ZSTD_VERSION))
        compress: Callable[[bytes], bytes] = zstandard.ZstdCompressor(level=level).compress
        return compress, version
    return zlib.compress, zlib.ZLIB_RUNTIME_VERSION if name == "zlib" else ""
