"""`linscope stat`: count events while a program runs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linscope.commands.record import add_event_arguments, command_of, numbers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from linscope.picture.rows import Column, Rows
    from linscope.session.stat import Count, StatOptions, StatResult


class Stat:
    """The subcommand; see linscope.contracts.Command."""

    summary = "count events while a program runs"
    examples = (
        "linscope stat -- python3 examples/busy.py",
        "linscope stat -r 5 -e page-faults,context-switches -- ls",
        "linscope stat -a -I 1000 --duration 5s --json",
    )
    formats = True
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments; letters are perf stat's."""
        add_event_arguments(parser)
        add = parser.add_argument
        add("-r", "--repeat", type=int, default=1, metavar="N", help="run N times: means and deviations")
        add("-I", "--interval-print", type=int, default=0, metavar="MS", help="a row per event every MS")
        add("-A", "--no-aggr", action="store_true", help="each CPU for itself (with -a)")
        add("--duration", metavar="TIME", help="stop after this time (10s, 500ms)")
        add("command", nargs=argparse.REMAINDER, metavar="-- CMD", help="what to run and count")

    def run(self, arguments: argparse.Namespace) -> Rows | int | None:
        """Count, then show; with -I every interval."""
        from linscope.picture.rows import Rows
        from linscope.session.stat import iter_stat, stat

        command = command_of(arguments) or None
        options = options_of(arguments)
        if options.interval_ms:
            stream = _IntervalRows(iter_stat(command, options), options.per_cpu)
            columns = _columns(True, options.per_cpu)
            return Rows(columns, stream, streaming=True, live=True, exit_code=lambda: stream.status)
        result = stat(command, options)
        for note in result.notes:
            print(f"linscope stat: {note}", file=sys.stderr)
        shown = [*_cells(list(result.counts), False, options.per_cpu), *_time_cells(result, options.per_cpu)]
        return Rows(_columns(False, options.per_cpu), shown, exit_code=lambda: result.exit_status)


class _IntervalRows:
    """The rows of a stream of counts; ``status`` is the command's exit status once they are all taken."""

    def __init__(self, stream: Generator[list[Count], None, int], with_cpu: bool) -> None:
        self._stream = stream
        self._with_cpu = with_cpu
        self.status = 0
        self._counts = self._take()  # what cannot be counted is told before the headings are

    def _take(self) -> list[Count] | None:
        try:
            return next(self._stream)
        except StopIteration as end:
            self.status = end.value
            return None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while self._counts is not None:
            yield from _cells(self._counts, True, self._with_cpu)
            self._counts = self._take()


def options_of(arguments: argparse.Namespace) -> StatOptions:
    """StatOptions of the parsed arguments.  Raises UsageError."""
    from linscope.session.stat import StatOptions
    from linscope.sources.pmus import parse_cpu_list
    from linscope.units import parse_duration

    return StatOptions(
        events=tuple(arguments.event or ()),
        pids=numbers(arguments.pid, "process id"),
        tids=numbers(arguments.tid, "thread id"),
        system_wide=arguments.all_cpus,
        per_cpu=arguments.no_aggr,
        cpus=tuple(parse_cpu_list(arguments.cpu)) if arguments.cpu else (),
        cgroups=tuple(arguments.cgroup.split(",")) if arguments.cgroup else (),
        repeat=arguments.repeat,
        interval_ms=arguments.interval_print,
        delay_ms=arguments.delay,
        duration_ns=parse_duration(arguments.duration) if arguments.duration else 0,
        inherit=not arguments.no_inherit,
    )


def _columns(interval: bool, with_cpu: bool) -> list[Column]:
    from linscope.picture.rows import Column

    columns = [
        Column("event", "EVENT", width=22 if interval else 0),
        Column("count", "COUNT", ">", _format_count, width=16 if interval else 0, value=_number),
        Column("note", in_text=False),
        Column("unit", "UNIT"),
        Column("running_percent", "COUNTED", ">", lambda v: "" if v is None or v >= 99.995 else f"{v:.2f}%"),
        Column("deviation_percent", "+-", ">", lambda v: "" if v is None else f"{v:.2f}%"),
        Column("derived", ""),
    ]
    if with_cpu:
        columns.insert(0, Column("cpu", "CPU", ">"))
    if interval:
        columns.insert(0, Column("time_s", "TIME", ">", lambda v: f"{v:.6f}", width=11))
    return columns


def _format_count(value: float | str) -> str:
    if isinstance(value, str):
        return f"<{value}>"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6f}" if value < 1 else f"{value:,.2f}"


def _number(value: float | str) -> float | None:
    """null for programs, where text says why there is no count; the column "note" says it too."""
    return None if isinstance(value, str) else value


def _cells(counts: list[Count], interval: bool, with_cpu: bool) -> Iterator[tuple[Any, ...]]:
    for count in counts:
        value = count.value
        whole = int(value) if value is not None and not count.unit and value == int(value) else value
        row: list[Any] = [
            count.event,
            count.note if value is None else whole,
            count.note,
            count.unit,
            None if value is None else round(100 * count.running, 2),
            None if count.deviation is None else round(100 * count.deviation, 4),
            count.derived,
        ]
        if with_cpu:
            row.insert(0, count.cpu if count.cpu >= 0 else None)
        if interval:
            row.insert(0, count.time_ns / 1e9)
        yield tuple(row)


def _time_cells(result: StatResult, with_cpu: bool) -> list[tuple[Any, ...]]:
    cpu = [None] if with_cpu else []
    times = [("elapsed", result.elapsed_ns / 1e9)]
    if result.user_seconds or result.system_seconds:
        times += [("user", result.user_seconds), ("sys", result.system_seconds)]
    return [(*cpu, name, seconds, "", "s", None, None, "") for name, seconds in times]


STAT = Stat()
