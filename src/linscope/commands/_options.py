"""Arguments that several commands share: the recording, filters, symbols."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from linscope.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from linscope.analysis.filters import Filter
    from linscope.recording import Recording


def add_recording(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The FILE argument."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default=None if optional else "perf.data",
        help="recording; - for stdin",
    )


def add_filters(parser: argparse.ArgumentParser, *, event: str = "this event, by name or number") -> None:
    """Filters, the same everywhere.  event: what --event means, for the help."""
    group = parser.add_argument_group("filters")
    group.add_argument("--comm", metavar="REGEX", help="only tasks of this name")
    group.add_argument("--pid", metavar="PID[,PID]", help="only these processes")
    group.add_argument("--tid", metavar="TID[,TID]", help="only these threads")
    group.add_argument("--cpu", metavar="CPU[,CPU]", help="only these CPUs: 0,2-3")
    group.add_argument(
        "--time", metavar="A,B", help="only from A to B, in seconds of the recording's clock; or 10%%,20%%"
    )
    group.add_argument("--event", metavar="EVENT", help=event)
    group.add_argument("--dso", metavar="REGEX", help="only samples in this object")
    group.add_argument("--symbol", metavar="REGEX", help="only samples in this function")


def add_symbols(parser: argparse.ArgumentParser) -> None:
    """Where symbols come from."""
    group = parser.add_argument_group("symbols")
    group.add_argument("--symfs", metavar="DIR", default="", help="look for the recording's files under DIR")
    group.add_argument("--kallsyms", metavar="FILE", help="take kernel symbols from FILE")
    group.add_argument("--vmlinux", metavar="FILE", help="take kernel symbols from this vmlinux")
    group.add_argument("--no-demangle", action="store_true", help="leave C++ and Rust names as they are")


def open_file(arguments: argparse.Namespace, *, tables: bool = False) -> Recording:
    """The recording that the arguments name; damage is told on stderr, what was read before it is used."""
    from linscope.commands._progress import progress_of
    from linscope.recording import SymbolOptions, open_recording

    symbols = SymbolOptions(
        root=arguments.symfs,
        kallsyms=arguments.kallsyms,
        vmlinux=arguments.vmlinux,
        demangle=not arguments.no_demangle,
    )
    path = sys.stdin.buffer if arguments.file == "-" else arguments.file
    with progress_of(path, "reading") as progress:
        recording = open_recording(path, tables=tables, symbols=symbols, progress=progress)
    for problem in recording.profile.problems:
        print(f"linscope: {problem}", file=sys.stderr)
    if recording.lost:
        print(f"linscope: {recording.lost:,} events lost", file=sys.stderr)
    return recording


def tell_symbol_notes(recording: Recording, limit: int = 5) -> None:
    """Say on stderr what symbols were not to be had."""
    notes = recording.resolved.symbolizer.notes
    for note in notes[:limit]:
        print(f"linscope: {note}", file=sys.stderr)
    if len(notes) > limit:
        print(f"linscope: ... and {len(notes) - limit} more objects without symbols", file=sys.stderr)


def filter_of(arguments: argparse.Namespace, recording: Recording) -> Filter:
    """The filters as one value."""
    from linscope.analysis.filters import Filter

    return Filter(
        comm=arguments.comm,
        pid=_numbers(arguments.pid),
        tid=_numbers(arguments.tid),
        cpu=_numbers(arguments.cpu),
        time=times_of(arguments.time, recording),
        event=arguments.event,
        dso=arguments.dso,
        symbol=arguments.symbol,
    )


def _numbers(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            found.update(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise UsageError(f"not a list of numbers: {text!r}", next_step="write it as 1,2 or 4-7") from None
    return frozenset(found)


def times_of(text: str | None, recording: Any) -> tuple[int | None, int | None]:
    """Nanoseconds of "12.5,13" or "10%,20%"; either may be missing.  Raises UsageError."""
    if text is None:
        return None, None
    first, comma, last = text.partition(",")
    if not comma:
        raise UsageError(f"not a range of time: {text!r}", next_step="write it as 12.5,13 or 10%,20% or ,13")
    times = recording.samples.time_ns
    start, end = (int(times.min()), int(times.max())) if len(times) else (0, 0)

    def one(part: str) -> int | None:
        if not part:
            return None
        try:
            if part.endswith("%"):
                return start + int((end - start) * float(part[:-1]) / 100)
            seconds, _, fraction = part.partition(".")
            return int(seconds or 0) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)
        except ValueError:
            raise UsageError(
                f"not a time: {part!r}", next_step="seconds as perf script prints them, or 10%"
            ) from None

    return one(first), one(last)
