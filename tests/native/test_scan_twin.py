"""The native scanner beside its Python twin: on made-up records of every layout, and on all conformance files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope._native import _core
from linscope.abi import perf_event as pe
from linscope.formats.perf_data.reader import open_perf_data
from linscope.formats.perf_data.stream import ToolRecord

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "perf-data"
FILES = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []

WORD = st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1))
MARKERS = (*twins.CPUMODES, pe.PERF_CONTEXT_USER_DEFERRED, pe.PERF_CONTEXT_MAX, 2**64 - 5)
CHAIN_WORD = st.one_of(st.integers(0x1000, 0x1004), st.sampled_from(MARKERS), st.integers(0, 3))


def layouts_array(layouts: list[twins.Layout]) -> Any:
    return np.array([word for layout in layouts for word in layout], np.uint64)


def native(layouts: list[twins.Layout], ids: dict[int, int], swap: bool) -> Any:
    keys, events = np.array(list(ids), np.uint64), np.array(list(ids.values()), np.uint16)
    return _core.Scanner(layouts_array(layouts), keys, events, swap)


def compare(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {k: ours[k] for k in ("sample_records", "consumed", "stopped_at")} == {
        k: expected[k] for k in ("sample_records", "consumed", "stopped_at")
    }
    assert bool(ours["error"]) == expected["error"]
    for table in ("samples", "others"):
        assert set(ours[table]) == set(expected[table])
        for name, column in expected[table].items():
            if name == "raw_offset":
                sizes = expected[table]["raw_size"]
                column = [value if size else 0 for value, size in zip(column, sizes, strict=True)]
                found = np.where(np.array(sizes) > 0, ours[table][name], 0) if sizes else ours[table][name]
                assert found.tolist() == column
            else:
                assert ours[table][name].tolist() == column, f"{table}.{name}"


def compare_ends(scanner: Any, twin: twins.Scanner) -> None:
    """Completed chains, and the tree."""
    rows, stacks = scanner.take_completed()
    assert list(zip(rows.tolist(), stacks.tolist(), strict=True)) == twin.completed
    parent, place, address, kind = scanner.take_stacks()
    found = list(zip(parent.tolist(), address[place].tolist(), kind[place].tolist(), strict=True))
    assert found == twin.tree.nodes


class RecordWriter:
    """Writes records of a layout, by the order of the fields in include/uapi/linux/perf_event.h."""

    def __init__(self, draw: Any, order: str) -> None:
        self.draw, self.order = draw, order

    def words(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}Q", *values)

    def chain(self) -> list[int]:
        return self.draw(st.lists(CHAIN_WORD, max_size=8))

    def values(self, form: int, ids: list[int]) -> bytes:
        def one() -> bytes:
            made = self.words(self.draw(st.integers(0, 9)))
            if form & pe.PERF_FORMAT_ID:
                made += self.words(self.draw(st.sampled_from(ids)))
            return made + (self.words(1) if form & pe.PERF_FORMAT_LOST else b"")

        times = self.words(*[5] * ((form & 1) + (form >> 1 & 1)))
        if form & pe.PERF_FORMAT_GROUP:
            count = self.draw(st.integers(0, 3))
            return self.words(count) + times + b"".join(one() for _ in range(count))
        whole = one()
        return whole[:8] + times + whole[8:]

    def sample(self, layout: twins.Layout, one: int, ids: list[int]) -> bytes:
        draw, kind = self.draw, layout.sample_type
        body = b""
        for bit, write in (
            (pe.PERF_SAMPLE_IDENTIFIER, lambda: self.words(one)),
            (pe.PERF_SAMPLE_IP, lambda: self.words(draw(WORD))),
            (pe.PERF_SAMPLE_TID, lambda: struct.pack(self.order + "II", draw(st.integers(0, 3)), 7)),
            (pe.PERF_SAMPLE_TIME, lambda: self.words(draw(WORD))),
            (pe.PERF_SAMPLE_ADDR, lambda: self.words(draw(WORD))),
            (pe.PERF_SAMPLE_ID, lambda: self.words(one)),
            (pe.PERF_SAMPLE_STREAM_ID, lambda: self.words(draw(WORD))),
            (pe.PERF_SAMPLE_CPU, lambda: struct.pack(self.order + "II", draw(st.integers(0, 300)), 0)),
            (pe.PERF_SAMPLE_PERIOD, lambda: self.words(draw(WORD))),
            (pe.PERF_SAMPLE_READ, lambda: self.values(layout.read_format, ids)),
            (pe.PERF_SAMPLE_CALLCHAIN, lambda: (c := self.chain()) is not None and self.words(len(c), *c)),
            (pe.PERF_SAMPLE_RAW, lambda: struct.pack(self.order + "I", n := draw(st.sampled_from((4, 12)))) + bytes(n)),
            (pe.PERF_SAMPLE_BRANCH_STACK, lambda: self.words(1, 2, 3, 4)),
            (pe.PERF_SAMPLE_WEIGHT, lambda: self.words(9)),
        ):
            if kind & bit:
                body += write()
        return self.record(pe.PERF_RECORD_SAMPLE, draw(st.sampled_from((0, 1, 2, 0x4002))), body)

    def record(self, kind: int, misc: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 8)
        return struct.pack(self.order + "IHH", kind, misc, 8 + len(body)) + body


@st.composite
def streams(draw: Any) -> tuple[list[twins.Layout], dict[int, int], bool, bytes]:
    """(layouts, ids, swap, records)."""
    swap = draw(st.booleans())
    writer = RecordWriter(draw, ">" if swap else "<")
    count = draw(st.integers(1, 3))
    common = draw(st.sampled_from((pe.PERF_SAMPLE_IDENTIFIER, pe.PERF_SAMPLE_ID, pe.PERF_SAMPLE_IDENTIFIER | 1)))
    front = draw(st.integers(0, 15))  # with an id at its place all events agree on what comes before
    layouts, ids = [], {}
    for number in range(count):
        kind = draw(st.integers(0, 2**25 - 1)) & ~0xF & ~(pe.PERF_SAMPLE_IDENTIFIER | pe.PERF_SAMPLE_ID)
        kind |= front | common
        trailer = draw(st.integers(0, 1))
        layouts.append(twins.Layout(kind, draw(st.integers(0, 31)), 0, 3, 1, trailer, number + 1, number & 1))
        for _ in range(draw(st.integers(1, 2))):
            ids[len(ids) + 100] = number
    known = [*ids, 0, 99]
    data = b""
    for _ in range(draw(st.integers(1, 8))):
        choice = draw(st.integers(0, 9))
        if choice < 6:
            one = draw(st.sampled_from(known))
            data += writer.sample(layouts[ids.get(one, 0)], one, known)
        elif choice < 8:
            cookie = draw(st.integers(0, 4))
            user = [pe.PERF_CONTEXT_USER, *writer.chain()]
            body = writer.words(cookie, len(user), *user) + bytes(draw(st.sampled_from((0, 16))))
            data += writer.record(pe.PERF_RECORD_CALLCHAIN_DEFERRED, 2, body)
        else:
            kind = draw(st.sampled_from((1, 2, 3, 7, 14, 68)))
            data += writer.record(kind, 0, writer.words(*draw(st.lists(st.sampled_from(known), max_size=9))))
    return layouts, ids, swap, data


@settings(max_examples=300, deadline=None)
@given(streams(), st.integers(0, 2**20), st.binary(max_size=3))
def test_made_up_records(stream: tuple[Any, ...], cut: int, noise: bytes) -> None:
    """Whole, in two calls, and with some bytes changed: the same columns, stacks and errors."""
    layouts, ids, swap, data = stream
    damaged = bytearray(data)
    for n, value in enumerate(noise):
        damaged[(cut * (n + 1)) % len(data)] = value
    for blob in (data, bytes(damaged)):
        scanner, twin = native(layouts, ids, swap), twins.Scanner(layouts, ids, swap)
        part = cut % (len(blob) + 1)
        first = twin.scan(blob[:part])
        compare(scanner.scan(blob[:part]), first)
        if not first["error"]:
            compare(scanner.scan(blob, first["consumed"]), twin.scan(blob[first["consumed"] :]))
        compare_ends(scanner, twin)


@pytest.mark.parametrize("bit", range(25))
@pytest.mark.parametrize("order", "<>")
def test_each_sample_type_alone(bit: int, order: str) -> None:
    layout = twins.Layout(1 << bit | pe.PERF_SAMPLE_TIME, 0x1F, 0, 3, 1, 1, 1, 0)
    time = 0x1122334455667788
    fields = {pe.PERF_SAMPLE_IP, pe.PERF_SAMPLE_TID, pe.PERF_SAMPLE_IDENTIFIER}
    body = struct.pack(f"{order}{2 + 20}Q", *((0, time) if 1 << bit in fields else (time, 0)), *[0] * 20)
    record = struct.pack(order + "IHH", 9, 2, 8 + len(body)) + body
    scanner, twin = native([layout], {}, order == ">"), twins.Scanner([layout], {}, order == ">")
    found = scanner.scan(record)
    compare(found, twin.scan(record))
    if 1 << bit != pe.PERF_SAMPLE_READ:  # of which only counts that changed are delivered
        assert found["samples"]["time"].tolist() == [time]
    compare_ends(scanner, twin)


def test_deferred_chains_complete_all_that_wait() -> None:
    layout = twins.Layout(pe.PERF_SAMPLE_CALLCHAIN, 0, 0, 0, 0, 0, 1, 0)
    waiting = [pe.PERF_CONTEXT_KERNEL, 0xFFFFFFFF81000000, pe.PERF_CONTEXT_USER_DEFERRED, 77]
    body = struct.pack(f"<{1 + len(waiting)}Q", len(waiting), *waiting)
    sample = struct.pack("<IHH", 9, 1, 8 + len(body)) + body
    late = struct.pack("<5Q", 77, 3, pe.PERF_CONTEXT_USER, 0x4000, 0x5000)
    data = sample * 50 + struct.pack("<IHH", 22, 2, 8 + len(late)) + late + sample
    scanner, twin = native([layout], {}, False), twins.Scanner([layout], {}, False)
    compare(scanner.scan(data), twin.scan(data))
    assert [row for row, _ in twin.completed] == list(range(50))
    compare_ends(scanner, twin)


@pytest.mark.skipif(not FILES, reason="no ../shared/conformance beside the checkout; clone it there")
@pytest.mark.parametrize("name", FILES)
def test_conformance_files(name: str) -> None:
    with open_perf_data(str(FOLDER / name)) as opened:
        twin = twins.Scanner([], {}, opened.header.big_endian)
        for item in opened.records():
            if isinstance(item, ToolRecord):
                continue
            layouts = [twins.Layout(*(word % 2**64 for word in attr.layout())) for attr in opened.attrs]
            twin.set_layouts(layouts, {i: n for n, attr in reversed(list(enumerate(opened.attrs))) for i in attr.ids})
            scanned = item.scanned
            expected = twin.scan(bytes(item.buffer[item.base :]))
            compare(scanned._asdict(), expected)
        compare_ends(opened.scanner._core, twin)
