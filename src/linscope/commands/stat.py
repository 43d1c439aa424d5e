"""`linscope stat`: count events while a program runs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from linscope.commands.record import add_event_arguments, command_of, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

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
            with_cpu = options.per_cpu
            rows = (row for counts in iter_stat(command, options) for row in _cells(counts, True, with_cpu))
            return Rows(_columns(True, with_cpu), rows, streaming=True)
        result = stat(command, options)
        for note in result.notes:
            print(f"linscope stat: {note}", file=sys.stderr)
        shown = [*_cells(list(result.counts), False, options.per_cpu), *_time_cells(result, options.per_cpu)]
        return Rows(_columns(False, options.per_cpu), shown, exit_code=lambda: result.exit_status)


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
        Column("event", "EVENT"),
        Column("count", "COUNT", ">", _format_count),
        Column("unit", "UNIT"),
        Column("running_percent", "COUNTED", ">", lambda v: "" if v is None or v >= 99.995 else f"{v:.2f}%"),
        Column("deviation_percent", "+-", ">", lambda v: "" if v is None else f"{v:.2f}%"),
        Column("derived", ""),
    ]
    if with_cpu:
        columns.insert(0, Column("cpu", "CPU", ">"))
    if interval:
        columns.insert(0, Column("time_s", "TIME", ">", lambda v: f"{v:.6f}"))
    return columns


def _format_count(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return f"<{value}>" if value else ""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6f}" if value < 1 else f"{value:,.2f}"


def _cells(counts: list[Count], interval: bool, with_cpu: bool) -> Iterator[tuple[Any, ...]]:
    for count in counts:
        value = count.value
        whole = int(value) if value is not None and not count.unit and value == int(value) else value
        row: list[Any] = [
            count.event,
            count.note if value is None else whole,
            count.unit,
            None if value is None else round(100 * count.running, 2),
            None if count.deviation is None else round(100 * count.deviation, 4),
            count.derived,
        ]
        if with_cpu:
            row.insert(0, count.cpu)
        if interval:
            row.insert(0, count.time_ns / 1e9)
        yield tuple(row)


def _time_cells(result: StatResult, with_cpu: bool) -> list[tuple[Any, ...]]:
    cpu = [None] if with_cpu else []
    times = [("elapsed", result.elapsed_ns / 1e9)]
    if result.user_seconds or result.system_seconds:
        times += [("user", result.user_seconds), ("sys", result.system_seconds)]
    return [(*cpu, name, seconds, "s", None, None, "") for name, seconds in times]


STAT = Stat()
