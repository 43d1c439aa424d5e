"""Calls of the function_graph tracer: durations, self times, who called whom.

Each exit event tells the whole call (function, depth, begin, end), so that entries are not needed: within one task the
caller of an exit is the next exit one level up whose time encloses it.
Source: Documentation/trace/ftrace.rst, "function_graph"; kernel/trace/trace_functions_graph.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linscope.abi import perf_event as pe
from linscope.binfmt.perf_records import KIND_EXACT
from linscope.binfmt.print_code import no_symbol
from linscope.columns.profile import Event, EventTable, Frames, NamedFrames, Profile, Samples, Stacks

ENTRY, EXIT = "ftrace:funcgraph_entry", "ftrace:funcgraph_exit"


@dataclass
class Calls:
    """One row a finished call, sorted by task, then by end: callees come before their caller."""

    sample: NDArray[np.int64]  # of the exit event
    function: NDArray[np.uint64]  # address
    start_ns: NDArray[np.uint64]
    duration_ns: NDArray[np.uint64]
    self_ns: NDArray[np.uint64]  # without what it called
    depth: NDArray[np.int32]
    caller: NDArray[np.int64]  # row; -1: the outermost that was seen
    tid: NDArray[np.uint32]
    cpu: NDArray[np.uint32]
    comm: NDArray[np.uint32]
    unfinished: int  # entries without an exit

    def __len__(self) -> int:
        return len(self.function)

    def __repr__(self) -> str:
        return f"<calls: {len(self):,} finished, {self.unfinished:,} unfinished>"


def has_calls(profile: Profile) -> bool:
    """True if the recording comes from the function_graph tracer."""
    return any(event.name == EXIT for event in profile.events)


def find_calls(profile: Profile) -> Calls:
    """The calls of a recording that was read with its tables."""
    table = profile.tables[EXIT]
    columns: dict[str, Any] = table.columns
    start = np.asarray(columns["calltime"], np.uint64)
    end = np.asarray(columns["rettime"], np.uint64)
    sample = np.asarray(table.rows, np.int64)
    tid = profile.samples.tid[sample]
    depth = np.asarray(columns["depth"], np.int32)
    order = np.lexsort((-depth, end, tid))  # of two that end at once, the inner one first
    start, end, sample, tid, depth = start[order], end[order], sample[order], tid[order], depth[order]
    duration = np.where(end > start, end - start, 0).astype(np.uint64)
    caller = _callers(start, end, tid, depth)
    inside = np.zeros(len(duration), np.uint64)
    has = caller >= 0
    np.add.at(inside, caller[has], duration[has])
    entries = len(profile.tables[ENTRY]) if ENTRY in profile.tables else len(table)
    return Calls(
        sample=sample,
        function=np.asarray(columns["func"], np.uint64)[order],
        start_ns=start,
        duration_ns=duration,
        self_ns=np.where(duration > inside, duration - inside, 0).astype(np.uint64),
        depth=depth,
        caller=caller,
        tid=tid,
        cpu=profile.samples.cpu[sample],
        comm=profile.samples.comm[sample],
        unfinished=max(0, entries - len(table)),
    )


def _callers(
    start: NDArray[np.uint64], end: NDArray[np.uint64], tid: NDArray[np.uint32], depth: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Row of the caller of each row, -1 without."""
    caller = np.full(len(start), -1, np.int64)
    levels = np.unique(depth)
    rows_of = {int(level): np.flatnonzero(depth == level) for level in levels}
    for level, rows in rows_of.items():
        above = rows_of.get(level - 1)
        if above is None:
            continue
        at = np.searchsorted(above, rows)
        known = at < len(above)
        inner, outer = rows[known], above[at[known]]
        encloses = (tid[outer] == tid[inner]) & (start[outer] <= start[inner]) & (end[outer] >= end[inner])
        caller[inner[encloses]] = outer[encloses]
    return caller


def call_stacks(calls: Calls) -> tuple[Stacks, NDArray[np.uint32], NDArray[np.uint64]]:
    """(tree of call paths, node of each call, address of each frame); a frame is a function."""
    functions, frame = np.unique(calls.function, return_inverse=True)
    frame = frame.reshape(-1).astype(np.int64)
    node = np.zeros(len(calls), np.int64)
    parents, frames, count = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], 1
    waiting = np.argsort(calls.depth, kind="stable")
    depths = calls.depth[waiting]
    bounds = np.flatnonzero(np.diff(depths)) + 1
    for rows in np.split(waiting, bounds):  # callers have their node before their callees ask for it
        if not len(rows):
            continue
        caller = calls.caller[rows]
        parent = np.where(caller >= 0, node[caller], 0)
        keys, which = np.unique(parent * len(functions) + frame[rows], return_inverse=True)
        node[rows] = count + which.reshape(-1)
        parents.append(keys // len(functions))
        frames.append(keys % len(functions))
        count += len(keys)
    stacks = Stacks(np.concatenate(parents).astype(np.uint32), np.concatenate(frames).astype(np.uint32))
    return stacks, node.astype(np.uint32), functions


def calls_profile(profile: Profile) -> Profile:
    """The recording as a profile: a sample a call, weighing the nanoseconds of the function itself."""
    calls = find_calls(profile)
    stacks, node, functions = call_stacks(calls)
    count = len(calls)
    samples = Samples(
        time_ns=calls.start_ns,
        cpu=calls.cpu,
        pid=calls.tid,
        tid=calls.tid,
        event=np.zeros(count, np.uint16),
        weight=calls.self_ns,
        stack=node,
        comm=calls.comm,
        address=np.zeros(count, np.uint64),
        mode=np.full(count, pe.PERF_RECORD_MISC_KERNEL, np.uint8),
    )
    kinds = np.full(len(functions), KIND_EXACT | pe.PERF_RECORD_MISC_KERNEL, np.uint8)
    frames = Frames(np.zeros(len(functions), np.uint32), functions, kinds)
    return Profile(
        events=[Event("function_graph", "ns")],
        samples=samples,
        stacks=stacks,
        frames=frames,
        spaces=profile.spaces,
        comms=profile.comms,
        losses=[loss for loss in profile.losses if not loss.of_event],
        features=profile.features,
        problems=profile.problems,
        where=profile.where,
        named=_named(functions, profile.tables[EXIT]),
    )


def function_names(functions: NDArray[np.uint64], table: EventTable) -> list[str]:
    """Names of addresses by the symbols that the recording of a table carries, 0x... without."""
    symbol = table.printing.symbol if table.printing is not None else no_symbol
    found = [(symbol(address), address) for address in functions.tolist()]
    return [known[0] if known else f"{address:#x}" for known, address in found]


def _named(functions: NDArray[np.uint64], table: EventTable) -> NamedFrames:
    """Names by the symbols that the recording carries."""
    names = function_names(functions, table)
    return NamedFrames(names, ["[kernel.kallsyms]"] * len(names), ["kernel"] * len(names))
