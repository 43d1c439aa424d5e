"""A heat map before it is text, SVG or a page: counts by time and value, percentile lines, axes.

Column i is the time [x_start_ns + i * x_step_ns, + x_step_ns); row j is the values [y_edges[j], y_edges[j + 1]).
Rows are of one height whatever values they span; a value's place within its row is in proportion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.errors import UsageError
from linscope.picture.flame_graph import FlameGraph

Ints = NDArray[np.int64]
PERCENTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))  # the lines over time
_TIMES = (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1))
_POWERS = (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3))
_BYTES = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass
class HeatMap:
    """Counts by time and value.  Raises UsageError when the parts do not fit together."""

    title: str
    subtitle: str
    what: str  # what y tells: "latency", "offset", "nr_sector"
    unit: str  # of y: "ns", "bytes" or another noun, "" for bare numbers
    x_start_ns: int
    x_step_ns: int
    y_edges: Ints  # rows + 1, ascending
    counts: Ints  # [row, column]
    lines: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # name -> value by column, NaN: none
    line_columns: int = 1  # neighbors that share a value of the lines, where a column has too few points
    summary: list[tuple[str, int]] = field(default_factory=list)  # ("p99", value): of all points
    lost: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # events lost by column; empty: none
    notes: list[str] = field(default_factory=list)
    log: bool = True  # rows grow with the value
    clock_start_ns: int = 0  # of the time axis: what it counts from
    duration_ns: int = 0  # from the first point to the last
    noun: str = "events"  # what is counted

    def __post_init__(self) -> None:
        rows, columns = self.counts.shape
        edges = np.asarray(self.y_edges)
        if len(edges) != rows + 1 or rows < 1 or columns < 1 or (np.diff(edges) <= 0).any():
            raise UsageError("not a heat map: rows and edges do not fit", where="HeatMap")
        if any(len(line) != columns for line in self.lines.values()) or len(self.lost) not in (0, columns):
            raise UsageError("not a heat map: a line has another number of columns", where="HeatMap")

    def __repr__(self) -> str:
        rows, columns = self.counts.shape
        return f"<HeatMap {self.title!r}: {self.total():,} {self.noun}, {columns} x {rows} cells>"

    def total(self) -> int:
        """Number of points."""
        return int(self.counts.sum())

    def shade(self) -> NDArray[np.float64]:
        """[row, column]: 0 for none, else from just above 0 (one point) to 1 (the fullest cell), by logarithm."""
        most = int(self.counts.max())
        if most <= 0:
            return np.zeros(self.counts.shape)
        least = 0.12
        scale = math.log(most) if most > 1 else 1.0
        shade = least + (1 - least) * np.log(np.maximum(self.counts, 1)) / scale
        return np.where(self.counts > 0, shade if most > 1 else 0.6, 0.0)

    def y_of(self, values: Any) -> NDArray[np.float64]:
        """Place of values in rows from the bottom; NaN stays."""
        given = np.asarray(values, np.float64)
        edges = self.y_edges.astype(np.float64)
        found: NDArray[np.float64] = np.interp(given, edges, np.arange(len(edges)))
        return np.where(np.isnan(given), np.nan, found)

    def y_ticks(self, room: int) -> list[tuple[float, str]]:
        """(place in rows from the bottom, label) of at most room round values."""
        low, high = int(self.y_edges[0]), int(self.y_edges[-1])
        if self.log:
            values = _log_ticks(low, high, room, 2 if self.unit == "bytes" else 10)
        else:
            values = _linear_ticks(low, high, room, self.unit)
        places = self.y_of(values).tolist()
        texts = [format_value(value, self.unit) for value in values]
        if len(set(texts)) < len(texts):  # values so near to each other need all their digits
            step = values[1] - values[0]
            in_time = self.unit == "ns"
            texts = [format_time(value, step, high) if in_time else f"{value:,}" for value in values]
        least = len(self.y_edges) / max(room, 1) * 0.6  # rows from one label to the next
        ticks: list[tuple[float, str]] = []
        for place, text in zip(places, texts, strict=True):
            if not ticks or place - ticks[-1][0] >= least:
                ticks.append((place, text))
        return ticks

    def x_ticks(self, room: int) -> list[tuple[float, str]]:
        """(place in columns, label) of at most room round times, counted from clock_start_ns."""
        columns = self.counts.shape[1]
        first = self.x_start_ns - self.clock_start_ns
        step = time_step(columns * self.x_step_ns / max(room, 1))
        begin = -(-first // step) * step
        last = first + columns * self.x_step_ns
        times = range(begin, last + 1, step)
        return [((time - first) / self.x_step_ns, format_time(time, step, last)) for time in times]

    def cell_times(self, column: int) -> tuple[int, int]:
        """Nanoseconds of the recording's clock at which a column begins and ends."""
        begin = self.x_start_ns + column * self.x_step_ns
        return begin, begin + self.x_step_ns


@dataclass
class HeatDetails:
    """What a page shows of a selection: the points by cell, value and task; the events; the flame graph's weights."""

    tasks: list[str]
    cell: Ints  # of each group of points: row * columns + column
    value: Ints  # of each group: its points' value, or the low end of their bucket
    task: Ints  # of each group: index into tasks
    count: Ints  # of each group: points
    exact: bool  # value is exact
    events: dict[str, Ints]  # of each event shown: cell, start_ns, end_ns, value, task, cpu
    texts: list[list[str]]  # of each event shown: key, text of the start, text of the end
    per_cell: int  # at most so many points of a cell have their events shown; 0: all have
    graph: FlameGraph | None = None  # of all points; None without stacks
    node: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # of each entry: node of the graph
    group: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # of each entry: group of points
    weight: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # of each entry, in the graph's unit
    counted: bool = False  # counts by bucket, of keys in place of tasks; there are no events
    command: str = ""  # what prints the events of a selection: "linscope heat perf.data --event A..B"


def time_step(at_least_ns: float) -> int:
    """The smallest round step of time of at least so many nanoseconds: 1, 2, 5 times a power of ten; 15 s, 1 min."""
    if at_least_ns <= 1:
        return 1
    if at_least_ns > 10**9:
        for seconds in _SECONDS:
            if seconds * 10**9 >= at_least_ns:
                return seconds * 10**9
        return math.ceil(at_least_ns / 86400e9) * 86400 * 10**9
    return decimal_step(at_least_ns)


def decimal_step(at_least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... of at least so much."""
    power = int(10 ** max(0, math.floor(math.log10(max(at_least, 1)))))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= at_least * (1 - 1e-9))


def format_value(value: float, unit: str) -> str:
    """ "4.93 us", "64 KiB", "1.2 k" of a number; three digits at most behind a unit's prefix."""
    if unit == "bytes":
        return _scaled(value, _BYTES, " B")
    if unit == "ns":
        return "0" if not value else _scaled(value, _TIMES, " ns")
    if value >= 10**4:
        return _scaled(value, _POWERS, "")
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _scaled(value: float, scales: tuple[tuple[str, int], ...], plain: str) -> str:
    for name, scale in scales:
        if value >= scale:
            number = value / scale
            digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
            text = f"{number:.{digits}f}"
            return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {name}"
    return f"{value:.0f}{plain}"


def format_time(time_ns: int, step_ns: int, last_ns: int) -> str:
    """ "1.25 s", "2 min", "1:05 h" of a time on an axis with such steps that ends at last_ns."""
    if step_ns >= 60 * 10**9 and step_ns % (60 * 10**9) == 0:
        minutes = time_ns // (60 * 10**9)
        return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes} min"
    name, scale = next(((n, s) for n, s in _TIMES if max(step_ns, last_ns) >= s), _TIMES[-1])
    digits = 0
    while step_ns * 10**digits % scale and digits < 9:
        digits += 1
    return f"{time_ns / scale:.{digits}f} {name}"


def _log_ticks(low: int, high: int, room: int, base: int) -> list[int]:
    """Powers of the base; where these are few, also what lies between them."""
    first = max(low, 1)
    found = [0] if low == 0 else []
    powers = [base**i for i in range(64) if first <= base**i <= high]
    if base == 2:
        every = max(1, math.ceil(len(powers) / max(room, 1)))
        return found + [p for p in powers if p.bit_length() % every == 1 % every]
    if len(powers) > room:
        every = math.ceil(len(powers) / max(room, 1))
        return found + powers[::every]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [f * 10**i for i in range(19) for f in factors if first <= f * 10**i <= high]
        if len(values) <= room or factors == (1,):
            return found + values
    return found


def _linear_ticks(low: int, high: int, room: int, unit: str) -> list[int]:
    least = (high - low) / max(room, 1)
    if unit == "bytes":
        step = 1
        while step < least:
            step *= 2
    else:
        step = time_step(least) if unit == "ns" else decimal_step(least)
    return list(range(-(-low // step) * step, high + 1, step))
