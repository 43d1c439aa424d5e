"""Trees with more nodes than can be drawn lose their lightest ones, and no weight."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from linscope.analysis.call_tree import CallTree, pruned
from linscope.analysis.frames import Labels
from linscope.columns.trees import GroupedTree


def make_tree(random: np.random.Generator, count: int) -> CallTree:
    parent = np.zeros(count, np.uint32)
    parent[3:] = [random.integers(1, n) for n in range(3, count)]  # nodes 1 and 2 are the groups
    group = np.zeros(count, np.uint32)
    for node in range(3, count):
        group[node] = group[parent[node]]
    weight = random.integers(0, 1000, count).astype(np.int64)
    weight[:3] = 0
    labels = cast(Labels, cast(Any, None))  # not looked at
    return CallTree(GroupedTree(parent, np.arange(count, dtype=np.uint32), group), weight, labels)


@pytest.mark.parametrize("limit", [5, 40, 399, 400, 1000])
def test_the_heaviest_stay_and_weight_is_kept(limit: int) -> None:
    tree = make_tree(np.random.default_rng(limit), 400)
    small, removed = pruned(tree, limit)
    assert len(small.tree.parent) + removed == 400
    assert removed > 0 or limit >= 400
    assert small.self_weight.sum() == tree.self_weight.sum()
    assert (small.self_weight >= 0).all()
    sums = dict(zip(tree.tree.label.tolist(), tree.totals().tolist(), strict=True))
    kept = dict(zip(small.tree.label.tolist(), small.totals().tolist(), strict=True))
    assert all(sums[label] == total for label, total in kept.items())
    lost = [total for label, total in sums.items() if label not in kept]
    assert not lost or max(lost) <= min(total for label, total in kept.items() if label > 2)
