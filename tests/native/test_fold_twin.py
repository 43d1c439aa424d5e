"""Trees and pairs beside their Python twins, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope._native import _core
from linscope.columns import trees


@st.composite
def labelled_trees(draw: Any) -> tuple[list[int], list[int], list[int], list[int]]:
    """(parent, label, leaf, group)."""
    count = draw(st.integers(1, 40))
    parent = [0] + [draw(st.integers(max(0, n - 4), n - 1)) for n in range(1, count)]
    label = [draw(st.sampled_from((0, 1, 2, 3, 7, twins.NO_LABEL))) for _ in range(count)]
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, 3)), max_size=30))
    return parent, label, [leaf for leaf, _ in pairs], [group for _, group in pairs]


def u32(values: list[int]) -> Any:
    return np.array(values, np.uint32)


@settings(max_examples=300, deadline=None)
@given(labelled_trees())
def test_regroup(tree: tuple[list[int], ...]) -> None:
    found = _core.regroup(*map(u32, tree))
    assert tuple(column.tolist() for column in found) == twins.regroup(*tree)


@settings(max_examples=200, deadline=None)
@given(labelled_trees())
def test_regroup_with_groups_in_any_order(tree: tuple[list[int], ...]) -> None:
    """The wrapper sorts by group first: other numbers, but the same paths."""
    parent, label, leaf, group = tree
    made, leaves = trees.regroup(*map(u32, tree))
    for end, one, node in zip(leaf, group, leaves.tolist(), strict=True):
        path = [int(made.label[n]) for n in twins.path_to(made.parent.tolist(), node)]
        assert path == [one, *(label[n] for n in twins.path_to(parent, end) if label[n] != twins.NO_LABEL)]
        assert made.group[node] == one


@settings(max_examples=200, deadline=None)
@given(labelled_trees())
def test_totals_and_outermost(tree: tuple[list[int], ...]) -> None:
    _, parent, label, _ = twins.regroup(*tree)
    weight = [(n * 37) % 11 - 3 for n in range(len(parent))]
    assert _core.totals(u32(parent), np.array(weight, np.int64)).tolist() == twins.totals(parent, weight)
    assert _core.outermost(u32(parent), u32(label), 8).tolist() == twins.outermost(parent, label)


@settings(max_examples=300, deadline=None)
@given(labelled_trees(), st.lists(st.booleans(), min_size=8, max_size=8))
def test_frames_by_space(tree: tuple[list[int], ...], kernel: list[bool]) -> None:
    parent, label, leaf, space = tree
    place = [one % 8 for one in label]
    found = _core.frames_by_space(u32(parent), u32(place), np.array(kernel, np.uint8), u32(leaf), u32(space))
    expected = twins.frames_by_space(parent, place, [int(k) for k in kernel], leaf, space)
    if expected is None or found is None:
        assert found is expected is None
        return
    frame, frame_place, frame_space = (column.tolist() for column in found)
    shown = [None if f == twins.NO_LABEL else (frame_place[f], frame_space[f]) for f in frame]
    assert shown == expected
    frames = list(zip(frame_place, frame_space, strict=True))
    assert len(set(frames)) == len(frames)


@pytest.mark.parametrize("limits", [(5, 3), (2**64 - 1, 3), (5, 2**32 - 1), (2**25, 2**25)])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_intern_pairs(limits: tuple[int, int], data: Any) -> None:
    pair = st.tuples(st.integers(max(0, limits[0] - 5), limits[0]), st.integers(max(0, limits[1] - 3), limits[1]))
    pairs = data.draw(st.lists(pair, max_size=60))
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found = _core.intern_pairs(np.array(a, np.uint64), u32(b))
    assert tuple(column.tolist() for column in found) == twins.intern_pairs(a, b)


def test_many_nodes_grow_the_tables() -> None:
    random = np.random.default_rng(1)
    count = 50_000
    parent = np.maximum(np.arange(count) - random.integers(1, 50, count), 0).astype(np.uint32)
    label = random.integers(0, 30, count).astype(np.uint32)
    leaf, group = random.integers(0, count, 2000).astype(np.uint32), random.integers(0, 5, 2000).astype(np.uint32)
    found = _core.regroup(parent, label, leaf, group)
    expected = twins.regroup(parent.tolist(), label.tolist(), leaf.tolist(), group.tolist())
    assert tuple(column.tolist() for column in found) == expected
    a, b = random.integers(0, 2**40, count).astype(np.uint64), label
    found = _core.intern_pairs(a, b)
    assert tuple(column.tolist() for column in found) == twins.intern_pairs(a.tolist(), b.tolist())


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.regroup(u32([0, 1]), u32([0, 0]), u32([1]), u32([0])),  # its own parent
        lambda: _core.regroup(u32([0]), u32([0]), u32([1]), u32([0])),  # a leaf that is not there
        lambda: _core.regroup(u32([]), u32([]), u32([]), u32([])),
        lambda: _core.totals(u32([0, 0]), np.array([1], np.int64)),
        lambda: _core.outermost(u32([0, 0, 1]), u32([0, 0, 9]), 9),
        lambda: _core.frames_by_space(u32([0]), u32([1]), np.zeros(1, np.uint8), u32([0]), u32([0])),
        lambda: _core.intern_pairs(np.zeros(1, np.uint64), u32([])),
        lambda: _core.Scanner(np.zeros(7, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint16), False),
        lambda: _core.Scanner(np.zeros(8, np.uint64), np.zeros(1, np.uint64), np.ones(1, np.uint16), False),
    ],
)
def test_indexes_out_of_range_are_refused(call: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()
