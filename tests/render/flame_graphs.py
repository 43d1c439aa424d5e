"""Flame graphs for tests: from folded stacks, from hypothesis, and one that is large enough to look real."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from linscope.picture.flame_graph import FlameGraph, Kind, Split

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "<!--<script>",
    "a\"b'c&d;</title></text>]]>",
    "{{data}} {{script}}",
    "naïve 函数 🔥 عربي",
    "controls\x00\x01\x1b[31m\x7f\x85\ufffe\nline\ttab",
    "lone \ud800 surrogate \udfff",
    "turned \u202e around",
    "long_" + "n" * 10_000,
    "",
]


def make(stacks: Iterable[tuple[str, int]], **fields: Any) -> FlameGraph:
    """A graph of folded stacks ("main;work", 3); a suffix gives a kind: _[k] kernel, _[p] Python."""
    names, parent, name, weight = ["all"], [-1], [0], [0]
    name_ids, node_ids = {"all": 0}, {}
    for stack, count in stacks:
        node = 0
        for frame in stack.split(";") if stack else ():
            if frame not in name_ids:
                name_ids[frame] = len(names)
                names.append(frame)
            key = (node, name_ids[frame])
            if key not in node_ids:
                node_ids[key] = len(parent)
                parent.append(node)
                name.append(name_ids[frame])
                weight.append(0)
            node = node_ids[key]
        weight[node] += count
    suffixes = {"_[k]": Kind.KERNEL, "_[p]": Kind.PYTHON, "_[j]": Kind.JIT, "_[g]": Kind.GROUP}
    kinds = [Kind.ROOT, *(suffixes.get(text[-4:], Kind.NATIVE) for text in names[1:])]
    values: dict[str, Any] = {
        "title": "busy", "subtitle": "python3 busy.py", "unit": "samples", "event": "cpu-clock",
        "details": ["", *(f"lib{i % 3}.so\tfile.c:{i}" for i in range(1, len(names)))],
    }  # fmt: skip
    values.update(fields)
    return FlameGraph(
        names=names, kinds=np.array(kinds), parent=np.array(parent), name=np.array(name),
        self_weight=np.array(weight), **values,
    )  # fmt: skip


def busy() -> FlameGraph:
    """Two threads of a Python program: 1,000 samples, with splits by thread."""
    start = "python3_[g];main_[g];_start;main;PyEval;"
    worker = "python3_[g];worker_[g];clone3;start_thread;PyEval;"
    graph = make(
        [
            (start + "compress_[p];deflate;longest_match", 310),
            (start + "compress_[p];deflate;fill_window", 90),
            (start + "compress_[p];deflate;crc32;asm_exc_page_fault_[k];clear_page_[k]", 40),
            (start + "parse_[p];scan_once;parse_object;scan_once;parse_object", 160),
            (start + "write_[p];__write;do_syscall_64_[k];vfs_write_[k]", 75),
            (start + "write_[p];__write;do_syscall_64_[k]", 4),
            (start + "fit_[p];trace_[j]", 21),
            (worker + "compress_[p];deflate;longest_match", 180),
            (worker + "compress_[p];deflate", 20),
            (worker + "hash_[p];SHA256_Update;sha256_block_data_order", 97),
            (
                worker
                + "std::vector<std::pair<std::basic_string<char>, int> >::push_back(std::pair<int, int>&&)",
                3,
            ),
        ],
        notes=["12 events were lost"],
    )
    node = np.flatnonzero(graph.self_weight)
    in_worker = []
    for i in node.tolist():
        path = []
        while i >= 0:
            path.append(graph.names[graph.name[i]])
            i = int(graph.parent[i])
        in_worker.append("worker_[g]" in path)
    graph.splits["thread"] = Split(
        ["main 10", "worker 11"],
        node.astype(np.uint32),
        np.array(in_worker, dtype=np.uint32),
        graph.self_weight[node],
    )
    return graph


def hostile() -> FlameGraph:
    """Every text is one that breaks out of something, somewhere."""
    graph = make([], title=HOSTILE[0], subtitle=HOSTILE[1], event=HOSTILE[3], notes=HOSTILE[:8], details=[""])
    graph.names += HOSTILE
    graph.details += HOSTILE[::-1]
    count = len(HOSTILE)
    graph.kinds = np.array([Kind.ROOT] + [Kind.NATIVE] * count, dtype=np.uint8)
    graph.parent = np.array([-1] + [0] * count, dtype=np.int32)
    graph.name = np.arange(count + 1, dtype=np.uint32)
    graph.self_weight = np.array([0] + [10] * count)
    graph.splits["thread"] = Split(HOSTILE, np.arange(1, count + 1), np.arange(count), np.full(count, 10))
    return graph


frames = st.sampled_from(["a", "b", "c", "d_[k]", "e_[p]", "f"])
stacks = st.lists(st.tuples(st.lists(frames, max_size=12).map(";".join), st.integers(0, 2**40)), max_size=30)
graphs = stacks.map(make)
