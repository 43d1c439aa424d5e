"""linscope export"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from linscope.commands import _options
from linscope.errors import OutputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from linscope.recording import Recording

_TARGETS = ("folded", "parquet")


class Export:
    """A recording in another format."""

    summary = "Write a recording in another format: folded stacks, or tables in Parquet."
    examples = (
        "linscope export perf.data --to folded -o stacks.txt",
        "linscope export perf.data --to folded --all --tid --comm java",
        "linscope export trace.dat --to parquet -o tables",
        "perf script | linscope export - --to folded --weight samples",
    )
    formats = False
    splits = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _options.add_recording(parser, optional=True)
        parser.add_argument("--to", choices=_TARGETS, required=True, help="the format to write")
        what = "write to FILE, not the terminal; of parquet: a folder"
        parser.add_argument("-o", "--output", metavar="FILE", help=what)
        parser.add_argument("--weight", choices=("period", "samples"), default="period", help="what a sample counts")
        parser.conflict_handler = "resolve"  # --pid and --tid are filters, and modes of stackcollapse-perf
        _options.add_filters(parser)
        _options.add_symbols(parser)
        group = parser.add_argument_group("folded stacks, as stackcollapse-perf writes them")
        group.add_argument("--addrs", action="store_true", help="addresses of frames without a symbol")
        group.add_argument("--all", action="store_true", help="--kernel and --jit")
        group.add_argument("--jit", action="store_true", help="_[j] behind functions of JITs")
        group.add_argument("--kernel", action="store_true", help="_[k] behind functions of the kernel")
        group.add_argument(
            "--pid", nargs="?", const="", metavar="PID[,PID]", help="java-12 as the command; with PID: only these"
        )
        group.add_argument(
            "--tid", nargs="?", const="", metavar="TID[,TID]", help="java-12/13 as the command; with TID: only these"
        )
        group.add_argument("--inline", action="store_true", help="inlined functions as frames, _[i] behind them")

    def run(self, arguments: argparse.Namespace) -> int:
        """Read the recording, fold it, write it."""
        _take_file(arguments)
        if arguments.to == "parquet":
            from linscope.commands._export_parquet import export_parquet

            return export_parquet(arguments)
        from linscope.analysis.collapse import CollapseOptions, collapse

        options = CollapseOptions(
            addrs=arguments.addrs,
            jit=arguments.jit or arguments.all,
            kernel=arguments.kernel or arguments.all,
            pid=arguments.pid == "",
            tid=arguments.tid == "",
            inline=arguments.inline,
        )
        arguments.pid, arguments.tid = arguments.pid or None, arguments.tid or None
        recording = _options.open_file(arguments)
        keep = _options.filter_of(arguments, recording)
        rows = recording.mask_of(keep, recording.event_number(keep))
        stacks = collapse(recording.profile, recording.resolved, rows, recording.weights(arguments.weight), options)
        _options.tell_symbol_notes(recording)
        if keep.event is None:
            _tell_other_events(recording)
        _write(stacks, arguments.output)
        return 0


def _take_file(arguments: argparse.Namespace) -> None:
    """What follows a bare --pid or --tid may be the recording."""
    for name in ("pid", "tid"):
        value = getattr(arguments, name)
        if value and arguments.file is None and (value == "-" or value.strip("0123456789,-")):
            arguments.file = value
            setattr(arguments, name, "")
    if arguments.file is None:
        arguments.file = "perf.data"


def _tell_other_events(recording: Recording) -> None:
    """One event is written; say so when there are more."""
    import numpy as np

    from linscope.analysis.filters import Filter

    if len(recording.events) < 2:
        return
    shown = recording.event_number(Filter())
    counted = set(np.unique(recording.samples.event).tolist())
    others = [e.name for i, e in enumerate(recording.events) if i != shown and i in counted]
    if others:
        print(
            f"linscope: only {recording.events[shown].name} is written; also recorded: {', '.join(others)} (--event)",
            file=sys.stderr,
        )


def _write(stacks: Iterator[tuple[str, int]], output: str | None) -> None:
    from linscope.formats.folded import write_folded

    where = output if output not in (None, "-") else "<stdout>"
    try:
        if where == "<stdout>":
            write_folded(stacks, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            with open(where, "wb") as out:
                write_folded(stacks, out)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError("cannot write the stacks", where=where, why=error.strerror or "") from None


EXPORT = Export()
