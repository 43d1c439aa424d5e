"""Rows -> text, NDJSON or CSV, written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO, Any, TypeVar

from linscope.picture.rows import Column, Rows

FORMATS = ("text", "json", "csv")
_T = TypeVar("_T")
_ALIGNED_ROWS = 2_000  # text columns are as wide as the widest cell of so many first rows


def write_rows(rows: Rows, form: str, out: IO[str]) -> None:
    """Write to out in one of FORMATS."""
    if rows.live:
        text = rows.text
        rows = replace(
            rows,
            rows=_flushed(rows.rows, out, rows.waits),
            text=None if text is None else lambda: _flushed(text(), out),
        )
    {"text": _write_text, "json": _write_json, "csv": _write_csv}[form](rows, out)


def _flushed(rows: Iterable[_T], out: IO[str], waits: Callable[[], bool] | None = None) -> Iterator[_T]:
    """The rows; when the next one is asked for, the one before has been written, and goes out if that one waits."""
    for row in rows:
        yield row
        if waits is None or waits():
            out.flush()


def _write_json(rows: Rows, out: IO[str]) -> None:
    import json

    names = [column.name for column in rows.columns if column.in_data]
    encode = json.JSONEncoder(ensure_ascii=False, default=_plain_value).encode
    for values in _values(rows):
        out.write(encode(dict(zip(names, values, strict=True))) + "\n")


def _write_csv(rows: Rows, out: IO[str]) -> None:
    import csv
    import json

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in rows.columns if column.in_data])
    for values in _values(rows):
        writer.writerow([json.dumps(v, default=_plain_value) if isinstance(v, (list, dict)) else v for v in values])


def _values(rows: Rows) -> Iterator[list[Any]]:
    """The cells of each row that are data."""
    shown = [(i, column.value) for i, column in enumerate(rows.columns) if column.in_data]
    for row in rows.rows:
        yield [row[i] if value is None else value(row[i]) for i, value in shown]


def _plain_value(value: Any) -> Any:
    """A numpy number, or bytes, as JSON has it."""
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return value.item() if hasattr(value, "item") else str(value)


def _write_text(rows: Rows, out: IO[str]) -> None:
    for line in rows.title:
        out.write(f"# {line}\n" if line else "#\n")
    if rows.text is not None:
        out.writelines(rows.text())
        return
    source = iter(rows.rows)
    shown = [i for i, column in enumerate(rows.columns) if column.in_text]
    columns = [rows.columns[i] for i in shown]
    if rows.streaming and not rows.headings and rows.below is None and len(shown) == 1:  # whole lines already
        at, form = shown[0], columns[0].format
        out.writelines(form(row[at]) + "\n" for row in source)
        return
    first: list[tuple[Sequence[Any], list[str]]] = []
    if not rows.streaming:
        for row in source:
            first.append((row, _cells(columns, shown, row)))
            if len(first) == _ALIGNED_ROWS:
                break
    headings = [column.heading or column.name for column in columns]
    widths = [
        max(column.width, len(heading) if rows.headings else 0)
        for column, heading in zip(columns, headings, strict=True)
    ]
    for _, cells in first:
        widths = [max(width, len(cell)) for width, cell in zip(widths, cells, strict=True)]
    if rows.headings:
        out.write(_line(columns, headings, widths) + "\n")
        out.write("  ".join("-" * width for width in widths).rstrip() + "\n")
    for row, cells in _chain(first, ((row, _cells(columns, shown, row)) for row in source)):
        out.write(_line(columns, cells, widths) + "\n")
        if rows.below is not None:
            out.writelines(line + "\n" for line in rows.below(row))


def _chain(
    first: Iterable[tuple[Sequence[Any], list[str]]], rest: Iterable[tuple[Sequence[Any], list[str]]]
) -> Iterator[tuple[Sequence[Any], list[str]]]:
    yield from first
    yield from rest


def _cells(columns: Sequence[Column], shown: Sequence[int], row: Sequence[Any]) -> list[str]:
    return [column.format(row[i]) for column, i in zip(columns, shown, strict=True)]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        f"{cell:{column.align}{width}}" for column, cell, width in zip(columns, cells, widths, strict=True)
    ).rstrip(" ")
