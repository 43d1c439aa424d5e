"""A script over a recording: events run the program in batches, and what it tells is printed as in a live session.

A batch ends where somebody must look at maps or at the time: the program then sets STOP, and the records behind it do
nothing; they run again once that is done.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.bpf.vm.machine import Machine
from linscope.bpf.vm.state import NO_STACK, ROW_FIELDS
from linscope.columns.profile import total_lost
from linscope.lang.built import EVENTS, LOST, STOP
from linscope.lang.codegen import Options as CodeOptions
from linscope.lang.codegen import generate
from linscope.session.script.events import Handlers, make_handlers
from linscope.session.script.map_values import ScriptMap
from linscope.session.script.output import JsonForm, Output, TextForm, error
from linscope.session.script.replay.contents import Wanted
from linscope.session.script.replay.facts import FACTS, STOPPED, facts, families
from linscope.session.script.replay.recorded_maps import RecordedMap, event_without
from linscope.session.script.replay.recorded_names import wall_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from linscope.bpf.vm.maps import VmMap
    from linscope.lang import ir
    from linscope.session.script.events import Handler
    from linscope.session.script.replay.contents import Contents, Window
    from linscope.session.script.replay.plan import Plan
    from linscope.session.script.sampling import Sampler

_COMM = b"bpftrace"  # what scripts know the tracer by
_ROWS = 1 << 13  # records of a batch: their rows stay in the cache
_RING_BYTES, _FULL_BYTES = 1 << 26, 1 << 22  # of the buffer of events, and of those that are waited for
_MANY = 16  # events from which on it is looked whether all are alike
_LOOK = 0  # in place of a program's number, of ticks at which histograms are looked at
_NOTHING = b"\0" * 256  # the record of what has none: samples, interval, begin and end
_REGISTERS_IP, _REGISTERS_CS = 128, 136  # of struct pt_regs, x86-64, with which a sample's context begins
_KERNEL_MODE, _KERNEL_CS, _USER_CS = 1, 0x10, 0x33
_CONTEXT_SIZE = 192


class Storage:
    """A map of the machine as a script's map (map_values.Storage)."""

    def __init__(self, native: VmMap) -> None:
        self.native = native
        self.width = native.value_size + 7 & ~7 if native.type in _PER_CPU else native.value_size

    def items(self) -> list[tuple[bytes, bytes]]:
        """All keys and values."""
        return list(self.native.items())

    def delete(self, key: bytes) -> bool:
        """Take a key out; whether it was there."""
        if self.native.lookup(key) is None:
            return False
        self.native.delete(key)
        return True

    def update(self, key: bytes, value: bytes) -> None:
        """Set a value."""
        self.native.update(key, value)


_PER_CPU = (5, 6, 10)  # BPF_MAP_TYPE_PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH


class Replay:
    """One script over one recording; ``run`` does all."""

    def __init__(
        self, plan: Plan, contents: Contents, output: Output, *, json: bool = False, unsafe: bool = False,
        quiet: bool = False, warnings: bool = True, helper_errors: bool = False, form: TextForm | None = None,
    ) -> None:  # fmt: skip
        """output: stays the caller's; the others as of a live session."""
        self.plan = plan
        self.contents = contents
        self.output = output
        self.form = form or (JsonForm(output) if json else TextForm(output))
        self.quiet = quiet
        self.warnings = warnings
        options = CodeOptions(
            cpus=1, ring_bytes=_RING_BYTES, helper_errors=helper_errors, wakeup_bytes=_FULL_BYTES, replay=True
        )
        built = generate(plan.unit, options)
        self.machine = Machine(built.programs[0])
        maps = list(self.machine.map_list())
        self.resolver = contents.resolver(plan.unit.settings)
        self.resolver.stacks = {one.name: one for one in maps if one.name.startswith("stk")}  # type: ignore[misc]
        storages = {
            source: Storage(maps[place]) for source, place in zip(plan.unit.maps, built.script_maps, strict=True)
        }
        self.counts = storages.pop(plan.marked.counts, None)
        self.script_maps: dict[ir.Map, ScriptMap] = {
            source: RecordedMap(source, storage, self.resolver) for source, storage in storages.items()
        }
        self.shared = Handlers(
            plan.unit, self.form, self.resolver, self.script_maps, warnings=warnings, unsafe=unsafe
        )
        self.handlers = make_handlers(self.shared)
        self._masks = {
            number: plan.marked.masks[event]
            for number, event in enumerate(plan.unit.events) if event.kind == "unrecorded"
        }  # fmt: skip
        for number, event in enumerate(plan.unit.events):
            if event.kind == "time":
                self.handlers[number] = self._wall_time(event.format.decode("utf-8", "surrogateescape"))
        self._without: dict[tuple[int, int], Handler] = {}  # handlers of events that lack values, by number and mask
        self._paused = False  # STOP is set
        self._mask: tuple[int, int] | None = None  # number and mask that belong to the next event
        self.ring = self._map(built.place(EVENTS), maps)
        self.stop = self._map(built.place(STOP), maps)
        self.lost = self._map(built.place(LOST), maps)
        self.events = 0  # that ran a program
        self.faults = 0  # of them, that could not be run to their end
        self.now_ns = self.started_ns = contents.start_ns or 0
        self.end_ns = int(contents.session.get("end_ns", 0))
        self._facts: dict[str, NDArray[Any]] = {}  # of a window's runs: what programs read live
        self._is_tracepoint = np.array([*contents.is_tracepoint, False])
        self._pid = int(contents.session.get("tracer", os.getpid()))
        self._rows: NDArray[Any] = np.zeros(_ROWS, np.dtype(ROW_FIELDS))
        self._ticks: list[list[int]] = []  # [time of the next, period, number] of each interval
        self.sampler: Sampler | None = None  # looks at histograms, on the recording's clock
        self.hidden: set[str] = set()  # maps that are not printed at the end

    @property
    def unit(self) -> ir.Unit:
        """What runs."""
        return self.plan.unit

    def handle(self, number: int, handler: Handler) -> None:
        """Let an event's records be taken by another function."""
        self.handlers[number] = handler

    @property
    def seconds(self) -> float:
        """How much of the recording was run."""
        return (self.now_ns - self.started_ns) / 1e9

    @staticmethod
    def _map(place: int | None, maps: list[VmMap]) -> VmMap | None:
        return maps[place] if place is not None else None

    # -- the whole

    def run(self) -> int:
        """All of it; returns the exit code.  Raises FormatError for a damaged recording."""
        plan = self.plan
        captured = plan.runs if self.contents.session else ()
        asked = plan.needs_comm, plan.needs_stacks, plan.needs_samples
        wanted = Wanted(plan.wanted, *asked, captured, families=plan.needs_families)
        runs = _Runs(plan)
        begun = False
        windows = self.contents.windows(wanted)
        if self.contents.origin.big_endian:
            from linscope.session.script.replay.byte_order import native_windows

            windows = native_windows(self.contents, windows)
        for window in windows:
            if not begun:
                self._begin(int(window.time_ns[0]))
                begun = True
            if self.is_over:
                break
            self._window(window, runs)
            self.output.flush()
            if self.output.closed:
                break
        if not begun:
            self._begin(self.now_ns)
        self._go_on()
        if self.sampler is not None:
            self.sampler.take()
        for number in plan.end:
            self._own(number, self.now_ns)
        return self._finish()

    @property
    def is_over(self) -> bool:
        """Whether exit() was called; a recorded session tells itself when it ended."""
        return self.shared.exit_code is not None and not self.end_ns

    def _begin(self, first_ns: int) -> None:
        start = self.contents.start_ns if self.contents.start_ns is not None else first_ns
        self.now_ns = self.started_ns = start
        self._ticks = [[start + period, period, number] for period, number in self.plan.intervals]
        if self.sampler is not None:
            self.sampler.start_at(start, start + (self.contents.ahead_ns or 0))
            self._ticks.append([start + self.sampler.interval_ns, self.sampler.interval_ns, _LOOK])
        if not self.quiet:
            self.form.attached(self.plan.probe_count)
        for number in self.plan.begin:
            self._own(number, start)
        self.output.flush()

    def _finish(self) -> int:
        self.form.end()
        if self.plan.unit.settings["print_maps_on_exit"]:
            for script_map in sorted(self.script_maps.values(), key=lambda one: one.name):
                is_shown = script_map.name not in self.hidden
                if is_shown and not ((script_map.cleared or not script_map.is_scalar) and script_map.is_empty()):
                    self.form.map(script_map)
        self.output.flush(end=True)
        self._tell()
        self.shared.summary()
        self.output.flush(end=True)
        return self.shared.exit_code or 0

    def _tell(self) -> None:
        """What went wrong, on stderr."""
        lost = self.lost.lookup(bytes(4)) if self.lost is not None else None
        if lost and any(lost):
            self.form.lost(sum(memoryview(lost).cast("Q").tolist()))
        if not self.warnings:
            return
        missing = dict(self.counts.items()) if self.counts is not None else {}
        if missing:
            numbers = {int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in missing.items()}
            reasons = ", ".join(f"{self.plan.marked.reasons[n]} ({count})" for n, count in sorted(numbers.items()))
            error(f"WARNING: {sum(numbers.values())} values were not recorded: {reasons}")
        if self.faults:
            error(f"WARNING: {self.faults} events could not be run to their end: shorter than their format says")
        lost_before = total_lost(self.contents.losses)
        if lost_before:
            error(f"WARNING: {lost_before} events were lost when it was recorded")
        for problem in self.contents.problems():
            error(f"WARNING: {problem}")

    # -- events

    def _window(self, window: Window, runs: _Runs) -> None:
        """Run a window's events, and the intervals that are up between them."""
        if window.stacks is not None:
            self.machine.set_stacks(*window.stacks[2])
        place, number = runs.of(window)
        time = window.time_ns if place is None else window.time_ns[place]
        self._facts = facts(self.machine, window.data, window.captures, place, number)
        if window.families is not None:
            self._facts = families(self.machine, window.families, place)
        stopped = self._facts.pop(STOPPED, None)
        if stopped is not None:
            number = np.where(stopped, np.uint32(0), number)
        done, last = 0, len(time)
        if self.end_ns:  # before it was recorded, but the script had not begun
            done = int(np.searchsorted(time, np.uint64(self.contents.start_ns or 0)))
        while done < last and not self.is_over:
            end = last
            tick = min(self._ticks, default=None)
            if tick is not None:
                end = done + int(np.searchsorted(time[done:last], np.uint64(tick[0])))
            if end > done:
                self._events(window, place, number, done, end)
                done = end
            if tick is not None and done < last and not self.is_over:
                self._tick(tick)
        if len(window.time_ns):
            self._run_ticks(int(window.time_ns[-1]))
            self.now_ns = int(window.time_ns[-1])

    def _run_ticks(self, until_ns: int) -> None:
        while self._ticks and not self.is_over:
            tick = min(self._ticks)
            if tick[0] > until_ns:
                return
            self._tick(tick)

    def _tick(self, tick: list[int]) -> None:
        if tick[2] != _LOOK:
            self._own(tick[2], tick[0])
        elif self.sampler is not None:
            self.sampler.end_interval(tick[0])
        tick[0] += tick[1]

    def _own(self, number: int, time_ns: int) -> None:
        """Run what belongs to no event: begin, end, interval."""
        rows = self._rows[:1]
        rows[0] = 0
        rows["kernel_stack"] = rows["user_stack"] = NO_STACK
        rows["time_ns"], rows["cookie"], rows["comm"] = time_ns, number, _COMM
        rows["pid_tgid"] = self._pid << 32 | self._pid
        self.now_ns = time_ns
        own = self.contents.own_captures(number)
        if own is not None:
            found = facts(self.machine, *own, None, np.full(1, number, np.uint32))
            found.pop(STOPPED, None)
            for name, column in found.items():
                rows[name] = np.where(column, column, rows[name])
        self._batch(_NOTHING, np.zeros(1, np.uint64), np.full(1, _CONTEXT_SIZE, np.uint32), rows)
        self._told()

    def _events(
        self, window: Window, place: NDArray[np.int64] | None, number: NDArray[np.uint32], first: int, last: int
    ) -> None:
        """Run the events first to last, some thousands at once."""
        at = first
        while at < last and not self.is_over:
            end = min(at + _ROWS, last)
            chosen: slice | NDArray[np.int64] = slice(at, end) if place is None else place[at:end]
            rows = self._fill(window, chosen, number[at:end])
            for name, column in self._facts.items():
                rows[name] = np.where(column[at:end], column[at:end], rows[name])
            data, offsets, sizes = self._records(window, chosen)
            done = 0
            while done < end - at:
                count = self._batch(data, offsets[done:], sizes[done:], rows[done:])
                done += count
                self.now_ns = int(rows["time_ns"][done - 1]) if done else self.now_ns
                self._told()
                if self.is_over:
                    return
            at = end

    def _fill(self, window: Window, chosen: slice | NDArray[np.int64], number: NDArray[np.uint32]) -> NDArray[Any]:
        """What the helpers say about each event."""
        rows = self._rows[: len(number)]
        if self._facts:
            for name in FACTS.values():
                rows[name] = 0
        rows["time_ns"] = window.time_ns[chosen]
        rows["cookie"] = number
        ids = window.pid[chosen].astype(np.uint64)
        ids <<= np.uint64(32)
        ids |= window.tid[chosen]
        rows["pid_tgid"] = ids
        rows["cpu"] = window.cpu[chosen]
        if len(window.comm):
            rows["comm"] = window.comm[chosen]
        if window.stacks is None:
            rows["kernel_stack"] = rows["user_stack"] = NO_STACK
        else:
            rows["kernel_stack"], rows["user_stack"] = window.stacks[0][chosen], window.stacks[1][chosen]
        return rows

    def _records(self, window: Window, chosen: slice | NDArray[np.int64]) -> tuple[Any, Any, Any]:
        """The contexts: raw records; registers of samples."""
        sizes, offsets = window.size[chosen], window.at[chosen]
        if not self.plan.needs_samples:
            return window.data, np.ascontiguousarray(offsets), np.ascontiguousarray(sizes)
        raw = np.frombuffer(window.data, np.uint8)
        count = len(sizes)
        contexts = np.zeros((count, _CONTEXT_SIZE), np.uint8)
        registers = contexts.view(np.uint64)
        registers[:, _REGISTERS_IP // 8] = window.address[chosen]
        kernel = window.mode[chosen] == _KERNEL_MODE
        registers[:, _REGISTERS_CS // 8] = np.where(kernel, _KERNEL_CS, _USER_CS)
        is_raw = self._is_tracepoint[window.event[chosen]]  # samples may have raw data, too, which are not these
        data, base = contexts.reshape(-1), 0
        if is_raw.any():  # with what lies between the first and the last of them
            low, base = int(offsets[is_raw].min()), int((offsets + sizes)[is_raw].max())
            data, base = np.concatenate([raw[low:base], data]), base - low
            offsets = offsets - np.uint64(low)
        own = np.arange(count, dtype=np.uint64) * np.uint64(_CONTEXT_SIZE) + np.uint64(base)
        return data, np.where(is_raw, offsets, own), np.where(is_raw, sizes, np.uint32(_CONTEXT_SIZE)).astype(np.uint32)

    def _batch(self, data: Any, offsets: Any, sizes: Any, rows: NDArray[Any]) -> int:
        """Run records until the program stops itself; returns how many were run."""
        batch = self.machine.run_batch(data, offsets=offsets, sizes=sizes, rows=rows, results=False, codes=False)
        done = batch.records - batch.nonzero
        self.events += done
        self.faults += batch.fault_count
        self._paused = bool(batch.nonzero)
        return int(done)

    # -- what programs tell

    def _told(self) -> None:
        """Handle what waits, and let the program go on."""
        if self.ring is not None and self.ring.head.used:
            handlers, masks = self.handlers, self._masks
            for record in self._waiting_events():
                number = int.from_bytes(record[:4], "little")
                if number in masks:
                    self._mask = number, int.from_bytes(record[8:16], "little")
                elif self._mask is not None:
                    self._handler_without(*self._mask)(record)
                    self._mask = None
                else:
                    handlers[number](record)
            self._paused = True
        if self._paused:
            self._paused = False
            self._go_on()

    def _waiting_events(self) -> Iterable[bytes]:
        """The events that wait; none when all were alike and printed together."""
        assert self.ring is not None
        data = self.ring.drain_bytes()
        size = int.from_bytes(data[:4], "little")
        stride = 8 + (size + 7 & ~7)
        together = self.shared.many.get(int.from_bytes(data[8:12], "little")) if len(data) >= _MANY * stride else None
        if together is not None and not len(data) % stride and self.output.mode != "none":
            heads = np.frombuffer(data, "<u4").reshape(-1, stride // 4)
            if (heads[:, (0, 2)] == heads[0, (0, 2)]).all():
                together(data[8:] + bytes(8), stride)
                return ()
        return _records(data)

    def _wall_time(self, format: str) -> Handler:
        """What prints time(): that of the record."""

        def handle(record: bytes) -> None:
            text = wall_text(format, self.contents.ahead_ns, self.now_ns)
            self.form.put("time", text.encode("utf-8", "surrogateescape"))

        return handle

    def _handler_without(self, number: int, mask: int) -> Handler:
        """What prints an event that lacks values; number: of the event that told it."""
        made = self._without.get((number, mask))
        if made is None:
            event, places = self._masks[number]
            made = self._without[number, mask] = self._made_without(event, places, mask)
        return made

    def _made_without(self, event: ir.Event, places: Sequence[tuple[int, int | None]], mask: int) -> Handler:
        if self.form.name != "batches" or event.kind not in ("printf", "print"):
            return self.shared.handler(event_without(event, places, mask))
        from linscope.session.script.columns import Gapped

        number = self.plan.unit.events.index(event)
        missing = [place for bit, place in enumerate(places) if mask >> bit & 1]

        def handle(record: bytes) -> None:
            gapped = Gapped(record)
            gapped.missing = missing
            self.handlers[number](gapped)

        return handle

    def _go_on(self) -> None:
        if self.stop is not None:
            self.stop.update(bytes(4), bytes(8))


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a ring buffer: each behind a u32 with its length and a u32 with its CPU, padded to 8 bytes."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        yield data[at + 8 : at + 8 + size]
        at += 8 + (size + 7 & ~7)


class _Runs:
    """Which numbers each event runs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.least = np.array([runs[0] if runs else 0 for runs in plan.runs] or [0], np.uint32)
        self.is_simple = all(len(runs) <= 1 for runs in plan.runs) and not plan.calls

    def of(self, window: Window) -> tuple[NDArray[np.int64] | None, NDArray[np.uint32]]:
        """(rows of the window, in order and as often as they run something; None: all once), what they run."""
        if self.is_simple:
            return None, self.least[window.event]
        rows: list[NDArray[np.int64]] = []
        numbers: list[NDArray[np.uint32]] = []
        for place, runs in enumerate(self.plan.runs):
            calls = self.plan.calls.get(place, {})
            if not runs and not calls:
                continue
            of_event = np.flatnonzero(window.event == place)
            for number in runs:
                rows.append(of_event)
                numbers.append(np.full(len(of_event), number, np.uint32))
            if calls:
                call = _call_numbers(window, of_event)
                for wanted, those in calls.items():
                    matching = of_event[call == wanted]
                    for number in those:
                        rows.append(matching)
                        numbers.append(np.full(len(matching), number, np.uint32))
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.uint32)
        row, numbered = np.concatenate(rows), np.concatenate(numbers)
        order = np.lexsort((numbered, row))
        return row[order], numbered[order]


def _call_numbers(window: Window, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The system call of each record of raw_syscalls: a long at offset 8."""
    raw = np.frombuffer(window.data, np.uint8)
    at = window.at[rows].astype(np.int64)[:, None] + np.arange(8, 16)
    calls: NDArray[np.int64] = raw[np.minimum(at, len(raw) - 1)].view(np.int64)[:, 0]
    return calls
