"""trace.dat -> the tables of a Profile."""

from __future__ import annotations

import contextlib
import io
import mmap
import re
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.event_format import EventFormat
from linscope.binfmt.kernel_stack import is_kernel_stack
from linscope.binfmt.print_code import PrintContext
from linscope.binfmt.ring_buffer import NO_TYPE, PageEvents, decode_pages
from linscope.columns.growing import GrowingColumn
from linscope.columns.profile import Event, EventTable, Frames, Loss, NamedFrames, Profile, Samples, Space, Stacks
from linscope.contracts import ReadOptions
from linscope.errors import FormatError
from linscope.formats._event_tables import EventTableBuilder
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.clock import TraceClock
from linscope.formats.trace_dat.container import MAGIC, Buffer, Container, CpuData, read_container
from linscope.formats.trace_dat.pages import PageReader, Pages
from linscope.formats.trace_dat.stacks import KernelStacks, owners
from linscope.formats.trace_dat.symbols import FileSymbols

_MOST_PIDS = 1 << 22  # PID_MAX_LIMIT
_NO_EVENT = 0xFFFF
_COLUMNS = (("time_ns", "u8"), ("cpu", "u4"), ("pid", "u4"), ("event", "u2"))


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
            fd = source.fileno() if isinstance(data, mmap.mmap) else -1
            return _Reader(PageReader(data, fd, container), container, options).read()
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

    def __init__(self, pages: PageReader, container: Container, options: ReadOptions) -> None:
        self.pages = pages
        self.container = container
        self.options = options
        self.problems: list[Exception] = list(container.problems)
        self.losses: list[Loss] = []
        self.columns = {name: GrowingColumn(kind) for name, kind in _COLUMNS}
        self.events: list[Event] = []
        self.numbers = np.full(1 << 16, _NO_EVENT, np.uint16)  # number of the event of each id
        self.builders: dict[int, EventTableBuilder] = {}
        self.stacks: KernelStacks | None = None
        self.first_rows: list[int] = []  # of each CPU of each buffer
        self.count = 0
        self.instances: list[tuple[int, str]] = []  # first sample and name of each buffer
        name = next((buffer.clock for buffer in container.buffers if buffer.clock), "")
        self.features: dict[str, Any] = {"TRACE_CLOCK": name or "local"}
        try:
            self.clock = TraceClock(container, name)
        except FormatError as error:
            self.problems.append(error)
            container.options.pop(opt.TIME_SHIFT, None)
            self.clock = TraceClock(container, name)
        if not self.clock.in_ns:
            self.features["TRACE_CLOCK_TICKS"] = True
        tracing = container.tracing
        self.symbols = FileSymbols(tracing.kallsyms)
        self.printing: PrintContext = replace(
            tracing.printing(), long_size=container.long_size(), symbol=self.symbols
        )

    def read(self) -> Profile:
        """All of it."""
        for buffer in self.container.buffers:
            self.instances.append((self.count, buffer.name))
            if buffer.text is not None:
                self._text(buffer)
            for cpu in buffer.cpus:
                if cpu.size:
                    self._cpu(buffer, cpu)
        return self._profile()

    def _text(self, buffer: Buffer) -> None:
        """Keep what a latency tracer wrote: it is no events, but lines to be shown."""
        try:
            text = self.pages.text(buffer)
        except FormatError as error:
            self.problems.append(error)
            return
        self.features["LATENCY_TEXT"] = self.features.get("LATENCY_TEXT", "") + text

    def _cpu(self, buffer: Buffer, cpu: CpuData) -> None:
        self.first_rows.append(self.count)
        try:
            for pages in self.pages.pages(buffer, cpu):
                self._pages(pages, cpu.cpu)
        except FormatError as error:
            error.where = error.where or self.options.where
            self.problems.append(error)

    def _pages(self, pages: Pages, cpu: int) -> None:
        """Take the events of whole pages."""
        long_size, big = self.printing.long_size, self.printing.big_endian
        found = decode_pages(pages.data, pages.page_size, long_size=long_size, big_endian=big)
        found = found._replace(time=self.clock.times(found.time, cpu))
        self._take(pages.data, found, cpu)
        for at in list(found.damaged.values())[:1]:
            what = f"{len(found.damaged)} pages of CPU {cpu} are damaged, the first"
            self.problems.append(FormatError(what, where=self.options.where, offset=pages.offset(at)))
        for page, missed in found.missed.items():
            head = pages.data[page * pages.page_size :][:8]
            time = self.clock.times(head.view(">u8" if big else "<u8").astype(np.uint64), cpu)
            self.losses.append(Loss(int(time[0]), cpu, max(missed, 1), -1))
        if self.options.progress is not None:
            self.options.progress(pages.offset(0))

    def _take(self, data: NDArray[np.uint8], found: PageEvents, cpu: int) -> None:
        """Make rows of the events of some pages."""
        at, size, time, type_, pid = found.at, found.size, found.time, found.type, found.pid
        if (type_ == NO_TYPE).any():
            fits = type_ != NO_TYPE
            at, size, time, type_, pid = at[fits], size[fits], time[fits], type_[fits], pid[fits]
        if not len(at):
            return
        order = np.argsort(type_, kind="stable")
        counts = np.bincount(type_)
        first = 0
        for number in np.flatnonzero(counts).tolist():
            rows = order[first : first + counts[number]]
            first += len(rows)
            builder = self._builder(number)
            if isinstance(builder, KernelStacks) or (builder is not None and self.options.tables):
                builder.add(data, at[rows], size[rows], rows + self.count)
        self.columns["time_ns"].extend(time)
        self.columns["cpu"].extend(cpu, len(at))
        self.columns["pid"].extend(pid)
        self.columns["event"].extend(self.numbers[type_])
        self.count += len(at)

    def _builder(self, number: int) -> EventTableBuilder | KernelStacks | None:
        """The builder of the event of that id; the event is listed when it is first seen."""
        if self.stacks is not None and self.stacks.form.id == number:
            return self.stacks
        if number in self.builders:
            return self.builders[number]
        form: EventFormat | None = self.container.tracing.events.get(number)
        if form is None:
            return None
        name = f"{form.system}:{form.name}"
        attr = EventAttr(pe.PERF_TYPE_TRACEPOINT, 0, number, 1, 0, 0, {}, name=name)
        self.numbers[number] = len(self.events)
        self.events.append(Event(name, name, attr))
        if is_kernel_stack(form):
            self.stacks = KernelStacks(form, self.container.order(), self.printing.long_size, self.printing)
            return self.stacks
        made = EventTableBuilder(form, self.container.order(), self.printing)
        return self.builders.setdefault(number, made)

    def _profile(self) -> Profile:
        columns = {name: column.finish() for name, column in self.columns.items()}
        count = self.count
        zeros = np.zeros(count, np.uint32)
        pids, of_row = _numbered(columns["pid"])
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
            comm=of_row,
            address=np.zeros(count, np.uint64),
            mode=np.zeros(count, np.uint8),
        )
        stacks, frames, named = self._stacks(samples)
        self._order_events(samples)
        features = self.features
        if len(self.instances) > 1:
            features["INSTANCES"] = self.instances
        if uname := self.container.text_option(opt.UNAME):
            features["UNAME"] = uname
        return Profile(
            events=self.events,
            samples=samples,
            stacks=stacks,
            frames=frames,
            spaces=[Space(-1, 0, [])],
            comms=comms,
            losses=[*self.losses, *counted_losses(self.container)],
            features=features,
            problems=self.problems,
            named=named,
            tables=self._tables(),
            where=self.options.where,
        )

    def _order_events(self, samples: Samples) -> None:
        """Events with stacks first, those of ftrace itself last: the first one is what pictures show."""

        def place(number: int) -> tuple[bool, bool, int]:
            event = self.events[number]
            return not event.attr.sample_type & pe.PERF_SAMPLE_CALLCHAIN, event.name.startswith("ftrace:"), number

        order = sorted(range(len(self.events)), key=place)
        if order == list(range(len(self.events))):
            return
        moved = np.full(1 << 16, _NO_EVENT, np.uint16)
        moved[order] = np.arange(len(order))
        samples.event = moved[samples.event]
        self.events = [self.events[number] for number in order]

    def _tables(self) -> dict[str, EventTable]:
        """The typed tables, by event."""
        if not self.options.tables:
            return {}
        tables = [builder.finish() for builder in self.builders.values()]
        if self.stacks is not None:
            tables.append(self.stacks.finish())
        return {table.name: table for table in tables if len(table)}

    def _stacks(self, samples: Samples) -> tuple[Stacks, Frames, NamedFrames | None]:
        """Give each sample the stack that was recorded behind it."""
        if self.stacks is None or not len(self.stacks.rows):
            none = np.zeros(1, np.uint32)
            no_frames = Frames(np.empty(0, np.uint32), np.empty(0, np.uint64), np.empty(0, np.uint8))
            return Stacks(none, none), no_frames, None
        stacks, frames, named, leaves = self.stacks.tree(self.symbols)
        rows, ids = self.stacks.rows.finish(), self.stacks.ids.finish()
        is_stack_row = np.zeros(len(samples), np.bool_)
        is_stack_row[rows] = True
        owner = owners(rows, is_stack_row, samples.pid, np.array(self.first_rows))
        samples.stack[owner[owner >= 0]] = leaves[ids[owner >= 0]]
        for number in np.unique(samples.event[owner[owner >= 0]]).tolist():
            if number < len(self.events):
                event = self.events[number]
                event.attr = replace(event.attr, sample_type=event.attr.sample_type | pe.PERF_SAMPLE_CALLCHAIN)
        return stacks, frames, named


def counted_losses(container: Container) -> list[Loss]:
    """What the kernel counted until the end of the recording: of a full page, its pages do not tell how many."""
    found = []
    for value in container.options.get(opt.CPUSTAT, ()):
        text = value.decode(errors="replace")
        cpu = re.match(r"CPU: (\d+)", text)
        lost = sum(map(int, re.findall(r"^(?:overrun|commit overrun|dropped events): (\d+)", text, re.MULTILINE)))
        if cpu is not None and lost:
            found.append(Loss(0, int(cpu[1]), lost, -1, of_event=True))
    return found


def _numbered(values: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The distinct values, sorted, and which of them each row has."""
    if not len(values) or int(values.max()) > _MOST_PIDS:
        distinct, of_row = np.unique(values, return_inverse=True)
        return distinct, of_row.astype(np.uint32)
    numbers = np.zeros(int(values.max()) + 1, np.uint32)
    numbers[values] = 1
    distinct = np.flatnonzero(numbers).astype(np.uint32)
    numbers[distinct] = np.arange(len(distinct), dtype=np.uint32)
    return distinct, numbers[values]


TRACE_DAT = TraceDat()
