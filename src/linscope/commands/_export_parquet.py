"""`linscope export --to parquet`: the tables of a recording."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from linscope.commands._options import _numbers, times_of
from linscope.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from linscope.session.script.replay.contents import Contents, Window
    from linscope.session.script.replay.to_parquet import Keep

# words that are about stacks as text, or about symbols, which the tables leave to who reads them
_OTHERS = ("dso", "symbol", "addrs", "all", "jit", "kernel", "inline", "kallsyms", "vmlinux", "symfs", "no_demangle")


def export_parquet(arguments: argparse.Namespace) -> int:
    """Write the folder of tables.  Raises UsageError, OutputError, FormatError."""
    from linscope.columns.profile import total_lost
    from linscope.session.script.replay.main import open_contents
    from linscope.session.script.replay.to_parquet import export_parquet as export

    if not arguments.output or arguments.output == "-":
        raise UsageError("--to parquet writes a folder of tables", next_step="-o DIR")
    if arguments.file == "-":
        raise UsageError("--to parquet reads a file", next_step="save what comes from the pipe first")
    for name in _OTHERS:
        if getattr(arguments, name, None):
            raise UsageError(f"--{name.replace('_', '-')} says nothing to --to parquet")
    try:
        contents = open_contents(arguments.file)
    except OSError as failed:
        why = os.strerror(failed.errno or 0)
        raise UsageError("cannot read the recording", where=arguments.file, why=why) from None
    if contents.session and "runs" not in contents.session and "linscope:captures" in contents.events:
        raise UsageError(
            "a recording for a script by an older linscope", where=arguments.file,
            why="it does not say what its captures belong to", next_step="record it again",
        )  # fmt: skip
    written = export(contents, arguments.output, _keep(arguments, contents))
    for problem in contents.problems():
        print(f"linscope: {problem}", file=sys.stderr)
    lost = total_lost(contents.losses)
    if lost:
        print(f"linscope: {lost:,} events lost", file=sys.stderr)
    print(f"linscope: {written:,} samples and events in {arguments.output}", file=sys.stderr)
    return 0


def _keep(arguments: argparse.Namespace, contents: Contents) -> Keep | None:
    """The filters; None: all is kept."""
    from linscope.analysis.filters import compile_pattern

    words = (arguments.comm, arguments.pid, arguments.tid, arguments.cpu, arguments.time, arguments.event)
    if not any(word is not None for word in words):
        return None
    if arguments.time and "%" in arguments.time:
        raise UsageError("--time takes seconds here", next_step="write it as 12.5,13")
    ids = [(name, _numbers(getattr(arguments, name))) for name in ("pid", "tid", "cpu")]
    first, last = times_of(arguments.time, SimpleNamespace(samples=SimpleNamespace(time_ns=np.empty(0, np.uint64))))
    search = compile_pattern(arguments.comm) if arguments.comm is not None else None
    event = _event(arguments.event, contents.events) if arguments.event is not None else None
    known: dict[bytes, bool] = {}

    def keep(contents: Contents, window: Window) -> NDArray[np.bool_]:
        kept = np.ones(len(window.time_ns), np.bool_)
        for name, wanted in ids:
            if wanted is not None:
                kept &= np.isin(getattr(window, name), np.array(sorted(wanted), np.uint32))
        if first is not None:
            kept &= window.time_ns >= first
        if last is not None:
            kept &= window.time_ns <= last
        if event is not None:
            kept &= window.event == event
        if search is not None:
            distinct, of = np.unique(window.comm, return_inverse=True)
            for name in distinct.tolist():
                if name not in known:
                    known[name] = search(name.decode("utf-8", "replace")) is not None
            kept &= np.array([known[name] for name in distinct.tolist()], np.bool_)[of]
        return kept

    return keep


def _event(name: str, events: list[str]) -> int:
    """The number of an event, with or without its modifiers."""
    if name in events:
        return events.index(name)
    bare = [one.partition(":")[0] if one.count(":") < 2 else one for one in events]
    if name in bare:
        return bare.index(name)
    raise UnknownNameError("event in this recording", name, events, next_step=f"it has: {', '.join(events)}")
