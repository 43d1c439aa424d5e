"""Tables of a recording -> a Profile, so that all that reads recordings reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import KIND_EXACT, NO_CPU
from linscope.binfmt.print_code import PrintContext
from linscope.columns.changes import apply
from linscope.columns.profile import Event, Frames, NamedFrames, Profile, Samples, Stacks
from linscope.columns.spaces import KERNEL_SPACE, CommBuilder, SpaceBuilder
from linscope.columns.trees import intern_pairs
from linscope.formats._event_tables import EventTableBuilder
from linscope.formats.parquet import ragged
from linscope.formats.parquet.reader import ParquetRecording, TableFile, numbers_of
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.trace_dat.symbols import FileSymbols

if TYPE_CHECKING:
    from linscope.contracts import ReadOptions

_NONE = 0xFFFFFFFF  # no stack
_KEPT = pe.PERF_SAMPLE_IP | pe.PERF_SAMPLE_TID | pe.PERF_SAMPLE_TIME | pe.PERF_SAMPLE_CPU | pe.PERF_SAMPLE_PERIOD
_CLOCKS = ("cpu-clock", "task-clock")
_NOT_NAMED = "<...>"
_COLUMNS = (("row", np.uint64), ("time_ns", np.uint64), ("cpu", np.uint32), ("pid", np.uint32), ("tid", np.uint32))


def read_profile(recording: ParquetRecording, options: ReadOptions) -> Profile:
    """All tables.  Raises FormatError."""
    return _Reader(recording, options).read()


class _Reader:
    """Reads one recording."""

    def __init__(self, recording: ParquetRecording, options: ReadOptions) -> None:
        self.recording = recording
        self.options = options
        self.names = list(dict.fromkeys(name for name, _ in recording.facts.events))
        self.comms = CommBuilder()
        self.parts: dict[str, list[NDArray[Any]]] = {}
        self.instruction = np.empty(0, np.uint64)  # of each sample
        self.printing = PrintContext(recording.facts.long_size)
        self.builders: dict[str, EventTableBuilder] = {}

    def read(self) -> Profile:
        """All of it."""
        recording, facts = self.recording, self.recording.facts
        for name in self.names:
            if name in recording.events:
                self._take(recording.events[name], name)
        if "samples" in recording.tables:
            self._take(recording.tables["samples"], "")
        samples, stack = self._samples()
        spaces = SpaceBuilder()
        for change in recording.changes():
            apply(change, spaces)
        stacks, frames = self._stacks(samples, stack, spaces)
        tables = {name: builder.finish() for name, builder in self.builders.items()}
        features = {
            "HOSTNAME": facts.host, "OSRELEASE": facts.release, "ARCH": facts.machine, "CMDLINE": facts.command,
            "NRCPUS": {"available": facts.cpus, "online": facts.cpus},
        }  # fmt: skip
        return Profile(
            events=self._events(samples, stack), samples=samples, stacks=stacks, frames=frames, spaces=spaces.spaces,
            comms=self.comms.comms, losses=recording.losses(self.names), features=features,
            named=self._named(frames), tables={name: table for name, table in tables.items() if len(table)},
            where=self.options.where,
        )  # fmt: skip

    # -- events

    def _take(self, table: TableFile, event: str) -> None:
        """The rows of a tracepoint's table; of that of samples, with event ""."""
        columns = self.recording.columns_of(event) if event else None
        for batch in table.batches():
            count = len(batch)
            if not count:
                continue
            part: dict[str, NDArray[Any]] = {name: numbers_of(batch, name, kind) for name, kind in _COLUMNS}
            part["cpu"] = numbers_of(batch, "cpu", np.uint32, NO_CPU)
            if batch.column("pid").null_count == count:
                part["pid"] = part["tid"]
            part["stack"] = numbers_of(batch, "stack", np.uint32, _NONE)
            part["comm"] = self._comms(batch.column("comm"))
            if columns is None:
                part["event"] = self._numbers(batch.column("event"))
                for name, kind in (("weight", np.uint64), ("address", np.uint64), ("mode", np.uint8)):
                    part[name] = numbers_of(batch, name, kind)
            else:
                zeros = np.zeros(count, np.uint64)
                part["event"] = np.full(count, self.names.index(event), np.uint16)
                part.update(weight=zeros + np.uint64(1), address=zeros, mode=zeros.astype(np.uint8))
                if self.options.tables:
                    builder = self.builders.get(event)
                    if builder is None:
                        builder = self.builders[event] = EventTableBuilder(columns.form, "<", self.printing)
                    data, at, size = columns.decode(batch)
                    builder.add(data, at.astype(np.uint32), size.astype(np.uint32), part["row"].astype(np.int64))
            for name, values in part.items():
                self.parts.setdefault(name, []).append(values)

    def _comms(self, array: pa.Array) -> NDArray[np.uint32]:
        coded = array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()
        numbers = [self.comms.number(_NOT_NAMED if name is None else name) for name in coded.dictionary.to_pylist()]
        numbers.append(self.comms.number(_NOT_NAMED) if coded.null_count else 0)
        indices = coded.indices.fill_null(len(numbers) - 1).to_numpy(zero_copy_only=False)
        found: NDArray[np.uint32] = np.array(numbers, np.uint32)[indices]
        return found

    def _numbers(self, array: pa.Array) -> NDArray[np.uint16]:
        coded = array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()
        places = {name: number for number, name in enumerate(self.names)}
        numbers = [places.get(name, 0xFFFF) for name in coded.dictionary.to_pylist()]
        indices = coded.indices.fill_null(len(numbers)).to_numpy(zero_copy_only=False)
        found: NDArray[np.uint16] = np.array([*numbers, 0xFFFF], np.uint16)[indices]
        return found

    def _samples(self) -> tuple[Samples, NDArray[np.uint32]]:
        """(samples in the order of their rows, which they are numbered by; the stack of each)"""
        kinds = {**dict(_COLUMNS), "stack": np.uint32, "comm": np.uint32, "event": np.uint16, "weight": np.uint64,
                 "address": np.uint64, "mode": np.uint8}  # fmt: skip
        whole = {
            name: np.concatenate(self.parts[name]) if name in self.parts else np.empty(0, kind)
            for name, kind in kinds.items()
        }
        self.parts = {}
        order = np.argsort(whole["row"], kind="stable")
        whole = {name: column[order] for name, column in whole.items()}
        row = whole.pop("row").astype(np.int64)
        for builder in self.builders.values():
            made = builder.rows.finish()
            builder.rows = type(builder.rows)(np.int64)
            builder.rows.extend(np.searchsorted(row, made))
        stack, at = whole.pop("stack"), whole.pop("address")
        self.instruction = at
        zeros = np.zeros(len(at), np.uint64)  # Samples.address is that of data, which is not kept
        return Samples(**whole, address=zeros, stack=zeros.astype(np.uint32)), stack

    def _events(self, samples: Samples, stack: NDArray[np.uint32]) -> list[Event]:
        has_stacks = np.zeros(len(self.names) + 1, np.bool_)
        has_stacks[np.minimum(samples.event[stack != _NONE], len(self.names))] = True
        found = []
        for number, name in enumerate(self.names):
            kind = pe.PERF_TYPE_TRACEPOINT if dict(self.recording.facts.events)[name] else pe.PERF_TYPE_SOFTWARE
            sample_type = _KEPT | (pe.PERF_SAMPLE_CALLCHAIN if has_stacks[number] else 0)
            attr = EventAttr(kind, 0, 0, 1, sample_type, 0, {}, name=name)
            found.append(Event(name, "ns" if name.startswith(_CLOCKS) else name, attr))
        return found

    # -- stacks

    def _stacks(self, samples: Samples, stack: NDArray[np.uint32], spaces: SpaceBuilder) -> tuple[Stacks, Frames]:
        """The tree of all stacks; each sample gets its node.  Samples without have where they were taken."""
        space = spaces.spaces_at(samples.pid, samples.time_ns)
        number, pair_stack, pair_space = intern_pairs(stack, space)
        tree = _Tree()
        chains = _Chains(self.recording.tables.get("stacks"))
        leaves = [
            tree.chain(*chains.of(one), in_space)
            for one, in_space in zip(pair_stack.tolist(), pair_space.tolist(), strict=True)
        ]
        samples.stack = np.array(leaves, np.uint32)[number] if leaves else np.empty(0, np.uint32)
        alone = np.flatnonzero((stack == _NONE) & (self.instruction != 0))
        for row in alone.tolist():
            samples.stack[row] = tree.lone(int(self.instruction[row]), int(samples.mode[row]), int(space[row]))
        return tree.finish()

    def _named(self, frames: Frames) -> NamedFrames | None:
        """Names, when the recording has symbols of its own."""
        text = self.recording.kallsyms()
        if not text:
            return None
        symbols = FileSymbols(text)
        names, objects = [], []
        for address, space in zip(frames.address.tolist(), frames.space.tolist(), strict=True):
            found = symbols(address) if space == KERNEL_SPACE else None
            names.append(f"{found[0]}+{found[1]:#x}" if found else "")
            objects.append(symbols.module(address) if found else "")
        return NamedFrames(names, objects, ["kernel" if place else "user" for place in objects])


class _Chains:
    """The table of stacks."""

    def __init__(self, table: TableFile | None) -> None:
        self._rows: dict[int, int] = {}
        self._parts: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        if table is None:
            return
        whole = table.whole()
        self._rows = {number: row for row, number in enumerate(whole.column("stack").to_pylist())}
        for name in ("kernel", "user"):
            chunks = whole.column(name).chunks or [pa.array([], pa.list_(pa.uint64()))]
            values, length = ragged.values_of(pa.concat_arrays(chunks))
            self._parts.append((values.astype(np.uint64), np.append(0, np.cumsum(length))))

    def of(self, stack: int) -> tuple[list[int], list[int]]:
        """(the kernel's addresses, the user's), innermost first."""
        row = self._rows.get(stack)
        if row is None:
            return [], []
        kernel, user = (values[at[row] : at[row + 1]].tolist() for values, at in self._parts)
        return kernel, user


class _Tree:
    """Frames and the nodes above them."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, int, int], int] = {}  # space, address, kind
        self._nodes: dict[tuple[int, int], int] = {}  # parent, frame
        self._parent, self._frame = [0], [0]

    def chain(self, kernel: list[int], user: list[int], space: int) -> int:
        """The node of a stack."""
        node = 0
        for addresses, mode, place in (
            (user, pe.PERF_RECORD_MISC_USER, space), (kernel, pe.PERF_RECORD_MISC_KERNEL, KERNEL_SPACE)
        ):  # fmt: skip
            for at in range(len(addresses) - 1, -1, -1):
                node = self._child(node, (place, addresses[at], mode if at else mode | KIND_EXACT))
        return node

    def lone(self, address: int, mode: int, space: int) -> int:
        """The node of a sample without a stack."""
        is_kernel = mode in (pe.PERF_RECORD_MISC_KERNEL, pe.PERF_RECORD_MISC_GUEST_KERNEL)
        return self._child(0, (KERNEL_SPACE if is_kernel else space, address, mode | KIND_EXACT))

    def _child(self, node: int, frame: tuple[int, int, int]) -> int:
        number = self._frames.setdefault(frame, len(self._frames))
        found = self._nodes.get((node, number))
        if found is None:
            found = self._nodes[node, number] = len(self._parent)
            self._parent.append(node)
            self._frame.append(number)
        return found

    def finish(self) -> tuple[Stacks, Frames]:
        """The whole."""
        self._frame[0] = len(self._frames)
        columns = list(zip(*self._frames, strict=True)) or [(), (), ()]
        frames = Frames(
            np.array(columns[0], np.uint32), np.array(columns[1], np.uint64), np.array(columns[2], np.uint8)
        )  # fmt: skip
        return Stacks(np.array(self._parent, np.uint32), np.array(self._frame, np.uint32)), frames
