"""Stacks with weights, as a script's map has them -> flame graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from linscope.picture.flame_graph import FlameGraph, Kind

Frame = tuple[str, str, str]  # name, detail (file, then a tab and file:line), kind: a key of KINDS
KINDS = {
    "label": Kind.GROUP,
    "kernel": Kind.KERNEL,
    "native": Kind.NATIVE,
    "inlined": Kind.INLINED,
    "jit": Kind.JIT,
    "unknown": Kind.UNKNOWN,
}
_PYTHON = "py::"  # how CPython's trampoline names its functions in /tmp/perf-PID.map


def stacks_graph(
    rows: Iterable[tuple[Sequence[Frame], int]], *, title: str, subtitle: str, unit: str, event: str, notes: list[str]
) -> FlameGraph:
    """The picture of (frames from the root on, weight); lines of one function are one frame.  Raises UsageError."""
    numbers: dict[tuple[str, str, str], int] = {("all", "", ""): 0}
    names, details, kinds = ["all"], [""], [int(Kind.ROOT)]
    nodes: dict[tuple[int, int], int] = {}  # (parent, number of the frame) -> node
    parent, name, weight = [-1], [0], [0]
    for frames, count in rows:
        at = 0
        for text, detail, kind in frames:
            key = (text, detail.partition("\t")[0], kind)
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = len(names)
                shown, place, code = _described(text, detail, kind)
                names.append(shown)
                details.append(place)
                kinds.append(int(code))
            node = nodes.get((at, number))
            if node is None:
                node = nodes[at, number] = len(parent)
                parent.append(at)
                name.append(number)
                weight.append(0)
            at = node
        weight[at] += count
    return FlameGraph(
        title=title, subtitle=subtitle, unit=unit, event=event, names=names, details=details,
        kinds=np.array(kinds, np.uint8), parent=np.array(parent, np.int32), name=np.array(name, np.uint32),
        self_weight=np.array(weight, np.int64), notes=notes,
    )  # fmt: skip


def _described(name: str, detail: str, kind: str) -> tuple[str, str, Kind]:
    if kind == "jit" and name.startswith(_PYTHON):
        function, _, file = name.removeprefix(_PYTHON).partition(":")
        return function, file, Kind.PYTHON
    return name or "[unknown]", detail.partition("\t")[0], KINDS[kind]
