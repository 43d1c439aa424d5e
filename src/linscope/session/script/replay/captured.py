"""Captures in a perf.data: to which event each belongs.

A program hands over what it reads just before its event is written to the same buffer; so the owner of a capture is the
next event of the same CPU and thread that runs the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.lang.codegen.capture import HEADER_SIZE
from linscope.session.script.replay.contents import Captures

if TYPE_CHECKING:
    from collections.abc import Sequence

_FAR = 1000  # events of other threads and programs that may lie between a capture and its event


class _Waiting:
    """A capture whose event has not come."""

    __slots__ = ("cpu", "fields", "program", "tid")

    def __init__(self, cpu: int, tid: int, program: int, fields: tuple[int, ...]) -> None:
        self.cpu = cpu
        self.tid = tid
        self.program = program
        self.fields = fields


class CaptureReader:
    """Reads the captures of chunks.  Rows of events are numbered over all chunks."""

    def __init__(self, event: int, runs: Sequence[Sequence[int]], start_ns: int) -> None:
        """event: the number of the captures' event; runs: the programs of each event; start_ns: of the session.

        Before it programs may run at events that are not recorded yet; what they tell belongs to none.
        """
        self.event = event
        self.start_ns = start_ns
        self.runs = [frozenset(one) for one in runs]
        self.anywhere = frozenset(number for one in runs for number in one)
        self.own: dict[int, list[tuple[int, ...]]] = {}  # of programs that no event runs: program -> fields
        self._rows: list[int] = []
        self._found: list[tuple[int, ...]] = []
        self._waiting: list[_Waiting] = []

    def take(
        self, buffer: Any, base: int, shift: int, samples: dict[str, NDArray[Any]], numbers: NDArray[np.int64]
    ) -> None:
        """Take the captures of a chunk.

        base: of the scan in the buffer; shift: what is added to offsets in it to get those of ``at``; numbers: of each
        row, over all chunks.
        """
        events, cpus, tids = samples["event"], samples["cpu"], samples["tid"]
        rows = np.flatnonzero(events == self.event)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._give(one, -1, events, cpus, tids, numbers)
        if not len(rows):
            return
        raw = np.frombuffer(buffer, np.uint8)
        at = samples["raw_offset"][rows].astype(np.int64) + base
        heads = np.ascontiguousarray(raw[at[:, None] + np.arange(HEADER_SIZE)])
        kinds, lengths, values = heads.view("<u2")[:, :2], heads.view("<u4")[:, 1], heads.view("<u8")[:, 1]
        sizes, times = samples["raw_size"][rows], samples["time"][rows].tolist()
        places = at - base + shift + HEADER_SIZE
        for n, row in enumerate(rows.tolist()):
            size = min(int(lengths[n]), max(int(sizes[n]) - HEADER_SIZE, 0))
            kind, program = int(kinds[n, 0]), int(kinds[n, 1])
            fields = program, kind, int(values[n]), int(places[n]), size
            if program not in self.anywhere:
                self.own.setdefault(program, []).append(fields)
                continue
            if times[n] < self.start_ns:
                continue
            self._give(_Waiting(int(cpus[row]), int(tids[row]), program, fields), row, events, cpus, tids, numbers)

    def _give(
        self, one: _Waiting, after: int, events: NDArray[Any], cpus: NDArray[Any], tids: NDArray[Any],
        numbers: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Find the event of a capture behind a row; it waits for the next chunk when there is none."""
        for row in range(after + 1, min(after + _FAR, len(events))):
            event = int(events[row])
            if event == self.event or event >= len(self.runs) or tids[row] != one.tid or cpus[row] != one.cpu:
                continue
            if one.program in self.runs[event]:
                self._rows.append(int(numbers[row]))
                self._found.append(one.fields)
                return
        if len(events) - after <= _FAR:
            self._waiting.append(one)

    def of(self, numbers: NDArray[np.int64], shift: int = 0) -> Captures | None:
        """The captures of the events with these numbers, which are forgotten; shift: is added to where bytes lie."""
        if not self._rows:
            return None
        wanted = np.array(self._rows, np.int64)
        order = np.argsort(numbers, kind="stable")
        place = np.minimum(np.searchsorted(numbers[order], wanted), len(order) - 1)
        row = order[place]
        there = numbers[row] == wanted
        chosen = np.flatnonzero(there)
        if not len(chosen):
            return None
        fields = [self._found[n] for n in chosen.tolist()]
        left = np.flatnonzero(~there).tolist()
        self._rows, self._found = [self._rows[n] for n in left], [self._found[n] for n in left]
        return made_captures(row[chosen], fields, shift)


def made_captures(
    row: NDArray[np.int64], fields: Sequence[tuple[int, ...]] | NDArray[np.uint64], shift: int = 0
) -> Captures:
    """Captures by their fields (program, kind, value, at, size), ordered by row and program."""
    columns = np.array(fields, np.uint64).reshape(-1, 5)
    order = np.lexsort((columns[:, 0], row))
    columns = columns[order]
    return Captures(
        row[order], columns[:, 0].astype(np.uint16), columns[:, 1].astype(np.uint16), columns[:, 2],
        (columns[:, 3].astype(np.int64) + shift).astype(np.uint64), columns[:, 4].astype(np.uint32),
    )  # fmt: skip
