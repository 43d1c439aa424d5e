"""Measured points -> heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.latency import Points
from linscope.columns.log_linear import bucket_of, low_end
from linscope.columns.profile import Profile
from linscope.errors import UsageError
from linscope.picture.heat_map import PERCENTILES, HeatMap, decimal_step, time_step

Index = NDArray[np.int64]
SCALES = ("auto", "log", "linear")
_WIDE = 6  # values that spread over more than this factor are drawn by logarithm
_MAX_BITS = 3  # 8 rows a power of two at most
_FILLING = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)  # steps of columns, in tenths of a power of ten
_FRAME_ROWS = (50, 40, 25, 20, 10)
_ENOUGH = 100  # points of a percentile
_SUMMARY = (("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))


def heat_map(
    points: Points,
    profile: Profile,
    *,
    title: str,
    subtitle: str,
    notes: list[str],
    columns: int,
    rows: int,
    scale: str = "auto",
    limits: tuple[int | None, int | None] = (None, None),
) -> tuple[HeatMap, Index]:
    """(the picture of at most that many columns and about that many rows, cell of each point).

    scale: one of SCALES; limits: values to draw from and to: what lies outside is counted in a row of its own.
    Cells are numbered row * columns + column.  Raises UsageError.
    """
    if scale not in SCALES:
        raise UsageError(f"not a scale: {scale!r}", next_step=", ".join(SCALES))
    start, step, count = _columns(points, columns)
    edges, log = _rows(points, rows, scale, limits)
    column = (points.time_ns - start) // step
    row = np.searchsorted(edges, points.value, side="right") - 1
    cell = row * count + column
    height = len(edges) - 1
    counts = np.bincount(cell, minlength=height * count).reshape(height, count).astype(np.int64)
    times = points.time_ns
    by_column = points.by != "offset"
    lines, together = _percentile_lines(points.value, column, count) if by_column else ({}, 1)
    noun = {"latency": "intervals"}.get(points.by, "events")
    picture = HeatMap(
        title=title,
        subtitle=subtitle,
        what=points.what,
        unit=points.unit,
        x_start_ns=start,
        x_step_ns=step,
        y_edges=edges,
        counts=counts,
        lines=lines,
        line_columns=together,
        summary=summary(points.value) if by_column else [],
        lost=_lost(profile, start, step, count),
        notes=notes,
        log=log,
        clock_start_ns=start,
        duration_ns=int(times[-1] - times[0]) if len(times) else 0,
        noun=noun,
    )
    return picture, cell


def summary(values: Index) -> list[tuple[str, int]]:
    """Percentiles by the nearest rank: the smallest value that so large a part of all does not exceed."""
    if not len(values):
        return []
    ranks = [_rank(part, len(values)) for _, part in _SUMMARY]
    ordered = np.partition(values, sorted(set(ranks)))
    return [(name, int(ordered[rank])) for (name, _), rank in zip(_SUMMARY, ranks, strict=True)]


def _rank(part: float, count: Any) -> Any:
    return np.maximum(np.ceil(part * count - 1e-9).astype(np.int64) - 1, 0)


def _percentile_lines(values: Index, column: Index, columns: int) -> tuple[dict[str, NDArray[np.float64]], int]:
    """(values by column, how many columns share one): so many that a percentile is of a hundred points or more."""
    together = 1
    occupied = len(np.unique(column))
    while together < columns and len(values) * together < _ENOUGH * occupied:
        together *= 2
    group = column // together
    order = np.lexsort((values, group))
    ordered = values[order]
    counts = np.bincount(group, minlength=-(-columns // together))
    begin = np.cumsum(counts) - counts
    some = counts > 0
    lines = {}
    for name, part in PERCENTILES:
        line = np.full(len(counts), np.nan)
        line[some] = ordered[begin[some] + _rank(part, counts[some])]
        lines[name] = np.repeat(line, together)[:columns]
    return lines, together


def _columns(points: Points, wanted: int) -> tuple[int, int, int]:
    """(start in ns, step in ns, number) of the columns; starts are multiples of the step, so that maps add up."""
    times = points.time_ns
    first, last = (int(times[0]), int(times[-1])) if len(times) else (0, 0)
    step = _column_step((last - first + 1) / max(wanted - 1, 1))
    if points.by == "offset":
        frame = points.frame_ns
        step = frame
        while (last // step - first // step + 1) > wanted:
            step = frame * decimal_step(step // frame + 1)
    start = first // step * step
    return start, step, max(1, (last - start) // step + 1)


def _column_step(at_least_ns: float) -> int:
    """A step that leaves little of the width empty."""
    power = 10 ** int(np.log10(max(at_least_ns, 1)))
    return next(n * power // 10 for n in _FILLING if n * power // 10 >= at_least_ns or n == _FILLING[-1]) or 1


def _rows(points: Points, wanted: int, scale: str, limits: tuple[int | None, int | None]) -> tuple[Index, bool]:
    """(edges of the rows, True if these grow with the value)."""
    values = points.value
    if points.by == "offset":
        frame = points.frame_ns
        rows = next((n for n in _FRAME_ROWS if n <= wanted and frame % n == 0), 1)
        return np.arange(rows + 1, dtype=np.int64) * (frame // rows), False
    least, most = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    low, high = limits
    if low is not None and high is not None and low >= high:
        raise UsageError("the range of values is empty", next_step="--range 10us,5ms")
    inside = values[(values >= (low or 0)) & (values > 0)]
    bottom = low if low is not None else (int(inside.min()) if len(inside) else 0)
    top = high if high is not None else most
    top = max(top, bottom)
    wide = top >= _WIDE * max(bottom, 1) and top - bottom >= _WIDE
    log = scale == "log" or (scale == "auto" and wide)
    edges = _log_edges(bottom, top, wanted) if log else _linear_edges(bottom, top, wanted, points.unit)
    edges = np.unique(np.clip(edges, low, high)) if (low, high) != (None, None) else edges
    if least < edges[0]:
        edges = np.r_[min(least, 0), edges]  # what lies below, zeros first of all, has one row
    if most >= edges[-1]:
        edges = np.r_[edges, most + 1]
    return edges.astype(np.int64), log


def _log_edges(low: int, high: int, wanted: int) -> Index:
    ends = np.array([max(low, 1), max(high, 1)], np.int64)
    for bits in range(_MAX_BITS, -1, -1):
        first, last = bucket_of(ends, bits).tolist()
        if last - first < wanted:
            return low_end(np.arange(first, last + 2, dtype=np.int64), bits)
    first, last = bucket_of(ends, 0).tolist()  # powers of two: several in a row
    every = -(-(last - first + 1) // max(wanted, 1))
    return low_end(np.arange(first, last + every + 1, every, dtype=np.int64), 0)


def _linear_edges(low: int, high: int, wanted: int, unit: str) -> Index:
    step = (time_step if unit == "ns" else decimal_step)((high - low + 1) / max(wanted - 1, 1))
    first = low // step
    return np.arange(first, high // step + 2, dtype=np.int64) * step


def _lost(profile: Profile, start: int, step: int, columns: int) -> Index:
    """Events lost in each column; empty when none were, or nobody knows when."""
    timed = [loss for loss in profile.losses if not loss.of_event]
    if not timed:
        return np.empty(0, np.int64)
    at = (np.array([loss.time_ns for loss in timed], np.int64) - start) // step
    lost = np.zeros(columns, np.int64)
    np.add.at(lost, np.clip(at, 0, columns - 1), np.array([loss.lost for loss in timed], np.int64))
    return lost
