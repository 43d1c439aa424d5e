"""Histograms as bars and as JSON; time series as plots."""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.unit import bucket_range
from linscope.session.script.clock import interval_text

_BARS = 52
_SUFFIXES = ("", "K", "M", "G", "T", "P", "E")


def used(counts: dict[int, int]) -> range:
    """The buckets from the first to the last that is not empty."""
    filled = [bucket for bucket, count in counts.items() if count]
    return range(min(filled), max(filled) + 1) if filled else range(0)


def _short(value: int) -> str:
    """A number by powers of 1,024, when it is at least one."""
    power = 0
    while abs(value) >= 1024 and power < len(_SUFFIXES) - 1 and not value % 1024:
        value //= 1024
        power += 1
    return f"{value}{_SUFFIXES[power]}"


def bucket_label(kind: t.Type, bucket: int) -> str:
    """ "[2, 4)": the values of a bucket."""
    if isinstance(kind, t.LinearHistogram):
        last = 1 + (kind.most - kind.least) // kind.step
        step = 1 << 20 if not kind.step % (1 << 20) else 1024 if not kind.step % 1024 else 1
        suffix = {1 << 20: "M", 1024: "K", 1: ""}[step]
        low = kind.least + (bucket - 1) * kind.step
        if not bucket:
            return f"(..., {kind.least // step}{suffix})"
        if bucket == last:
            return f"[{kind.most // step}{suffix}, ...)"
        return f"[{low // step}{suffix}, {(low + kind.step) // step}{suffix})"
    assert isinstance(kind, t.Histogram)
    if not bucket:
        return "(..., 0)"
    low, high = bucket_range(bucket, kind.bits)
    return f"[{low}]" if high == low + 1 else f"[{_short(low)}, {_short(high)})"


def histogram_text(kind: t.Type, counts: dict[int, int]) -> str:
    """Lines with bars; "" when all is empty."""
    most = max(counts.values(), default=0)
    lines = []
    for bucket in used(counts):
        count = counts.get(bucket, 0)
        bar = "@" * (count * _BARS // most if most else 0)
        lines.append(f"{bucket_label(kind, bucket):<16} {count:>7} |{bar:<{_BARS}}|\n")
    return "".join(lines)


def histogram_rows(kind: t.Type, counts: dict[int, int]) -> list[dict[str, int]]:
    """{min, max, count} of each bucket; open ends lack one of them."""
    rows = []
    for bucket in used(counts):
        row: dict[str, int] = {}
        if isinstance(kind, t.LinearHistogram):
            last = 1 + (kind.most - kind.least) // kind.step
            low = kind.least + (bucket - 1) * kind.step
            if bucket:
                row["min"] = low if bucket != last else kind.most
            if bucket != last:
                row["max"] = (low + kind.step if bucket else kind.least) - 1
        else:
            assert isinstance(kind, t.Histogram)
            if bucket:
                low, high = bucket_range(bucket, kind.bits)
                row = {"min": low, "max": high - 1}
            else:
                row = {"max": -1}
        row["count"] = counts.get(bucket, 0)
        rows.append(row)
    return rows


def _unit_of(interval_ns: int) -> str:
    """The unit in which intervals are told apart."""
    if not interval_ns % 10**9:
        return "s"
    if not interval_ns % 10**6:
        return "ms"
    return "us" if not interval_ns % 1000 else "ns"


def series_text(kind: t.TimeSeries, values: dict[int, int | None], wall_offset_ns: int, newest: int) -> str:
    """A plot of a time series, time downwards.

    values: by epoch; wall_offset_ns: from the clock to wall time; newest: the epoch that the plot goes to.
    """
    if not values:
        return ""
    known = [value for value in values.values() if value is not None]
    low, high = min(known), max(known)
    if low == high:
        low, high = (low - 1, high + 1) if low else (low, high + 1)
    unit = _unit_of(kind.interval_ns)
    head = {"s": "hh:mm:ss", "ms": "hh:mm:ss.ms", "us": "hh:mm:ss.us", "ns": "hh:mm:ss.ns"}[unit]
    times = {
        epoch: interval_text(epoch * kind.interval_ns + wall_offset_ns, unit)
        for epoch in range(min(values), max(newest, *values) + 1)
    }
    margin = max(len(head), max(len(text) for text in times.values()))
    left, right = str(low), str(high)
    scale = f"{'':{margin + 1}}{left}{right:>{_BARS + 1 - len(left)}}\n"
    lines = [scale, f"{head:<{margin + 1}}|{'_' * (_BARS - 1)}|\n"]
    zero = _column(0, low, high) if low < 0 < high else -1
    for epoch, text in times.items():
        value = values.get(epoch)
        row = ["|", *" " * (_BARS - 1), "|"]
        if zero > 0:
            row[zero] = "."
        if value is not None:
            row[_column(value, low, high)] = "*"
        lines.append(f"{text:<{margin + 1}}{''.join(row)} {'-' if value is None else value}\n")
    lines += [f"{'':{margin + 1}}v{'_' * (_BARS - 1)}v\n", scale]
    return "".join(lines)


def _column(value: int, low: int, high: int) -> int:
    return (value - low) * _BARS // (high - low)


def series_rows(kind: t.TimeSeries, values: dict[int, int | None], wall_offset_ns: int) -> list[dict[str, object]]:
    """{interval_start, value} of each interval that has one."""
    import time

    rows: list[dict[str, object]] = []
    for epoch in sorted(values):
        wall = epoch * kind.interval_ns + wall_offset_ns
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall // 10**9))
        rows.append({"interval_start": f"{stamp}.{wall % 10**9:09}", "value": values[epoch]})
    return rows
