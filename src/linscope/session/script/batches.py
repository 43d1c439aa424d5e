"""What a script tells, as batches of Arrow rows: one for each statement and read, not line by line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from linscope.session.script.columns import MapColumns, Statement, text_batch
from linscope.session.script.output import Output, TextForm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from linscope.errors import Diagnostic
    from linscope.lang import ir
    from linscope.session.script.events import Handler
    from linscope.session.script.map_values import ScriptMap
    from linscope.session.script.resolver import Resolver

    class Connected(Protocol):
        """Somebody who runs a script."""

        @property
        def unit(self) -> ir.Unit: ...

        @property
        def resolver(self) -> Resolver: ...

        @property
        def script_maps(self) -> Mapping[ir.Map, ScriptMap]: ...

        def handle(self, number: int, handler: Handler) -> None: ...


_STATEMENTS = ("printf", "print")


class Batch:
    """Rows that came together.

    kind: printf, print, map (of print(@x)), time, join, cat, syscall (of system()), errorf, warnf, runtime_error,
    helper_error or lost_events.  name: of the statement ("printf-3", by its line), the map, or the kind.  time_ns: when
    they were read, in ns since 1970.
    """

    def __init__(self, kind: str, name: str, rows: int) -> None:
        self.kind = kind
        self.name = name
        self.time_ns = time.time_ns()
        self._rows = rows
        self._made: pa.RecordBatch | None = None
        self._statement: Statement | None = None
        self._records: Sequence[bytes] = ()

    @classmethod
    def of_records(cls, name: str, statement: Statement, records: Sequence[bytes]) -> Batch:
        """What a statement told.  It is decoded when it is asked for, unless that would be too late."""
        made = cls(statement.kind, name, len(records))
        made._statement, made._records = statement, records
        if statement.names_now:
            made.to_arrow()
        return made

    @classmethod
    def of_table(cls, kind: str, name: str, table: pa.RecordBatch) -> Batch:
        """Rows that are there already."""
        made = cls(kind, name, table.num_rows)
        made._made = table
        return made

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        return f"<Batch of {self.name}: {self._rows:,} row{'s' if self._rows != 1 else ''}>"

    def to_arrow(self) -> pa.RecordBatch:
        """The rows; columns are called as the script writes their values."""
        if self._made is None:
            assert self._statement is not None
            self._made, self._records = self._statement.batch(self._records), ()
        return self._made

    def to_pandas(self) -> Any:
        """The rows as a DataFrame."""
        return self.to_arrow().to_pandas()


class Collected(TextForm):
    """A form that keeps what comes; ``take`` gives it away."""

    name = "batches"

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self.pending = 0  # rows
        self.tables: dict[str, MapColumns] = {}  # by names of maps
        self.clock: Callable[[], int] = time.time_ns  # of the batches
        self._batches: list[Batch] = []
        self._records: dict[str, tuple[Statement, list[bytes]]] = {}
        self._texts: dict[str, list[bytes]] = {}

    def connect(self, runner: Connected) -> None:
        """Take the records of the statements of a runner, which is loaded, or of a replay."""
        unit, resolver = runner.unit, runner.resolver
        for script_map in runner.script_maps.values():
            self.tables[script_map.name] = MapColumns(unit, script_map, resolver)
        for number, event in enumerate(unit.events):
            if event.kind in _STATEMENTS:
                statement = Statement(unit, event, resolver)
                name, again = f"{event.kind}-{statement.line}", 1
                while name in self._records:
                    again += 1
                    name = f"{event.kind}-{statement.line}-{again}"
                records: list[bytes] = []
                self._records[name] = statement, records
                runner.handle(number, records.append)

    @property
    def statements(self) -> dict[str, Statement]:
        """By their names: "printf-3" stands in line 3."""
        return {name: statement for name, (statement, _) in self._records.items()}

    def take(self) -> list[Batch]:
        """What came since the last time."""
        found, self._batches = self._batches, []
        for name, (statement, records) in self._records.items():
            if records:
                found.append(self._dated(Batch.of_records(name, statement, records.copy())))
                records.clear()
        for kind, texts in self._texts.items():
            found.append(self._dated(Batch.of_table(kind, kind, text_batch(texts))))
        self._texts.clear()
        return found

    def _dated(self, batch: Batch) -> Batch:
        batch.time_ns = self.clock()
        return batch

    def _keep(self, kind: str, name: str, table: pa.RecordBatch) -> None:
        self._batches.append(self._dated(Batch.of_table(kind, name, table)))

    def raw(self, data: bytes) -> None:
        """Text that is no result."""

    def put(self, kind: str, data: bytes) -> None:
        """The text of time, cat, syscall."""
        self._texts.setdefault(kind, []).append(data)

    def join(self, data: bytes) -> None:
        """The words of join()."""
        self.put("join", data)

    def map(self, script_map: ScriptMap, top: int = 0, div: int = 0) -> None:
        """print() of a map.  div: is for what is printed."""
        columns = self.tables[script_map.name]
        entries = script_map.entries()
        self._keep("map", script_map.name, columns.table(entries[-top:] if top else entries))

    def lost(self, count: int) -> None:
        """Events for which there was no room."""
        table = pa.RecordBatch.from_pydict({"count": pa.array([count], pa.uint64())})
        self._keep("lost_events", "lost_events", table)

    def problem(self, kind: str, places: Sequence[Diagnostic], where: str) -> None:
        """errorf, warnf, runtime_error, helper_error."""
        line = pa.array([places[0].line], pa.int32())
        table = pa.RecordBatch.from_pydict({"text": pa.array([places[0].what], pa.string()), "line": line})
        self._keep(kind, kind, table)
