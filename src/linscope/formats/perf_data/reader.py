"""perf.data -> the tables of a Profile."""

from __future__ import annotations

import io
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.abi import perf_file as pf
from linscope.binfmt.perf_records import KIND_MODE, Scanner
from linscope.columns.profile import Event, Frames, Profile, Samples, Space, Stacks
from linscope.columns.spaces import KERNEL_SPACE, CommBuilder, SpaceBuilder
from linscope.columns.trees import NO_LABEL, frames_by_space, give_back_memory, intern_pairs, regroup
from linscope.errors import FormatError, InputError
from linscope.formats.perf_data import sideband
from linscope.formats.perf_data.attrs import EventAttr, parse_attr
from linscope.formats.perf_data.details import SampleDetails, iter_details
from linscope.formats.perf_data.features import BuildId, parse_build_id_record, parse_feature
from linscope.formats.perf_data.header import Header, detect, parse_header
from linscope.formats.perf_data.stream import Chunk, RecordStream, ToolRecord
from linscope.formats.perf_data.tracepoints import TracepointTables
from linscope.formats.perf_data.tracing_data import TracingData, parse_tracing_data
from linscope.formats.perf_data.user_stacks import Spool, has_stack_dumps, unwind_user_stacks, why_not
from linscope.symbols.objects import SearchPath

_LAST_TYPE = 255  # far beyond any type of record that there is
_IS_WANTED = np.array([number in sideband.WANTED for number in range(_LAST_TYPE + 1)])
_COLUMNS = ("time", "cpu", "pid", "tid", "event", "weight", "stack", "address", "misc")


@dataclass
class PerfDataFile:
    """An open recording: its header, and its records by ``read`` or, for other uses, ``records``."""

    where: str
    source: BinaryIO
    header: Header
    attrs: list[EventAttr]
    features: dict[str, Any] = field(default_factory=dict)
    tracing: TracingData | None = None
    build_ids: list[BuildId] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)
    scanner: Scanner = field(init=False)
    _names: dict[int, str] = field(default_factory=dict)  # of events by id, from the section EVENT_DESC
    _told: bool = False  # the scanner knows all events
    parts: list[Path] = field(default_factory=list)  # further files of records, of a directory recording

    def __post_init__(self) -> None:
        self.scanner = Scanner(swap=self.header.big_endian)

    def __enter__(self) -> PerfDataFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.source.close()

    def _tell_scanner(self) -> None:
        """Before records are scanned: once for all events that came together."""
        if not self._told:
            self._describe_events(self.scanner)
            self._told = True

    def _describe_events(self, scanner: Scanner) -> None:
        ids = [(i, number) for number, attr in enumerate(self.attrs) for i in attr.ids]
        scanner.set_events([attr.layout() for attr in self.attrs], ids)

    def records(self, progress: Callable[[int], Any] | None = None) -> Iterator[Chunk | ToolRecord]:
        """Chunks of scanned records in the order of the file; attrs, features... of a pipe are taken in on the way."""
        start, size = self.header.data
        seekable = self.source.seekable()
        end = start + size if size else None
        if end is not None and seekable:
            file_size = self.source.seek(0, io.SEEK_END)
            if file_size < end:
                self.problems.append(
                    FormatError(
                        f"the file ends {end - file_size} bytes before the end of its records",
                        where=self.where,
                        offset=file_size,
                    )
                )
                end = None
        for stream in self._streams(self.source, start, end, self.scanner, seekable, progress):
            stream.before_scan = self._tell_scanner
            yield from self._taken(stream)

    def _streams(
        self,
        source: BinaryIO,
        start: int,
        end: int | None,
        scanner: Scanner,
        seekable: bool,
        progress: Callable[[int], Any] | None,
    ) -> Iterator[RecordStream]:
        """The records of source from start to end, then those of a directory's further files."""
        big = self.header.big_endian
        yield RecordStream(source, start, end, big, scanner, self.where, seekable, progress=progress)
        for path in self.parts:
            with path.open("rb", buffering=0) as part:
                yield RecordStream(part, 0, None, big, scanner, str(path))

    def _records_again(
        self, scanner: Scanner, progress: Callable[[int], Any] | None
    ) -> Iterator[Chunk | ToolRecord]:
        """The records a second time, of which nothing is learned; none if the stream could not be kept."""
        spool = self.source
        source = spool.again() if isinstance(spool, Spool) else spool
        if source is None:
            return
        start, size = (0, 0) if isinstance(spool, Spool) else self.header.data
        for stream in self._streams(source, start, start + size if size else None, scanner, True, progress):
            yield from stream

    def details(self) -> Iterator[SampleDetails | None]:
        """Branches, registers, counts, memory accesses of each sample, in the order of ``Profile.samples``."""
        for item in self.records():
            if isinstance(item, Chunk):
                yield from iter_details(item, self.attrs, self.header.big_endian)

    def _taken(self, stream: RecordStream) -> Iterator[Chunk | ToolRecord]:
        for item in stream:
            if isinstance(item, ToolRecord):
                self._take(item)
            yield item
        if stream.problem is not None and not (
            self.problems and "before the end of its records" in str(self.problems[-1])
        ):
            self.problems.append(stream.problem)

    def _take(self, record: ToolRecord) -> None:
        """Learn from a record that perf added."""
        big, body, order = self.header.big_endian, record.body, ">" if self.header.big_endian else "<"
        try:
            if record.type == pf.PERF_RECORD_HEADER_ATTR:
                (size,) = struct.unpack_from(order + "I", body, 4)
                size = size or pe.PERF_ATTR_SIZE_VER0
                attr = parse_attr(body[:size], big, offset=record.position + 8)
                attr.ids = list(struct.unpack_from(f"{order}{(len(body) - size) // 8}Q", body, size))
                self.attrs.append(attr)
                self._name_events(len(self.attrs) - 1)
                self._told = False
            elif record.type == pf.PERF_RECORD_HEADER_FEATURE:
                (bit,) = struct.unpack_from(order + "Q", body)
                self._add_feature(bit, parse_feature(bit, body[8:], big, offset=record.position + 16))
            elif record.type == pf.PERF_RECORD_HEADER_TRACING_DATA:
                self.tracing = parse_tracing_data(body[4:], offset=record.position + 12)
                self._name_events()
            elif record.type == pf.PERF_RECORD_HEADER_BUILD_ID:
                self.build_ids.append(parse_build_id_record(body, record.misc, big, record.position))
            elif record.type == pf.PERF_RECORD_EVENT_UPDATE:
                self._update(body, order)
            elif record.type == pf.PERF_RECORD_HEADER_EVENT_TYPE and len(body) >= 16:
                (number,) = struct.unpack_from(order + "Q", body)
                name = body[8:].split(b"\0", 1)[0].decode(errors="replace")
                for attr in self.attrs:
                    if attr.config == number and name:
                        attr.name = name
        except (FormatError, struct.error) as error:
            name = f"a record of type {record.type} is damaged"
            self.problems.append(
                error
                if isinstance(error, FormatError)
                else FormatError(name, where=self.where, offset=record.position)
            )

    def _update(self, body: bytes, order: str) -> None:
        kind, event_id = struct.unpack_from(order + "QQ", body)
        if kind == pf.PERF_EVENT_UPDATE_NAME:
            for attr in self.attrs:
                if event_id in attr.ids:
                    attr.name = body[16:].split(b"\0", 1)[0].decode(errors="replace")

    def _tracepoints(self) -> dict[int, str]:
        return {e.id: f"{e.system}:{e.name}" for e in self.tracing.events.values()} if self.tracing else {}

    def _name_events(self, first: int = 0) -> None:
        """Name the events from the first on, as far as what was read until now allows."""
        tracepoints = self._tracepoints()
        pmus = self.features.get("PMU_MAPPINGS") or {}
        for attr in self.attrs[first:]:
            if attr.ids and attr.ids[0] in self._names:
                attr.name = self._names[attr.ids[0]]
            if not attr.name or attr.name.startswith("tracepoint:"):
                attr.name = attr.default_name(tracepoints)
            if attr.name.startswith("unknown(") and attr.type in pmus:
                attr.name = f"{pmus[attr.type]}/config={attr.config:#x}/"

    def _add_feature(self, bit: int, value: Any) -> None:
        name = pf.FEATURE_NAMES.get(bit, f"FEATURE_{bit}")
        self.features[name] = value
        if bit == pf.HEADER_PMU_MAPPINGS and self.header.pipe:
            self._name_events()
        elif bit == pf.HEADER_BUILD_ID:
            self.build_ids += value
        elif bit == pf.HEADER_EVENT_DESC:
            self._names = {i: described.name for described in value for i in described.ids if described.name}
            if len(value) == len(self.attrs):
                for attr, described in zip(self.attrs, value, strict=True):
                    attr.name = attr.name if attr.ids else described.name
            self._name_events()

    def load_features(self) -> None:
        """Read the feature sections of a file; damaged ones become problems."""
        for bit, (offset, size) in self.header.features.items():
            if size == 0:  # perf could not find it out
                continue
            self.source.seek(offset)
            data = self.source.read(size)
            try:
                if bit == pf.HEADER_TRACING_DATA:
                    self.tracing = parse_tracing_data(data, offset=offset)
                else:
                    self._add_feature(bit, parse_feature(bit, data, self.header.big_endian, offset=offset))
            except (FormatError, struct.error) as error:
                what = f"the section {pf.FEATURE_NAMES.get(bit, bit)} is damaged"
                self.problems.append(
                    error
                    if isinstance(error, FormatError)
                    else FormatError(what, where=self.where, offset=offset)
                )
        self._name_events()

    def read(
        self,
        *,
        tables: bool = False,
        progress: Callable[[int], Any] | None = None,
        search: SearchPath | None = None,
    ) -> Profile:
        """All tables.  tables: also one for the fields of each tracepoint.

        search: where the mapped files lie, which user stack dumps are unwound with; None: on this machine.
        """
        if not self.source.seekable():
            self.source = Spool(self.source)  # type: ignore[assignment]
        columns = {name: _Growing(name) for name in _COLUMNS}
        begin, size = self.header.data
        size = min(size or 1 << 63, self._size() - begin)  # what a damaged header says is not believed
        records: list[sideband.SideRecord] = []
        counts: Counter[int] = Counter()
        payloads = TracepointTables() if tables else None
        latest = 0  # newest time so far, for records that carry none
        for item in self.records(progress):
            if isinstance(item, ToolRecord):
                counts[item.type] += 1
                continue
            scanned = item.scanned
            if isinstance(self.source, Spool) and not has_stack_dumps(self.attrs):
                self.source.forget()
            if scanned.sample_records:
                counts[pe.PERF_RECORD_SAMPLE] += scanned.sample_records
            for name, column in columns.items():
                column.extend(scanned.samples[name], (item.position + scanned.consumed - begin) / max(size, 1))
            counts.update(_count(scanned.others["type"]))
            self._side_records(item, latest, records)
            if len(scanned.samples["time"]):
                latest = max(latest, int(scanned.samples["time"].max()))
            if payloads is not None:
                payloads.visit(item, self.attrs, self.tracing, self.header.big_endian)
        whole = {name: column.take() for name, column in columns.items()}
        give_back_memory()
        samples, completed = self.scanner.take_completed()
        whole["stack"][samples.astype(np.int64)] = completed
        profile = self._profile(whole, records, counts, partial(self._unwind, progress, search))
        if payloads is not None:
            profile.tables = payloads.finish()
        give_back_memory()
        return profile

    def _size(self) -> int:
        """Bytes of the file; 0 of a stream."""
        return 0 if isinstance(self.source, Spool) else self.source.seek(0, io.SEEK_END)

    @staticmethod
    def _side_records(chunk: Chunk, latest: int, records: list[sideband.SideRecord]) -> None:
        others = chunk.scanned.others
        rows = np.flatnonzero(_IS_WANTED[np.minimum(others["type"], _LAST_TYPE)])
        if not len(rows):
            return
        sample_offsets = chunk.scanned.samples["offset"]
        sample_times = np.maximum.accumulate(chunk.scanned.samples["time"])
        for row in rows.tolist():
            offset, size = int(others["offset"][row]), int(others["size"][row])
            time = int(others["time"][row])
            if time == 0 or time == 2**64 - 1:
                before = int(np.searchsorted(sample_offsets, offset))
                time = max(latest, int(sample_times[before - 1]) if before else 0)
            start = chunk.base + offset
            records.append(
                sideband.SideRecord(
                    time,
                    int(others["type"][row]),
                    int(others["misc"][row]),
                    int(others["cpu"][row]),
                    int(others["event"][row]),
                    bytes(chunk.buffer[start + 8 : start + size]),
                    chunk.position + offset,
                )
            )

    def _profile(
        self,
        columns: dict[str, NDArray[Any]],
        records: list[sideband.SideRecord],
        counts: Counter[int],
        unwind: Callable[[NDArray[np.uint32], NDArray[np.uint32], list[Space]], dict[str, int]],
    ) -> Profile:
        spaces, comms = SpaceBuilder(), CommBuilder()
        records.sort(key=lambda record: record.time_ns)
        build_ids = {entry.path: entry.build_id for entry in self.build_ids}
        losses, damaged = sideband.apply(records, self.header.big_endian, build_ids, spaces, comms)
        if damaged:
            self.problems.append(
                FormatError(
                    f"{len(damaged)} records of mappings or names are damaged, the first",
                    where=self.where,
                    offset=damaged[0],
                )
            )
        records.clear()
        space_of_sample = spaces.spaces_at(columns["pid"], columns["time"])
        endings = unwind(columns["stack"], space_of_sample, spaces.spaces)
        stacks, frames, leaf = self._stacks(columns["stack"], space_of_sample, spaces.spaces)
        samples = Samples(
            time_ns=columns["time"],
            cpu=columns["cpu"],
            pid=columns["pid"],
            tid=columns["tid"],
            event=columns["event"],
            weight=columns["weight"],
            stack=leaf,
            comm=comms.comms_at(columns["tid"], columns["time"]),
            address=columns["address"],
            mode=(columns["misc"] & KIND_MODE).astype(np.uint8),
        )
        clocks = ("cpu-clock", "task-clock")
        events = [Event(a.name, "ns" if a.name.startswith(clocks) else a.name, a) for a in self.attrs]
        return Profile(
            events=events,
            samples=samples,
            stacks=stacks,
            frames=frames,
            spaces=spaces.spaces,
            comms=comms.comms,
            losses=losses,
            record_counts=dict(counts),
            features=self.features,
            problems=list(self.header.problems) + list(self.problems),
            where=self.where,
            stack_endings=endings,
        )

    def _unwind(
        self,
        progress: Callable[[int], Any] | None,
        search: SearchPath | None,
        stack: NDArray[np.uint32],
        space_of_sample: NDArray[np.uint32],
        spaces: list[Space],
    ) -> dict[str, int]:
        """Unwind user stack dumps, if there are any: afterwards stack's nodes are those of a new scanner's tree."""
        if not has_stack_dumps(self.attrs):
            return {}
        problem = why_not(self.attrs, str(self.features.get("ARCH", "")), self.where)
        if problem is not None:
            self.problems.append(problem)
            return {}
        scanner = Scanner(swap=self.header.big_endian)
        self._describe_events(scanner)
        records = partial(self._records_again, progress=progress)
        unwound, endings = unwind_user_stacks(records, scanner, spaces, space_of_sample, search)
        if len(unwound) != len(stack):  # the stream could not be kept, or the file has changed
            self.problems.append(
                InputError("cannot read the records again, so user stacks are not unwound", where=self.where)
            )
            return {}
        stack[:] = unwound
        self.scanner = scanner
        return endings

    def _stacks(
        self, raw_leaf: NDArray[np.uint32], space: NDArray[np.uint32], spaces: list[Space]
    ) -> tuple[Stacks, Frames, NDArray[np.uint32]]:
        """Give each raw chain its address space: the same addresses mean other code in another process."""
        raw = self.scanner.take_stacks()
        mode = (raw.kind & KIND_MODE).astype(np.uint8)
        kernel = (mode == pe.PERF_RECORD_MISC_KERNEL) | (mode == pe.PERF_RECORD_MISC_GUEST_KERNEL)
        found = frames_by_space(raw.parent, raw.place, kernel, raw_leaf, space)
        if found is not None:
            frame, place, frame_space = found
            frame[frame == NO_LABEL] = len(place)
            stacks = Stacks(raw.parent, frame)
            return stacks, Frames(frame_space, raw.address[place], raw.kind[place]), raw_leaf
        pair, leaf, leaf_space = intern_pairs(raw_leaf, space)
        tree, leaf_node = regroup(raw.parent, raw.place, leaf.astype(np.uint32), leaf_space)
        node_place = np.where(tree.is_group, 0, tree.label)
        node_space = np.where(kernel[node_place], np.uint32(KERNEL_SPACE), tree.group)
        frame, wide_place, frame_space = intern_pairs(node_place, node_space)
        place = wide_place.astype(np.uint32)
        frame[tree.is_group] = len(place)  # nodes that stand for an address space
        stacks = Stacks(tree.parent, frame)
        return stacks, Frames(frame_space, raw.address[place], raw.kind[place]), leaf_node[pair]


class _Growing:
    """A column to which parts are added; room is made by what part of the input has been seen."""

    def __init__(self, name: str) -> None:
        wide = name in ("time", "weight", "address")
        kind = np.uint64 if wide else np.uint16 if name in ("event", "misc") else np.uint32
        self._values: NDArray[Any] = np.empty(0, kind)
        self._length = 0

    def extend(self, part: NDArray[Any], share: float) -> None:
        """Add values behind the others; share: of the input, seen with them (0 to 1), 0 when that is not known."""
        end = self._length + len(part)
        if end > len(self._values):
            guess = int(end / share * 1.03) if 0 < share <= 1 else 0
            larger = np.empty(max(end, guess, 2 * len(self._values)), part.dtype)  # costs no memory before it is used
            larger[: self._length] = self._values[: self._length]
            self._values = larger
        self._values[self._length : end] = part
        self._length = end

    def take(self) -> NDArray[Any]:
        """The whole column; nothing is added afterwards."""
        return self._values[: self._length]


def _count(types: NDArray[np.uint32]) -> dict[int, int]:
    """How many records there are of each type."""
    if len(types) and int(types.max()) > _LAST_TYPE:
        distinct, counts = np.unique(types, return_counts=True)
        return dict(zip(distinct.tolist(), counts.tolist(), strict=True))
    return {number: count for number, count in enumerate(np.bincount(types).tolist()) if count}


def open_perf_data(path: str | os.PathLike[str] | BinaryIO, *, where: str = "") -> PerfDataFile:
    """Open a recording: a file, a directory of ``perf record --threads``, or a binary stream in pipe form.

    where: its name in messages, when path is a stream.

    Raises FormatError if it is not perf.data, UnsupportedError for what cannot be read, OSError if it is not there.
    """
    parts: list[Path] = []
    if isinstance(path, (str, os.PathLike)):
        where = os.fspath(path)
        if Path(path).is_dir():
            parts = sorted(p for p in Path(path).glob("data.*") if p.name[5:].isdigit())
            path = Path(path) / "header" if (Path(path) / "header").exists() else Path(path) / "data"
        source: BinaryIO = open(path, "rb", buffering=0)
    else:
        source, where = path, where or str(getattr(path, "name", "<stream>"))
    try:
        seekable = source.seekable()
        size = source.seek(0, io.SEEK_END) if seekable else None

        def read_at(offset: int, count: int) -> bytes:
            if size is None:
                return _read_fully(source, count)
            if offset > size:
                return b""
            source.seek(offset)
            return _read_fully(source, count)

        header = parse_header(read_at, size, where)
        opened = PerfDataFile(where, source, header, list(header.attrs), parts=parts)
        opened.load_features()
    except BaseException:
        source.close()
        raise
    return opened


def _read_fully(source: BinaryIO, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = source.read(count - len(got))
        if not more:
            break
        got += more
    return got


__all__ = ["PerfDataFile", "detect", "open_perf_data"]
