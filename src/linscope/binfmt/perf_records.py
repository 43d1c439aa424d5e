"""perf records in a buffer -> columns, by the native scanner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope._native import _core

KIND_MODE = 7  # of a stack node's kind: PERF_RECORD_MISC_CPUMODE_*
KIND_EXACT = 8  # of a stack node's kind: the instruction itself, not the one after a call
KIND_UNWOUND = 16  # of a stack node's kind: found by call frame information, so surely after a call
NO_EVENT = 0xFFFF  # event number of a sample whose id belongs to no event
NO_CPU = 0xFFFFFFFF


class RawStacks(NamedTuple):
    """The tree of call chains as recorded: node 0 is the root, parents come before children."""

    parent: NDArray[np.uint32]
    place: NDArray[np.uint32]  # of each node, a row of the two columns below
    address: NDArray[np.uint64]  # of each place
    kind: NDArray[np.uint8]  # of each place: KIND_MODE | KIND_EXACT


class Scanned(NamedTuple):
    """What one call of ``Scanner.scan`` found; offsets count from the position it started at."""

    samples: dict[str, NDArray[Any]]  # columns: time, address, weight, pid, tid, cpu, stack, event, misc, ...
    others: dict[str, NDArray[Any]]  # columns: time, offset, type, tid, cpu, event, misc, size
    sample_records: int  # not rows: a group that is read with its leader gives a row a member
    consumed: int  # bytes of whole records taken
    stopped_at: int  # type of a tool's record (>= 64) that comes next and is the caller's to handle; 0: none
    error: str  # what is wrong with the record that comes next; "": nothing


class Scanner:
    """Scans chunk after chunk; keeps the tree of all call chains seen."""

    def __init__(self, *, swap: bool) -> None:
        """swap: the records are in the other byte order."""
        self.swap = swap
        empty = np.empty(0, np.uint64)
        self._core = _core.Scanner(empty, empty, np.empty(0, np.uint16), swap)

    def set_events(self, layouts: Sequence[tuple[int, ...]], ids: Sequence[tuple[int, int]]) -> None:
        """layouts: ``EventAttr.layout()`` of each event; ids: (id, number of the event)."""
        mask = 2**64 - 1
        self._core.set_layouts(
            np.array([word & mask for layout in layouts for word in layout], np.uint64),
            np.array([i & mask for i, _ in ids], np.uint64),
            np.array([event for _, event in ids], np.uint16),
        )

    def scan(self, buffer: Any, start: int = 0) -> Scanned:
        """Take whole records from buffer[start:] until its end, a record for the caller, or a damaged one."""
        found = self._core.scan(buffer, start)
        return Scanned(
            found["samples"],
            found["others"],
            found["sample_records"],
            found["consumed"],
            found["stopped_at"],
            found["error"] or "",
        )

    def set_unwinder(self, unwinder: _core.Unwinder | None, space_of_sample: NDArray[np.uint32]) -> None:
        """Unwind the user part of samples with registers and a stack dump from now on; None ends it.

        space_of_sample: of each sample, numbered over all scans, the number that the unwinder knows its space by.
        """
        self._core.set_unwinder(unwinder, space_of_sample)

    def take_stacks(self) -> RawStacks:
        """The tree of all chains so far, which the scanner forgets: the numbers of stacks begin anew."""
        return RawStacks(*self._core.take_stacks())

    def take_completed(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """(samples, stacks): samples, numbered over all scans, whose user part came later, and their whole stacks."""
        return self._core.take_completed()
