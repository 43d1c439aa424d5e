"""Entries of a report -> rows, with their call graphs under them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.analysis.call_tree import CallTree, build_call_tree
from linscope.analysis.frames import ResolvedFrames
from linscope.analysis.report import (
    FRAME_KEYS,
    TASK_KEYS,
    Branch,
    CallGraphs,
    ReportOptions,
    entries_of,
    entry_labels,
)
from linscope.columns.profile import Profile, Selection
from linscope.picture.rows import Column, Rows

_HEADINGS = {
    "comm": "Command",
    "pid": "Pid",
    "tid": "Tid",
    "cpu": "CPU",
    "dso": "Shared Object",
    "sym": "Symbol",
}
_NUMBERS = ("pid", "tid", "cpu")


def _percent(value: float) -> str:
    return f"{value:.2f}%"


def report_rows(
    profile: Profile,
    resolved: ResolvedFrames,
    rows: Selection,
    weight: NDArray[np.uint64],
    options: ReportOptions,
    whole: int,
    title: list[str],
) -> Rows:
    """The report's table.  rows: which samples; weight: of every sample; whole: the weight that is 100 %."""
    task_keys = [key for key in options.sort if key in TASK_KEYS]
    frame_level = any(key in FRAME_KEYS for key in options.sort)
    group, group_of = _groups(profile, rows, task_keys)
    by_line = "srcline" in options.sort
    labels = resolved.line_labels() if by_line else resolved.symbol_labels(by_address=True)
    tree, node = build_call_tree(profile, labels, rows, group, weight)
    entry = entry_labels(tree, options.sort)
    samples_at = np.bincount(node, minlength=len(tree.tree.parent)).astype(np.int64)
    entries = entries_of(tree, entry, samples_at, children=options.children, frame_level=frame_level)
    whole = max(1, whole)
    columns = _columns(options, frame_level)

    def all_rows() -> Iterator[Sequence[Any]]:
        graphs = None
        for i in range(len(entries.total)):
            total, own = int(entries.total[i]), int(entries.self_weight[i])
            percent = 100 * total / whole
            if percent < options.percent_limit:
                return
            row: list[Any] = [percent]
            if options.children and frame_level:
                row.append(100 * own / whole)
            row += [total, int(entries.samples[i])]
            frame = int(entry.first_frame[entries.label[i]]) if frame_level else -1
            tasks = group_of[int(entries.group[i])]
            row += [
                tasks[key] if key in tasks else _frame_value(resolved, frame, key) for key in options.sort
            ]
            branches: list[Branch] = []
            if options.call_graph != "none" and frame_level and percent >= options.graph_limit:
                graphs = graphs or CallGraphs(tree, entry, int(whole * options.graph_limit / 100))
                branches = _branches(graphs, int(entries.group[i]), int(entries.label[i]), options)
            row.append([_nested(branch, tree) for branch in branches])
            yield row

    return Rows(
        columns,
        all_rows(),
        title=title,
        below=(lambda row: _graph_lines(row[-1], whole)) if options.call_graph != "none" else None,
    )


def _branches(graphs: CallGraphs, group: int, label: int, options: ReportOptions) -> list[Branch]:
    if options.call_graph == "callee":
        return graphs.callers(group, label, children=options.children)
    return graphs.callees(group, label) if options.children else graphs.paths(group, label)


def _columns(options: ReportOptions, frame_level: bool) -> list[Column]:
    columns = [
        Column("percent", "Children" if options.children and frame_level else "Overhead", ">", _percent)
    ]
    if options.children and frame_level:
        columns.append(Column("self_percent", "Self", ">", _percent))
    columns += [Column("weight", in_text=False), Column("samples", "Samples", ">")]
    for key in options.sort:
        columns.append(Column(key, _HEADINGS.get(key, key), ">" if key in _NUMBERS else "<"))
    columns.append(Column("call_graph", in_text=False))
    return columns


def _groups(
    profile: Profile, rows: Selection, keys: list[str]
) -> tuple[NDArray[np.uint32], list[dict[str, Any]]]:
    """(group of each sample, values of the keys for each group)."""
    samples = profile.samples
    columns = {"comm": samples.comm, "pid": samples.pid, "tid": samples.tid, "cpu": samples.cpu}
    group = np.zeros(len(samples), np.uint32)
    values: list[dict[str, Any]] = [{}]
    for key in keys:
        distinct, number = np.unique(columns[key], return_inverse=True)
        pairs = group.astype(np.int64) * len(distinct) + number
        kept, group_of = np.unique(pairs, return_inverse=True)
        group = group_of.astype(np.uint32)
        values = [
            {**values[p // len(distinct)], key: _task_value(profile, key, int(distinct[p % len(distinct)]))}
            for p in kept.tolist()
        ]
    return group, values


def _task_value(profile: Profile, key: str, value: int) -> Any:
    if key == "comm":
        return profile.comms[value]
    return value - (1 << 32) if value >= 1 << 31 else value


def _frame_value(resolved: ResolvedFrames, frame: int, key: str) -> str:
    if key == "dso":
        return resolved.places[int(resolved.place[frame])].name
    if key == "srcline":
        return resolved.srcline(frame)
    mode = resolved.modes[frame]
    mark = {pe.PERF_RECORD_MISC_KERNEL: "k", pe.PERF_RECORD_MISC_USER: "."}.get(int(mode), "?")
    return f"[{mark}] {frame_name(resolved, frame)}"


def frame_name(resolved: ResolvedFrames, frame: int) -> str:
    """The symbol, or the address as perf report shows it when there is none."""
    if resolved.symbol[frame] < 0:
        return f"0x{int(resolved.address[frame]):016x}"
    return resolved.name(frame)


def _nested(branch: Branch, tree: CallTree) -> dict[str, Any]:
    frame = int(tree.labels.first[branch.label])
    return {
        "symbol": frame_name(tree.labels.frames, frame),
        "weight": branch.weight,
        "branches": [_nested(below, tree) for below in branch.branches],
    }


def _graph_lines(branches: list[dict[str, Any]], whole: int, indent: str = "        ") -> Iterable[str]:
    for number, branch in enumerate(branches):
        last = number == len(branches) - 1
        yield f"{indent}{'└─' if last else '├─'}{100 * branch['weight'] / whole:6.2f}%  {branch['symbol']}"
        below = indent + ("   " if last else "│  ")
        while len(branch["branches"]) == 1 and branch["branches"][0]["weight"] == branch["weight"]:
            branch = branch["branches"][0]  # one way on: straight below, without another step to the right
            yield f"{below}         {branch['symbol']}"
        yield from _graph_lines(branch["branches"], whole, below)
    if branches and len(indent) == 8:
        yield ""
