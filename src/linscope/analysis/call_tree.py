"""Samples -> a weighted tree of symbols, one subtree a group."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.frames import Labels, ResolvedFrames
from linscope.columns.profile import Profile, Selection, Stacks
from linscope.columns.trees import NO_LABEL, GroupedTree, intern_pairs, regroup, totals

_ROWS_AT_ONCE = 1 << 16


@dataclass
class CallTree:
    """A tree of labels; node 0 is the root, its children are the groups."""

    tree: GroupedTree
    self_weight: NDArray[np.int64]
    labels: Labels
    inlined: list[str] = field(
        default_factory=list
    )  # names of the labels from len(labels) on: inlined functions
    inlined_in: list[int] = field(default_factory=list)  # label of the function that each was inlined into

    def totals(self) -> NDArray[np.int64]:
        """Weight of each node with all below it."""
        return totals(self.tree.parent, self.self_weight)


def pruned(tree: CallTree, limit: int) -> tuple[CallTree, int]:
    """A tree of the heaviest nodes, limit of them or a few more where weights are equal, and how many were left out.

    What was left out counts as its callers' own weight.  A tree of fewer nodes comes back as it is.
    """
    count = len(tree.tree.parent)
    if count <= limit:
        return tree, 0
    sums = tree.totals()
    least = np.partition(sums, count - limit)[count - limit]
    kept = sums > least if int(np.count_nonzero(sums >= least)) > 2 * limit else sums >= least
    kept |= tree.tree.is_group
    rows = np.flatnonzero(kept)
    number = np.zeros(count, np.uint32)
    number[rows] = np.arange(len(rows), dtype=np.uint32)
    parent = number[tree.tree.parent[rows]]
    sums = sums[rows]
    own = sums.copy()
    np.subtract.at(own, parent[1:].astype(np.int64), sums[1:])
    small = GroupedTree(parent, tree.tree.label[rows], tree.tree.group[rows])
    return CallTree(small, own, tree.labels, tree.inlined, tree.inlined_in), count - len(rows)


def add_up(index: NDArray[np.uint32], weight: NDArray[np.uint64], length: int) -> NDArray[np.int64]:
    """Exact sums of weight by index: int64[length]."""
    sums = np.zeros(length, np.int64)
    for begin in range(0, len(index), _ROWS_AT_ONCE):  # what is converted stays small
        part = slice(begin, begin + _ROWS_AT_ONCE)
        np.add.at(sums, index[part], weight[part].view(np.int64))
    return sums


def build_call_tree(
    profile: Profile,
    labels: Labels,
    rows: Selection,
    group: NDArray[np.uint32],
    weight: NDArray[np.uint64],
    *,
    inlines: bool = False,
) -> tuple[CallTree, NDArray[np.uint32]]:
    """(tree of the samples that rows selects, node of each of these samples).

    group, weight: of every sample.  inlines: functions that the compiler inlined become frames of their own.
    """
    stacks = profile.stacks
    extra: list[str] = []
    inside: list[int] = []
    label_of_frame = np.append(labels.of_frame, np.uint32(NO_LABEL))
    label = label_of_frame[np.minimum(stacks.frame, len(labels.of_frame))]
    leaf_of = None
    if inlines:
        stacks, label, leaf_of, extra, inside = _with_inlined(stacks, label, labels)
    leaf = profile.samples.stack[rows]
    if leaf_of is not None:
        leaf = leaf_of[leaf]
    pair, pair_leaf, pair_group = intern_pairs(leaf, group[rows])
    tree, node_of_pair = regroup(stacks.parent, label, pair_leaf.astype(np.uint32), pair_group)
    node = node_of_pair[pair]
    return CallTree(tree, add_up(node, weight[rows], len(tree.parent)), labels, extra, inside), node


def _with_inlined(
    stacks: Stacks, label: NDArray[np.uint32], labels: Labels
) -> tuple[Stacks, NDArray[np.uint32], NDArray[np.uint32] | None, list[str], list[int]]:
    """The tree with a chain of nodes in place of each node at whose address functions were inlined."""
    resolved: ResolvedFrames = labels.frames
    chains: dict[int, list[int]] = {}  # frame -> labels of what is inlined there, outermost first
    names: dict[tuple[str, int], int] = {}
    first_new = len(labels)
    for frame in np.unique(stacks.frame).tolist():
        if frame >= len(resolved.symbol) or resolved.symbol[frame] < 0:
            continue
        found = resolved.inlines(frame)
        if len(found) > 1:
            owner = int(labels.of_frame[frame])
            chain = [
                names.setdefault((f.function, owner), first_new + len(names)) for f in reversed(found[:-1])
            ]
            chains[frame] = chain
    if not chains:
        return stacks, label, None, [], []
    extra_of_frame = np.zeros(len(resolved.symbol) + 1, np.int64)
    for frame, chain in chains.items():
        extra_of_frame[frame] = len(chain)
    extra = extra_of_frame[np.minimum(stacks.frame, len(resolved.symbol))]
    last = np.cumsum(1 + extra) - 1  # new number of the innermost node of each old one
    first = last - extra
    count = int(last[-1]) + 1
    parent = np.arange(-1, count - 1, dtype=np.int64)  # within a chain: the node before
    parent[first] = last[stacks.parent.astype(np.int64)]
    parent[0] = 0
    new_label = np.empty(count, np.uint32)
    new_label[first] = label
    new_frame = np.repeat(stacks.frame, 1 + extra)
    for node in np.flatnonzero(extra).tolist():
        at = int(first[node])
        chain = chains[int(stacks.frame[node])]
        new_label[at + 1 : at + 1 + len(chain)] = chain
    new_stacks = Stacks(parent.astype(np.uint32), new_frame)
    ordered = sorted(names, key=names.__getitem__)
    return new_stacks, new_label, last.astype(np.uint32), [n for n, _ in ordered], [o for _, o in ordered]
