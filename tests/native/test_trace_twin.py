"""The native code for kernel traces beside its plain twins, on made-up and damaged pages."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trace_twins as twins
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope._native import _core
from linscope.formats.trace_dat.container import read_container

FILES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "trace-dat"

heads = st.one_of(
    st.tuples(st.sampled_from([0, 1, 2, 3, 5, 28, 29, 30, 31]), st.integers(0, 9), st.integers(0, 40)),
    st.tuples(st.integers(0, 31), st.integers(0, (1 << 27) - 1), st.integers(0, (1 << 32) - 1)),
)


@st.composite
def pages(draw: st.DrawFn, big: bool, long_size: int, page_size: int) -> bytes:
    """Pages whose events may make sense."""
    order = ">" if big else "<"
    data = b""
    for _ in range(draw(st.integers(0, 4))):
        body = b""
        for kind, delta, extra in draw(st.lists(heads, max_size=12)):
            body += struct.pack(order + "II", kind << 27 | delta if big else kind | delta << 5, extra)
            body += bytes(draw(st.integers(0, 3)) * 4)
        flags = draw(st.sampled_from([0, 0, 1 << 31, 3 << 30]))
        used = draw(st.sampled_from([len(body), len(body), page_size, 7])) | flags
        time = draw(st.integers(0, (1 << 64) - 1))
        page = struct.pack(order + ("QQ" if long_size == 8 else "QI"), time, used) + body
        data += page[:page_size].ljust(page_size, draw(st.sampled_from([b"\0", b"\x07"])))
    return data + draw(st.binary(max_size=20))


def compare(data: bytes, page_size: int, long_size: int, big: bool) -> int:
    found = _core.ring_events(data, page_size, long_size, big)
    events, missed, damaged = twins.ring_events(data, page_size, long_size, big)
    for name in twins.Found._fields:
        assert found[name].tolist() == [getattr(event, name) for event in events], name
    assert dict(zip(found["missed_page"].tolist(), found["missed"].tolist(), strict=True)) == missed
    assert dict(zip(found["damaged_page"].tolist(), found["damaged"].tolist(), strict=True)) == damaged
    return len(events)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_ring_buffer_pages(data: st.DataObject) -> None:
    big, long_size = data.draw(st.booleans()), data.draw(st.sampled_from([4, 8]))
    page_size = data.draw(st.sampled_from([64, 128, 512]))
    compare(data.draw(pages(big, long_size, page_size)), page_size, long_size, big)


@pytest.mark.parametrize("name", ["trace.dat", "raw_trace.dat"])
def test_pages_of_recordings(name: str) -> None:
    whole = (FILES / name).read_bytes()
    count = 0
    container = read_container(whole, "")
    for buffer in container.buffers:
        for cpu in buffer.cpus:
            count += compare(whole[cpu.offset : cpu.offset + cpu.size], 4096, container.long_size(), False)
    assert count > 500


@settings(max_examples=200, deadline=None)
@given(
    st.binary(min_size=80, max_size=120),
    st.lists(st.integers(0, 40), max_size=20),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 20])), max_size=6),
)
def test_fields(data: bytes, at: list[int], fields: list[tuple[int, int]]) -> None:
    found = _core.gather(data, np.array(at, np.uint32), fields)
    assert [column.tobytes() for column in found] == twins.gather(data, at, fields)


@st.composite
def pieces(draw: st.DrawFn, rows: int) -> tuple[Any, ...]:
    """One piece of each line."""
    kind = draw(st.integers(0, 3))
    width = draw(st.sampled_from([0, 0, 1, 5, 20]))
    if kind == 0:
        return 0, draw(st.binary(max_size=9))
    if kind == 1:
        values = st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 20))
        column = draw(st.lists(values, min_size=rows, max_size=rows))
        return 1, np.array(column, np.uint64), draw(st.integers(0, 127)), width
    if kind == 2:
        size = draw(st.sampled_from([0, 1, 5, 16]))
        texts = draw(st.binary(min_size=rows * size, max_size=rows * size))
        return 2, np.frombuffer(texts, np.uint8), size, draw(st.sampled_from([0, twins.LEFT])), width
    texts = draw(st.lists(st.binary(max_size=9), min_size=1, max_size=5))
    ends = np.cumsum([len(text) for text in texts]).astype(np.uint64)
    which = draw(st.lists(st.integers(0, len(texts) - 1), min_size=rows, max_size=rows))
    return 3, np.array(which, np.uint32), b"".join(texts), ends


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_lines(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 6))
    line = data.draw(st.lists(pieces(rows), max_size=6))
    text, ends = _core.write_lines(line, rows)
    assert (text, ends.tolist()) == twins.write_lines(line, rows)


def test_numbers_are_those_of_printf() -> None:
    values = [0, 1, 9, 255, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    forms = (("%d", 1, 0), ("%5d", 1, 5), ("%-7d|", 1 | 16, 7), ("%06d", 1 | 8, 6), ("%04x", 2 | 8, 4))
    for form, flags, width in forms:
        signed = [value - (1 << 64) if flags & 1 and value >> 63 else value for value in values]
        expected = "".join(form.rstrip("|") % value for value in signed).encode()
        assert _core.write_lines([(1, np.array(values, np.uint64), flags, width)], len(values))[0] == expected


def _choice(which: int, ends: list[int]) -> Callable[[], Any]:
    return lambda: _core.write_lines([(3, np.array([which], np.uint32), b"ab", np.array(ends, np.uint64))], 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: _core.ring_events(bytes(64), 63, 8, False),
        lambda: _core.ring_events(bytes(64), 64, 2, False),
        lambda: _core.gather(bytes(10), np.array([3], np.uint32), [(4, 4)]),
        lambda: _core.gather(bytes(10), np.array([2**32 - 1], np.uint32), [(2**32 - 1, 4)]),
        lambda: _core.write_lines([(1, np.zeros(2, np.uint64), 0, 0)], 1),
        lambda: _core.write_lines([(1, np.zeros(1, np.uint64), 0, 1 << 21)], 1),
        lambda: _core.write_lines([(2, np.zeros(3, np.uint8), 2, 0, 0)], 1),
        lambda: _core.write_lines([(4, b"")], 1),
        _choice(1, [2]),
        _choice(0, [3]),
        _choice(0, [2, 1]),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()


def test_other_types_are_not_converted() -> None:
    with pytest.raises(RuntimeError):
        _core.write_lines([(1, np.zeros(1, np.uint32), 0, 0)], 1)
