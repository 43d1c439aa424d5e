"""Tables of a recording (Parquet) as the events of a script."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linscope.bpf.vm.state import NO_STACK
from linscope.columns.changes import Change, apply
from linscope.columns.profile import Loss
from linscope.columns.spaces import SpaceBuilder
from linscope.errors import FormatError
from linscope.formats.parquet import ragged
from linscope.formats.parquet.event_columns import EventColumns
from linscope.formats.parquet.reader import ParquetRecording, TableFile, numbers_of
from linscope.session.script.replay.captured import made_captures
from linscope.session.script.replay.contents import NO_CPU, Captures, Origin, StackTable, Wanted, Window
from linscope.session.script.replay.perf_contents import lies_where_it_lay
from linscope.session.script.replay.tasks import Tasks
from linscope.session.script.values import NOT_RECORDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linscope.session.script.resolver import Resolver

    Columns = dict[str, NDArray[Any]]

class ParquetContents:
    """A recording that was exported; see contents.Contents."""

    def __init__(self, path: str) -> None:
        """path: the folder, or the table of one event.  Raises FormatError, OSError."""
        self.where = path
        self.recording = recording = ParquetRecording(path)
        facts = recording.facts
        names = [
            (name, is_tracepoint) for name, is_tracepoint in dict.fromkeys(facts.events)
            if (name in recording.events if is_tracepoint else "samples" in recording.tables)
        ]  # fmt: skip
        self.events = [name for name, _ in names]
        self.is_tracepoint = [is_tracepoint for _, is_tracepoint in names]
        self.has_process = facts.has_process
        self.has_cpu = facts.has_cpu
        there = "stacks" in recording.tables
        self.kernel_stacks, self.user_stacks = facts.kernel_stacks and there, facts.user_stacks and there
        self.cpus = facts.cpus
        self.release = facts.release
        here = os.uname()
        self.same_kernel = (facts.host or here.nodename, facts.release) == (here.nodename, here.release) and (
            facts.machine in ("", here.machine)
        )  # fmt: skip
        self.origin = Origin(facts.host, facts.machine, False, facts.long_size, facts.command)
        self.ahead_ns = facts.ahead_ns
        self.start_ns = facts.start_ns
        self.session = facts.session
        self.changes: list[Change] = []
        self.losses: list[Loss] = recording.losses(self.events)
        self._spaces = SpaceBuilder()
        self._captures: _Captures | None = None

    @property
    def kallsyms(self) -> str:
        """The text that the recording carried; "" without."""
        return self.recording.kallsyms()

    def read_format(self, system: str, event: str) -> str | None:
        """The text of a tracepoint's format; None: the recording has none."""
        table = self.recording.events.get(f"{system}:{event}")
        return table.format or None if table is not None else None

    def windows(self, wanted: Wanted) -> Iterator[Window]:
        """All events that are wanted, in the order of their rows, which is that of time."""
        sources = []
        for number, name in enumerate(self.events):
            if wanted.events[number] and self.is_tracepoint[number]:
                sources.append(_Source(self.recording.events[name], self.recording.columns_of(name), [number], wanted))
        samples = self.recording.tables.get("samples")
        numbers = [n for n, asked in enumerate(wanted.events) if asked and not self.is_tracepoint[n]]
        if samples is not None and numbers:
            sources.append(_Source(samples, None, numbers, wanted, names=self.events))
        table = self.recording.tables.get("stacks") if wanted.stacks else None
        stacks = _Stacks(table) if table is not None else None
        captures = self.recording.tables.get("captures") if self.session else None
        self._captures = _Captures(captures) if captures is not None else None
        changes = self.recording.changes()
        tasks = Tasks() if wanted.families else None
        done = 0
        for data, whole in _merged(sources):
            before, last = done, int(whole["time"][-1])
            while done < len(changes) and changes[done].time_ns <= last:
                apply(changes[done], self._spaces)
                done += 1
            if wanted.changes:
                self.changes = changes[:done]
            families = None
            if tasks is not None:
                columns = whole["time"], whole["tid"], whole["pid"]
                families = tasks.at(*columns, changes[before:done], names=False, families=True)[1]
            yield self._window(data, whole, stacks)._replace(families=families)
        for change in changes[done:]:
            apply(change, self._spaces)
        self.changes = changes if wanted.changes else []

    def _window(self, data: NDArray[np.uint8], whole: Columns, stacks: _Stacks | None) -> Window:
        captures = None
        if self._captures is not None:
            data, captures = self._captures.of(data, whole["row"])
        found = None
        if stacks is not None:
            found = *stacks.of(whole["stack"]), stacks.table
        return Window(
            data, whole["time"], whole["cpu"], whole["pid"], whole["tid"], whole["event"], whole["at"], whole["size"],
            whole["comm"], whole["mode"], whole["address"], found, captures, whole.get("weight"),
        )  # fmt: skip

    def own_captures(self, program: int) -> tuple[Any, Captures] | None:
        """(data, captures) of a program that no event runs; None: it read nothing."""
        return self._captures.own(program) if self._captures is not None else None

    def resolver(self, settings: Any) -> Resolver:
        """Names of what the events hold."""
        from linscope.session.script.replay.recorded_names import PerfResolver, TraceResolver

        if "kallsyms" in self.recording.tables:
            return TraceResolver(self.kallsyms, settings, self.ahead_ns)
        return PerfResolver(self, settings)

    def is_same_boot(self) -> bool:
        """Whether the running kernel lies where the recorded one lay: its symbols are that one's."""
        return self.same_kernel and lies_where_it_lay(self._spaces)

    @property
    def spaces(self) -> SpaceBuilder:
        """Mappings of all processes, as far as windows were read."""
        return self._spaces

    def problems(self) -> list[str]:
        """Nothing: damage ends the reading."""
        return []


class _Source:
    """The rows of one table, some at once."""

    def __init__(
        self, table: TableFile, columns: EventColumns | None, numbers: list[int], wanted: Wanted,
        names: list[str] | None = None,
    ) -> None:  # fmt: skip
        """columns: of a tracepoint; names: of all events, for the table of samples; numbers: of the wanted ones."""
        self.table = table
        self.columns = columns
        self.numbers = numbers
        self.wanted = wanted
        self.names = names or []
        self._batches = table.batches()
        self.waiting: tuple[NDArray[np.uint8], Columns] | None = None
        self.last = -1  # row
        self.next()

    def next(self) -> None:
        """Take the next rows; ``waiting`` is None at the end.  Raises FormatError."""
        self.waiting = None
        while self.waiting is None:
            batch = next(self._batches, None)
            if batch is None:
                return
            if len(batch):
                self.waiting = self._take(batch)

    def _take(self, batch: pa.RecordBatch) -> tuple[NDArray[np.uint8], Columns] | None:
        try:
            found = self._read(batch)
        except (KeyError, pa.ArrowException) as error:
            why = f"there is no column {error}" if isinstance(error, KeyError) else str(error)
            raise FormatError("no table of a recording", where=self.table.where, why=why) from error
        if found is not None:
            row = found[1]["row"]
            if int(row[0]) <= self.last or (row[1:] <= row[:-1]).any():
                raise FormatError(
                    "rows are not in order", where=self.table.where, why="the column row is to ascend",
                    next_step="sort the table by row",
                )  # fmt: skip
            self.last = int(row[-1])
        return found

    def _read(self, batch: pa.RecordBatch) -> tuple[NDArray[np.uint8], Columns] | None:
        count = len(batch)
        if self.columns is not None:
            data, at, size = self.columns.decode(batch)
            event = np.full(count, self.numbers[0], np.uint16)
        else:
            event = self._events(batch.column("event"))
            keep = np.isin(event, np.array(self.numbers, np.uint16))
            if not keep.all():
                batch = batch.filter(pa.array(keep))
                event, count = event[keep], len(batch)
            if not count:
                return None
            data, at, size = np.empty(0, np.uint8), np.zeros(count, np.int64), np.zeros(count, np.int64)
        tid = numbers_of(batch, "tid", np.uint32)
        columns: Columns = {
            "row": numbers_of(batch, "row", np.uint64), "time": numbers_of(batch, "time_ns", np.uint64),
            "cpu": numbers_of(batch, "cpu", np.uint32, NO_CPU), "tid": tid, "event": event, "at": at.astype(np.uint64),
            "size": size.astype(np.uint32),
            "pid": numbers_of(batch, "pid", np.uint32) if batch.column("pid").null_count < count else tid,
            "comm": _comms(batch) if self.wanted.comm else np.empty(count, "S16"),
        }  # fmt: skip
        if self.wanted.stacks:
            columns["stack"] = numbers_of(batch, "stack", np.uint32, NO_STACK)
        nothing = np.zeros(count, np.uint64)
        is_sample = self.columns is None
        columns["mode"] = numbers_of(batch, "mode", np.uint16) if is_sample else nothing.astype(np.uint16)
        columns["address"] = numbers_of(batch, "address", np.uint64) if is_sample else nothing
        if self.wanted.weight:
            columns["weight"] = numbers_of(batch, "weight", np.uint64) if is_sample else nothing + np.uint64(1)
        return data, columns

    def _events(self, array: pa.Array) -> NDArray[np.uint16]:
        """The numbers of events by their names."""
        coded = array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()
        places = {name: number for number, name in enumerate(self.names)}
        numbers = np.array([*(places.get(name, 0xFFFF) for name in coded.dictionary.to_pylist()), 0xFFFF], np.uint16)
        found: NDArray[np.uint16] = numbers[coded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)]
        return found


def _comms(batch: pa.RecordBatch) -> NDArray[np.bytes_]:
    array = batch.column("comm")
    coded = array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()
    names = [(name or "").encode() for name in coded.dictionary.to_pylist()]
    table = np.array([*names, NOT_RECORDED.encode()], "S16")
    found: NDArray[np.bytes_] = table[coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)]
    odd = batch.column("comm_bytes") if "comm_bytes" in batch.schema.names else None
    if odd is not None and odd.null_count < len(odd):
        for row in np.flatnonzero(odd.is_valid().to_numpy(zero_copy_only=False)).tolist():
            found[row] = odd[row].as_py()
    return found


def _merged(sources: list[_Source]) -> Iterator[tuple[NDArray[np.uint8], Columns]]:
    """The rows of all tables, in order."""
    left = [source for source in sources if source.waiting is not None]
    while left:
        limit = np.uint64(min(int(source.waiting[1]["row"][-1]) for source in left if source.waiting is not None))
        datas: list[NDArray[np.uint8]] = []
        parts: list[Columns] = []
        base = 0
        for source in left:
            assert source.waiting is not None
            data, columns = source.waiting
            count = int(np.searchsorted(columns["row"], limit, side="right"))
            if not count:
                continue
            part = {name: column[:count] for name, column in columns.items()}
            if len(left) > 1:  # only the bytes that these rows have, for they are put together
                low = int(part["at"].min())
                data = data[low : int((part["at"] + part["size"]).max())]
                part["at"] = part["at"] + np.uint64(base) - np.uint64(low)
            parts.append(part)
            datas.append(data)
            base += len(data)
            source.waiting = source.waiting[0], {name: column[count:] for name, column in columns.items()}
            if count == len(columns["row"]):
                source.next()
        yield _joined(datas, parts)
        left = [source for source in left if source.waiting is not None]


def _joined(datas: list[NDArray[np.uint8]], parts: list[Columns]) -> tuple[NDArray[np.uint8], Columns]:
    if len(parts) == 1:
        return datas[0], parts[0]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["row"], kind="stable")
    return np.concatenate(datas), {name: column[order] for name, column in whole.items()}


class _Stacks:
    """The table of stacks: of each number the kernel's and the user's, which are stacks of the machine."""

    def __init__(self, table: TableFile) -> None:
        whole = table.whole().combine_chunks()
        number = whole.column("stack").to_numpy().astype(np.int64)
        count = int(number.max(initial=-1)) + 1
        self._of = np.full((2, count + 1), NO_STACK, np.uint32)
        offsets, addresses = [np.zeros(1, np.uint64)], []
        made = 0
        for place, name in enumerate(("kernel", "user")):
            chunks = whole.column(name).chunks or [pa.array([], pa.list_(pa.uint64()))]
            values, length = ragged.values_of(pa.concat_arrays(chunks))
            some = length > 0
            self._of[place, number[some]] = np.arange(made, made + int(np.count_nonzero(some)), dtype=np.uint32)
            made += int(np.count_nonzero(some))
            offsets.append(offsets[-1][-1] + np.cumsum(length[some]).astype(np.uint64))
            addresses.append(values.astype(np.uint64))
        self.table = StackTable(np.concatenate(offsets), np.concatenate(addresses))

    def of(self, stack: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Numbers of the kernel's and the user's."""
        place = np.minimum(stack, self._of.shape[1] - 1)
        return self._of[0][place], self._of[1][place]


class _Captures:
    """What programs read, by the row of the event."""

    def __init__(self, table: TableFile) -> None:
        whole = table.whole()
        self._row = whole.column("row").fill_null(2**64 - 1).to_numpy().astype(np.uint64)
        self._columns = [whole.column(name).to_numpy().astype(np.uint64) for name in ("program", "kind", "value")]
        chunks = whole.column("data").chunks or [pa.array([], pa.binary())]
        self._data, self._size = ragged.pieces_of(pa.concat_arrays(chunks))
        self._at = np.cumsum(self._size) - self._size
        self._order = np.argsort(self._row, kind="stable")
        self._sorted = self._row[self._order]

    def _fields(self, chosen: NDArray[np.int64]) -> NDArray[np.uint64]:
        columns = [*self._columns, self._at.astype(np.uint64), self._size.astype(np.uint64)]
        return np.stack([column[chosen] for column in columns], axis=1)

    def of(self, data: NDArray[np.uint8], row: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], Captures | None]:
        """(the window's data with the bytes behind it, captures of its events)"""
        first, last = np.searchsorted(self._sorted, row[0]), np.searchsorted(self._sorted, row[-1], side="right")
        chosen = self._order[first:last]
        place = np.minimum(np.searchsorted(row, self._row[chosen]), len(row) - 1)
        there = row[place] == self._row[chosen]
        chosen, place = chosen[there], place[there]
        if not len(chosen):
            return data, None
        low, high = int(self._at[chosen].min()), int((self._at + self._size)[chosen].max())
        found = made_captures(place, self._fields(chosen), len(data) - low)
        return np.concatenate([data, self._data[low:high]]), found

    def own(self, program: int) -> tuple[Any, Captures] | None:
        """Those of a program that no event runs."""
        chosen = np.flatnonzero((self._row == 2**64 - 1) & (self._columns[0] == program))
        if not len(chosen):
            return None
        return self._data, made_captures(np.zeros(len(chosen), np.int64), self._fields(chosen))
