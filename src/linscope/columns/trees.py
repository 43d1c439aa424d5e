"""Trees of stacks as columns: regroup, sum, intern; done natively."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope._native import _core

NO_LABEL = 0xFFFFFFFF  # a node with this label is left out: its children move up to its parent


class GroupedTree(NamedTuple):
    """A tree with one subtree a group: node 0 is the root, its children stand for the groups."""

    parent: NDArray[np.uint32]  # parents come before children
    label: NDArray[np.uint32]  # of a group node: the group
    group: NDArray[np.uint32]

    @property
    def is_group(self) -> NDArray[np.bool_]:
        """True for the nodes that stand for a group, and for the root."""
        groups: NDArray[np.bool_] = self.parent == 0
        return groups


def regroup(
    parent: NDArray[np.uint32], label: NDArray[np.uint32], leaf: NDArray[np.uint32], group: NDArray[np.uint32]
) -> tuple[GroupedTree, NDArray[np.uint32]]:
    """A new tree from pairs (leaf[i], group[i]) of an old one, and the new node of each pair.

    label: of each node of the old tree, NO_LABEL to leave it out.  Nodes with the same labels from the group node
    down become one.  Raises ValueError for a node or parent out of range.
    """
    order = np.argsort(group, kind="stable") if len(group) and np.any(group[1:] < group[:-1]) else None
    if order is not None:
        leaf, group = leaf[order], group[order]
    as_u32 = np.uint32
    new_leaf, new_parent, new_label, new_group = _core.regroup(
        np.ascontiguousarray(parent, as_u32),
        np.ascontiguousarray(label, as_u32),
        np.ascontiguousarray(leaf, as_u32),
        np.ascontiguousarray(group, as_u32),
    )
    if order is not None:
        unsorted = np.empty_like(new_leaf)
        unsorted[order] = new_leaf
        new_leaf = unsorted
    return GroupedTree(new_parent, new_label, new_group), new_leaf


def frames_by_space(
    parent: NDArray[np.uint32],
    place: NDArray[np.uint32],
    kernel: NDArray[np.bool_],
    leaf: NDArray[np.uint32],
    space: NDArray[np.uint32],
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]] | None:
    """(frame of each node, place and space of each frame), or None when a node belongs to two spaces: then regroup.

    place: of each node; kernel: of each place, True where it is the same (space 0) in all spaces.
    (leaf[i], space[i]): a node and the space it was sampled in.  Frame NO_LABEL: of nodes below which no leaf is.
    """
    as_u32 = np.uint32
    return _core.frames_by_space(
        np.ascontiguousarray(parent, as_u32),
        np.ascontiguousarray(place, as_u32),
        np.ascontiguousarray(kernel, np.uint8),
        np.ascontiguousarray(leaf, as_u32),
        np.ascontiguousarray(space, as_u32),
    )


def give_back_memory() -> None:
    """After large tables were freed: return to the system what malloc keeps of them for later."""
    _core.give_back_memory()


def totals(parent: NDArray[np.uint32], self_weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weight of each node with all below it."""
    return _core.totals(np.ascontiguousarray(parent, np.uint32), np.ascontiguousarray(self_weight, np.int64))


def outermost(tree: GroupedTree, labels: int) -> NDArray[np.bool_]:
    """True where no node above has the same label: totals summed over these count a recursive function once.

    labels: one more than the largest label.  Always False for group nodes and the root.
    """
    found: NDArray[np.bool_] = _core.outermost(tree.parent, tree.label, labels) != 0
    return found


def distinct(column: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(the distinct values, sorted; the index among them of each row): np.unique without sorting small numbers."""
    if not len(column):
        return column[:0], np.empty(0, np.uint32)
    largest = int(column.max())
    if largest > 1 << 23:
        values, index = np.unique(column, return_inverse=True)
        return values, index.astype(np.uint32)
    present = np.zeros(largest + 1, np.bool_)
    present[column] = True
    values = np.flatnonzero(present).astype(np.uint32)
    number = np.empty(largest + 1, np.uint32)
    number[values] = np.arange(len(values), dtype=np.uint32)
    return values, number[column]


def intern_pairs(
    a: NDArray[Any], b: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.uint32]]:
    """(number of each pair, the distinct pairs' a, and b), in order of first appearance; a: of 32 or 64 bits."""
    kind = np.uint32 if a.dtype.itemsize <= 4 else np.uint64
    return _core.intern_pairs(np.ascontiguousarray(a, kind), np.ascontiguousarray(b, np.uint32))
