"""Histograms and time series as bpftrace draws them, and as JSON.

Source: bpftrace 0.26: 52 columns of bars, 53 of a plot; buckets with powers of 1024 have their letters.
"""

from __future__ import annotations

import struct
import time

from linscope.lang import types as t
from linscope.lang.unit import bucket_range
from linscope.session.script.clock import interval_text
from linscope.session.script.values import json_integer

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Bar = tuple[int | None, int | None, int]  # first value, the one behind the last (None: open), count

_WIDTH = 52
_LETTERS = ("", "K", "M", "G", "T", "P", "E")
_PLOT = 53
_LABEL = 21  # columns of the least value above a plot
_SECOND = 1_000_000_000


def histogram_bars(kind: t.Histogram | t.LinearHistogram, counts: Mapping[int, int], div: int = 1) -> list[Bar]:
    """From the first bucket that is not empty to the last."""
    filled = [bucket for bucket, count in counts.items() if count]
    if not filled:
        return []
    bars: list[Bar] = []
    for bucket in range(min(filled), max(filled) + 1):
        count = counts.get(bucket, 0)
        if isinstance(kind, t.Histogram):
            low, high = (None, 0) if bucket == 0 else bucket_range(bucket, kind.bits)
            bars.append((low, high, count // div))
        else:
            bars.append((*_linear_range(kind, bucket), count))
    return bars


def _linear_range(kind: t.LinearHistogram, bucket: int) -> tuple[int | None, int | None]:
    low = kind.least + (bucket - 1) * kind.step
    if bucket == 0:
        return None, kind.least
    return low, low + kind.step if low + kind.step <= kind.most else None


def _power_label(value: int, bits: int) -> str:
    """1K for 1024: the letter of the largest power of 1024 that a bucket is wide."""
    if value <= 2 << bits:
        return str(value)
    decade = (value.bit_length() - 1 - bits) // 10
    return f"{value >> 10 * decade}{_LETTERS[decade]}"


def _linear_label(value: int, step: int) -> str:
    if step % 1024 or not value or value % 1024:
        return str(value)
    return f"{value >> 20}M" if not value % (1 << 20) else f"{value >> 10}K"


def histogram_text(kind: t.Histogram | t.LinearHistogram, counts: Mapping[int, int], div: int = 1) -> str:
    """One line for each bucket, "" for an empty histogram."""
    bars = histogram_bars(kind, counts, div)
    most = max((count for _, _, count in bars), default=0)
    lines = []
    for low, high, count in bars:
        if isinstance(kind, t.Histogram):
            first, last = (_power_label(edge, kind.bits) if edge is not None else "..." for edge in (low, high))
        else:
            first, last = (_linear_label(edge, kind.step) if edge is not None else "..." for edge in (low, high))
        if low is None:
            head = f"(..., {last})"
        elif high is not None and high - low == 1:
            head = f"[{first}]"
        else:
            head = f"[{first}, {last})"
        width = _single(_single(count / _single(most)) * _WIDTH) if most else 0
        lines.append(f"{head:<16}{count:>8} |{'@' * int(width):<{_WIDTH}}|\n")
    return "".join(lines)


def _single(value: float) -> float:
    """As a float of 32 bits, in which bpftrace counts: the lengths of bars are cut from it."""
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


def histogram_json(kind: t.Histogram | t.LinearHistogram, counts: Mapping[int, int], div: int = 1) -> str:
    """A list of {"min", "max", "count"}; max is the last value in the bucket, an open end is left out."""
    parts = []
    for low, high, count in histogram_bars(kind, counts, div):
        edges = "" if low is None else f'"min": {json_integer(low)}, '
        edges += "" if high is None else f'"max": {json_integer(high - 1)}, '
        parts.append(f'{{{edges}"count": {count}}}')
    return "[" + ",".join(parts) + "]"


def series_points(points: Mapping[int, int], first: int, last: int) -> list[tuple[int, int | None]]:
    """(epoch, value) from the first epoch of the range that has a value to its end; None where there is none."""
    begin = min((epoch for epoch in points if epoch >= first), default=last + 1)
    return [(epoch, points.get(epoch)) for epoch in range(begin, last + 1)]


def _unit(interval_ns: int) -> str:
    for unit, size in (("s", _SECOND), ("ms", 1_000_000), ("us", 1000)):
        if interval_ns % size == 0:
            return unit
    return "ns"


def series_text(kind: t.TimeSeries, points: Sequence[tuple[int, int | None]], ahead_ns: int) -> str:
    """The plot of a time series; points: (epoch, value); ahead_ns: from the epochs' clock to wall time."""
    values = [value for _, value in points if value is not None]
    if not values:
        return "<no data>"
    least, most = min(values), max(values)
    if least == most:
        edge = (-(1 << 63), (1 << 63) - 1) if kind.signed else (0, (1 << 64) - 1)
        least, most = max(least - 1, edge[0]), min(most + 1, edge[1])
    unit = _unit(kind.interval_ns)
    head = "hh:mm:ss" + ("" if unit == "s" else f".{unit}")
    size = 8 + {"s": 0, "ms": 4, "us": 7, "ns": 10}[unit]
    scale = f"{least:<{_LABEL}}{most:>{_PLOT - _LABEL}}\n"
    lines = [" " * (size + 1), scale, f"{head:<{size + 1}}|{'_' * (_PLOT - 2)}|\n"]
    span = most - least
    zero = int(_PLOT * -least / span) if least < 0 < most else 0
    for epoch, value in points:
        row = ["|", *" " * (_PLOT - 2), "|"]
        if zero:
            row[zero - (zero >= _PLOT)] = "."
        if value is not None:
            place = int(_single((_PLOT - 1) * (value - least)) / _single(span)) if span else _PLOT // 2
            row[max(0, min(_PLOT - 1, place))] = "*"
        shown = "-" if value is None else value
        lines.append(f"{interval_text(epoch * kind.interval_ns + ahead_ns, unit)} {''.join(row)} {shown}\n")
    lines += [f"{'':<{size}} v{'_' * (_PLOT - 2)}v\n", f"{'':<{size}} ", scale]
    return "".join(lines)


def series_json(kind: t.TimeSeries, points: Sequence[tuple[int, int | None]], ahead_ns: int) -> str:
    """A list of {"interval_start", "value"}, in UTC; without those that have no value."""
    parts = []
    for epoch, value in points:
        if value is None:
            continue
        seconds, rest = divmod(epoch * kind.interval_ns + ahead_ns, _SECOND)
        start = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
        parts.append(f'{{"interval_start": "{start}.{rest:09}", "value": {json_integer(value)}}}')
    return "[" + ",".join(parts) + "]"
