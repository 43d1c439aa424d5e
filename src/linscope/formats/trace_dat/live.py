"""Pages of a running trace, as they come -> tables of what has happened, in time order over all CPUs.

Events are held back while another CPU may still tell of earlier ones: those that one round of reading has seen are
handed over after the next round, for what that did not find has happened later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.kernel_stack import is_kernel_stack
from linscope.binfmt.ring_buffer import NO_TYPE, PageEvents, decode_pages
from linscope.columns.profile import Event, EventTable, Frames, Loss, Profile, Samples, Space, Stacks
from linscope.formats._event_tables import EventTableBuilder
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.perf_data.tracing_data import TracingData
from linscope.formats.perf_data.write_tracing_data import read_if_allowed
from linscope.formats.trace_dat.clock import TraceClock
from linscope.formats.trace_dat.container import Container, parse_cmdlines
from linscope.formats.trace_dat.parts import KALLSYMS
from linscope.formats.trace_dat.stacks import KernelStacks
from linscope.formats.trace_dat.symbols import FileSymbols
from linscope.formats.trace_dat.writer import TraceDatContents

_NO_EVENT = 0xFFFF
_END = (1 << 64) - 1
_FEW = 50  # tasks


class _RunningSymbols:
    """The running kernel's symbols, read when the first is asked for."""

    @cached_property
    def _symbols(self) -> FileSymbols:
        return FileSymbols(read_if_allowed(KALLSYMS).decode())

    def __call__(self, address: int) -> tuple[str, int] | None:
        return self._symbols(address)


@dataclass
class _Chunk:
    """Events of one CPU that were read at once."""

    data: bytes
    found: PageEvents
    times: NDArray[np.uint64]  # never falling
    losses: list[tuple[int, Loss]]  # with the number of the event that follows
    done: int = 0  # events that have been handed over


class _Cpu:
    """What waits of one CPU."""

    def __init__(self) -> None:
        self.chunks: deque[_Chunk] = deque()
        self.last = 0  # time of its latest event
        self.whole = True  # False: there was more to read

    def held_bytes(self) -> int:
        """Of the pages with events that wait."""
        return sum(len(chunk.data) for chunk in self.chunks)


class LiveEvents:
    """Takes pages, gives tables.  ``profile`` is one and the same object, refilled by each take()."""

    def __init__(self, contents: TraceDatContents, clock: str, page_size: int) -> None:
        """contents: what tracefs tells of the events; clock: its name; page_size: bytes of a page of the buffer."""
        tracing = TracingData(
            big_endian=contents.big_endian,
            long_size=contents.long_size,
            page_size=page_size,
            printk_formats=contents.printk_formats.decode(errors="replace"),
            header_page=contents.header_page.decode(errors="replace"),
        )
        for system, texts in contents.formats.items():
            for text in texts:
                tracing.events.add(system, text.decode(errors="replace"))
        container = Container(7, tracing)
        self._order = container.order()
        self._page_size = page_size
        self._printing = replace(tracing.printing(), long_size=container.long_size(), symbol=_RunningSymbols())
        self._forms = {form.id: form for form in tracing.events.values()}
        self._numbers = np.full(1 << 16, _NO_EVENT, np.uint16)
        events: list[Event] = []
        for form in self._forms.values():
            name = f"{form.system}:{form.name}"
            self._numbers[form.id] = len(events)
            events.append(Event(name, name, EventAttr(pe.PERF_TYPE_TRACEPOINT, 0, form.id, 1, 0, 0, {}, name=name)))
        self._cpus: dict[int, _Cpu] = {}
        self._seen = self._before = 0  # latest time that was read, that had been read when this round began
        self._comms: dict[str, int] = {}
        features: dict[str, object] = {"TRACE_CLOCK": clock}
        if not TraceClock(container, clock).in_ns:
            features["TRACE_CLOCK_TICKS"] = True
        nothing = np.zeros(1, np.uint32)
        self.profile = Profile(
            events=events,
            samples=_samples(0),
            stacks=Stacks(nothing, nothing),
            frames=Frames(np.empty(0, np.uint32), np.empty(0, np.uint64), np.empty(0, np.uint8)),
            spaces=[Space(-1, 0, [])],
            comms=[],
            features=features,
        )

    @property
    def held(self) -> int:
        """Events that wait."""
        return sum(len(chunk.times) - chunk.done for cpu in self._cpus.values() for chunk in cpu.chunks)

    def held_bytes(self, cpu: int) -> int:
        """Bytes of pages of a CPU in which events wait."""
        return self._cpus[cpu].held_bytes() if cpu in self._cpus else 0

    def begin_round(self) -> None:
        """From here on all CPUs are read once more."""
        self._before = self._seen

    def add(self, cpu: int, data: bytes, *, whole: bool) -> None:
        """Take what was read of a CPU in this round: whole pages; whole: there was no more.  Once a round and CPU."""
        one = self._cpus.setdefault(cpu, _Cpu())
        one.whole = whole
        if not data:
            return
        found = decode_pages(data, self._page_size, long_size=self._printing.long_size, big_endian=self._order == ">")
        kept = found.type != NO_TYPE
        losses = []
        for page, lost in found.missed.items():
            after = int(np.count_nonzero(kept & (found.page < page)))
            begin = page * self._page_size
            time = int.from_bytes(data[begin : begin + 8], self._printing.order)  # type: ignore[arg-type]
            losses.append((after, Loss(time, cpu, max(lost, 1), -1)))
        if not kept.all():
            found = found._replace(
                time=found.time[kept],
                at=found.at[kept],
                size=found.size[kept],
                page=found.page[kept],
                type=found.type[kept],
                pid=found.pid[kept],
            )
        times = np.maximum.accumulate(found.time)
        if len(times):
            one.last = max(one.last, int(times[-1]))
            self._seen = max(self._seen, one.last)
        one.chunks.append(_Chunk(data, found, times, losses))

    def take(self, *, last: bool = False) -> int:
        """Put the events that nothing can overtake any more into the profile; returns how many.

        last: nothing more will come, all that is held is handed over.
        """
        limit = _END if last else min([self._before, *(cpu.last for cpu in self._cpus.values() if not cpu.whole)])
        parts = list(self._released(limit))
        samples = _samples(sum(end - chunk.done for _, chunk, end in parts))
        builders: dict[int, EventTableBuilder | KernelStacks] = {}
        losses = []
        count = 0
        for cpu, chunk, end in parts:
            rows = slice(chunk.done, end)
            here = slice(count, count + end - chunk.done)
            found = chunk.found
            self._fields(builders, chunk.data, found, rows, count)
            samples.time_ns[here] = found.time[rows]
            samples.cpu[here] = cpu
            samples.pid[here] = samples.tid[here] = found.pid[rows]
            samples.event[here] = self._numbers[found.type[rows]]
            losses += [loss for at, loss in chunk.losses if chunk.done <= at < end or (at == end == len(chunk.times))]
            count = here.stop
            chunk.done = end
        for one in self._cpus.values():
            while one.chunks and one.chunks[0].done == len(one.chunks[0].times):
                one.chunks.popleft()
        profile = self.profile
        profile.samples = samples
        tables: list[EventTable] = [builder.finish() for builder in builders.values()]
        profile.tables = {table.name: table for table in tables if len(table)}
        profile.losses = losses
        return count

    def _released(self, limit: int) -> Iterator[tuple[int, _Chunk, int]]:
        """CPU, chunk, and the end of those of its events that happened until then."""
        for cpu, one in self._cpus.items():
            for chunk in one.chunks:
                end = int(np.searchsorted(chunk.times, np.uint64(limit), side="right"))
                yield cpu, chunk, end
                if end < len(chunk.times):
                    break

    def _fields(
        self,
        builders: dict[int, EventTableBuilder | KernelStacks],
        data: bytes,
        found: PageEvents,
        rows: slice,
        first: int,
    ) -> None:
        """Take the fields of some events; first: the number of the first one's sample."""
        types = found.type[rows]
        buffer = np.frombuffer(data, np.uint8)
        for number in np.unique(types).tolist():
            form = self._forms.get(number)
            if form is None:
                continue
            builder = builders.get(number)
            if builder is None:
                if is_kernel_stack(form):
                    builder = KernelStacks(form, self._order, self._printing.long_size, self._printing)
                else:
                    builder = EventTableBuilder(form, self._order, self._printing)
                builders[number] = builder
            mine = np.flatnonzero(types == number)
            builder.add(buffer, found.at[rows][mine], found.size[rows][mine], mine + first)

    def set_names(self, cmdlines: bytes) -> None:
        """Give the tasks of what was taken their names; cmdlines: text of tracefs' saved_cmdlines."""
        samples, comms = self.profile.samples, self._comms
        pids, of_row = np.unique(samples.pid, return_inverse=True)
        names = _names(cmdlines, pids.tolist())
        words = ["<idle>" if pid == 0 else names.get(pid, "<...>") for pid in pids.tolist()]
        numbers = np.array([comms.setdefault(word, len(comms)) for word in words], np.uint32)
        samples.comm = numbers[of_row]
        self.profile.comms = list(comms)


def _names(cmdlines: bytes, pids: list[int]) -> dict[int, str]:
    """Names of tasks; of the thousands that a kernel remembers few are asked for."""
    if len(pids) > _FEW:
        return parse_cmdlines(cmdlines.decode(errors="replace"))
    text = b"\n" + cmdlines
    found = {}
    for pid in pids:
        before, _, rest = text.partition(b"\n%d " % pid)
        if rest or len(before) < len(text):
            found[pid] = rest.partition(b"\n")[0].decode(errors="replace")
    return found


def _samples(count: int) -> Samples:
    """So many rows."""
    return Samples(
        time_ns=np.zeros(count, np.uint64),
        cpu=np.zeros(count, np.uint32),
        pid=np.zeros(count, np.uint32),
        tid=np.zeros(count, np.uint32),
        event=np.zeros(count, np.uint16),
        weight=np.ones(count, np.uint64),
        stack=np.zeros(count, np.uint32),
        comm=np.zeros(count, np.uint32),
        address=np.zeros(count, np.uint64),
        mode=np.zeros(count, np.uint8),
    )
