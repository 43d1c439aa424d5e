"""`linscope export --to parquet`: a recording's events, in the order of time, as tables that can be replayed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linscope.binfmt.event_format import parse_format
from linscope.bpf.vm.state import NO_STACK
from linscope.columns.changes import KERNEL
from linscope.formats.parquet import ragged
from linscope.formats.parquet.event_columns import EventColumns
from linscope.formats.parquet.facts import Facts
from linscope.formats.parquet.tables import EVENT, NAME
from linscope.formats.parquet.writer import FolderWriter
from linscope.session.script.replay.contents import CAPTURE_EVENT, NO_CPU, Wanted
from linscope.session.script.values import NOT_RECORDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from linscope.session.script.replay.contents import Captures, Contents, StackTable, Window

    Keep = Callable[[Contents, Window], NDArray[np.bool_]]

_ONLY_SIDE = ("dummy", CAPTURE_EVENT)  # events that bring nothing but records of processes, or captures


def facts_of(contents: Contents) -> Facts:
    """What is known of a recording as a whole."""
    origin = contents.origin
    return Facts(
        host=origin.host, release=contents.release, machine=origin.machine, cpus=contents.cpus,
        long_size=origin.long_size, source=os.path.basename(contents.where), command=list(origin.command),
        start_ns=contents.start_ns, ahead_ns=contents.ahead_ns, has_process=contents.has_process,
        has_cpu=contents.has_cpu, kernel_stacks=contents.kernel_stacks, user_stacks=contents.user_stacks,
        session=contents.session,
        events=[
            (name, is_tracepoint)
            for name, is_tracepoint in zip(contents.events, contents.is_tracepoint, strict=True)
            if not name.startswith(_ONLY_SIDE)
        ],
    )  # fmt: skip


def export_parquet(contents: Contents, path: str, keep: Keep | None = None) -> int:
    """Write the tables of a recording to a folder; returns the number of samples and events.

    keep: which of a window's events are written.  Raises OutputError, FormatError.
    """
    with FolderWriter(path, facts_of(contents)) as writer:
        export = _Export(contents, writer, keep)
        export.run()
    return export.written


class _Export:
    """One recording into one folder."""

    def __init__(self, contents: Contents, writer: FolderWriter, keep: Keep | None) -> None:
        self.contents = contents
        self.writer = writer
        self.keep = keep
        self.written = 0
        self.tables: dict[int, EventColumns] = {}
        self.is_sample = ~np.array([*contents.is_tracepoint], np.bool_)
        self._stacks: dict[int, int] = {}  # kernel's << 32 | user's -> number
        taken = [field.name for field in EVENT]
        origin = contents.origin
        for number, name in enumerate(contents.events):
            system, _, event = name.partition(":")
            text = contents.read_format(system, event) if contents.is_tracepoint[number] else None
            form = parse_format(text, system) if text else None
            if text is None or form is None:
                continue
            columns = EventColumns(form, taken=taken, big_endian=origin.big_endian, long_size=origin.long_size)
            self.tables[number] = columns
            if not writer.has(name):
                writer.add_event_table(name, text, [*EVENT, *columns.fields])

    def run(self) -> None:
        """All of it."""
        contents = self.contents
        wanted = Wanted(
            [not name.startswith(_ONLY_SIDE) for name in contents.events], comm=True,
            stacks=contents.kernel_stacks or contents.user_stacks, samples=True, runs=contents.session.get("runs", ()),
            weight=True, changes=True,
        )  # fmt: skip
        row = 0
        for window in contents.windows(wanted):
            self._window(window, row)
            row += len(window.time_ns)
        self._own_captures()
        self._changes()
        if contents.kallsyms:
            self._symbols(contents.kallsyms)

    def _window(self, window: Window, row: int) -> None:
        kept = np.ones(len(window.time_ns), np.bool_)
        if self.keep is not None:
            kept = self.keep(self.contents, window)
        self.written += int(np.count_nonzero(kept))
        common = self._common(window, row)
        event = np.where(kept, np.minimum(window.event, len(self.is_sample)), len(self.is_sample)).astype(np.intp)
        for number in np.flatnonzero(np.bincount(event, minlength=1)).tolist():
            made = self.tables.get(number)
            if made is not None:
                rows = np.flatnonzero(event == number)
                some = slice(None) if len(rows) == len(event) else rows
                columns = made.encode(window.data, window.at[some], window.size[some])
                self.writer.add(self.contents.events[number], [*_taken(common, rows, len(event)), *columns])
        rows = np.flatnonzero(np.append(self.is_sample, False)[event])
        if len(rows):
            weight = window.weight[rows] if window.weight is not None else np.ones(len(rows), np.uint64)
            names = pa.array([_text(name) for name in self.contents.events])
            self.writer.add("samples", [
                *_taken(common, rows, len(event)),
                pa.DictionaryArray.from_arrays(event[rows].astype(np.int32), names),
                pa.array(weight), pa.array(window.address[rows]), pa.array(window.mode[rows].astype(np.uint8)),
            ])  # fmt: skip
        if window.captures is not None:
            self._captures(window.data, window.captures, row, kept)

    def _common(self, window: Window, row: int) -> list[pa.Array]:
        """The columns that tables of events begin with."""
        count = len(window.time_ns)
        pid = pa.array(window.pid.astype(np.uint32)) if self.contents.has_process else pa.nulls(count, pa.uint32())
        comm, comm_bytes = _names(window.comm)
        stack = pa.nulls(count, pa.uint32())
        if window.stacks is not None:
            stack = self._numbered(*window.stacks)
        cpu = pa.array(window.cpu.astype(np.uint16), mask=window.cpu == NO_CPU)
        rows = np.arange(row, row + count, dtype=np.uint64)
        return [pa.array(rows), pa.array(window.time_ns), cpu, pid, pa.array(window.tid), comm, comm_bytes, stack]

    def _numbered(self, kernel: NDArray[np.uint32], user: NDArray[np.uint32], table: StackTable) -> pa.Array:
        """The numbers of pairs of stacks in the table of stacks, to which new ones are added."""
        pairs, of = np.unique(kernel.astype(np.uint64) << np.uint64(32) | user, return_inverse=True)
        numbers, new = [], []
        for pair in pairs.tolist():
            known = self._stacks.get(pair)
            if known is None:
                known = self._stacks[pair] = len(self._stacks)
                new.append(pair)
            numbers.append(known)
        if new:
            first = len(self._stacks) - len(new)
            columns = [pa.array(np.arange(first, len(self._stacks), dtype=np.uint32))]
            for part in (np.array(new, np.uint64) >> np.uint64(32), np.array(new, np.uint64) & np.uint64(NO_STACK)):
                begin = np.append(table.offsets, 0)[np.minimum(part, len(table.offsets)).astype(np.int64)]
                end = np.append(table.offsets[1:], (0, 0))[np.minimum(part, len(table.offsets) - 1).astype(np.int64)]
                begin, end = (np.where(part == NO_STACK, 0, one).astype(np.int64) for one in (begin, end))
                columns.append(ragged.lists(ragged.gather(table.addresses, begin, end - begin), end - begin))
            self.writer.add("stacks", columns)
        return pa.array(np.array(numbers, np.uint32)[of])

    def _captures(self, data: Any, found: Captures, row: int | None, kept: NDArray[np.bool_] | None) -> None:
        if kept is not None and not kept.all():
            some = kept[found.row]
            found = found._replace(**{name: column[some] for name, column in found._asdict().items()})
        if not len(found.program):
            return
        rows = pa.nulls(len(found.row), pa.uint64()) if row is None else pa.array(found.row.astype(np.uint64) + row)
        length = found.size.astype(np.int64)
        pieces = ragged.gather(np.frombuffer(data, np.uint8), found.at.astype(np.int64), length)
        columns = [rows, *(pa.array(one) for one in (found.program, found.kind, found.value))]
        self.writer.add("captures", [*columns, ragged.binaries(pieces, length)])

    def _own_captures(self) -> None:
        """What programs read that no event runs."""
        for program in range(1, int(self.contents.session.get("programs", 0)) + 1):
            own = self.contents.own_captures(program)
            if own is not None:
                self._captures(*own, None, None)

    def _changes(self) -> None:
        """Tasks, mappings and losses."""
        changes = self.contents.changes
        places = [n for n, one in enumerate(changes) if one.kind != "map"]
        tasks = [changes[n] for n in places]
        self.writer.add("tasks", [
            pa.array(places, pa.uint64()), pa.array([one.time_ns for one in tasks], pa.uint64()),
            pa.array([one.kind for one in tasks], pa.string()).dictionary_encode().cast(NAME),
            *(pa.array([getattr(one, name) & 0xFFFFFFFF for one in tasks], pa.uint32())
              for name in ("pid", "tid", "parent_pid", "parent_tid")),
            pa.array([one.comm.decode("utf-8", "replace") or None for one in tasks], pa.string()),
        ])  # fmt: skip
        pairs = [(n, one.time_ns, one.pid, one.mapping) for n, one in enumerate(changes) if one.mapping is not None]
        maps = [one[3] for one in pairs]
        self.writer.add("maps", [
            pa.array([one[0] for one in pairs], pa.uint64()), pa.array([one[1] for one in pairs], pa.uint64()),
            pa.array([None if one[2] == KERNEL else one[2] for one in pairs], pa.uint32()),
            *(pa.array([getattr(one, name) for one in maps], pa.uint64()) for name in ("start", "end", "page_offset")),
            *(pa.array([_text(getattr(one, name)) for one in maps], pa.string()) for name in ("path", "build_id")),
            pa.array([one.executable for one in maps], pa.bool_()),
        ])  # fmt: skip
        losses, events = self.contents.losses, self.contents.events
        names = [events[one.event] if 0 <= one.event < len(events) else None for one in losses]
        self.writer.add("losses", [
            pa.array([one.time_ns for one in losses], pa.uint64()),
            pa.array([one.cpu & 0xFFFFFFFF for one in losses], pa.uint32()),
            pa.array(names, pa.string()).dictionary_encode().cast(NAME),
            pa.array([one.lost for one in losses], pa.uint64()), pa.array([one.of_event for one in losses], pa.bool_()),
        ])  # fmt: skip

    def _symbols(self, text: str) -> None:
        rows = [words for line in text.splitlines() if len(words := line.split(None, 3)) >= 3]
        address = [int(words[0], 16) if _is_hex(words[0]) else 0 for words in rows]
        module = [words[3].strip("[] ") if len(words) > 3 else None for words in rows]
        self.writer.add("kallsyms", [
            pa.array(address, pa.uint64()), pa.array([words[2] for words in rows], pa.string()),
            pa.array(module, pa.string()),
            pa.array([words[1] for words in rows], pa.string()).dictionary_encode().cast(NAME),
        ])  # fmt: skip


def _taken(columns: list[pa.Array], rows: NDArray[np.int64], count: int) -> list[pa.Array]:
    return columns if len(rows) == count else [one.take(pa.array(rows)) for one in columns]


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _is_hex(word: str) -> bool:
    return not word.strip("0123456789abcdefABCDEF")


def _names(comm: NDArray[np.bytes_]) -> tuple[pa.Array, pa.Array]:
    """Names of threads as (text, bytes where they are no UTF-8); both null where they were not recorded."""
    change = np.append(True, comm[1:] != comm[:-1]) if len(comm) else np.empty(0, np.bool_)
    distinct, of_run = np.unique(comm[change], return_inverse=True)
    of = of_run[np.cumsum(change) - 1].astype(np.int32)
    names: Sequence[bytes] = distinct.tolist()
    missing = np.array([name == NOT_RECORDED.encode() for name in names], np.bool_)
    texts = [name.decode("utf-8", "replace") for name in names]
    odd = np.array([text.encode() != name for text, name in zip(texts, names, strict=True)], np.bool_)
    coded = pa.array(of, mask=missing[of] if len(of) else None)
    text = pa.DictionaryArray.from_arrays(coded, pa.array(texts, pa.string()))
    if not odd.any():
        return text, pa.nulls(len(of), pa.binary())
    return text, pa.array(names, pa.binary()).take(pa.array(of, mask=~odd[of]))
