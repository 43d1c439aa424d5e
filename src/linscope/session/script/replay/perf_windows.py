"""The chunks of a perf.data as windows in the order of time."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.columns.spaces import CommBuilder
from linscope.errors import FormatError
from linscope.formats.perf_data import sideband
from linscope.formats.perf_data.reader import PerfDataFile
from linscope.formats.perf_data.stream import Chunk, ToolRecord
from linscope.session.script.replay.captured import CaptureReader
from linscope.session.script.replay.changes import changes_of
from linscope.session.script.replay.contents import CAPTURE_EVENT, Wanted, Window
from linscope.session.script.replay.mapped import map_file, mapped_stream
from linscope.session.script.replay.ordering import Pending
from linscope.session.script.replay.perf_stacks import WindowStacks
from linscope.session.script.replay.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.columns.changes import Change
    from linscope.session.script.replay.perf_contents import PerfContents

_ENOUGH = 1 << 16  # events of a window, where their order allows it
_COLUMNS = ("time", "cpu", "pid", "tid", "event", "raw_size", "misc", "weight", "stack")
_COMMON_PID = 4  # offset in a raw record: common_type, common_flags, common_preempt_count, common_pid
_ENDED = 0xFFFFFFFF  # the thread's number, of one that has ended
_OF_TASKS = {pe.PERF_RECORD_COMM, pe.PERF_RECORD_FORK, pe.PERF_RECORD_EXIT}


class PerfWindows:
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
        self.tasks = Tasks()
        self.comms = CommBuilder()
        without = {
            name
            for name, asked in (("stack", wanted.stacks), ("misc", wanted.samples), ("weight", wanted.weight))
            if not asked
        }
        self.columns = tuple(name for name in _COLUMNS if name not in without)
        self.instruction_at = np.array([*(_instruction_at(attr.sample_type) for attr in contents.file.attrs), 0])
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
        given = -1
        for item in self._items():
            if not isinstance(item, Chunk):
                continue
            self._take(item)
            if self.pending.waiting >= _ENOUGH and self.limit > given:
                given = self.limit
                yield from self._give(given)
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
        if self.wanted.samples:
            columns["address"] = self._instructions(chunk, samples["offset"][rows], columns["event"])
        if self.captures is not None:
            columns["number"] = numbers[rows]
        if self.stacks is not None:
            columns["kernel_stack"], columns["user_stack"] = self.stacks.take(columns.pop("stack"))
        self.pending.add(data, columns)

    def _instructions(self, chunk: Chunk, offset: NDArray[np.uint32], event: NDArray[np.uint16]) -> NDArray[np.uint64]:
        """Where each sample was taken; 0 where that was not recorded."""
        inside = self.instruction_at[np.minimum(event, len(self.instruction_at) - 1)]
        at = chunk.base + offset.astype(np.int64) + inside
        words = np.frombuffer(chunk.buffer, np.uint8)[at[:, None] + np.arange(8)]
        order = ">" if self.contents.file.header.big_endian else "<"
        return np.where(inside > 0, words.view(f"{order}u8")[:, 0], 0).astype(np.uint64)

    def _give(self, limit: int | None) -> Iterator[Window]:
        """A window of all that is not newer than limit (None: of all)."""
        found = self.pending.give(limit)
        if found is None:
            self.tasks.take(self._apply_side(limit))
        else:
            yield self._window(*found, limit)

    def _window(self, data: bytes | memoryview, whole: dict[str, NDArray[Any]], limit: int | None) -> Window:
        time, tid, cpu = whole["time"], whole["tid"], whole["cpu"]
        pid, at = whole["pid"], whole["at"]
        if int(tid.max()) == _ENDED:  # perf gives -1 for a thread that has ended already; the record knows it
            tid, pid = self._ended(data, whole)
        wanted, tasks = self.wanted, self.tasks
        names, families = tasks.at(
            time, tid, pid, self._apply_side(limit), names=wanted.comm, families=wanted.families
        )
        comm = tasks.names.texts(names, tid, cpu) if wanted.comm else np.empty(0, "S16")
        nothing = np.empty(0, np.uint64)
        stacks = None
        if self.stacks is not None:
            stacks = whole["kernel_stack"], whole["user_stack"], self.stacks.table()
        captures = self.captures.of(whole["number"]) if self.captures is not None else None
        return Window(
            data, time, cpu, pid, tid, whole["event"], at, whole["raw_size"], comm,
            whole.get("misc", nothing.astype(np.uint16)) & np.uint16(pe.PERF_RECORD_MISC_CPUMODE_MASK),
            whole.get("address", nothing), stacks, captures, whole.get("weight"), families,
        )  # fmt: skip

    def _ended(
        self, data: bytes | memoryview, whole: dict[str, NDArray[Any]]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        tid, pid = whole["tid"].copy(), whole["pid"].copy()
        rows = np.flatnonzero((tid == _ENDED) & (whole["raw_size"] >= 8))
        order = ">" if self.contents.file.header.big_endian else "<"
        for row in rows.tolist():
            (tid[row],) = struct.unpack_from(order + "I", data, int(whole["at"][row]) + _COMMON_PID)
            if pid[row] == _ENDED:
                pid[row] = self.tasks.processes.get(int(tid[row]), int(tid[row]))
        return tid, pid

    # -- names and mappings

    def _apply_side(self, limit: int | None) -> list[Change]:
        """Take in side-band records up to a time; gives what they say of threads."""
        if not self.side:
            return []
        self.side.sort(key=lambda record: record.time_ns)
        if limit is None:
            ready, self.side = self.side, []
        else:
            count = next((n for n, record in enumerate(self.side) if record.time_ns > limit), len(self.side))
            ready, self.side = self.side[:count], self.side[count:]
        big = self.contents.file.header.big_endian
        losses, damaged = sideband.apply(ready, big, self.build_ids, self.contents.spaces, self.comms)
        self.contents.losses += losses
        changes = changes_of(
            ready if self.wanted.changes else [one for one in ready if one.type in _OF_TASKS], big, self.build_ids
        )
        if self.wanted.changes:
            self.contents.changes += changes
        if damaged:
            self.contents.file.problems.append(
                FormatError(f"{len(damaged)} records of mappings or names are damaged", where=self.contents.where,
                            offset=damaged[0])
            )  # fmt: skip
        return changes


def _instruction_at(sample_type: int) -> int:
    """Bytes from the start of a sample's record to the address of its instruction; 0: it has none."""
    if not sample_type & pe.PERF_SAMPLE_IP:
        return 0
    return 16 if sample_type & pe.PERF_SAMPLE_IDENTIFIER else 8
