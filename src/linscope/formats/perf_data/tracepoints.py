"""Raw payloads of tracepoint samples -> one typed table per event, by the formats that the recording carries."""

from __future__ import annotations

import numpy as np

from linscope.abi import perf_event as pe
from linscope.binfmt.print_code import PrintContext
from linscope.columns.profile import EventTable
from linscope.formats._event_tables import EventTableBuilder
from linscope.formats.perf_data.attrs import EventAttr
from linscope.formats.perf_data.stream import Chunk
from linscope.formats.perf_data.tracing_data import TracingData


class TracepointTables:
    """Visits the chunks of a recording and collects a table for each tracepoint in it."""

    def __init__(self) -> None:
        self._builders: dict[int, EventTableBuilder] = {}
        self._samples = 0
        self._printing = PrintContext()

    def visit(
        self, chunk: Chunk, attrs: list[EventAttr], tracing: TracingData | None, big_endian: bool
    ) -> None:
        """Take the payloads of a chunk, while its bytes are at hand."""
        samples = chunk.scanned.samples
        count = len(samples["time"])
        if tracing is not None and count:
            if not self._builders:
                self._printing = tracing.printing()
            buffer = np.frombuffer(chunk.buffer, np.uint8)
            for number in np.flatnonzero(np.bincount(samples["event"], minlength=1)).tolist():
                builder = self._builder(number, attrs, tracing, big_endian)
                if builder is None:
                    continue
                rows = np.flatnonzero((samples["event"] == number) & (samples["raw_size"] > 0))
                at = samples["raw_offset"][rows] + np.uint32(chunk.base)
                builder.add(buffer, at, samples["raw_size"][rows], rows + self._samples)
        self._samples += count

    def _builder(
        self, number: int, attrs: list[EventAttr], tracing: TracingData, big_endian: bool
    ) -> EventTableBuilder | None:
        if number in self._builders:
            return self._builders[number]
        if number >= len(attrs) or attrs[number].type != pe.PERF_TYPE_TRACEPOINT:
            return None
        form = tracing.events.get(attrs[number].config)
        if form is None:
            return None
        return self._builders.setdefault(number, EventTableBuilder(form, ">" if big_endian else "<", self._printing))

    def finish(self) -> dict[str, EventTable]:
        """The tables, by event name."""
        made = [builder.finish() for builder in self._builders.values()]
        return {table.name: table for table in made}
