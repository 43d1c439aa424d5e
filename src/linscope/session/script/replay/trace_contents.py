"""trace.dat as the events of a script."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.binfmt.kernel_stack import is_kernel_stack
from linscope.binfmt.ring_buffer import NO_TYPE, decode_pages
from linscope.bpf.vm.state import NO_STACK
from linscope.columns.profile import Loss
from linscope.errors import FormatError
from linscope.formats.trace_dat import options as opt
from linscope.formats.trace_dat.clock import TraceClock
from linscope.formats.trace_dat.container import Container, CpuData, read_container
from linscope.formats.trace_dat.pages import PageReader
from linscope.formats.trace_dat.reader import counted_losses
from linscope.formats.trace_dat.stacks import KernelStacks
from linscope.formats.trace_dat.symbols import FileSymbols
from linscope.session.script.replay.contents import Names, Origin, Wanted, Window
from linscope.session.script.replay.ordering import Pending
from linscope.session.script.replay.trace_stacks import TraceStacks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.columns.changes import Change
    from linscope.formats.trace_dat.container import Buffer
    from linscope.session.script.resolver import Resolver

_NO_EVENT = 0xFFFF
_ENOUGH = 1 << 16  # events of a window, where their order allows it


class TraceContents:
    """A recording of trace-cmd; see contents.Contents.  Threads have the names that they had at its end."""

    has_process = False
    has_cpu = (True, True)
    user_stacks = False
    ahead_ns: int | None = None
    start_ns: int | None = None

    def __init__(self, path: str) -> None:
        """Raises FormatError, UnsupportedError, OSError."""
        self.where = path
        self.session: dict[str, Any] = {}
        self.changes: list[Change] = []
        self.losses: list[Loss] = []
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.container: Container = read_container(self._data, path)
        self._problems: list[str] = [str(problem) for problem in self.container.problems]
        clock = next((buffer.clock for buffer in self.container.buffers if buffer.clock), "")
        self.clock = TraceClock(self.container, clock)
        self._texts = self.container.tracing.events.texts()
        self.events: list[str] = []
        self._numbers = np.full(1 << 16, _NO_EVENT, np.uint16)
        seen = self._seen()
        for number in seen:
            form = self.container.tracing.events.get(number)
            if form is not None:
                self._numbers[number] = len(self.events)
                self.events.append(f"{form.system}:{form.name}")
        self.is_tracepoint = [True] * len(self.events)
        self.cpus = max((cpu.cpu + 1 for buffer in self.container.buffers for cpu in buffer.cpus), default=1)
        uname = self.container.text_option(opt.UNAME).split()
        self.release = uname[2] if len(uname) > 2 else ""
        tracing = self.container.tracing
        self.origin = Origin(
            uname[1] if len(uname) > 2 else "", uname[3] if len(uname) > 3 else "", tracing.big_endian,
            self.container.long_size(),
        )  # fmt: skip
        self.kallsyms = tracing.kallsyms
        form = next((form for number in seen if (form := tracing.events.get(number)) and is_kernel_stack(form)), None)
        self._stack_form = form
        self.kernel_stacks = form is not None
        here = os.uname()
        self.same_kernel = len(uname) > 2 and (uname[1], uname[2]) == (here.nodename, here.release)
        self.names = Names()
        for tid, comm in self.container.cmdlines.items():
            self.names.name(tid, comm.encode("utf-8", "replace"))

    def _cpus(self) -> Iterator[tuple[Buffer, CpuData]]:
        for buffer in self.container.buffers:
            for cpu in buffer.cpus:
                if cpu.size:
                    yield buffer, cpu

    def _seen(self) -> list[int]:
        """The ids of all events that were recorded."""
        seen = np.zeros(1 << 16, np.bool_)
        for buffer, cpu in self._cpus():
            for _, columns in self._pieces(buffer, cpu):
                seen[columns["type"]] = True
                if self.start_ns is None or int(columns["time"][0]) < self.start_ns:
                    self.start_ns = int(columns["time"][0])
        return [int(number) for number in np.flatnonzero(seen)]

    def _pieces(self, buffer: Buffer, cpu: CpuData) -> Iterator[tuple[Any, dict[str, NDArray[Any]]]]:
        """The events of a CPU: (data, columns)."""
        big, long_size = self.container.tracing.big_endian, self.container.long_size()
        try:
            for pages in PageReader(self._data, -1, self.container).pages(buffer, cpu):
                found = decode_pages(pages.data, pages.page_size, long_size=long_size, big_endian=big)
                for page, missed in found.missed.items():
                    head = pages.data[page * pages.page_size :][:8]
                    time = self.clock.times(head.view(">u8" if big else "<u8").astype(np.uint64), cpu.cpu)
                    self.losses.append(Loss(int(time[0]), cpu.cpu, max(missed, 1), -1))
                fits = found.type != NO_TYPE
                if not fits.any():
                    continue
                count = int(np.count_nonzero(fits))
                columns: dict[str, NDArray[Any]] = {
                    "time": self.clock.times(found.time, cpu.cpu)[fits], "at": found.at[fits].astype(np.uint64),
                    "raw_size": found.size[fits], "tid": found.pid[fits], "type": found.type[fits],
                    "cpu": np.full(count, cpu.cpu, np.uint32),
                }  # fmt: skip
                yield pages.data, columns
        except FormatError as error:
            text = f"{self.where}: {error}"
            if text not in self._problems:
                self._problems.append(text)

    def read_format(self, system: str, event: str) -> str | None:
        """The text of a tracepoint's format; None: the recording has none."""
        head = f"name: {event}\n"
        return next((text for text in self._texts.get(system, ()) if text.startswith(head)), None)

    def windows(self, wanted: Wanted) -> Iterator[Window]:
        """All events that are wanted; what all CPUs have passed comes first."""
        self.losses = counted_losses(self.container)
        is_wanted = np.array([*wanted.events, False])
        pending = Pending()
        sources = [self._pieces(buffer, cpu) for buffer, cpu in self._cpus()]
        stacks = self._stacks() if wanted.stacks else None
        if stacks is not None:
            sources = [stacks.attach(pieces) for pieces in sources]
        reached = [-1] * len(sources)  # the newest time that each CPU has given; none: it is at its end
        left = set(range(len(sources)))
        while left:
            slowest = min(left, key=lambda source: reached[source])
            piece = next(sources[slowest], None)
            if piece is None:
                left.discard(slowest)
            else:
                data, columns = piece
                reached[slowest] = max(reached[slowest], int(columns["time"].max()))
                event = self._numbers[columns.pop("type")]
                rows = is_wanted[np.minimum(event, len(is_wanted) - 1)]
                if rows.any():
                    chosen = {name: column[rows] for name, column in columns.items()}
                    chosen["event"] = event[rows]
                    pending.add(bytes(data), chosen)
            if left and pending.waiting >= _ENOUGH:
                yield from self._window(pending, min(reached[one] for one in left) - 1, wanted, stacks)
        yield from self._window(pending, None, wanted, stacks)

    def _stacks(self) -> TraceStacks | None:
        """What attaches stacks to events; None: none were recorded."""
        if self._stack_form is None:
            return None
        tracing, long_size = self.container.tracing, self.container.long_size()
        records = KernelStacks(self._stack_form, self.container.order(), long_size, tracing.printing())
        return TraceStacks(records, FileSymbols(self.kallsyms))

    def _window(
        self, pending: Pending, limit: int | None, wanted: Wanted, stacks: TraceStacks | None
    ) -> Iterator[Window]:
        if limit is not None and limit < 0:
            return
        given = pending.give(limit)
        if given is None:
            return
        data, whole = given
        tid, cpu = whole["tid"], whole["cpu"]
        comm = self.names.texts(self.names.at(tid), tid, cpu) if wanted.comm else np.empty(0, "S16")
        nothing = np.empty(0, np.uint64)
        found = None
        if stacks is not None:
            kernel = whole["kernel_stack"]
            found = kernel, np.full(len(kernel), NO_STACK, np.uint32), stacks.table()
        yield Window(
            data, whole["time"], cpu, tid, tid, whole["event"], whole["at"], whole["raw_size"], comm,
            nothing.astype(np.uint16), nothing, found,
        )  # fmt: skip

    def resolver(self, settings: Any) -> Resolver:
        """Names of what the events hold."""
        from linscope.session.script.replay.recorded_names import TraceResolver

        return TraceResolver(self.container.tracing.kallsyms, settings)

    def own_captures(self, program: int) -> None:
        """None: nobody captured anything."""

    def problems(self) -> list[str]:
        """What is wrong with the file, as far as it was read."""
        return self._problems
