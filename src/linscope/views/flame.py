"""Call tree -> flame graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.analysis.call_tree import CallTree, add_up
from linscope.analysis.frames import NOWHERE, UNKNOWN, Labels
from linscope.binfmt.perf_records import KIND_MODE
from linscope.columns.profile import Profile, Selection
from linscope.columns.trees import distinct, intern_pairs
from linscope.picture.flame_graph import FlameGraph, Kind, Split

_KINDS = {
    "kernel": Kind.KERNEL,
    "module": Kind.KERNEL,
    "bpf": Kind.KERNEL,
    "user": Kind.NATIVE,
    "vdso": Kind.NATIVE,
    "jit": Kind.JIT,
    "inlined": Kind.INLINED,
    "anon": Kind.UNKNOWN,
}
_PYTHON = "py::"  # how CPython's trampoline names its functions in /tmp/perf-PID.map
_MAX_SPLIT_ROWS = 400_000  # more would make the page large; the view by thread or CPU is then left out


def _describe(labels: Labels, label: int) -> tuple[str, str, Kind]:
    """(name, details, kind) of a symbol's label."""
    place = labels.place(label)
    frame = int(labels.first[label])
    name = labels.name(label)
    if labels.frames.symbol[frame] < 0:
        if place is NOWHERE:
            mode = labels.frames.modes[frame] & KIND_MODE
            in_kernel = mode == pe.PERF_RECORD_MISC_KERNEL
            return UNKNOWN, "", Kind.KERNEL if in_kernel else Kind.UNKNOWN
        kernel = _KINDS.get(place.key.kind) is Kind.KERNEL
        return f"[{place.name.strip('[]')}]", place.path, Kind.KERNEL if kernel else Kind.UNKNOWN
    if name.startswith(_PYTHON):
        function, _, file = name.removeprefix(_PYTHON).partition(":")
        return function, file, Kind.PYTHON
    return name, place.path, _KINDS.get(place.key.kind, Kind.UNKNOWN)


def flame_graph(
    tree: CallTree,
    group_names: list[str],
    *,
    title: str,
    subtitle: str,
    unit: str,
    event: str,
    notes: list[str],
    splits: dict[str, Split],
) -> FlameGraph:
    """The picture of a call tree; group_names: by the groups' numbers."""
    group_nodes = tree.tree.is_group
    group_count = len(group_names)
    label_count = len(tree.labels) + len(tree.inlined)
    names, details, kinds = ["all"], [""], [Kind.ROOT]
    names += group_names
    details += [""] * group_count
    kinds += [Kind.GROUP] * group_count
    number = np.zeros(label_count, np.uint32)
    for label in np.unique(tree.tree.label[~group_nodes]).tolist():
        if label < len(tree.labels):
            name, detail, kind = _describe(tree.labels, label)
        else:
            name = tree.inlined[label - len(tree.labels)]
            owner = tree.inlined_in[label - len(tree.labels)]
            detail, kind = tree.labels.place(owner).path, Kind.INLINED
        number[label] = len(names)
        names.append(name)
        details.append(detail)
        kinds.append(kind)
    node_label = tree.tree.label.astype(np.int64)
    name_of_node = np.where(
        group_nodes, node_label + 1, number[np.where(group_nodes, 0, node_label)] if label_count else 0
    ).astype(np.uint32)
    name_of_node[0] = 0
    parent = tree.tree.parent.astype(np.int32)
    parent[0] = -1
    return FlameGraph(
        title=title,
        subtitle=subtitle,
        unit=unit,
        event=event,
        names=names,
        details=details,
        kinds=np.array(kinds, np.uint8),
        parent=parent,
        name=name_of_node,
        self_weight=tree.self_weight,
        notes=notes,
        splits=splits,
    )


def splits_of(
    profile: Profile, rows: Selection, node: NDArray[np.uint32], weight: NDArray[np.uint64]
) -> dict[str, Split]:
    """The tree's weights by process, thread and CPU.  node: of each sample that rows selects."""
    samples, comms = profile.samples, profile.comms
    weights = weight[rows]
    comm = samples.comm[rows]
    tids, thread = distinct(samples.tid[rows])
    pids, process = distinct(samples.pid[rows])
    comm_of_thread = np.zeros(len(tids), np.uint32)
    comm_of_thread[thread] = comm  # the last one stays
    pid_of_thread = np.zeros(len(tids), np.uint32)
    pid_of_thread[thread] = samples.pid[rows]
    name_of = {tid: comms[number] for tid, number in zip(tids.tolist(), comm_of_thread.tolist(), strict=True)}
    first_thread = dict(reversed(list(zip(pid_of_thread.tolist(), tids.tolist(), strict=True))))
    cpus, cpu = distinct(samples.cpu[rows])
    made = {
        # A process is called as its first thread is, or as one of the others when that one was not sampled.
        "process": (process, [f"{name_of.get(p) or name_of[first_thread[p]]} ({_signed(p)})" for p in pids.tolist()]),
        "thread": (thread, [f"{name_of[t]} ({_signed(t)})" for t in tids.tolist()]),
        "CPU": (cpu, [f"CPU {c}" for c in cpus.tolist()]),
    }
    splits = {}
    for title, (label, texts) in made.items():
        if len(texts) < 2 or (title == "thread" and len(texts) == len(pids)):  # one thread each: as by process
            continue
        pair, pair_node, pair_label = intern_pairs(node, label)
        if len(pair_node) > _MAX_SPLIT_ROWS:
            continue
        splits[title] = Split(texts, pair_node, pair_label, add_up(pair, weights, len(pair_node)))
    return splits


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
