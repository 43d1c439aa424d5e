"""`linscope trace -f parquet -o DIR`: a file for each statement and each map."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from linscope.errors import OutputError
from linscope.session.script.batches import Batch, Collected
from linscope.session.script.columns import TIME
from linscope.session.script.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from linscope.session.script.batches import Connected

_ROWS = 1 << 16  # of a group in a file
_PATIENCE_NS = 1_000_000_000  # after which what was collected is made a batch: readers see how late it was read
_READ = pa.field("read_time", TIME)


class FolderOutput(Output):
    """Writes what a ``Collected`` form has; its files are complete when it is closed."""

    def __init__(self, path: str, clock: Callable[[], int] = time.time_ns) -> None:
        """clock: what time batches have, in ns since 1970.  Raises OutputError: there can be no such folder."""
        super().__init__(-1)
        self.clock = clock
        self.is_dated = True  # False: the clock is not one of days, and tells no read_time
        self.missing = ""  # what a text reads as that is not known, of a replay: it becomes null
        self.path = path
        self.form = Collected(self)
        self.form.clock = clock
        self._waiting: dict[str, list[pa.RecordBatch]] = {}
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._due = 0
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as failed:
            raise OutputError("cannot make the folder", where=path, why=failed.strerror or "") from None

    def connect(self, runner: Connected) -> None:
        """Take what a runner tells, which is loaded, or a replay."""
        self.form.connect(runner)

    def flush(self, *, end: bool = False) -> None:
        """Make files of what came, when it is time to."""
        now = self.clock()
        if now < self._due and not end:
            return
        self._due = now + _PATIENCE_NS
        for batch in self.form.take():
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        table = batch.to_arrow()
        if self.missing:
            table = _without(table, self.missing)
        when = pa.array([batch.time_ns // 1000 if self.is_dated else None] * len(table), _READ.type)
        made = pa.RecordBatch.from_arrays([when, *table.columns], schema=pa.schema([_READ, *table.schema]))
        waiting = self._waiting.setdefault(batch.name, [])
        waiting.append(made)
        if sum(len(one) for one in waiting) >= _ROWS:
            self._write(batch.name)

    def _write(self, name: str) -> None:
        batches = self._waiting.pop(name, [])
        if not batches:
            return
        place = Path(self.path) / f"{file_name(name)}.parquet"
        try:
            if name not in self._writers:
                self._writers[name] = pq.ParquetWriter(place, batches[0].schema, compression="zstd")
            self._writers[name].write_table(pa.Table.from_batches(batches))
        except OSError as failed:
            raise OutputError("cannot write", where=str(place), why=failed.strerror or str(failed)) from None

    def close(self) -> None:
        """Complete the files; harmless when repeated."""
        self.flush(end=True)
        for name in list(self._waiting):
            self._write(name)
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def _without(table: pa.RecordBatch, text: str) -> pa.RecordBatch:
    """A table with null in place of a text."""
    columns = [
        pc.if_else(pc.equal(column, text), None, column) if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def file_name(name: str) -> str:
    """ "map-us" of the map @us, "map" of @; the name of a statement as it is."""
    if name.startswith("@"):
        name = f"map-{name[1:]}" if len(name) > 1 else "map"
    return re.sub(r"[^\w-]", "_", name)
