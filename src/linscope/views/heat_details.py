"""Measured points -> what stands behind a heat map: the table of intervals, the raw events, the flame graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.call_tree import add_up, build_call_tree, pruned
from linscope.analysis.frames import ResolvedFrames
from linscope.analysis.latency import NO_PID, Points
from linscope.binfmt.perf_records import NO_CPU
from linscope.columns.log_linear import bucket_of, low_end
from linscope.columns.profile import Profile
from linscope.columns.trees import intern_pairs
from linscope.picture.flame_graph import FlameGraph, Split
from linscope.picture.heat_map import HeatDetails, format_value
from linscope.picture.rows import Column, Rows
from linscope.views.flame import flame_graph
from linscope.views.payloads import Payloads

Index = NDArray[np.int64]
MAX_EVENTS = 20_000  # whose texts a page carries
MAX_NODES = 250_000  # of a flame graph
_EXACT_POINTS = 250_000  # with more points a page has their buckets, 128 a power of two
_BITS = 7
_BLOCK = 20_000  # points made into rows at once


def interval_rows(points: Points, profile: Profile, resolved: Callable[[], ResolvedFrames], *, texts: bool) -> Rows:
    """One row a point, in time order.  texts: also the events themselves, as perf script writes them."""
    single = points.by != "latency"
    value = f"{points.what}_ns" if points.unit == "ns" else points.what
    columns = [
        Column("time_ns" if single else "start_ns", "time" if single else "start", ">", _seconds),
        *([] if single else [Column("end_ns", "end", ">", _seconds)]),
        Column(value, points.what, ">", lambda v: format_value(v, points.unit)),
        *([] if single else [Column("key")]),
        Column("comm"),
        Column("pid", align=">", in_text=False),
        Column("tid", align=">"),
        Column("cpu", align=">"),
        Column("doubtful", in_text=False),
    ]
    below = None
    if texts:
        columns += [Column(name, in_text=False) for name in ("start_event", "start_text")]
        columns += [] if single else [Column(name, in_text=False) for name in ("end_event", "end_text")]
        below = _event_lines
    rows = _rows(points, profile, EventTexts(profile, resolved) if texts else None)
    return Rows(columns, rows, below=below)


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns % 10**9:09d}"


def _event_lines(row: Sequence[Any]) -> Iterator[str]:
    """The events under an interval's line: the last cells of the row, by twos."""
    single = len(row) < 12
    for name, text in (row[-2:],) if single else (row[-4:-2], row[-2:]):
        yield f"    {name}: {text}"


def _rows(points: Points, profile: Profile, texts: EventTexts | None) -> Iterator[list[Any]]:
    single = points.by != "latency"
    names = [event.name for event in profile.events]
    times = profile.samples.time_ns
    for begin in range(0, len(points), _BLOCK):
        part = points.take(np.arange(begin, min(begin + _BLOCK, len(points))))
        text = texts.of(np.concatenate([part.start, part.end])) if texts else {}
        started = times[part.start].tolist()
        columns = zip(
            part.start.tolist(),
            part.end.tolist(),
            part.time_ns.tolist(),
            part.value.tolist(),
            part.comm.tolist(),
            part.pid.tolist(),
            part.tid.tolist(),
            part.cpu.tolist(),
            part.doubtful.tolist(),
            strict=True,
        )
        for i, (first, last, time, value, comm, pid, tid, cpu, doubtful) in enumerate(columns):
            row = [started[i]] if single else [started[i], time]
            row += [value] if single else [value, part.key_text(i)]
            row += [part.comms[comm], _known(pid), _signed(tid), None if cpu == NO_CPU else cpu, doubtful]
            if texts:
                for sample in (first,) if single else (first, last):
                    row += [names[int(profile.samples.event[sample])], text.get(sample, "")]
            yield row


def _known(pid: int) -> int | None:
    return None if pid == NO_PID else _signed(pid)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


class EventTexts:
    """Samples as text: the fields of trace events, the function of others."""

    def __init__(self, profile: Profile, resolved: Callable[[], ResolvedFrames]) -> None:
        self._profile = profile
        self._resolved = resolved
        self._payloads = Payloads(profile, resolved().symbolizer) if profile.tables else None

    def of(self, samples: Index) -> dict[int, str]:
        """Text of each sample, by its number."""
        samples = np.unique(samples)
        found = self._payloads.texts(samples) if self._payloads else {}
        rest = [sample for sample in samples.tolist() if sample not in found]
        if rest:
            resolved, profile = self._resolved(), self._profile
            frames = profile.stacks.frame[profile.samples.stack[rest]].tolist()
            for sample, frame in zip(rest, frames, strict=True):
                if frame < len(resolved.place):
                    path = resolved.places[int(resolved.place[frame])].path
                    found[sample] = f"{resolved.name(frame)} ({path})"
        return {sample: text.rstrip("\n") for sample, text in found.items()}


def points_graph(
    points: Points,
    profile: Profile,
    resolved: ResolvedFrames,
    weight: Index,
    *,
    title: str,
    subtitle: str,
    unit: str,
    notes: list[str],
    group: Index | None = None,
) -> FlameGraph:
    """The flame graph of the points' stacks, by the task they are about.

    weight: of each point.  group: of each point a number; the graph's split "groups" then tells each node's weight
    by it, its labels are empty.
    """
    count = len(profile.samples)
    task, weights = np.zeros(count, np.uint32), np.zeros(count, np.uint64)
    task[points.stack_sample] = points.comm
    weights[points.stack_sample] = weight.astype(np.uint64)
    labels = resolved.symbol_labels()
    tree, node = build_call_tree(profile, labels, points.stack_sample, task, weights, inlines=True)
    if group is None:
        tree, _ = pruned(tree, MAX_NODES)
    splits = {}
    if group is not None:
        pair, pair_node, pair_group = intern_pairs(node, group.astype(np.uint32))
        sums = add_up(pair, weight.astype(np.uint64), len(pair_node))
        splits["groups"] = Split([""] * (int(group.max()) + 1 if len(group) else 0), pair_node, pair_group, sums)
    graph = flame_graph(
        tree, points.comms, title=title, subtitle=subtitle, unit=unit, event=points.events, notes=notes,
        splits={},
    )  # fmt: skip
    if splits:
        graph.splits = splits
        graph = graph.pruned(MAX_NODES)
    return graph


def heat_details(
    points: Points,
    cell: Index,
    profile: Profile,
    resolved: Callable[[], ResolvedFrames],
    graph_of: Callable[[Index], FlameGraph] | None,
    command: str,
) -> HeatDetails:
    """What a page needs to show any selection of cells.  graph_of: the graph of all points, split by these groups."""
    exact = len(points) <= _EXACT_POINTS
    value = points.value if exact else low_end(bucket_of(points.value, _BITS), _BITS)
    task_code, task_first = _tasks(points)
    pair, _, _ = intern_pairs(cell.astype(np.uint64), task_code.astype(np.uint32))
    group, _, _ = intern_pairs(value.astype(np.uint64), pair)
    first = np.full(int(group.max()) + 1 if len(group) else 0, -1, np.int64)
    first[group[::-1]] = np.arange(len(group) - 1, -1, -1)
    graph, node, of_group, weight = None, *(np.empty(0, np.int64) for _ in range(3))
    if graph_of is not None:
        graph = graph_of(group.astype(np.int64))
        split = graph.splits.pop("groups")
        node, of_group, weight = (a.astype(np.int64) for a in (split.node, split.label, split.weight))
    shown, most = _choose(cell)
    part = points.take(shown)
    texts = EventTexts(profile, resolved).of(np.concatenate([part.start, part.end]))
    single = points.by != "latency"
    cpu = np.where(part.cpu == NO_CPU, 0xFFFFFFFF, part.cpu).astype(np.int64)
    return HeatDetails(
        tasks=[_task_text(points, row) for row in task_first.tolist()],
        cell=cell[first],
        value=value[first],
        task=task_code[first],
        count=np.bincount(group, minlength=len(first)).astype(np.int64),
        exact=exact,
        events={
            "cell": cell[shown], "start": profile.samples.time_ns[part.start].astype(np.int64), "end": part.time_ns,
            "value": part.value, "task": task_code[shown], "cpu": cpu,
        },
        texts=[
            [part.key_text(i) for i in range(len(part))],
            [texts.get(sample, "") for sample in part.start.tolist()],
            [] if single else [texts.get(sample, "") for sample in part.end.tolist()],
        ],
        per_cell=most,
        graph=graph,
        node=node,
        group=of_group,
        weight=weight,
        command=command,
    )  # fmt: skip


def _tasks(points: Points) -> tuple[Index, Index]:
    """(number of each point's task: name and thread; a point of each task)."""
    pair, _, _ = intern_pairs(points.tid, points.comm.astype(np.uint32))
    code = pair.astype(np.int64)
    first = np.zeros(int(code.max()) + 1 if len(code) else 0, np.int64)
    first[code[::-1]] = np.arange(len(code) - 1, -1, -1)
    return code, first


def _task_text(points: Points, row: int) -> str:
    return f"{points.comms[int(points.comm[row])]} ({_signed(int(points.tid[row]))})"


def _choose(cell: Index) -> tuple[Index, int]:
    """(points whose events a page carries, at most how many of a cell; 0: all): what is rare is there in full."""
    if len(cell) <= MAX_EVENTS:
        return np.arange(len(cell)), 0
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    edges = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[edges, len(ordered)])
    rank = np.arange(len(ordered)) - np.repeat(edges, counts)
    low, high = 1, int(counts.max())
    while low < high:  # the largest number that fits
        middle = (low + high + 1) // 2
        if int(np.minimum(counts, middle).sum()) <= MAX_EVENTS:
            low = middle
        else:
            high = middle - 1
    # of a full cell every n-th, so that they are of its whole time
    each = np.repeat(np.maximum(counts, 1), counts)
    take = (rank * low) // each != ((rank - 1) * low) // each
    chosen = order[take | (each <= low)]
    return np.sort(chosen), low
