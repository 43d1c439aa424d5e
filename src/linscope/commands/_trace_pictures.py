"""`linscope trace --flame` and `--heat`: what the maps of a script hold at the end, as pictures."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from linscope.errors import LinscopeError, UsageError
from linscope.lang import types as t
from linscope.session.script.output import error
from linscope.session.script.sampling import Sampler, bucket_edges
from linscope.session.script.stack_rows import has_stacks, stack_rows

if TYPE_CHECKING:
    from linscope.commands.trace import Arguments
    from linscope.pictures import BucketPicture, FlamePicture
    from linscope.session.script.map_values import ScriptMap
    from linscope.session.script.replay.runner import Replay
    from linscope.session.script.runner import Runner
    from linscope.session.script.sampling import Samples

_INTERVAL_NS = 1_000_000_000
_LEAST_NS = 10_000_000  # between two looks: each costs a pass over the maps
_FORMS = (".html", ".svg", ".txt")
_UNITS = {  # the last word of a map's name -> unit of its values, factor
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanoseconds"), ("ns", 1)),
    **dict.fromkeys(("us", "usec", "usecs", "microseconds"), ("ns", 1000)),
    **dict.fromkeys(("ms", "msec", "msecs", "milliseconds"), ("ns", 1_000_000)),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), ("ns", 1_000_000_000)),
    **dict.fromkeys(("byte", "bytes"), ("bytes", 1)),
}


def watch(arguments: Arguments) -> str:
    """Let a session make the pictures that the command line asks for; what is wrong with its words, "" for nothing."""
    try:
        arguments.watcher = Pictures(arguments)
    except LinscopeError as wrong:
        return str(wrong)
    return ""


def unit_of(name: str) -> tuple[str, int]:
    """(unit, factor to it) that a map's name tells: @us, @read_bytes; ("", 1) when it tells none."""
    return _UNITS.get(name.removeprefix("@").rpartition("_")[2], ("", 1))


class Pictures:
    """The watcher of one session; see session.script.main.Watcher."""

    def __init__(self, arguments: Arguments) -> None:
        """Raises UsageError, when the words of the command line make no picture."""
        from linscope.units import parse_duration

        for path in (arguments.flame, arguments.heat):
            _check(path)
        self.flame, self.heat = arguments.flame, arguments.heat
        if arguments.heat_interval and not self.heat:
            raise UsageError("--heat-interval is for --heat", next_step="--heat heat.html")
        self.interval_ns = parse_duration(arguments.heat_interval) if arguments.heat_interval else _INTERVAL_NS
        if self.interval_ns < _LEAST_NS:
            raise UsageError("the interval is too short", next_step="--heat-interval 10ms or more")
        self.name = "a script" if arguments.program is not None else Path(arguments.words[0]).name
        self.quiet = arguments.quiet
        self.replayed = bool(arguments.replay)
        self.started = time.monotonic()
        here = os.uname()
        self.machine = here.nodename, here.release, here.machine

    def prepare(self, runner: Runner | Replay) -> None:
        """Raises UsageError: the script has no map that could be drawn."""
        if self.flame:
            drawn = [one.name for one in runner.script_maps.values() if has_stacks(one.declared)]
            if not drawn:
                raise UsageError(
                    "no map of the script has a stack in its key and a number as its value",
                    next_step="--flame draws maps such as @[kstack] = count() or @[ustack, comm] = sum(arg0)",
                )
            runner.hidden.update(drawn)
        if self.heat:
            runner.sampler = Sampler(runner.script_maps.values(), self.interval_ns)
            if not runner.sampler.samples:
                raise UsageError(
                    "no map of the script has histograms",
                    next_step="--heat draws maps such as @us[comm] = hist($us) or @ = lhist(args.ret, 0, 4096, 256)",
                )
        self.started = time.monotonic()

    def finish(self, runner: Runner | Replay) -> None:
        """Draw.  Raises OutputError."""
        seconds = time.monotonic() - self.started
        if self.replayed:
            again = cast("Replay", runner)
            seconds, contents = again.seconds, again.contents
            self.machine = contents.origin.host, contents.release, contents.origin.machine
        if self.flame:
            maps = [one for one in runner.script_maps.values() if has_stacks(one.declared)]
            self._save(self.flame, [(one.name, self._flame(one, runner, seconds)) for one in maps])
        if self.heat and runner.sampler is not None:
            found = [(one.map.name, self._heat(one, runner.sampler, seconds)) for one in runner.sampler.samples]
            self._save(self.heat, found)

    def _save(
        self, path: str, found: list[tuple[str, FlamePicture | None]] | list[tuple[str, BucketPicture | None]]
    ) -> None:
        """One file a map; with several their names are added: flame-reads.html."""
        drawn = [(name, picture) for name, picture in found if picture is not None]
        for name, _ in found:
            if name not in dict(drawn):
                error(f"linscope: {name} is empty: there is nothing to draw")
        for name, picture in drawn:
            place = Path(path)
            if len(found) > 1:
                place = place.with_name(f"{place.stem}-{name.removeprefix('@') or 'map'}{place.suffix}")
            picture.save(place)
            if not self.quiet:
                error(f"linscope: {name} is drawn in {place}")

    def _subtitle(self, seconds: float) -> str:
        return " · ".join([part for part in self.machine if part] + [f"{seconds:.1f} s"])

    def _flame(self, script_map: ScriptMap, runner: Runner | Replay, seconds: float) -> FlamePicture | None:
        from linscope.pictures import FlamePicture
        from linscope.views.stacks import stacks_graph

        rows = stack_rows(script_map, runner.resolver)
        if not rows:
            return None
        unit, factor = unit_of(script_map.name)
        notes = []
        if isinstance(script_map.value, t.Count | t.Histogram | t.LinearHistogram):
            unit, factor = "events", 1
        elif isinstance(script_map.value, t.Extreme | t.Average) and getattr(script_map.value, "word", "") != "stats":
            notes.append(f"each stack has its {script_map.value.word}(): sums of these are what is below")
        graph = stacks_graph(
            [(row.frames, row.weight * factor) for row in rows], title=f"{self.name}: {script_map.name}",
            subtitle=self._subtitle(seconds), unit=unit or script_map.name, event=script_map.name, notes=notes,
        )  # fmt: skip
        return FlamePicture(graph)

    def _heat(self, samples: Samples, sampler: Sampler, seconds: float) -> BucketPicture | None:
        from linscope.pictures import BucketPicture, HeatTexts
        from linscope.views.buckets import BucketCounts

        grown = samples.grown
        if not grown:
            return None
        kind, script_map = samples.kind, samples.map
        unit, factor = unit_of(script_map.name)
        buckets = [bucket for _, _, bucket, _ in grown]
        first, last = min(buckets), max(buckets)
        edges = [bucket_edges(kind, bucket)[0] for bucket in range(first, last + 1)] + [bucket_edges(kind, last)[1]]
        keys = list(dict.fromkeys(key for _, key, _, _ in grown))
        place = {key: number for number, key in enumerate(keys)}
        names = [script_map.name if script_map.is_scalar else script_map.key_text(key) for key in keys]
        column, bucket, task, count = (
            np.array(values, np.int64)
            for values in zip(*((c, b - first, place[key], n) for c, key, b, n in grown), strict=True)
        )
        counts = BucketCounts(
            np.array(edges, np.int64) * factor, column, bucket, task, count, names, columns=sampler.column + 1,
            start_ns=sampler.started_wall_ns, step_ns=sampler.interval_ns, log=isinstance(kind, t.Histogram),
            unit=unit, what=script_map.name,
        )  # fmt: skip
        notes = ["values are known to their bucket: percentiles are those of the buckets' middles"]
        return BucketPicture(
            counts, HeatTexts(f"{self.name}: {script_map.name}", self._subtitle(seconds), tuple(notes))
        )


def _check(path: str) -> None:
    if path and Path(path).suffix not in _FORMS:
        raise UsageError(
            f"cannot tell the form of the picture from {path!r}", next_step="end it in .html, .svg or .txt"
        )
    folder = Path(path).parent
    if path and not os.access(folder, os.W_OK | os.X_OK):
        why = "no such folder" if not folder.exists() else "not writable"
        raise UsageError("cannot write the picture", where=path, why=why)
