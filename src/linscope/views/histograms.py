"""Histograms that the kernel counted, as rows with bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from linscope.picture.rows import Column, Rows
from linscope.sources.histograms import Cell, Histogram, bucket_start, iter_bars

_BAR = 40  # columns of text


def histogram_rows(histograms: Sequence[tuple[str, Histogram]]) -> Rows:
    """One row an entry of the kernel's table, with its share as a bar; several histograms follow each other.

    Buckets (log2, buckets=N) stand in their order with the empty ones between them, everything else in the kernel's.
    """
    title = []
    notes = []
    for event, one in histograms:
        title.append(f"{event}  {one.trigger}: {one.hits:,} hits, {len(one.rows):,} entries")
        if one.dropped:
            notes.append(f"{event}: {one.dropped:,} hits found no room in the table (a larger one: size=4096)")
    first = histograms[0][1] if histograms else Histogram("", [])
    same = all((one.keys, one.values) == (first.keys, first.values) for _, one in histograms)
    key_names = first.keys if same else ["key"]
    value_names = first.values if same else ["values"]
    value_names = [f"{name}.sum" if name in key_names else name for name in value_names]  # both, of one field
    saved_names = sorted({name for _, one in histograms for saved in one.saved for name in saved})
    stacks = any(map(_is_stack, key_names))
    columns = [Column("event", in_text=len(histograms) > 1)]
    columns += [Column(name, align=_alignment(name, first)) for name in key_names]
    columns += [Column(name, align=">", format=_number) for name in value_names]
    columns += [Column(name, align=">", format=_number) for name in saved_names]
    columns.append(Column("bar", heading="", in_data=False))

    def rows() -> Iterator[tuple[Any, ...]]:
        for event, one in histograms:
            entries = list(zip(one.rows, one.saved, strict=True))
            if _is_bucketed(one):
                entries.sort(key=lambda entry: [bucket_start(value) for value in entry[0][0]])
            bars = iter_bars([_count(values) for (_, values), _ in entries], _BAR)
            for ((keys, values), saved), bar in zip(entries, bars, strict=True):
                shown = list(keys) if same else [", ".join(map(str, keys))]
                numbers: list[Any] = list(values) if same else [" ".join(map(str, values))]
                kept = [saved.get(name, "") for name in saved_names]
                yield (event, *shown, *numbers, *kept, bar)

    below = _stack_lines(len(key_names)) if stacks else None
    if stacks:
        columns = [c._replace(in_text=c.in_text and not _is_stack(c.name)) for c in columns]
    return Rows(columns, rows(), title=title, notes=notes, below=below)


def _stack_lines(keys: int) -> Any:
    def lines(row: Sequence[Any]) -> Iterator[str]:
        for value in row[1 : 1 + keys]:
            if isinstance(value, str) and "+0x" in value:
                yield from (f"        {frame}" for frame in reversed(value.split(";")))

    return lines


def _is_stack(name: str) -> bool:
    return name.startswith(("stacktrace", "common_stacktrace")) or name.endswith(".stacktrace")


def _is_bucketed(histogram: Histogram) -> bool:
    return any(".log2" in key or ".buckets" in key for key in histogram.keys)


def _count(values: Sequence[Cell]) -> int:
    return int(values[0]) if values and not isinstance(values[0], str) else 0


def _alignment(name: str, histogram: Histogram) -> str:
    at = histogram.keys.index(name) if name in histogram.keys else 0
    numeric = all(not isinstance(keys[at], str) for keys, _ in histogram.rows if at < len(keys))
    return ">" if numeric or ".log2" in name or ".buckets" in name else "<"


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
