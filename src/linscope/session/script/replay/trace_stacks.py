"""Kernel stacks of a trace.dat as the stacks of the user-space machine: records behind the event they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.bpf.vm.state import NO_STACK
from linscope.formats.trace_dat.stacks import FARTHEST, PROBES, KernelStacks, owners
from linscope.session.script.replay.contents import StackTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linscope.formats.trace_dat.symbols import FileSymbols

    Columns = dict[str, NDArray[Any]]
    Piece = tuple[Any, Columns]

_FIRST = np.zeros(1, np.int64)


class TraceStacks:
    """The stacks of all CPUs; each distinct one has a number."""

    def __init__(self, records: KernelStacks, symbols: FileSymbols) -> None:
        self.records = records
        self.symbols = symbols
        self._table = StackTable(np.zeros(1, np.uint64), np.empty(0, np.uint64))

    def attach(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces of one CPU, with a column ``kernel_stack``: numbers, NO_STACK of events without.

        A piece is given when the next one is known, which may begin with a stack of its last event.
        """
        last: Piece | None = None
        for data, columns in pieces:
            alone = self._take(data, columns)
            if last is not None:
                self._take_over(last[1], columns, alone)
                yield last
            last = bytes(data), columns
        if last is not None:
            yield last

    def _take(self, data: Any, columns: Columns) -> list[tuple[int, int]]:
        """Add the column to a piece; gives (row, number) of stacks in front of which there is no event of theirs."""
        stack = np.full(len(columns["type"]), NO_STACK, np.uint32)
        columns["kernel_stack"] = stack
        is_stack = columns["type"] == self.records.form.id
        rows = np.flatnonzero(is_stack)
        if not len(rows):
            return []
        numbers = self.records.numbers(np.frombuffer(data, np.uint8), columns["at"][rows], columns["raw_size"][rows])
        owner = owners(rows, is_stack, columns["tid"], _FIRST)
        found = owner >= 0
        stack[owner[found]] = np.array(numbers, np.uint32)[found]
        return [(int(rows[place]), numbers[place]) for place in np.flatnonzero(~found) if rows[place] < FARTHEST]

    def _take_over(self, before: Columns, columns: Columns, alone: list[tuple[int, int]]) -> None:
        """Give stacks that a piece begins with to events at the end of the piece before it."""
        count = len(before["tid"])
        for row, number in alone:
            for place in range(count - 1, max(count - 1 - FARTHEST + row, -1), -1):
                is_own = before["tid"][place] == columns["tid"][row] and before["type"][place] != self.records.form.id
                if is_own and before["kernel_stack"][place] == NO_STACK:
                    before["kernel_stack"][place] = number
                    break

    def table(self) -> StackTable:
        """All stacks so far, the innermost frame first, and that is the one of live stacks: the tracepoint's."""
        numbers = range(len(self._table.offsets) - 1, len(self.records.frames))
        new = [self.records.without(PROBES, number, self.symbols) for number in numbers]
        if new:
            end = int(self._table.offsets[-1])
            sizes = np.cumsum([len(frames) for frames in new]).astype(np.uint64) + np.uint64(end)
            addresses = np.array([address for frames in new for address in frames], np.uint64)
            self._table = StackTable(
                np.concatenate([self._table.offsets, sizes]), np.concatenate([self._table.addresses, addresses])
            )
        return self._table
