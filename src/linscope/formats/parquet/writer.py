"""Writes the tables of a recording; nothing is seen of them before they are complete."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from linscope.errors import OutputError
from linscope.formats.parquet.facts import EVENT_FORMAT, EVENT_NAME, Facts
from linscope.formats.parquet.tables import TABLES, event_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

_ROWS = 1 << 17  # of a row group
_WAITING = 1 << 20  # rows in memory, of all tables
_LEVEL = 1  # of zstd: the next ones take twice the time for some percent


class _Table:
    """One file."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self.waiting: list[pa.RecordBatch] = []
        self.rows = 0  # that wait
        self.writer: pq.ParquetWriter | None = None

    def write(self) -> None:
        """Write what waits, as a row group."""
        if self.writer is None:
            self.path.parent.mkdir(exist_ok=True)
            self.writer = pq.ParquetWriter(self.path, self.schema, compression="zstd", compression_level=_LEVEL)
        if self.rows:
            self.writer.write_table(pa.Table.from_batches(self.waiting, self.schema), row_group_size=_ROWS)
        self.waiting, self.rows = [], 0


class FolderWriter:
    """A folder of tables; in a ``with``, at whose end it is in its place, unless something went wrong."""

    def __init__(self, path: str, facts: Facts) -> None:
        """Raises OutputError: there is something already, or there can be no such folder."""
        self.path = Path(path)
        self.facts = facts
        self._partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        self._tables: dict[str, _Table] = {}
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise OutputError("there is something already", where=path, next_step="-o a folder that is new or empty")
        try:
            self._partial.mkdir(parents=True)
        except OSError as failed:
            raise OutputError("cannot make the folder", where=path, why=failed.strerror or "") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        else:
            for table in self._tables.values():
                if table.writer is not None:
                    with suppress(OSError, pa.ArrowException):
                        table.writer.close()
            shutil.rmtree(self._partial, ignore_errors=True)

    def add_event_table(self, name: str, format: str, fields: Iterable[pa.Field]) -> None:
        """A table of a tracepoint; format: the text of its format; fields: all of its columns."""
        metadata = {**self.facts.metadata(), EVENT_NAME: name.encode(), EVENT_FORMAT: format.encode("utf-8", "replace")}
        place = event_file(name)
        self._tables[name] = _Table(self._partial / place, pa.schema(list(fields), metadata))

    def has(self, name: str) -> bool:
        """Whether there is a table of that name already."""
        return name in self._tables

    def add(self, name: str, columns: list[pa.Array]) -> None:
        """Add rows to a table: one of ``tables.TABLES``, or a tracepoint's.  Raises OutputError."""
        table = self._tables.get(name)
        if table is None:
            schema = pa.schema(TABLES[name], self.facts.metadata())
            table = self._tables[name] = _Table(self._partial / f"{name}.parquet", schema)
        batch = pa.RecordBatch.from_arrays(columns, schema=table.schema)
        table.waiting.append(batch)
        table.rows += len(batch)
        try:
            if table.rows >= _ROWS:
                table.write()
            elif sum(one.rows for one in self._tables.values()) >= _WAITING:
                max(self._tables.values(), key=lambda one: one.rows).write()
        except OSError as failed:
            raise self._refused(failed) from None

    def _refused(self, failed: OSError) -> OutputError:
        return OutputError("cannot write", where=str(self.path), why=failed.strerror or str(failed))

    def _finish(self) -> None:
        try:
            for table in self._tables.values():
                table.write()
                if table.writer is not None:
                    table.writer.close()
            with suppress(FileNotFoundError):
                self.path.rmdir()  # it is empty
            self._partial.rename(self.path)
        except OSError as failed:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise self._refused(failed) from None
