"""Calls of the function_graph tracer as the kernel draws them, and summed up by function.

Source: kernel/trace/trace_functions_graph.c: the columns, the marks and when a call stands in one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from linscope.analysis.function_graph import ENTRY, EXIT, find_calls, function_names
from linscope.columns.profile import Profile
from linscope.errors import UsageError
from linscope.picture.rows import Column, Rows
from linscope.units import format_duration

# A call that took longer than so many nanoseconds is marked.
_MARKS = ((1_000_000_000, "$"), (100_000_000, "@"), (10_000_000, "*"), (1_000_000, "#"), (100_000, "!"), (10_000, "+"))
_NO_DURATION = " " * 14 + "|  "
_RULE = " " + "-" * 42


def overhead_mark(duration_ns: int) -> str:
    """The sign in front of a long duration, a blank for a short one."""
    return next((mark for limit, mark in _MARKS if duration_ns > limit), " ")


def format_call_duration(duration_ns: int) -> str:
    """Microseconds as the kernel writes them: seven digits at most."""
    whole, rest = divmod(duration_ns, 1000)
    text = str(whole)
    if len(text) < 7:
        text += "." + f"{rest:03d}"[: 7 - len(text)]
    return f"{overhead_mark(duration_ns)} {text} us ".ljust(14) + "|  "


def call_lines(profile: Profile) -> Rows:
    """One line an entry or an exit, a call without calls in one line; columns for JSON are numbers."""
    if ENTRY not in profile.tables and EXIT not in profile.tables:
        raise UsageError("no calls of the function_graph tracer in the recording")
    columns = [
        Column("cpu", in_text=False),
        Column("time_ns", in_text=False),
        Column("tid", in_text=False),
        Column("comm", in_text=False),
        Column("kind", in_text=False),
        Column("depth", in_text=False),
        Column("function", in_text=False),
        Column("duration_ns", in_text=False),
        Column("line", "# CPU  DURATION                  FUNCTION CALLS", in_data=False),
    ]
    return Rows(columns, _Lines(profile).rows(), streaming=True)


class _Lines:
    """Walks the events of all CPUs in time order."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.names: dict[int, str] = {}
        count = len(profile.samples)
        self.kind = np.zeros(count, np.uint8)  # 1: entry, 2: exit
        self.function = np.zeros(count, np.uint64)
        self.depth = np.zeros(count, np.int64)
        self.duration = np.zeros(count, np.uint64)
        for kind, name in ((1, ENTRY), (2, EXIT)):
            table = profile.tables.get(name)
            if table is None:
                continue
            functions = np.unique(table.columns["func"])
            self.names |= zip(functions.tolist(), function_names(functions, table), strict=True)
            rows = table.rows
            self.kind[rows] = kind
            self.function[rows] = table.columns["func"]
            self.depth[rows] = table.columns["depth"]
            if kind == 2:
                begin, end = (np.asarray(table.columns[key], np.uint64) for key in ("calltime", "rettime"))
                self.duration[rows] = np.where(end > begin, end - begin, 0)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The lines."""
        samples = self.profile.samples
        order = np.lexsort((np.arange(len(samples)), samples.time_ns))
        order = order[self.kind[order] > 0]
        following = self._following(order)
        cpus, kinds = samples.cpu[order].tolist(), self.kind[order].tolist()
        functions, depths = self.function[order].tolist(), self.depth[order].tolist()
        durations, tids = self.duration[order].tolist(), samples.tid[order].tolist()
        times, comms = samples.time_ns[order].tolist(), samples.comm[order].tolist()
        width = len(str(max(cpus, default=0)))
        running: dict[int, tuple[int, int]] = {}  # task on each CPU
        open_calls: dict[int, dict[int, int]] = {}  # by CPU: function entered at each depth
        folded: set[int] = set()
        for at in range(len(order)):
            if at in folded:
                folded.discard(at)
                continue
            cpu, kind, function, depth, tid = cpus[at], kinds[at], functions[at], depths[at], tids[at]
            comm = self.profile.comms[comms[at]]
            data = (cpu, times[at], tid, comm)
            before = running.get(cpu)
            if before != (tid, comms[at]):
                if before is not None and before[0] != tid:
                    old = f"{self.profile.comms[before[1]]}-{before[0]}"
                    for line in (_RULE, f" {cpu:>{width}}) {old:>15}  => {comm + '-' + str(tid):>15}", _RULE, ""):
                        yield (*data, "switch", None, None, None, line)
                running[cpu] = (tid, comms[at])
            name = self.names[function]
            head, indent = f" {cpu:>{width}}) ", "  " * depth
            calls = open_calls.setdefault(cpu, {})
            if kind == 1:
                end = following[at]
                same = (2, function, depth, tid)
                if end >= 0 and (kinds[end], functions[end], depths[end], tids[end]) == same:
                    folded.add(end)
                    calls.pop(depth, None)  # as the kernel does: what was open at this depth is told at its end
                    text = f"{head}{format_call_duration(durations[end])}{indent}{name}();"
                    yield (*data, "call", depth, name, durations[end], text)
                    continue
                calls[depth] = function
                yield (*data, "entry", depth, name, None, f"{head}{_NO_DURATION}{indent}{name}() {{")
            else:
                known = calls.pop(depth, None) == function
                comment = "" if known else f" /* {name} */"
                text = f"{head}{format_call_duration(durations[at])}{indent}}}{comment}"
                yield (*data, "exit", depth, name, durations[at], text)

    def _following(self, order: Any) -> list[int]:
        """Position of the next event on the same CPU, -1: none."""
        cpu = self.profile.samples.cpu[order]
        following = np.full(len(order), -1, np.int64)
        for one in np.unique(cpu):
            rows = np.flatnonzero(cpu == one)
            following[rows[:-1]] = rows[1:]
        numbers: list[int] = following.tolist()
        return numbers


def call_totals(profile: Profile) -> Rows:
    """One row a function: how often it was called, its time with and without what it called; the longest first."""
    if EXIT not in profile.tables:
        raise UsageError("no finished call in the recording")
    calls = find_calls(profile)
    functions, which = np.unique(calls.function, return_inverse=True)
    which = which.reshape(-1)
    outer = ~_recursive(calls, which)
    count = np.bincount(which, minlength=len(functions))
    total = np.bincount(which[outer], calls.duration_ns[outer].astype(np.float64), len(functions)).astype(np.int64)
    own = np.bincount(which, calls.self_ns.astype(np.float64), len(functions)).astype(np.int64)
    longest = np.zeros(len(functions), np.uint64)
    np.maximum.at(longest, which, calls.duration_ns)
    names = function_names(functions, profile.tables[EXIT])
    order = np.argsort(-own, kind="stable")
    all_of_it = max(int(own.sum()), 1)

    def rows() -> Iterator[tuple[Any, ...]]:
        for row in order.tolist():
            calls_of = int(count[row])
            mean = int(total[row]) // calls_of
            share = 100 * int(own[row]) / all_of_it
            yield share, int(own[row]), int(total[row]), calls_of, mean, int(longest[row]), names[row]

    columns = [
        Column("self_percent", "SELF %", ">", lambda value: f"{value:.2f}"),
        Column("self_ns", "SELF", ">", format_duration),
        Column("total_ns", "TOTAL", ">", format_duration),
        Column("calls", "CALLS", ">"),
        Column("mean_ns", "MEAN", ">", format_duration),
        Column("max_ns", "MAX", ">", format_duration),
        Column("function", "FUNCTION"),
    ]
    return Rows(columns, rows())


def _recursive(calls: Any, which: Any) -> Any:
    """True for calls below a call of the same function, whose time is in that one's."""
    inside = np.zeros(len(calls), np.bool_)
    above = calls.caller.copy()
    while True:
        has = above >= 0
        if not has.any():
            return inside
        inside[has] |= which[above[has]] == which[np.flatnonzero(has)]
        above[has] = calls.caller[above[has]]
