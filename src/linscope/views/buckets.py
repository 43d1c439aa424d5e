"""Histograms over time, as a script's map has them -> heat map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linscope.columns.trees import intern_pairs
from linscope.errors import UsageError
from linscope.picture.heat_map import PERCENTILES, HeatDetails, HeatMap

Ints = NDArray[np.int64]
_SUMMARY = (("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
_ENOUGH = 100  # values of a percentile


@dataclass
class BucketCounts:
    """What histograms counted, one row a column of time, key and bucket.

    ``edges`` are those of the buckets from the lowest to the highest that has anything, ascending.
    """

    edges: Ints  # buckets + 1
    column: Ints  # of each row, counted from 0
    bucket: Ints  # of each row: index into edges
    task: Ints  # of each row: index into tasks
    count: Ints  # of each row
    tasks: list[str]  # the keys
    columns: int
    start_ns: int  # of column 0, wall time
    step_ns: int  # of a column
    log: bool
    unit: str  # "ns", "bytes" or ""
    what: str

    def __post_init__(self) -> None:
        if not len(self.count):
            raise UsageError("there is nothing to draw: the histogram stayed empty")


def bucket_heat(
    counts: BucketCounts, *, title: str, subtitle: str, notes: list[str], columns: int
) -> tuple[HeatMap, HeatDetails]:
    """The picture of at most that many columns, and what a page shows of a selection.

    Of a value no more is known than its bucket: percentiles are those of the buckets' middles.
    """
    together = max(1, -(-counts.columns // max(columns, 1)))
    width = -(-counts.columns // together)
    rows = len(counts.edges) - 1
    column = counts.column // together
    cell = counts.bucket * width + column
    cells = np.zeros(rows * width, np.int64)
    np.add.at(cells, cell, counts.count)
    table = cells.reshape(rows, width)
    middles = _middles(counts.edges, log=counts.log)
    lines, shared = _lines(table, middles)
    picture = HeatMap(
        title=title, subtitle=subtitle, what=counts.what, unit=counts.unit, x_start_ns=counts.start_ns,
        x_step_ns=counts.step_ns * together, y_edges=counts.edges, counts=table, lines=lines, line_columns=shared,
        summary=_summary(table.sum(axis=1), middles), notes=notes, log=counts.log, clock_start_ns=counts.start_ns,
        duration_ns=counts.columns * counts.step_ns, noun="values",
    )  # fmt: skip
    pair, group_cell, group_task = intern_pairs(cell.astype(np.uint32), counts.task.astype(np.uint32))
    sums = np.zeros(len(group_cell), np.int64)
    np.add.at(sums, pair, counts.count)
    none = np.empty(0, np.int64)
    details = HeatDetails(
        tasks=counts.tasks, cell=group_cell.astype(np.int64), value=middles[group_cell.astype(np.int64) // width],
        task=group_task.astype(np.int64), count=sums, exact=False,
        events=dict.fromkeys(("cell", "start", "end", "value", "task", "cpu"), none), texts=[[], [], []], per_cell=0,
        counted=True,
    )  # fmt: skip
    return picture, details


def _middles(edges: Ints, *, log: bool) -> Ints:
    low, high = edges[:-1].astype(np.float64), edges[1:].astype(np.float64)
    middle = np.where((low > 0) & log, np.sqrt(np.maximum(low, 1) * np.maximum(high, 1)), (low + high) / 2)
    single = edges[1:] - edges[:-1] == 1
    made: Ints = np.where(single, edges[:-1], middle.astype(np.int64))
    return made


def _place(sums: Ints, part: float) -> int:
    """The bucket of the smallest value that so large a part of all does not exceed."""
    ordered = np.cumsum(sums)
    rank = max(int(np.ceil(part * int(ordered[-1]) - 1e-9)), 1)
    return int(np.searchsorted(ordered, rank))


def _summary(sums: Ints, middles: Ints) -> list[tuple[str, int]]:
    return [(name, int(middles[_place(sums, part)])) for name, part in _SUMMARY]


def _lines(table: Ints, middles: Ints) -> tuple[dict[str, NDArray[np.float64]], int]:
    """(values by column, how many columns share one): so many that a percentile is of a hundred values or more."""
    columns, together = table.shape[1], 1
    occupied = int(np.count_nonzero(table.sum(axis=0)))
    while together < columns and int(table.sum()) * together < _ENOUGH * occupied:
        together *= 2
    lines = {name: np.full(columns, np.nan) for name, _ in PERCENTILES}
    for first in range(0, columns, together):
        sums = table[:, first : first + together].sum(axis=1)
        if sums.any():
            for name, part in PERCENTILES:
                lines[name][first : first + together] = middles[_place(sums, part)]
    return lines, together
