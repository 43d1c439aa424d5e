"""A flame graph before it is text, SVG or a page: a weighted tree of frames in flat arrays.

Nodes are numbered so that parents come before their children; node 0 is the root.  Every operation is a few
numpy passes: sums up and down the tree use pointer doubling (round k reaches ancestors at distance 2**k), so
that a million nodes, or a stack of a million frames, cost about log2(depth) passes and no recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from linscope.errors import UsageError

Ints = npt.NDArray[Any]


class Kind(IntEnum):
    """What a frame is; decides its color.  The numbers are shared with ``frontend/src/flame/data.ts``."""

    ROOT = 0
    GROUP = 1  # a process, a thread: not code
    KERNEL = 2
    NATIVE = 3
    INLINED = 4
    JIT = 5
    PYTHON = 6
    UNKNOWN = 7


@dataclass
class Split:
    """The weights of a graph once more, divided by thread, process or CPU; sparse.

    Entry i says: ``weight[i]`` of the self weight of node ``node[i]`` belongs to ``labels[label[i]]``.
    """

    labels: list[str]
    node: Ints  # uint32[m]
    label: Ints  # uint32[m]
    weight: Ints  # int64[m], in the graph's unit


@dataclass(frozen=True)
class Function:
    """One line of the table of functions; ``name`` indexes ``FlameGraph.names``, weights in its unit."""

    name: int
    self_weight: int
    total_weight: int  # with everything called from it; a recursive call counts once


@dataclass
class FlameGraph:
    """Where the weight (samples, time, cycles) went, as a tree of frames.

    ``names``, ``details`` and ``kinds`` describe distinct frames; the arrays ``parent``, ``name`` and
    ``self_weight`` describe the tree's nodes.  Raises UsageError when the arrays do not make such a tree.
    """

    title: str
    subtitle: str  # command line, host, date
    unit: str  # "samples", "ns", "cycles" or the name of what is counted
    event: str  # event that was sampled: "cpu-clock"
    names: list[str]
    details: list[str]  # object (DSO, module, script), then, when known, a tab and file:line
    kinds: Ints  # uint8[len(names)], values of Kind
    parent: Ints  # int32[n]; parent[0] is -1, parent[i] < i
    name: Ints  # uint32[n], index into names
    self_weight: Ints  # int64[n], >= 0
    notes: list[str] = field(default_factory=list)  # shown always: "12 events lost"
    splits: dict[str, Split] = field(default_factory=dict)  # "thread" -> weights by thread

    def __post_init__(self) -> None:
        self.kinds = np.ascontiguousarray(self.kinds, dtype=np.uint8)
        self.parent = np.ascontiguousarray(self.parent, dtype=np.int32)
        self.name = np.ascontiguousarray(self.name, dtype=np.uint32)
        self.self_weight = np.ascontiguousarray(self.self_weight, dtype=np.int64)
        problem = self._find_problem()
        if problem:
            raise UsageError(f"not a flame graph: {problem}", where="FlameGraph")

    def _find_problem(self) -> str:
        """What is wrong with the arrays; empty when they are a tree."""
        count = len(self.parent)
        if count == 0 or self.parent[0] != -1:
            return "node 0 must be the root, with parent -1"
        if len(self.name) != count or len(self.self_weight) != count:
            return "parent, name and self_weight must have one length"
        if len(self.details) != len(self.names) or len(self.kinds) != len(self.names):
            return "names, details and kinds must have one length"
        if count > 1 and (self.parent[1:].min() < 0 or (self.parent[1:] >= np.arange(1, count)).any()):
            return "each node's parent must come before it"
        if self.name.max() >= len(self.names):
            return "a node's name is outside of names"
        if self.self_weight.min() < 0:
            return "weights must not be negative"
        for title, split in self.splits.items():
            if not len(split.node) == len(split.label) == len(split.weight):
                return f"node, label and weight of split {title!r} must have one length"
            if len(split.node) and (split.node.max() >= count or split.label.max() >= len(split.labels)):
                return f"split {title!r} names a node or label that is not there"
        return ""

    def __len__(self) -> int:
        return len(self.parent)

    def __repr__(self) -> str:
        return f"<FlameGraph {self.title!r}: {len(self):,} nodes, {self.total():,} {self.unit}>"

    def total(self) -> int:
        """Weight of the whole graph."""
        return int(self.self_weight.sum())

    def _doublings(self) -> Iterator[tuple[Ints, Ints]]:
        """Rounds k = 0, 1, ...: all nodes with an ancestor at distance 2**k, and those ancestors."""
        jump = self.parent.copy()
        node = np.arange(1, len(self), dtype=np.intp)
        while node.size:
            above = jump[node]
            yield node, above
            further = jump[above]
            jump[node] = further
            node = node[further >= 0]

    def _sum_up(self, values: Ints) -> Ints:
        """int64[n]: values summed over each node's subtree, itself included."""
        total = values.astype(np.int64)
        for node, above in self._doublings():
            np.add.at(total, above, total[node])
        return total

    def _sum_down(self, values: Ints) -> Ints:
        """int64[n]: values summed over each node's path from the root, itself included."""
        total = values.astype(np.int64)
        for node, above in self._doublings():
            total[node] += total[above]
        return total

    def totals(self) -> Ints:
        """int64[n]: weight of each node with everything below it."""
        return self._sum_up(self.self_weight)

    def depth(self) -> Ints:
        """int64[n]: number of ancestors; 0 for the root."""
        return self._sum_down(self.parent >= 0)

    def children(self, by: str = "name", min_weight: int = 0) -> dict[int, list[int]]:
        """For each node of at least min_weight (and the root): its children of at least min_weight, ordered.

        by: "name" (alphabetical, as flamegraph.pl draws them) or "weight" (heaviest first).
        Makes Python lists: for what is shown.
        """
        totals = self.totals()
        heavy = totals >= min_weight
        heavy[0] = True
        nodes = np.flatnonzero(heavy)
        lists: dict[int, list[int]] = {node: [] for node in nodes.tolist()}
        order = nodes[1:].tolist()
        if by == "weight":
            weight = dict(zip(order, (-totals[nodes[1:]]).tolist(), strict=True))
            order.sort(key=weight.__getitem__)
        else:
            texts = {
                node: self.names[i] for node, i in zip(order, self.name[nodes[1:]].tolist(), strict=True)
            }
            order.sort(key=texts.__getitem__)
        for node, parent in zip(order, self.parent[np.array(order, dtype=np.intp)].tolist(), strict=True):
            lists[parent].append(node)
        return lists

    def reversed(self) -> FlameGraph:
        """The graph merged from the leaves: the root's children are the functions that used the weight
        themselves, their children are their callers.  Without the splits.  Costs time and space by the sum of
        the stacks' lengths.
        """
        cursor = np.flatnonzero(self.self_weight)
        cursor = cursor[cursor > 0]  # what the root used itself stays there
        group = np.zeros(len(cursor), dtype=np.int64)
        weight = self.self_weight[cursor]
        parents, names, selfs = [np.array([-1])], [self.name[:1]], [self.self_weight[:1].copy()]
        count = 1
        while cursor.size:
            key = group * len(self.names) + self.name[cursor]
            distinct, index = np.unique(key, return_inverse=True)
            group = index.reshape(-1) + count
            cursor = self.parent[cursor]
            ends = np.zeros(len(distinct), dtype=np.int64)
            done = cursor <= 0
            np.add.at(ends, group[done] - count, weight[done])
            parents.append(distinct // len(self.names))
            names.append((distinct % len(self.names)).astype(np.uint32))
            selfs.append(ends)
            count += len(distinct)
            cursor, group, weight = cursor[~done], group[~done], weight[~done]
        return replace(
            self,
            parent=np.concatenate(parents),
            name=np.concatenate(names),
            self_weight=np.concatenate(selfs),
            splits={},
        )

    def pruned(self, max_nodes: int, min_weight: int = 1) -> FlameGraph:
        """The graph without its lightest nodes, whose weight becomes self weight of what called them.

        Keeps at most max_nodes nodes, none with less than min_weight in all (the root stays).  Adds no note:
        the caller knows whether it is worth one.  Returns self when nothing is to be removed.
        """
        totals = self.totals()
        keep = totals >= min_weight
        keep[0] = True
        if int(keep.sum()) > max_nodes:
            bound = np.partition(totals, len(self) - max_nodes)[len(self) - max_nodes]
            keep = totals > bound
            keep[0] = True
            # among equals the first: a parent of equal weight comes before its child, so the tree stays whole
            room = max(max_nodes - int(keep.sum()), 0)
            keep[np.flatnonzero((totals == bound) & ~keep)[:room]] = True
        if keep.all():
            return self
        target = np.where(keep, np.arange(len(self)), self.parent)
        while not keep[target].all():
            target = target[target]
        number = np.cumsum(keep) - 1  # new number of each kept node
        number = number[target]
        weight = np.zeros(int(keep.sum()), dtype=np.int64)
        np.add.at(weight, number, self.self_weight)
        parent = self.parent[keep]
        parent[1:] = number[parent[1:]]
        splits = {
            title: replace(split, node=number[split.node].astype(np.uint32))
            for title, split in self.splits.items()
        }
        return replace(self, parent=parent, name=self.name[keep], self_weight=weight, splits=splits)

    def top_functions(self, count: int = 50) -> list[Function]:
        """The functions with the greatest self weight, heaviest first; groups and the root are left out.

        count: at most 63 (each function is one bit of an int64 while looking for recursion).
        """
        by_name = np.zeros(len(self.names), dtype=np.int64)
        np.add.at(by_name, self.name, self.self_weight)
        by_name[self.kinds <= Kind.GROUP] = 0
        best = np.argsort(-by_name, kind="stable")[: min(count, 63)]
        best = best[by_name[best] > 0]
        bit = np.zeros(len(self.names), dtype=np.int64)
        bit[best] = np.int64(1) << np.arange(len(best), dtype=np.int64)
        own = bit[self.name]
        path = own.copy()  # functions on the path from the root, itself included
        for node, above in self._doublings():
            path[node] |= path[above]
        outermost = np.flatnonzero(own)
        inside = path[np.maximum(self.parent[outermost], 0)] & own[outermost]
        outermost = outermost[(inside == 0) | (outermost == 0)]
        with_callees = np.zeros(len(self.names), dtype=np.int64)
        np.add.at(with_callees, self.name[outermost], self.totals()[outermost])
        return [Function(int(i), int(by_name[i]), int(with_callees[i])) for i in best]
