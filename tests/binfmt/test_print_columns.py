"""Printing columns in bulk beside printing one record after the other, for every format of two kernels."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linscope.binfmt.event_format import EventFormat, Field, is_text, parse_format
from linscope.binfmt.print_code import PrintContext, row_printer
from linscope.binfmt.print_columns import ColumnPrinter, Texts, numbered
from linscope.formats.trace_dat.container import read_container

FILES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "trace-dat"
ROWS = 12


def column(one: Field, random: np.random.Generator) -> Any:
    """Rows of a field as its typed table has them: now small numbers, now any."""
    if one.dynamic or not one.size:
        texts = [bytes(random.integers(97, 100, int(random.integers(0, 20)), np.uint8)) for _ in range(ROWS)]
        return [text.decode() for text in texts] if is_text(one) else [text * 8 for text in texts]
    if one.length and is_text(one):
        texts = [bytes(random.choice([0, 10, 65, 66], one.size).astype(np.uint8)) for _ in range(ROWS)]
        return np.frombuffer(b"".join(texts), f"S{one.size}")
    size = one.size // one.length if one.length else one.size
    if size not in (1, 2, 4, 8):
        return np.frombuffer(random.bytes(one.size * ROWS), f"V{one.size}")
    count = ROWS * max(1, one.length)
    values = np.frombuffer(random.bytes(size * count), f"{'i' if one.signed else 'u'}{size}").copy()
    values[random.random(count) < 0.5] = random.integers(0, 3)
    return values.reshape(-1, one.length) if one.length else values


def split(texts: Texts) -> list[str]:
    ends = [0, *texts.ends.tolist()]
    return [texts.text[a:b].decode() for a, b in itertools.pairwise(ends)]


def compare(form: EventFormat, context: PrintContext, random: np.random.Generator) -> bool:
    """True if the event's lines are made without its record printer."""
    printer = row_printer(form, context)
    columns = {one.name: column(one, random) for one in form.fields}
    rows: NDArray[np.int64] = random.permutation(ROWS).astype(np.int64)
    expected = [text.removesuffix("\n") for text in printer.rows(columns, rows)]
    if not printer.columns:
        return False
    bulk = ColumnPrinter(printer, context)
    assert split(bulk.write(columns, rows)) == expected, form.name
    return bulk._places is not None


@pytest.mark.parametrize("name", ["trace.dat", "raw_trace.dat"])
def test_all_formats_of_a_recording(name: str) -> None:
    container = read_container((FILES / name).read_bytes(), "")
    random = np.random.default_rng(1)
    context = container.tracing.printing()
    done = [compare(form, context, random) for form in container.tracing.events.values()]
    assert len(done) > 10 and sum(done) > 0.9 * len(done)


def test_places_that_only_c_knows() -> None:
    fields = (
        Field("a", "int", 0, 4, True, 0, ""),
        Field("b", "u64", 8, 8, False, 0, ""),
        Field("list", "u16[4]", 16, 8, False, 4, ""),
        Field("name", "char", 24, 6, False, 6, ""),
    )
    random = np.random.default_rng(2)
    for text in (
        '"%d %u %x %#x %08llx %-6d|", REC->a, REC->a, REC->a, REC->a, REC->b, REC->a',
        '"%llu %lu %ld %d %hd %hhu", REC->b, REC->b, REC->b, REC->b, REC->b, REC->b',
        '"%s|%10s|%-10s|%.3s", REC->name, REC->name, REC->name, REC->name',
        '"%d %d", REC->list[0], REC->list[3]',
        '"%p %px", (void *)REC->b, REC->b',
        '"%d%%\\n", (short)REC->a',
        '"%s", REC->name',
        '"%*d %s", REC->list[1] & 7, REC->a, REC->a > REC->b ? "more" : "less\\n"',
        '"%s %s", __print_flags(REC->b, "|", {1, "A"}, {2, "B"}), __print_symbolic(REC->a, {0, "zero"}, {1, "one"})',
        '"constant %s\\n", "text"',
        '"%+d % d %.3d", REC->a, REC->a, REC->a',
    ):
        form = EventFormat("sys", "sample", 1, (), fields, text)
        assert compare(form, PrintContext(), random) or "constant" in text, text


def test_text_that_is_damaged_is_shown_as_such() -> None:
    form = EventFormat("sys", "sample", 1, (), (Field("name", "char", 0, 4, False, 4, ""),), '"<%s>", REC->name')
    printer = ColumnPrinter(row_printer(form, PrintContext()), PrintContext())
    columns = {"name": np.array([b"ok", b"\xff\xfe", b"\xc3\xa4"], "S4")}
    assert split(printer.write(columns, np.arange(3))) == ["<ok>", "<\ufffd\ufffd>", "<ä>"]


def test_formats_without_a_text() -> None:
    form = parse_format("name: x\nID: 3\nformat:\n\nprint fmt: \"%d\", REC->none\n", "sys")
    assert form is not None
    printer = row_printer(form, PrintContext())
    assert printer.problem is not None
    assert split(ColumnPrinter(printer, PrintContext()).write({}, np.arange(2))) == ["", ""]


def test_numbers_for_values() -> None:
    random = np.random.default_rng(3)
    for values in (random.integers(0, 5, 50), random.integers(-(2**62), 2**62, 50), np.zeros(0, np.int64)):
        by = numbered(random.integers(0, 3, len(values)))
        found = numbered(values, by)
        pairs = list(zip(values.tolist(), by.tolist(), strict=True))
        assert len(set(pairs)) == len(set(zip(pairs, found.tolist(), strict=True))) == len(set(found.tolist()))
