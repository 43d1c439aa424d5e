"""Samples -> entries of a report: weight by task, object and symbol, with and without what they call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.call_tree import CallTree
from linscope.columns.trees import GroupedTree, intern_pairs, outermost
from linscope.errors import UnknownNameError

TASK_KEYS = ("comm", "pid", "tid", "cpu")  # of the sample
FRAME_KEYS = ("dso", "sym", "srcline")  # of a frame
_ROWS_AT_ONCE = 1 << 18
_ALIASES = {"symbol": "sym", "object": "dso"}


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows; the words are perf report's."""

    sort: tuple[str, ...] = ("comm", "dso", "sym")
    children: bool = True  # weight of a function with all that it calls; False: where the samples fell
    call_graph: str = "none"  # caller, callee, none
    percent_limit: float = 0.0  # entries below it are not shown
    graph_limit: float = 0.5  # percent of the whole; branches below it are not shown
    weight: str = "period"


@dataclass
class Entries:
    """One row an entry, heaviest first."""

    group: NDArray[np.uint32]
    label: NDArray[np.uint32]  # entry label; see EntryLabels
    total: NDArray[np.int64]  # with all that it calls; without children the same as self
    self_weight: NDArray[np.int64]
    samples: NDArray[np.int64]  # number of samples, as total counts them


@dataclass
class EntryLabels:
    """What entries are by their frame: number of each tree label, and a frame of each number."""

    of_label: NDArray[np.uint32]
    first_frame: NDArray[np.int64]


def parse_sort(text: str) -> tuple[str, ...]:
    """Sort keys of a comma list; raises UnknownNameError."""
    keys = tuple(_ALIASES.get(key.strip(), key.strip()) for key in text.split(","))
    for key in keys:
        if key not in TASK_KEYS + FRAME_KEYS:
            raise UnknownNameError(
                "sort key", key, TASK_KEYS + FRAME_KEYS, next_step=", ".join(TASK_KEYS + FRAME_KEYS)
            )
    return keys


def entry_labels(tree: CallTree, sort: tuple[str, ...]) -> EntryLabels:
    """Number the frame part of the sort keys.  tree: of ``line_labels`` when they name srcline."""
    labels, frames = tree.labels, tree.labels.frames
    first = labels.first
    if not any(key in sort for key in FRAME_KEYS):
        return EntryLabels(
            np.zeros(len(labels), np.uint32), first[:1] if len(first) else np.zeros(1, np.int64)
        )
    parts: list[NDArray[Any]] = []
    if "sym" in sort:
        parts.append(np.arange(len(labels), dtype=np.int64))
    if "dso" in sort:
        parts.append(frames.place[first].astype(np.int64))
    if "srcline" in sort:
        lines: dict[str, int] = {}
        parts.append(
            np.array([lines.setdefault(frames.srcline(f), len(lines)) for f in first.tolist()], np.int64)
        )
    stacked = np.stack(parts, axis=1) if len(first) else np.empty((0, len(parts)), np.int64)
    _, at, number = np.unique(stacked, axis=0, return_index=True, return_inverse=True)
    return EntryLabels(number.reshape(-1).astype(np.uint32), first[at])


def entries_of(
    tree: CallTree, entry: EntryLabels, samples_at: NDArray[np.int64], *, children: bool, frame_level: bool
) -> Entries:
    """Sum the tree up by (group, entry label).  samples_at: number of samples that end at each node."""
    code = ~tree.tree.is_group
    count = len(tree.tree.parent)
    label = np.zeros(count, np.uint32)
    if frame_level and len(entry.of_label):
        label[code] = entry.of_label[tree.tree.label[code]]
    grouped = GroupedTree(tree.tree.parent, label, tree.tree.group)
    pair, pair_group, pair_label = intern_pairs(tree.tree.group, label)
    used = np.zeros(count, np.bool_)
    if frame_level:
        used = code
    else:
        used[1:] = True  # samples without a frame sit on the group's node
    size = len(pair_group)
    self_weight, total, samples = (np.zeros(size, np.int64) for _ in range(3))
    _add_where(used, pair, tree.self_weight, self_weight)
    if children and frame_level:
        from linscope.columns.trees import totals

        first = outermost(grouped, max(1, len(entry.first_frame)))
        del grouped, label
        _add_where(first, pair, tree.totals(), total)
        _add_where(first, pair, totals(tree.tree.parent, samples_at), samples)
    else:
        total = self_weight.copy()
        _add_where(used, pair, samples_at, samples)
    order = np.argsort(-total, kind="stable")
    order = order[(total[order] > 0) | (samples[order] > 0)]
    return Entries(
        pair_group[order].astype(np.uint32),
        pair_label[order],
        total[order],
        self_weight[order],
        samples[order],
    )


def _add_where(
    where: NDArray[np.bool_], index: NDArray[np.uint32], weight: NDArray[np.int64], sums: NDArray[np.int64]
) -> None:
    """sums[index] += weight for the rows that count, a part at a time: trees may have millions of nodes."""
    for begin in range(0, len(where), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        chosen = where[part]
        np.add.at(sums, index[part][chosen], weight[part][chosen])


@dataclass
class Branch:
    """One line of a call graph: a label of the tree, its weight, and the branches below it."""

    label: int
    weight: int
    branches: list[Branch]


class CallGraphs:
    """Call graphs of entries: who calls it (callee order), or what it calls (caller order)."""

    def __init__(self, tree: CallTree, entry: EntryLabels, minimum: int) -> None:
        """minimum: branches below this weight are left out."""
        self._tree = tree
        self._minimum = max(1, minimum)
        parent = tree.tree.parent.astype(np.int64)
        self._parent = parent
        code = ~tree.tree.is_group
        self._code = code
        self._entry_label = np.full(len(parent), -1, np.int64)
        self._entry_label[code] = entry.of_label[tree.tree.label[code]]
        self._order = np.argsort(self._entry_label, kind="stable")
        self._sorted = self._entry_label[self._order]
        children = np.argsort(parent[1:], kind="stable") + 1
        self._children = children
        self._first = np.searchsorted(parent[children], np.arange(len(parent) + 1))
        self._totals = tree.totals()
        self._outermost: NDArray[np.bool_] | None = None
        self._labels = len(entry.first_frame)
        # branches are functions: labels that only differ by their source line go together
        symbols = tree.labels.frames.symbol_labels(by_address=True).of_frame[tree.labels.first]
        _, first, symbol = np.unique(symbols, return_index=True, return_inverse=True)
        self._branch = first[symbol]

    def _nodes(self, group: int, label: int) -> NDArray[np.int64]:
        low, high = np.searchsorted(self._sorted, [label, label + 1])
        nodes = self._order[low:high]
        mine: NDArray[np.int64] = nodes[self._tree.tree.group[nodes] == group]
        return mine

    def _outer(self) -> NDArray[np.bool_]:
        if self._outermost is None:
            label = np.where(self._code, self._entry_label, 0).astype(np.uint32)
            tree = GroupedTree(self._tree.tree.parent, label, self._tree.tree.group)
            self._outermost = outermost(tree, max(1, self._labels))
        return self._outermost

    def callees(self, group: int, label: int) -> list[Branch]:
        """What the entry's function calls, summed over all places that it is called from."""
        nodes = self._nodes(group, label)
        nodes = nodes[self._outer()[nodes]]
        return self._down(nodes)

    def callers(self, group: int, label: int, *, children: bool) -> list[Branch]:
        """Who calls the entry's function.  children: weigh with all that it calls, else by its own samples."""
        nodes = self._nodes(group, label)
        if children:
            nodes = nodes[self._outer()[nodes]]
            weight = self._totals[nodes]
        else:
            weight = self._tree.self_weight[nodes]
        return self._up(nodes[weight > 0], weight[weight > 0])

    def paths(self, group: int, label: int) -> list[Branch]:
        """The way from the outermost function down to the entry's own samples."""
        from linscope.columns.trees import totals

        nodes = self._nodes(group, label)
        own = np.zeros(len(self._parent), np.int64)
        own[nodes] = self._tree.self_weight[nodes]
        sums = totals(self._tree.tree.parent, own)
        heads = np.flatnonzero((self._parent == 0) & (sums > 0))
        return self._down(heads[heads > 0], sums)

    def _down(self, nodes: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> list[Branch]:
        weights = self._totals if weights is None else weights
        sizes = self._first[nodes + 1] - self._first[nodes]
        if not sizes.sum():
            return []
        starts = np.repeat(self._first[nodes] - np.r_[0, np.cumsum(sizes)[:-1]], sizes)
        below = self._children[starts + np.arange(int(sizes.sum()))]
        found = []
        for label, chosen, weight in self._split(below, weights[below]):
            found.append(Branch(label, weight, self._down(chosen[0], weights)))
        return found

    def _up(self, nodes: NDArray[np.int64], weight: NDArray[np.int64]) -> list[Branch]:
        parents = self._parent[nodes]
        inside = self._code[parents]
        found = []
        for label, chosen, total in self._split(parents[inside], weight[inside]):
            found.append(Branch(label, total, self._up(chosen[0], chosen[1])))
        return found

    def _split(
        self, nodes: NDArray[np.int64], weight: NDArray[np.int64]
    ) -> list[tuple[int, tuple[NDArray[np.int64], NDArray[np.int64]], int]]:
        """(label, (its nodes, their weights), their sum) for the heavy labels of nodes, heaviest first."""
        if not len(nodes):
            return []
        labels, at = np.unique(self._branch[self._tree.tree.label[nodes]], return_inverse=True)
        sums = np.zeros(len(labels), np.int64)
        np.add.at(sums, at, weight)
        heavy = [i for i in np.argsort(-sums, kind="stable").tolist() if sums[i] >= self._minimum]
        return [(int(labels[i]), (nodes[at == i], weight[at == i]), int(sums[i])) for i in heavy]
