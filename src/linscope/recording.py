"""A recording, opened: its tables, and the questions that can be asked of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.analysis.filters import Filter, find_event, main_event
from linscope.columns.profile import Event, EventTable, Profile, Samples, Selection
from linscope.contracts import ReadOptions
from linscope.errors import UsageError
from linscope.pictures import FlamePicture, HeatPicture, HeatTexts

if TYPE_CHECKING:
    from linscope.analysis.frames import ResolvedFrames
    from linscope.analysis.report import ReportOptions
    from linscope.formats.perf_data.details import SampleDetails
    from linscope.picture.rows import Rows

EVERYTHING = Filter()
_MAX_NODES = 1_000_000  # of a picture; more are neither seen nor worth their memory
_SHORT_DUMPS = 0.05  # share of stacks cut short from which on it is said


@dataclass(frozen=True)
class SymbolOptions:
    """Where symbols come from and how they are written."""

    root: str = ""  # in front of every path of the recording (perf's --symfs)
    kallsyms: str | None = None
    vmlinux: str | None = None
    demangle: bool = True
    cache: bool = True


class Recording:
    """What ``linscope.open`` returns; everything but the header is read when first asked for."""

    def __init__(self, profile: Profile, symbols: SymbolOptions | None = None) -> None:
        self.profile = profile
        self.symbol_options = symbols or SymbolOptions()

    def __repr__(self) -> str:
        names = ", ".join(event.name for number, event in enumerate(self.events) if self._was_sampled(number))
        return f"<recording {self.profile.where}: {len(self.samples):,} samples of {names}, {self.lost:,} lost>"

    @property
    def events(self) -> list[Event]:
        """The events that were recorded."""
        return self.profile.events

    @property
    def samples(self) -> Samples:
        """One row a sample."""
        return self.profile.samples

    @property
    def tables(self) -> dict[str, EventTable]:
        """The fields of tracepoints: one typed table an event, by name.  Empty for what came from a pipe without."""
        self._load_tables()
        return self.profile.tables

    def _load_tables(self) -> None:
        """Read the recording again for its tables, if it has any that were not read with it."""
        has_some = any(e.attr is not None and e.attr.type == pe.PERF_TYPE_TRACEPOINT for e in self.events)
        if has_some and not self.profile.tables and os.path.exists(self.profile.where):
            from linscope.formats import read_profile

            self.profile.tables = read_profile(self.profile.where, ReadOptions(tables=True)).tables

    @property
    def lost(self) -> int:
        """Events that the kernel dropped."""
        return self.profile.lost

    @cached_property
    def resolved(self) -> ResolvedFrames:
        """Object and symbol of every frame."""
        from linscope.analysis.frames import resolve
        from linscope.symbols.cache import SymbolCache
        from linscope.symbols.objects import SearchPath, Symbolizer

        options = self.symbol_options
        symbolizer = Symbolizer(
            search=SearchPath(root=options.root),
            kallsyms=options.kallsyms,
            vmlinux=options.vmlinux,
            release=str(self.profile.features.get("OSRELEASE", "")),
            demangle=options.demangle,
            cache=SymbolCache() if options.cache else None,
        )
        return resolve(self.profile, symbolizer)

    def notes(self) -> list[str]:
        """What a reader of any result has to know: losses, damage."""
        found = []
        if self.lost:
            found.append(f"{self.lost:,} events lost")
        found += [str(problem) for problem in self.profile.problems]
        walks = sum(self.profile.stack_endings.values())
        short = self.profile.stack_endings.get("dump too short", 0)
        if short > _SHORT_DUMPS * walks:
            share = f"{100 * short / walks:.0f} % of the stacks"
            found.append(f"{share} are larger than what was recorded of them; --call-graph dwarf,65528 records more")
        return found

    def has_calls(self) -> bool:
        """True if the recording comes from the function_graph tracer."""
        from linscope.analysis.function_graph import has_calls

        return has_calls(self.profile)

    def as_calls(self) -> Recording:
        """A function_graph recording as a profile: a sample a call, weighing the function's own nanoseconds."""
        from linscope.analysis.function_graph import calls_profile

        self._load_tables()
        return Recording(calls_profile(self.profile), self.symbol_options)

    def calls(self, *, total: bool = False) -> Rows:
        """The calls of a function_graph recording as the kernel draws them; total: summed up by function."""
        from linscope.views.function_graph import call_lines, call_totals

        self._load_tables()
        return call_totals(self.profile) if total else call_lines(self.profile)

    def has_stacks(self) -> bool:
        """True if samples carry call chains."""
        return any(e.attr is None or e.attr.sample_type & pe.PERF_SAMPLE_CALLCHAIN for e in self.events)

    def event_number(self, keep: Filter) -> int:
        """The event that a picture shows: the filter's, or the first that was sampled."""
        return find_event(self.profile, keep.event) if keep.event is not None else main_event(self.profile)

    def mask_of(self, keep: Filter, event: int) -> NDArray[np.bool_]:
        """True for the samples of the event that the filter keeps."""
        needs_symbols = keep.dso is not None or keep.symbol is not None
        rows = keep.rows(self.profile, self.resolved if needs_symbols else None)
        rows &= self.samples.event == event
        return rows

    def rows_of(self, keep: Filter, event: int) -> Selection:
        """The samples of the event that the filter keeps, all of them without a copy."""
        rows = self.mask_of(keep, event)
        return slice(None) if rows.all() else rows

    def weights(self, by: str) -> NDArray[np.uint64]:
        """What each sample counts: its period, or 1.  Raises UsageError for another word than these."""
        if by == "period":
            return self.samples.weight
        if by == "samples":
            return np.ones(len(self.samples), np.uint64)
        raise UsageError(f"not a weight: {by!r}", next_step="period or samples")

    def flame(
        self,
        keep: Filter = EVERYTHING,
        *,
        title: str = "",
        weight: str = "period",
        group: str = "comm",
        inlines: bool = True,
        splits: bool = True,
    ) -> FlamePicture:
        """A flame graph.

        weight: "period" or "samples"; group: what the lowest frames are: comm, process, thread, cpu or none;
        splits: also the weights by process, thread and CPU, between which the page can switch.
        """
        from linscope.analysis.call_tree import build_call_tree, pruned
        from linscope.views.flame import flame_graph, splits_of

        if self.has_calls() and keep.event is None:
            return self.as_calls().flame(
                keep, title=title, weight=weight, group=group, inlines=False, splits=splits
            )
        event = self.event_number(keep)
        rows = self.rows_of(keep, event)
        weights = self.weights(weight)
        groups, names = self._groups(group)
        labels = self.resolved.symbol_labels()
        tree, node = build_call_tree(self.profile, labels, rows, groups, weights, inlines=inlines)
        tree, removed = pruned(tree, _MAX_NODES)
        shown = self.events[event] if self.events else Event("", "samples")
        notes = self.notes()
        if removed:
            notes.append(f"{removed:,} frames of too little weight to be drawn are counted in their callers")
        if "TRACE_CLOCK" in self.profile.features and not self.has_stacks():
            notes.append("no stacks were recorded: trace-cmd record -T, or tracefs' option stacktrace, adds them")
        others = [e.name for i, e in enumerate(self.events) if i != event and self._was_sampled(i)]
        if others:
            notes.append(f"other events in this recording: {', '.join(others)}")
        graph = flame_graph(
            tree,
            names,
            title=title or self._title(),
            subtitle=self._subtitle(),
            unit="samples" if weight == "samples" else shown.period_unit,
            event=shown.name,
            notes=notes,
            splits=splits_of(self.profile, rows, node, weights) if splits and not removed else {},
        )
        return FlamePicture(graph)

    def heat(
        self,
        event: str | None = None,
        *,
        keep: Filter = EVERYTHING,
        title: str = "",
        scale: str = "auto",
        limits: tuple[int | None, int | None] = (None, None),
        weight: str = "period",
        command: str = "",
        **question: Any,
    ) -> HeatPicture:
        """A heat map: of the time between two events ("A..B"), of when an event came, or of its sizes.

        event: None for the first known pair of events in the recording, else the main event.
        keep: filters on the task that a point is about, the CPU and time it ended at, and its stack.
        scale: "auto", "log" or "linear"; limits: values to draw from and to; weight: of flame graphs, "period" (the
        latency) or "samples"; command: what the page offers to type.  question: by, key, where and the other fields
        of ``analysis.latency.Question``.  Raises UsageError for a question that does not fit the recording.
        """
        from linscope.analysis.latency import Question, kept, measure

        self._load_tables()
        points = measure(self.profile, Question(event, **question))
        needs_symbols = keep.dso is not None or keep.symbol is not None
        points = points.take(kept(points, keep, self.profile, self.resolved if needs_symbols else None))
        name = self.command() or os.path.basename(self.profile.where)
        events = f"{points.events} by {points.key_name}" if points.key_name else points.events
        subtitle = " · ".join(part for part in (events, name, self._subtitle()) if part)
        texts = HeatTexts(title or points.title, subtitle, tuple(self.notes()), command)
        return HeatPicture(
            points, self.profile, lambda: self.resolved, texts, scale=scale, limits=limits, weight=weight
        )

    def _groups(self, by: str) -> tuple[NDArray[np.uint32], list[str]]:
        """(group of each sample, names of the groups)."""
        samples, comms = self.samples, self.profile.comms
        if by == "comm":
            return samples.comm, comms
        if by == "none":
            return np.zeros(len(samples), np.uint32), ["all"]
        columns = {"process": samples.pid, "thread": samples.tid, "cpu": samples.cpu}
        if by not in columns:
            raise UsageError(f"cannot group by {by!r}", next_step="comm, process, thread, cpu or none")
        values, first, group = np.unique(columns[by], return_index=True, return_inverse=True)
        if by == "cpu":
            names = [f"CPU {value}" for value in values.tolist()]
        else:
            names = [f"{comms[samples.comm[i]]} ({v})" for v, i in zip(values.tolist(), first.tolist(), strict=True)]
        return group.astype(np.uint32), names

    def _title(self) -> str:
        command = self.command()
        return f"Flame graph: {command}" if command else f"Flame graph: {os.path.basename(self.profile.where)}"

    def command(self) -> str:
        """The command line that was recorded, or "" when the recording does not tell."""
        words = self.profile.features.get("CMDLINE") or []
        if "--" in words:
            return " ".join(words[words.index("--") + 1 :])
        return ""

    def _subtitle(self) -> str:
        features = self.profile.features
        parts = [str(features[name]) for name in ("HOSTNAME", "OSRELEASE", "ARCH") if features.get(name)]
        times = self.samples.time_ns
        count, noun = len(self.samples), "sample"
        if self.events and self.events[0].name == "function_graph":
            noun = "call"
        if count and not times.max():
            noun = "stack"  # folded stacks tell no times, and each stands for many samples
        elif count:
            parts.append(f"{(int(times.max()) - int(times.min())) / 1e9:.1f} s")
        parts.append(f"{count:,} {noun}{'' if count == 1 else 's'}")
        return " · ".join(parts)

    def report(self, options: ReportOptions | None = None, keep: Filter = EVERYTHING) -> Rows:
        """Where the weight went: a table by task, object and symbol."""
        from linscope.analysis.report import TASK_KEYS, ReportOptions
        from linscope.views.report import report_rows

        options = options or ReportOptions()
        if not len(self.profile.frames):  # events without stacks: by what is known of them, the task
            known = tuple(key for key in options.sort if key in TASK_KEYS) or ("comm",)
            options = replace(options, sort=known)
        event = self.event_number(keep)
        rows = self.rows_of(keep, event)
        weight = self.weights(options.weight)
        shown = self.events[event].name if self.events else ""
        others = [e.name for i, e in enumerate(self.events) if i != event and self._was_sampled(i)]
        title = [
            *self.notes(),
            *([f"Other events (--event): {', '.join(others)}"] if others else []),
            f"Samples: {len(weight[rows]):,} of event {shown!r}",
            f"Event count: {int(weight[rows].sum()):,}",
            "",
        ]
        whole = int(weight[self.samples.event == event].sum())
        return report_rows(self.profile, self.resolved, rows, weight, options, whole, title)

    def _was_sampled(self, event: int) -> bool:
        return bool((self.samples.event == event).any())

    def script(self, fields: frozenset[str] | None = None, keep: Filter = EVERYTHING) -> Rows:
        """Every sample in time order; fields: as ``views.script.FIELDS``, None for perf script's own."""
        from linscope.views.sample_details import DETAIL_FIELDS
        from linscope.views.script import parse_fields, script_rows

        rows = keep.rows(self.profile, self.resolved)
        fields = fields or parse_fields(None)
        if "trace" in fields:
            self._load_tables()
        details = self.details() if fields & set(DETAIL_FIELDS) else None
        return script_rows(self.profile, self.resolved, rows, fields, details)

    def details(self) -> list[SampleDetails | None]:
        """What each sample carries besides: branches, registers, weights, memory accesses; read from the file again.

        Raises UsageError when the recording is no perf.data file.
        """
        from linscope.formats.perf_data.header import detect
        from linscope.formats.perf_data.reader import open_perf_data

        path = Path(self.profile.where)
        if not path.is_dir() and not (path.is_file() and detect(path.open("rb").read(8))):
            raise UsageError("only perf.data files keep branches, registers and weights", where=self.profile.where)
        with open_perf_data(path) as opened:
            return list(opened.details())


def open_recording(
    path: Any,
    *,
    tables: bool = False,
    symbols: SymbolOptions | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Recording:
    """Read a recording of any known format: a path, or an open binary file.

    tables: read the fields of tracepoints at once; without, they are read when first asked for.
    Raises FormatError for a file that is none, OSError for one that cannot be opened.
    """
    from linscope.formats import read_profile

    symfs = symbols.root if symbols else ""
    return Recording(read_profile(path, ReadOptions("", tables, symfs, progress)), symbols)
