"""perf.data as the events of a script."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.columns.spaces import KERNEL_SPACE, CommBuilder, SpaceBuilder
from linscope.errors import FormatError
from linscope.formats.perf_data import sideband
from linscope.formats.perf_data.reader import PerfDataFile, open_perf_data
from linscope.formats.perf_data.stream import Chunk, ToolRecord
from linscope.session.script.replay.captured import CaptureReader, made_captures
from linscope.session.script.replay.contents import CAPTURE_EVENT, SESSION_BIT, Captures, Names, Wanted, Window
from linscope.session.script.replay.mapped import map_file, mapped_stream
from linscope.session.script.replay.ordering import Pending
from linscope.session.script.replay.perf_stacks import WindowStacks

if TYPE_CHECKING:
    from linscope.session.script.resolver import Resolver

_ENOUGH = 1 << 16  # events of a window, where their order allows it
_COLUMNS = ("time", "cpu", "pid", "tid", "event", "raw_size", "misc", "address", "stack")
_COMMON_PID = 4  # offset in a raw record: common_type, common_flags, common_preempt_count, common_pid
_NO_CPU = 0xFFFFFFFF
_TIMES = {pe.PERF_RECORD_COMM, pe.PERF_RECORD_FORK}


class PerfContents:
    """A recording of perf; see contents.Contents."""

    def __init__(self, path: str) -> None:
        """Raises FormatError, UnsupportedError, OSError."""
        self.where = path
        self.file: PerfDataFile = open_perf_data(path)
        if self.file.header.pipe:
            self._read_head()
        attrs = self.file.attrs
        self.events = [attr.name for attr in attrs]
        self.is_tracepoint = [attr.type == pe.PERF_TYPE_TRACEPOINT for attr in attrs]
        self.has_process = True
        chains = [attr for attr in attrs if attr.sample_type & pe.PERF_SAMPLE_CALLCHAIN]
        self.kernel_stacks = any(not attr.flags["exclude_callchain_kernel"] for attr in chains)
        self.user_stacks = any(not attr.flags["exclude_callchain_user"] for attr in chains)
        features = self.file.features
        self.release = str(features.get("OSRELEASE") or "")
        self.same_kernel = self._is_same_kernel()
        cpus = features.get("NRCPUS")
        self.cpus = int(cpus[0]) if isinstance(cpus, Sequence) and cpus else 1
        self.ahead_ns = self._ahead()
        self.session = self._read_session()
        self.start_ns = self.session.get("start_ns") or self._first_time()
        self.reader: _Reader | None = None
        self._spaces = SpaceBuilder()
        self._damaged = 0

    def _read_head(self) -> None:
        """Of a recording in pipe form: read up to the first events, then begin anew."""
        for item in self.file.records():
            if isinstance(item, Chunk):
                break
        kept = self.file
        self.file = open_perf_data(self.where)
        self.file.attrs, self.file.tracing, self.file.features = kept.attrs, kept.tracing, kept.features
        kept.source.close()

    def _is_same_kernel(self) -> bool:
        import os

        here = os.uname()
        host = self.file.features.get("HOSTNAME")
        return here.release == self.release and here.machine == self.file.features.get("ARCH", here.machine) and (
            not host or host == here.nodename
        )  # fmt: skip

    def _ahead(self) -> int | None:
        """Wall time minus the recording's clock, by the section CLOCK_DATA."""
        found = self.file.features.get("CLOCK_DATA")
        return found["wall_ns"] - found["clock_ns"] if found else None

    def _read_session(self) -> dict[str, Any]:
        """What the recorder of a script kept of its session; {} of other recordings."""
        text = self.file.features.get(f"FEATURE_{SESSION_BIT}")
        if not isinstance(text, bytes) or not text.strip(b"\0"):
            return {}
        try:
            found = json.loads(text.rstrip(b"\0"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _first_time(self) -> int | None:
        """The time of the first sample, on the recording's clock; None: there is none.

        By perf's own word, else from the records up to the end of the second round: then all older ones have come.
        """
        told = self.file.features.get("SAMPLE_TIME")
        if told and told[0]:
            return int(told[0])
        file = open_perf_data(self.where)
        file.attrs, file.features = self.file.attrs, self.file.features
        first, rounds = None, 0
        with file:
            for item in file.records():
                if not isinstance(item, Chunk):
                    continue
                times = item.scanned.samples["time"]
                if len(times):
                    first = int(times.min()) if first is None else min(first, int(times.min()))
                rounds += int(np.count_nonzero(item.scanned.others["type"] == pf.PERF_RECORD_FINISHED_ROUND))
                if rounds > 1 and first is not None:
                    break
        return first

    def read_format(self, system: str, event: str) -> str | None:
        """The text of a tracepoint's format; None: the recording has none."""
        tracing = self.file.tracing
        if tracing is None:
            return None
        head = f"name: {event}\n"
        return next((text for text in tracing.events.texts().get(system, ()) if text.startswith(head)), None)

    # -- events

    def windows(self, wanted: Wanted) -> Iterator[Window]:
        """All events that are wanted.  Raises FormatError for the damage that the reader cannot pass over."""
        self.reader = _Reader(self, wanted)
        return self.reader.windows()

    def own_captures(self, program: int) -> tuple[Any, Captures] | None:
        """(data, captures) of a program that no event runs; None: it read nothing."""
        reader = self.reader.captures if self.reader is not None else None
        fields = reader.own.get(program) if reader is not None else None
        if not fields or self.reader is None:
            return None
        return self.reader.mapped, made_captures(np.zeros(len(fields), np.int64), fields)

    def resolver(self, settings: Any) -> Resolver:
        """Names of what the events hold; asked after the last window."""
        from linscope.session.script.replay.recorded_names import PerfResolver

        return PerfResolver(self, settings)

    def is_same_boot(self) -> bool:
        """Whether the running kernel lies where the recorded one lay: its symbols are that one's."""
        if not self.same_kernel:
            return False
        from linscope.session.script.kernel_symbols import KernelSymbols

        for mapping in self._spaces.spaces[KERNEL_SPACE].mappings:
            base, _, symbol = mapping.path.partition("]")
            if base == "[kernel.kallsyms" and symbol:  # its offset in the file is where the symbol lies
                found = KernelSymbols().find(mapping.page_offset)
                return found is not None and found[1] == 0
        return False

    @property
    def spaces(self) -> SpaceBuilder:
        """Mappings of all processes, as far as windows were read."""
        return self._spaces

    def problems(self) -> list[str]:
        """What is wrong with the file, as far as it was read."""
        return [str(problem) for problem in (*self.file.header.problems, *self.file.problems)]


class _Reader:
    """Puts the chunks of a recording, which are in the order of its buffers, into the order of time.

    What perf promises: at the end of a round, all that is older than the end of the round before has come.
    """

    def __init__(self, contents: PerfContents, wanted: Wanted) -> None:
        self.contents = contents
        self.wanted = wanted
        self.is_wanted = np.array([*wanted.events, False])
        event = contents.events.index(CAPTURE_EVENT) if CAPTURE_EVENT in contents.events else -1
        self.captures: CaptureReader | None = None
        if event >= 0 and wanted.runs:
            self.captures = CaptureReader(event, wanted.runs, contents.start_ns or 0)
        self.rows = 0  # of events, over all chunks
        self.names = Names()
        self.comms = CommBuilder()
        self.processes: dict[int, int] = {}  # of threads
        self.columns = tuple(
            name for name in _COLUMNS
            if (name != "stack" or wanted.stacks) and (name not in ("misc", "address") or wanted.samples)
        )  # fmt: skip
        self.mapped = map_file(contents.file)
        self.pending = Pending(self.mapped)
        self.side: list[sideband.SideRecord] = []
        self.newest = 0  # time of what came so far
        self.round_end = 0  # of the newest round: the newest time that had come
        self.limit = -1  # all that is not newer has come
        self.stacks = WindowStacks(contents.file.scanner) if wanted.stacks else None
        self.build_ids = {entry.path: entry.build_id for entry in contents.file.build_ids}

    def windows(self) -> Iterator[Window]:
        """All windows."""
        for item in self._items():
            if not isinstance(item, Chunk):
                continue
            self._take(item)
            if self.pending.waiting >= _ENOUGH and self.limit >= 0:
                yield from self._give(self.limit)
        yield from self._give(None)

    def _items(self) -> Iterator[Chunk | ToolRecord]:
        file = self.contents.file
        if self.mapped is None:
            yield from file.records()
            return
        stream = mapped_stream(file, self.mapped)
        stream.before_scan = file._tell_scanner
        yield from file._taken(stream)

    def _take(self, chunk: Chunk) -> None:
        samples, others = chunk.scanned.samples, chunk.scanned.others
        PerfDataFile._side_records(chunk, self.newest, self.side)
        times = samples["time"]
        rounds = others["offset"][others["type"] == pf.PERF_RECORD_FINISHED_ROUND]
        if len(rounds):
            done = 0
            for place in np.searchsorted(samples["offset"], rounds).tolist():
                if place > done:
                    self.newest = max(self.newest, int(times[done:place].max()))
                    done = place
                self.limit, self.round_end = self.round_end, self.newest
            times = times[done:]
        if len(times):
            self.newest = max(self.newest, int(times.max()))
        numbers = np.empty(0, np.int64)
        if self.captures is not None:
            numbers = np.arange(self.rows, self.rows + len(samples["event"]))
            self.rows += len(numbers)
            if self.mapped is not None:
                self.captures.take(chunk.buffer, chunk.base, chunk.position, samples, numbers)
        event = np.minimum(samples["event"], len(self.is_wanted) - 1)
        rows = self.is_wanted[event]
        count = int(np.count_nonzero(rows))
        if not count:
            return
        data, base = None, np.uint64(chunk.position)
        if self.mapped is None:
            data, base = bytes(chunk.buffer[chunk.base : chunk.base + chunk.scanned.consumed]), np.uint64(0)
        if count == len(rows):
            columns = {name: samples[name] for name in self.columns}
            at = samples["raw_offset"] + base
        else:
            columns = {name: samples[name][rows] for name in self.columns}
            at = samples["raw_offset"][rows] + base
        columns["at"] = at
        if self.captures is not None:
            columns["number"] = numbers[rows]
        if self.stacks is not None:
            columns["kernel_stack"], columns["user_stack"] = self.stacks.take(columns.pop("stack"))
        self.pending.add(data, columns)

    def _give(self, limit: int | None) -> Iterator[Window]:
        """A window of all that is not newer than limit (None: of all)."""
        found = self.pending.give(limit)
        if found is None:
            self._apply_side(limit)
        else:
            yield self._window(*found, limit)

    def _window(self, data: bytes | memoryview, whole: dict[str, NDArray[Any]], limit: int | None) -> Window:
        time, tid, cpu = whole["time"], whole["tid"], whole["cpu"]
        pid, at = whole["pid"], whole["at"]
        if int(tid.max()) == _NO_CPU:  # perf gives -1 for a thread that has ended already; the record knows it
            tid, pid = self._ended(data, whole)
        if int(cpu.max()) == _NO_CPU:
            cpu = np.where(cpu == _NO_CPU, np.uint32(0), cpu)
        numbers = self._name_numbers(time, tid, limit)
        comm = self.names.texts(numbers, tid, cpu) if self.wanted.comm else np.empty(0, "S16")
        nothing = np.empty(0, np.uint64)
        stacks = None
        if self.stacks is not None:
            stacks = whole["kernel_stack"], whole["user_stack"], self.stacks.table()
        captures = self.captures.of(whole["number"]) if self.captures is not None else None
        return Window(
            data, time, cpu, pid, tid, whole["event"], at, whole["raw_size"], comm,
            whole.get("misc", nothing.astype(np.uint16)) & np.uint16(pe.PERF_RECORD_MISC_CPUMODE_MASK),
            whole.get("address", nothing), stacks, captures,
        )  # fmt: skip

    def _ended(
        self, data: bytes | memoryview, whole: dict[str, NDArray[Any]]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        tid, pid = whole["tid"].copy(), whole["pid"].copy()
        rows = np.flatnonzero((tid == _NO_CPU) & (whole["raw_size"] >= 8))
        order = ">" if self.contents.file.header.big_endian else "<"
        for row in rows.tolist():
            (tid[row],) = struct.unpack_from(order + "I", data, int(whole["at"][row]) + _COMMON_PID)
            if pid[row] == _NO_CPU:
                pid[row] = self.processes.get(int(tid[row]), int(tid[row]))
        return tid, pid

    # -- names and mappings

    def _apply_side(self, limit: int | None) -> list[sideband.SideRecord]:
        """Take in side-band records up to a time; gives those that name threads."""
        if not self.side:
            return []
        self.side.sort(key=lambda record: record.time_ns)
        if limit is None:
            ready, self.side = self.side, []
        else:
            count = next((n for n, record in enumerate(self.side) if record.time_ns > limit), len(self.side))
            ready, self.side = self.side[:count], self.side[count:]
        big = self.contents.file.header.big_endian
        _, damaged = sideband.apply(ready, big, self.build_ids, self.contents.spaces, self.comms)
        if damaged:
            self.contents.file.problems.append(
                FormatError(f"{len(damaged)} records of mappings or names are damaged", where=self.contents.where,
                            offset=damaged[0])
            )  # fmt: skip
        return [record for record in ready if record.type in _TIMES]

    def _name_numbers(self, time: NDArray[np.uint64], tid: NDArray[np.uint32], limit: int | None) -> NDArray[np.uint32]:
        """The names that the threads of a window have at each of its events."""
        changes = self._apply_side(limit)
        numbers = np.empty(len(time), np.uint32)
        if not changes:
            return self.names.at(tid) if self.wanted.comm else numbers
        order = ">" if self.contents.file.header.big_endian else "<"
        places = np.searchsorted(time, np.array([change.time_ns for change in changes], np.uint64)).tolist()
        done = 0
        for place, change in zip(places, changes, strict=True):
            if place > done:
                numbers[done:place] = self.names.at(tid[done:place])
                done = place
            self._apply_name(change, order)
        numbers[done:] = self.names.at(tid[done:])
        return numbers

    def _apply_name(self, change: sideband.SideRecord, order: str) -> None:
        body = change.body
        if change.type == pe.PERF_RECORD_COMM and len(body) >= 8:
            pid, tid = struct.unpack_from(order + "II", body)
            self.names.name(tid, body[8:].partition(b"\0")[0])
            self.processes[tid] = pid
        elif change.type == pe.PERF_RECORD_FORK and len(body) >= 16:
            pid, _, tid, parent = struct.unpack_from(order + "IIII", body)
            if tid != parent:
                self.names.fork(tid, parent)
            self.processes[tid] = pid

