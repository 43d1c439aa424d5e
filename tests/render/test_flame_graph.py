"""The drawing model against a plain twin that walks the stacks one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from flame_graphs import busy, graphs, make, stacks
from hypothesis import given
from hypothesis import strategies as st

from linscope.errors import UsageError
from linscope.picture.flame_graph import FlameGraph


def path(graph: FlameGraph, node: int) -> tuple[int, ...]:
    """Nodes from the root to the node."""
    nodes = []
    while node >= 0:
        nodes.append(node)
        node = int(graph.parent[node])
    return tuple(reversed(nodes))


def folded(graph: FlameGraph) -> Counter[tuple[str, ...]]:
    """Self weight by the names on the path, without the root."""
    weights: Counter[tuple[str, ...]] = Counter()
    for node in range(len(graph)):
        if graph.self_weight[node]:
            names = tuple(graph.names[graph.name[i]] for i in path(graph, node)[1:])
            weights[names] += int(graph.self_weight[node])
    return weights


@given(graphs)
def test_totals_and_depth_equal_a_walk(graph: FlameGraph) -> None:
    totals = [0] * len(graph)
    for node in range(len(graph)):
        for above in path(graph, node):
            totals[above] += int(graph.self_weight[node])
    assert graph.totals().tolist() == totals
    assert graph.depth().tolist() == [len(path(graph, node)) - 1 for node in range(len(graph))]


@given(stacks)
def test_reversed_is_the_graph_of_the_reversed_stacks(lines: list[tuple[str, int]]) -> None:
    backwards = make([(";".join(reversed(stack.split(";"))), weight) for stack, weight in lines])
    turned = make(lines).reversed()
    assert folded(turned) == folded(backwards)
    assert (turned.parent[1:] < np.arange(1, len(turned))).all()
    assert len({(p, n) for p, n in zip(turned.parent.tolist(), turned.name.tolist(), strict=True)}) == len(
        turned
    )


@given(graphs, st.integers(1, 40), st.integers(0, 2**20))
def test_pruning_keeps_the_weight_and_the_heaviest(graph: FlameGraph, most: int, least: int) -> None:
    pruned = graph.pruned(most, least)
    assert pruned.total() == graph.total()
    assert len(pruned) <= most
    kept, before = sorted(pruned.totals().tolist()), sorted(graph.totals().tolist())
    assert kept == before[len(before) - len(kept) :]
    assert all(weight >= least for weight in kept[:-1])


def test_pruning_moves_the_splits_along() -> None:
    graph = busy()
    pruned = graph.pruned(8)
    split = pruned.splits["thread"]
    assert len(pruned) == 8
    by_node = np.zeros(len(pruned), dtype=np.int64)
    np.add.at(by_node, split.node, split.weight)
    assert by_node.tolist() == pruned.self_weight.tolist()


@given(graphs)
def test_functions_count_recursion_once(graph: FlameGraph) -> None:
    selfs: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    for node in range(1, len(graph)):
        weight = int(graph.self_weight[node])
        selfs[int(graph.name[node])] += weight
        for name in {int(graph.name[i]) for i in path(graph, node)}:
            totals[name] += weight
    rows = graph.top_functions()
    assert {row.name: row.self_weight for row in rows} == {i: w for i, w in selfs.items() if w and i}
    assert all(row.total_weight == totals[row.name] for row in rows)
    weights = [row.self_weight for row in rows]
    assert weights == sorted(weights, reverse=True)


@given(graphs, st.integers(0, 2**20))
def test_children_are_complete_and_in_order(graph: FlameGraph, least: int) -> None:
    totals = graph.totals()
    names = [graph.names[i] for i in graph.name.tolist()]
    by_name, by_weight = graph.children("name", least), graph.children("weight", least)
    below = sorted(node for children in by_name.values() for node in children)
    assert below == [node for node in range(1, len(graph)) if totals[node] >= least]
    for node, children in by_name.items():
        assert all(graph.parent[child] == node for child in children)
        assert [names[child] for child in children] == sorted(names[child] for child in children)
        assert sorted(by_weight[node]) == sorted(children)
        weights = [int(totals[child]) for child in by_weight[node]]
        assert weights == sorted(weights, reverse=True)


def test_a_stack_of_100_000_frames() -> None:
    count = 100_000
    chain = np.arange(-1, count - 1)
    weight = np.zeros(count, dtype=np.int64)
    weight[-1] = 7
    graph = FlameGraph("", "", "ns", "", ["f"], [""], np.array([3]), chain, np.zeros(count), weight)
    assert graph.totals().tolist() == [7] * count
    assert graph.depth().tolist() == list(range(count))
    assert graph.top_functions()[0].total_weight == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"parent": [], "name": [], "self_weight": []}, "node 0"),
        ({"parent": [0, 0]}, "node 0"),
        ({"parent": [-1, 1]}, "before it"),
        ({"parent": [-1, -1]}, "before it"),
        ({"name": [0, 2]}, "outside"),
        ({"self_weight": [0, -1]}, "negative"),
        ({"self_weight": [0]}, "one length"),
        ({"kinds": [0]}, "one length"),
    ],
)
def test_what_is_no_tree_is_refused(change: dict[str, list[int]], says: str) -> None:
    arrays = {"parent": [-1, 0], "name": [0, 1], "self_weight": [0, 1], "kinds": [0, 3], **change}
    with pytest.raises(UsageError, match=says):
        FlameGraph(
            title="", subtitle="", unit="samples", event="", names=["all", "f"], details=["", ""],
            **{key: np.array(values) for key, values in arrays.items()},
        )  # fmt: skip
