"""Plain Python twins of everything in linscope._native._core but the unwinder: slow, obvious, and its oracle."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from linscope.abi import perf_event as pe

NO_LABEL = 0xFFFFFFFF
NO_EVENT = 0xFFFF
NO_CPU = 0xFFFFFFFF
EXACT = 8
CPUMODES = {
    pe.PERF_CONTEXT_HV: 3,
    pe.PERF_CONTEXT_KERNEL: pe.PERF_RECORD_MISC_KERNEL,
    pe.PERF_CONTEXT_USER: pe.PERF_RECORD_MISC_USER,
    pe.PERF_CONTEXT_GUEST: pe.PERF_RECORD_MISC_GUEST_KERNEL,
    pe.PERF_CONTEXT_GUEST_KERNEL: pe.PERF_RECORD_MISC_GUEST_KERNEL,
    pe.PERF_CONTEXT_GUEST_USER: pe.PERF_RECORD_MISC_GUEST_USER,
}
SAMPLE_COLUMNS = (
    "time", "address", "weight", "pid", "tid", "cpu", "stack", "offset", "raw_offset", "raw_size", "event", "misc",
)  # fmt: skip
OTHER_COLUMNS = ("time", "offset", "type", "tid", "cpu", "event", "misc", "size")


class Damaged(Exception):
    """A record ends inside one of its fields."""


class Layout(NamedTuple):
    """EventAttr.layout()."""

    sample_type: int
    read_format: int
    branch_sample_type: int
    user_registers: int
    interrupt_registers: int
    sample_id_all: int
    default_period: int
    values_per_thread: int


class Bytes:
    """Values one after the other."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.at = data, order, 0

    def take(self, code: str) -> int:
        size = struct.calcsize("=" + code)
        if self.at + size > len(self.data):
            raise Damaged
        self.at += size
        value: int = struct.unpack_from(self.order + code, self.data, self.at - size)[0]
        return value

    def skip(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise Damaged
        self.at += size


class Tree:
    """Nodes by (parent, address, kind), numbered as they first appear."""

    def __init__(self) -> None:
        self.nodes: list[tuple[int, int, int]] = [(0, 0, 0)]
        self._numbers: dict[tuple[int, int, int], int] = {}

    def add(self, path: Sequence[tuple[int, int]]) -> int:
        """path: (address, kind) from the root."""
        node = 0
        for address, kind in path:
            key = (node, address, kind)
            if key not in self._numbers:
                self._numbers[key] = len(self.nodes)
                self.nodes.append(key)
            node = self._numbers[key]
        return node


class Scanner:
    """Twin of _core.Scanner, without an unwinder."""

    def __init__(self, layouts: Sequence[Layout], ids: dict[int, int], swap: bool) -> None:
        self.order = ">" if swap else "<"
        self.tree = Tree()
        self.rows = 0
        self.waiting: dict[int, list[tuple[int, list[int]]]] = {}
        self.completed: list[tuple[int, int]] = []
        self.counts: dict[tuple[int, int], int] = {}
        self.set_layouts(layouts, ids)

    def set_layouts(self, layouts: Sequence[Layout], ids: dict[int, int]) -> None:
        self.layouts, self.ids = list(layouts), ids

    def scan(self, data: bytes) -> dict[str, Any]:
        samples: dict[str, list[int]] = {name: [] for name in SAMPLE_COLUMNS}
        others: dict[str, list[int]] = {name: [] for name in OTHER_COLUMNS}
        at = records = stopped = 0
        error = False
        while len(data) - at >= 8:
            kind, misc, size = struct.unpack_from(self.order + "IHH", data, at)
            if size < 8:
                error = True
                break
            if at + size > len(data):
                break
            if kind >= 64 and kind != 68:
                stopped = kind
                break
            body = data[at + 8 : at + size]
            if kind == pe.PERF_RECORD_SAMPLE:
                try:
                    rows = self.sample(Bytes(body, self.order), misc, at)
                except Damaged:
                    error = True
                    break
                records += 1
                for row in rows:
                    for name in SAMPLE_COLUMNS:
                        samples[name].append(row[name])
            else:
                row = {"offset": at, "type": kind, "misc": misc, "size": size} | self.trailer(body)
                for name in OTHER_COLUMNS:
                    others[name].append(row[name])
                if kind == pe.PERF_RECORD_CALLCHAIN_DEFERRED:
                    self.complete(Bytes(body, self.order))
            at += size
        return {
            "samples": samples, "others": others, "sample_records": records, "consumed": at, "stopped_at": stopped,
            "error": error,
        }  # fmt: skip

    def event_of(self, body: bytes) -> int:
        if not self.layouts:
            raise Damaged
        kind = self.layouts[0].sample_type
        if len(self.layouts) == 1 or not kind & (pe.PERF_SAMPLE_IDENTIFIER | pe.PERF_SAMPLE_ID):
            return 0
        fields = (pe.PERF_SAMPLE_IP, pe.PERF_SAMPLE_TID, pe.PERF_SAMPLE_TIME, pe.PERF_SAMPLE_ADDR)
        at = 0 if kind & pe.PERF_SAMPLE_IDENTIFIER else 8 * sum(bool(kind & bit) for bit in fields)
        if at + 8 > len(body):
            return NO_EVENT
        (found,) = struct.unpack_from(self.order + "Q", body, at)
        return self.ids.get(found, 0 if found == 0 else NO_EVENT)

    def sample(self, record: Bytes, misc: int, at: int) -> list[dict[str, int]]:
        event = self.event_of(record.data)
        row = dict.fromkeys(SAMPLE_COLUMNS, 0) | {"cpu": NO_CPU, "offset": at, "event": event, "misc": misc}
        rows = [row]
        if event != NO_EVENT:
            layout = self.layouts[event]
            instruction, chain, values = self.fields(record, row, layout, at)
            if layout.sample_type & pe.PERF_SAMPLE_READ and layout.read_format & pe.PERF_FORMAT_ID:
                rows = self.delivered(row, values, row["tid"] if layout.values_per_thread else 0)
            if rows and chain:
                path, cookie = self.path_of(chain)
                for found in rows:
                    found["stack"] = self.tree.add(path)
                if cookie:
                    self.waiting.setdefault(cookie, []).extend((self.rows + n, chain) for n in range(len(rows)))
            elif rows and layout.sample_type & pe.PERF_SAMPLE_IP:
                for found in rows:
                    found["stack"] = self.tree.add([(instruction, misc & 7 | EXACT)])
        self.rows += len(rows)
        return rows

    @staticmethod
    def fields(
        record: Bytes, row: dict[str, int], layout: Layout, at: int
    ) -> tuple[int, list[int], list[tuple[int, int]]]:
        """Fill in row; (instruction, chain, (id, count) of each value)."""
        kind, take = layout.sample_type, record.take
        row["weight"] = layout.default_period
        instruction, chain, values = 0, [], []
        if kind & pe.PERF_SAMPLE_IDENTIFIER:
            take("Q")
        if kind & pe.PERF_SAMPLE_IP:
            instruction = take("Q")
        if kind & pe.PERF_SAMPLE_TID:
            row["pid"], row["tid"] = take("I"), take("I")
        if kind & pe.PERF_SAMPLE_TIME:
            row["time"] = take("Q")
        if kind & pe.PERF_SAMPLE_ADDR:
            row["address"] = take("Q")
        if kind & pe.PERF_SAMPLE_ID:
            take("Q")
        if kind & pe.PERF_SAMPLE_STREAM_ID:
            take("Q")
        if kind & pe.PERF_SAMPLE_CPU:
            row["cpu"] = take("I")
            take("I")
        if kind & pe.PERF_SAMPLE_PERIOD:
            row["weight"] = take("Q")
        if kind & pe.PERF_SAMPLE_READ:
            values = read_values(record, layout.read_format)
        if kind & pe.PERF_SAMPLE_CALLCHAIN:
            length = take("Q")
            if length * 8 > len(record.data) - record.at:
                raise Damaged
            chain = [take("Q") for _ in range(length)]
        if kind & pe.PERF_SAMPLE_RAW:
            row["raw_size"] = take("I")
            row["raw_offset"] = at + 8 + record.at
            record.skip(row["raw_size"])
        return instruction, chain, values

    def delivered(self, row: dict[str, int], values: list[tuple[int, int]], thread: int) -> list[dict[str, int]]:
        rows = []
        for found, value in values:
            if found in self.ids:
                change = (value - self.counts.get((found, thread), 0)) % 2**64
                self.counts[found, thread] = value
                if change:
                    rows.append(row | {"event": self.ids[found], "weight": change})
        return rows

    @staticmethod
    def path_of(chain: list[int]) -> tuple[list[tuple[int, int]], int]:
        """((address, kind) from the root, cookie of the part to come or 0)."""
        mode, exact, cookie = pe.PERF_RECORD_MISC_USER, EXACT, 0
        path: list[tuple[int, int]] = []
        words = iter(chain)
        for word in words:
            if word < pe.PERF_CONTEXT_MAX:
                path.append((word, mode | exact))
                exact = 0
                continue
            exact = EXACT
            if word == pe.PERF_CONTEXT_USER_DEFERRED:
                cookie = next(words, cookie)
            elif word in CPUMODES:
                mode = CPUMODES[word]
            else:
                break
        return path[::-1], cookie

    def complete(self, record: Bytes) -> None:
        try:
            cookie, length = record.take("Q"), record.take("Q")
        except Damaged:
            return
        if cookie not in self.waiting or length * 8 > len(record.data) - record.at:
            return
        user = [record.take("Q") for _ in range(length)]
        for row, chain in self.waiting.pop(cookie):
            path, _ = self.path_of(chain + user)
            self.completed.append((row, self.tree.add(path)))

    def trailer(self, body: bytes) -> dict[str, int]:
        event = 0
        row = {"time": 0, "tid": 0, "cpu": NO_CPU}
        first = self.layouts[0].sample_type if self.layouts else 0
        if len(self.layouts) > 1 and first & (pe.PERF_SAMPLE_IDENTIFIER | pe.PERF_SAMPLE_ID):
            back = 8
            if not first & pe.PERF_SAMPLE_IDENTIFIER:
                back += 8 * (bool(first & pe.PERF_SAMPLE_CPU) + bool(first & pe.PERF_SAMPLE_STREAM_ID))
            event = NO_EVENT
            if back <= len(body):
                (found,) = struct.unpack_from(self.order + "Q", body, len(body) - back)
                event = self.ids.get(found, NO_EVENT)
        layout = self.layouts[0 if event == NO_EVENT else event] if self.layouts else None
        if layout is not None and layout.sample_id_all:
            order = ("TID", "TIME", "ID", "STREAM_ID", "CPU", "IDENTIFIER")
            there = [name for name in order if layout.sample_type & getattr(pe, f"PERF_SAMPLE_{name}")]
            if 8 * len(there) <= len(body):
                cursor = Bytes(body[len(body) - 8 * len(there) :], self.order)
                for name in there:
                    if name == "TID":
                        cursor.take("I")
                        row["tid"] = cursor.take("I")
                    elif name == "TIME":
                        row["time"] = cursor.take("Q")
                    elif name == "CPU":
                        row["cpu"] = cursor.take("I")
                        cursor.take("I")
                    else:
                        cursor.take("Q")
        return row | {"event": event}


def read_values(record: Bytes, form: int) -> list[tuple[int, int]]:
    """(id, value) of each; empty without ids."""
    found = []
    grouped = form & pe.PERF_FORMAT_GROUP
    count = record.take("Q") if grouped else 1
    value = 0 if grouped else record.take("Q")
    for bit in (pe.PERF_FORMAT_TOTAL_TIME_ENABLED, pe.PERF_FORMAT_TOTAL_TIME_RUNNING):
        if form & bit:
            record.take("Q")
    if grouped and not form & (pe.PERF_FORMAT_ID | pe.PERF_FORMAT_LOST) and count * 8 > len(record.data):
        raise Damaged
    for _ in range(count):
        value = record.take("Q") if grouped else value
        if form & pe.PERF_FORMAT_ID:
            found.append((record.take("Q"), value))
        if form & pe.PERF_FORMAT_LOST:
            record.take("Q")
    return found


def path_to(parent: Sequence[int], node: int) -> list[int]:
    """Nodes from below the root to node."""
    path = []
    while node:
        path.append(node)
        node = parent[node]
    return path[::-1]


def regroup(
    parent: Sequence[int], label: Sequence[int], leaf: Sequence[int], group: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Twin of _core.regroup, with the same numbers."""
    nodes: list[tuple[int, int]] = [(0, 0)]
    numbers: dict[tuple[int, int], int] = {}
    groups = [0]
    leaves = []
    for end, one in zip(leaf, group, strict=True):
        node = 0
        for step in [one, *(label[n] for n in path_to(parent, end) if label[n] != NO_LABEL)]:
            if (node, step) not in numbers:
                numbers[node, step] = len(nodes)
                nodes.append((node, step))
                groups.append(one)
            node = numbers[node, step]
        leaves.append(node)
    return leaves, [p for p, _ in nodes], [label for _, label in nodes], groups


def frames_by_space(
    parent: Sequence[int], place: Sequence[int], kernel: Sequence[int], leaf: Sequence[int], space: Sequence[int]
) -> list[tuple[int, int] | None] | None:
    """Of each node (place, space), None for one that no leaf is below; None when a node belongs to two spaces."""
    found: list[set[int]] = [set() for _ in parent]
    for end, one in zip(leaf, space, strict=True):
        for node in path_to(parent, end):
            found[node].add(0 if kernel[place[node]] else one)
    if any(len(spaces) > 1 for spaces in found):
        return None
    return [(place[n], next(iter(spaces))) if spaces else None for n, spaces in enumerate(found)]


def totals(parent: Sequence[int], weight: Sequence[int]) -> list[int]:
    result = list(weight)
    for node in range(len(parent) - 1, 0, -1):
        result[parent[node]] += result[node]
    return result


def outermost(parent: Sequence[int], label: Sequence[int]) -> list[int]:
    result = []
    for node in range(len(parent)):
        path = path_to(parent, node)
        result.append(int(len(path) > 1 and label[node] not in [label[n] for n in path[1:-1]]))
    return result


def intern_pairs(a: Sequence[int], b: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    numbers: dict[tuple[int, int], int] = {}
    ids = [numbers.setdefault(pair, len(numbers)) for pair in zip(a, b, strict=True)]
    return ids, [x for x, _ in numbers], [y for _, y in numbers]
