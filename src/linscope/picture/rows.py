"""Rows: what every command returns, rendered as text, JSON or CSV by ``render.rows``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


class Column(NamedTuple):
    """One column: its key in JSON and CSV, its heading and form in text."""

    name: str  # JSON key and CSV header, with the unit: "duration_ns"
    heading: str = ""  # heading in text; empty: the name
    align: str = "<"  # "<" or ">"
    format: Callable[[Any], str] = _plain  # value -> text cell; JSON and CSV get the value itself
    in_text: bool = True  # False: only in JSON and CSV
    in_data: bool = True  # False: only in text
    width: int = 0  # columns of text at least, for rows that stream
    value: Callable[[Any], Any] | None = None  # cell -> value for JSON and CSV, where it is made only for them


@dataclass
class Rows:
    """A table to show.  ``rows`` may be a generator: text, JSON and CSV stream."""

    columns: Sequence[Column]
    rows: Iterable[Sequence[Any]]
    title: list[str] = field(default_factory=list)  # comment lines above the table, in text only
    streaming: bool = False  # text is written row by row with the headings' widths, not aligned over all rows
    live: bool = False  # rows come as time goes on: each is flushed at once
    waits: Callable[[], bool] | None = None  # of live rows: False while the next one is there already
    headings: bool = True  # False: text shows no line of headings (perf script)
    exit_code: Callable[[], int] | None = None  # asked once all rows are written: of a program that was run
    notes: Sequence[str] = ()  # what a reader has to know, for stderr
    below: Callable[[Sequence[Any]], Iterable[str]] | None = None  # row -> further text lines under it
    text: Callable[[], Iterable[str]] | None = None  # the lines of all rows in larger pieces, where that is faster
