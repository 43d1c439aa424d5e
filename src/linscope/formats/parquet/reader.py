"""Opens the tables of a recording: a folder of them, or a single one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from linscope.binfmt.event_format import parse_format
from linscope.columns.changes import KERNEL, Change
from linscope.columns.profile import Loss, Mapping
from linscope.errors import FormatError
from linscope.formats.parquet.event_columns import EventColumns
from linscope.formats.parquet.facts import EVENT_FORMAT, EVENT_NAME, read_facts
from linscope.formats.parquet.tables import EVENT, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_ROWS = 1 << 16  # of a batch


class TableFile:
    """One table: its schema, and its rows when they are asked for."""

    def __init__(self, path: Path, source: BinaryIO | None = None) -> None:
        """source: the file, when it is open already.  Raises FormatError: no Parquet; OSError."""
        self.where = str(path)
        try:
            self._file = pq.ParquetFile(path if source is None else source)
        except pa.ArrowException as error:
            raise FormatError("no Parquet", where=self.where, why=str(error)) from error
        self.schema = self._file.schema_arrow
        self.rows: int = self._file.metadata.num_rows
        metadata = self.schema.metadata or {}
        self.event = metadata.get(EVENT_NAME, b"").decode()
        self.format = metadata.get(EVENT_FORMAT, b"").decode()
        self.name = path.stem

    def batches(self, columns: Sequence[str] | None = None, rows: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """The rows, some at once.  columns: only these.  Raises FormatError: damage."""
        try:
            yield from self._file.iter_batches(batch_size=rows, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise FormatError("the table is damaged", where=self.where, why=str(error)) from error

    def whole(self) -> pa.Table:
        """All of it.  Raises FormatError."""
        return pa.Table.from_batches(list(self.batches()), self.schema)


class ParquetRecording:
    """The tables that there are."""

    def __init__(self, path: str, source: BinaryIO | None = None) -> None:
        """path: the folder, or one table; source: of one table, when it is open.  Raises FormatError, OSError."""
        place = Path(path)
        paths = [place]
        if place.is_dir():
            paths = [place / f"{name}.parquet" for name in TABLES if (place / f"{name}.parquet").exists()]
            paths += sorted(place.glob("events/*.parquet"))
        opened = [TableFile(one, source) for one in paths]
        if not opened:
            raise FormatError("no tables of a recording", where=path)
        self.facts = read_facts(opened[0].schema.metadata, opened[0].where)
        self.tables: dict[str, TableFile] = {}
        self.events: dict[str, TableFile] = {}
        for one in opened:
            if one.event:
                self.events[one.event] = one
            elif {"time_ns", "event", "address"} <= set(one.schema.names):
                self.tables["samples"] = one  # whatever the file is called
            elif one.name in TABLES:
                self.tables[one.name] = one

    def columns_of(self, event: str) -> EventColumns:
        """The columns of a tracepoint's table.  Raises FormatError."""
        table = self.events[event]
        form = parse_format(table.format, event.partition(":")[0])
        if form is None:
            raise FormatError("the event's format is damaged", where=table.where)
        return EventColumns(form, taken=_OURS, long_size=self.facts.long_size)

    def changes(self) -> list[Change]:
        """What became of processes and mappings, in order."""
        found: list[tuple[int, Change]] = []
        for row in self._rows("tasks"):
            ids = (row["pid"], row["tid"], row["parent_pid"], row["parent_tid"])
            found.append((row["row"], Change(row["time_ns"], row["kind"], *ids, (row["comm"] or "").encode())))
        for row in self._rows("maps"):
            names = ("start", "end", "page_offset", "path", "build_id", "executable")
            pid = KERNEL if row["pid"] is None else row["pid"]
            mapping = Mapping(*(row[name] for name in names))
            found.append((row["row"], Change(row["time_ns"], "map", pid, mapping=mapping)))
        found.sort(key=lambda one: one[0])
        return [change for _, change in found]

    def losses(self, events: Sequence[str]) -> list[Loss]:
        """What the kernel dropped; events: names by their numbers."""
        return [
            Loss(
                row["time_ns"], row["cpu"], row["lost"], events.index(row["event"]) if row["event"] in events else -1,
                bool(row["is_total"]),
            )
            for row in self._rows("losses")
        ]  # fmt: skip

    def kallsyms(self) -> str:
        """The text of the kernel's symbols as /proc/kallsyms has it; "" without."""
        lines = []
        for row in self._rows("kallsyms"):
            module = f"\t[{row['module']}]" if row["module"] else ""
            lines.append(f"{row['address'] or 0:016x} {row['type']} {row['name']}{module}\n")
        return "".join(lines)

    def _rows(self, name: str) -> list[dict[str, Any]]:
        table = self.tables.get(name)
        if table is None:
            return []
        rows: list[dict[str, Any]] = table.whole().to_pylist()
        return rows


_OURS = tuple(field.name for field in EVENT)


def numbers_of(batch: pa.RecordBatch, name: str, kind: type, missing: int = 0) -> NDArray[Any]:
    """A column of numbers; missing: what stands for null.  Raises KeyError: there is no such column."""
    array = batch.column(name)
    if array.null_count:
        array = array.cast(pa.uint64()).fill_null(missing)
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False).astype(kind, copy=False)
    return values
