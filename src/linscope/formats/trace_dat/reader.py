"""trace.dat -> the tables of a Profile."""

from __future__ import annotations

import contextlib
import io
import mmap
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.event_format import EventFormat
from linscope.binfmt.print_code import PrintContext, no_symbol
from linscope.binfmt.ring_buffer import PageEvents, decode_pages
from linscope.columns.profile import Event, Frames, Loss, Profile, Samples, Space, Stacks
from linscope.contracts import ReadOptions
from linscope.errors import FormatError
from linscope.formats._event_tables import EventTableBuilder
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.trace_dat.container import MAGIC, Buffer, Container, CpuData, read_container, unpack

_PAGES = 8192  # decoded at once
_NO_EVENT = 0xFFFF
_COLUMNS = (("time_ns", "u8"), ("cpu", "u4"), ("pid", "u4"), ("event", "u2"))
_OPTION_UNAME = 5


class TraceDat:
    """Recordings of trace-cmd."""

    def detect(self, head: bytes) -> bool:
        """True if head, the first bytes of a file, is that of a trace.dat."""
        return head.startswith(MAGIC)

    def read(self, source: BinaryIO, options: ReadOptions) -> Profile:
        """All tables.  Raises FormatError."""
        data = _contents(source)
        try:
            container = read_container(data, options.where)
            return _Reader(data, container, options).read()
        except FormatError as error:
            error.where = error.where or options.where
            raise
        finally:
            if isinstance(data, mmap.mmap):
                with contextlib.suppress(BufferError):  # an error's traceback may still hold a view
                    data.close()


def _contents(source: BinaryIO) -> bytes | mmap.mmap:
    """The whole file, mapped where that can be."""
    try:
        return mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, io.UnsupportedOperation):
        return source.read()


class _Reader:
    """Collects the events of all buffers, CPU by CPU."""

    def __init__(self, data: bytes | mmap.mmap, container: Container, options: ReadOptions) -> None:
        self.data = data
        self.container = container
        self.options = options
        self.problems: list[Exception] = list(container.problems)
        self.losses: list[Loss] = []
        self.columns: dict[str, list[NDArray[Any]]] = {name: [] for name, _ in _COLUMNS}
        self.events: list[Event] = []
        self.numbers = np.full(1 << 16, _NO_EVENT, np.uint16)  # number of the event of each id
        self.builders: dict[int, EventTableBuilder] = {}
        self.count = 0
        self.instances: list[tuple[int, str]] = []  # first sample and name of each buffer
        tracing = container.tracing
        self.printing: PrintContext = replace(
            tracing.printing(), long_size=container.long_size(), symbol=_symbols(tracing.kallsyms)
        )

    def read(self) -> Profile:
        """All of it."""
        for buffer in self.container.buffers:
            self.instances.append((self.count, buffer.name))
            for cpu in buffer.cpus:
                if cpu.size:
                    self._cpu(buffer, cpu)
        return self._profile()

    def _cpu(self, buffer: Buffer, cpu: CpuData) -> None:
        page_size = buffer.page_size or self.container.tracing.page_size
        if page_size < 64:
            raise FormatError(f"pages of {page_size} bytes")
        try:
            for pages, offset in self._pieces(buffer, cpu):
                self._pages(pages, cpu.cpu, page_size, offset)
        except FormatError as error:
            error.where = error.where or self.options.where
            self.problems.append(error)

    def _pieces(self, buffer: Buffer, cpu: CpuData) -> Iterator[tuple[NDArray[np.uint8], int]]:
        """Whole pages in the order of the file, and the offset they began at."""
        if not buffer.compressed:
            end = min(cpu.offset + cpu.size, len(self.data))
            if cpu.offset < end:
                yield np.frombuffer(self.data, np.uint8, end - cpu.offset, cpu.offset), cpu.offset
            if end < cpu.offset + cpu.size:
                what = f"the file ends {cpu.offset + cpu.size - end} bytes before the end of CPU {cpu.cpu}'s pages"
                raise FormatError(what, offset=len(self.data))
            return
        order = self.container.order()
        at = cpu.offset
        (count,) = self._unpack(order + "I", at)
        at += 4
        for _ in range(count):
            packed, size = self._unpack(order + "II", at)
            at += 8
            if at + packed > len(self.data):
                raise FormatError("the file ends in compressed pages", offset=len(self.data))
            content = unpack(self.container.algorithm, bytes(self.data[at : at + packed]), size, at)
            yield np.frombuffer(content, np.uint8), at
            at += packed

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        if at + struct.calcsize(form) > len(self.data):
            raise FormatError("the file ends before its pages", offset=min(at, len(self.data)))
        return struct.unpack_from(form, self.data, at)

    def _pages(self, data: NDArray[np.uint8], cpu: int, page_size: int, offset: int) -> None:
        """Take the events of whole pages."""
        long_size, big = self.printing.long_size, self.printing.big_endian
        whole = len(data) // page_size
        for first in range(0, whole, _PAGES):
            starts = np.arange(first, min(first + _PAGES, whole), dtype=np.int64) * page_size
            found = decode_pages(data, starts, page_size, long_size=long_size, big_endian=big)
            self._take(data, found, cpu)
            for at in list(found.damaged.values())[:1]:
                what = f"{len(found.damaged)} pages of CPU {cpu} are damaged, the first"
                self.problems.append(FormatError(what, where=self.options.where, offset=offset + at))
            for page, missed in found.missed.items():
                at = int(starts[page])
                time = int.from_bytes(data[at : at + 8].tobytes(), "big" if big else "little")
                self.losses.append(Loss(time, cpu, max(missed, 1), -1))
            if self.options.progress is not None:
                self.options.progress(offset + int(starts[-1]))

    def _take(self, data: NDArray[np.uint8], found: PageEvents, cpu: int) -> None:
        """Make rows of the events of some pages."""
        fits = found.size >= 8
        at, size, time = found.at[fits], found.size[fits], found.time[fits]
        if not len(at):
            return
        order = self.container.order()
        head = np.ascontiguousarray(data[at[:, None] + np.arange(8)])
        kind = np.ascontiguousarray(head[:, :2]).view(order + "u2").reshape(-1).astype(np.int64)
        pid = np.ascontiguousarray(head[:, 4:]).view(order + "u4").reshape(-1).astype(np.uint32)
        kinds = np.flatnonzero(np.bincount(kind))
        for number in kinds.tolist():
            builder = self._builder(number)
            if builder is not None and self.options.tables:
                rows = np.flatnonzero(kind == number)
                builder.add(data, at[rows], size[rows], rows + self.count)
        self.columns["time_ns"].append(time)
        self.columns["cpu"].append(np.full(len(at), cpu, np.uint32))
        self.columns["pid"].append(pid)
        self.columns["event"].append(self.numbers[kind])
        self.count += len(at)

    def _builder(self, number: int) -> EventTableBuilder | None:
        """The builder of the event of that id; the event is listed when it is first seen."""
        if number in self.builders:
            return self.builders[number]
        form: EventFormat | None = self.container.tracing.events.get(number)
        if form is None:
            return None
        name = f"{form.system}:{form.name}"
        attr = EventAttr(pe.PERF_TYPE_TRACEPOINT, 0, number, 1, 0, 0, {}, name=name)
        self.numbers[number] = len(self.events)
        self.events.append(Event(name, name, attr))
        made = EventTableBuilder(form, self.container.order(), self.printing)
        return self.builders.setdefault(number, made)

    def _profile(self) -> Profile:
        columns = {
            name: np.concatenate(self.columns[name]) if self.columns[name] else np.empty(0, kind)
            for name, kind in _COLUMNS
        }
        count = self.count
        zeros = np.zeros(count, np.uint32)
        pids, of_row = np.unique(columns["pid"], return_inverse=True)
        names = self.container.cmdlines
        comms = ["<idle>" if pid == 0 else names.get(pid, "<...>") for pid in pids.tolist()]
        samples = Samples(
            time_ns=columns["time_ns"],
            cpu=columns["cpu"],
            pid=columns["pid"],
            tid=columns["pid"],
            event=columns["event"],
            weight=np.ones(count, np.uint64),
            stack=zeros,
            comm=of_row.astype(np.uint32),
            address=np.zeros(count, np.uint64),
            mode=np.zeros(count, np.uint8),
        )
        none = np.zeros(1, np.uint32)
        clock = next((buffer.clock for buffer in self.container.buffers if buffer.clock), "local")
        features: dict[str, Any] = {"TRACE_CLOCK": clock}
        if len(self.instances) > 1:
            features["INSTANCES"] = self.instances
        if uname := self.container.text_option(_OPTION_UNAME):
            features["UNAME"] = uname
        return Profile(
            events=self.events,
            samples=samples,
            stacks=Stacks(none, none),
            frames=Frames(np.empty(0, np.uint32), np.empty(0, np.uint64), np.empty(0, np.uint8)),
            spaces=[Space(-1, 0, [])],
            comms=comms,
            losses=self.losses,
            features=features,
            problems=self.problems,
            tables={table.name: table for table in (b.finish() for b in self.builders.values()) if len(table)},
            where=self.options.where,
        )


def _symbols(text: str) -> Callable[[int], tuple[str, int] | None]:
    """Kernel addresses -> (name, offset) by the kallsyms that the file carries."""
    rows = []
    for line in text.splitlines():
        words = line.split()
        with contextlib.suppress(ValueError):
            if len(words) >= 3 and (address := int(words[0], 16)):
                rows.append((address, words[2]))
    if not rows:
        return no_symbol
    rows.sort(key=lambda row: row[0])
    starts = [address for address, _ in rows]

    def find(address: int) -> tuple[str, int] | None:
        at = bisect_right(starts, address) - 1
        return None if at < 0 else (rows[at][1], address - starts[at])

    return find


TRACE_DAT = TraceDat()
