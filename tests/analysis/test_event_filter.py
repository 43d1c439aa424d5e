"""Conditions over columns: the fast way beside Python's own, row by row."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linscope.analysis.event_filter import rows_where, text_codes
from linscope.errors import UsageError

IDS = np.array([-5, 0, 1, 3, 2**31 - 1], np.int32)
FLAGS = np.array([0, 1, 6, 2**63, 2**64 - 1], np.uint64)
NAMES = ["", "python3", "post", "postgres: a", "日本"]
COLUMNS: dict[str, Any] = {
    "id": IDS,
    "flags": FLAGS,
    "comm": NAMES,
    "raw": np.array([n.encode() for n in NAMES], "S16"),
}
numbers = st.integers(-(2**33), 2**65)
compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def truth(name: str, sign: str, value: int) -> list[bool]:
    values = COLUMNS[name].tolist()
    if sign in ("==", "!="):  # all bits of the field's size
        bits = COLUMNS[name].dtype.itemsize * 8
        value %= 1 << bits
        if COLUMNS[name].dtype.kind == "i" and value >= 1 << (bits - 1):
            value -= 1 << bits
    return [bool(eval(f"{row} {sign} {value}")) for row in values]


@given(st.sampled_from(["id", "flags"]), compare, numbers)
def test_numbers(name: str, sign: str, value: int) -> None:
    assert rows_where(f"{name} {sign} {value}", COLUMNS.__getitem__).tolist() == truth(name, sign, value)


@given(st.sampled_from(["comm", "raw"]), st.sampled_from(["post*", "*", "?ost", "日*", "python3", ""]))
def test_texts(name: str, pattern: str) -> None:
    found = rows_where(f'{name} ~ "{pattern}"', COLUMNS.__getitem__)
    assert found.tolist() == [fnmatchcase(text, pattern) for text in NAMES]
    assert rows_where(f'{name} != "{pattern}"', COLUMNS.__getitem__).tolist() == [text != pattern for text in NAMES]


@given(st.recursive(st.sampled_from(["id == 1", "flags & 6", "comm ~ p*"]), lambda inner: st.one_of(
    inner.map(lambda a: f"!({a})"),
    st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"),
), max_leaves=8))  # fmt: skip
def test_joined(text: str) -> None:
    python = text.replace("!", " not ").replace("&&", " and ").replace("||", " or ")
    expected = []
    for number, flags, comm in zip(IDS.tolist(), FLAGS.tolist(), NAMES, strict=True):
        words = python.replace("id == 1", str(number == 1)).replace("flags & 6", str(bool(flags & 6)))
        expected.append(bool(eval(words.replace("comm ~ p*", str(comm.startswith("p"))))))
    assert rows_where(text, COLUMNS.__getitem__).tolist() == expected


@pytest.mark.parametrize(
    "text", ["", "id", "id ==", "id = 1", "(id == 1", "id == 1 &&", "id == x", "comm < 3", "== 1", "id ~ 1"]
)
def test_what_is_no_condition_points_at_the_place(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        rows_where(text, COLUMNS.__getitem__)
    assert "^" in str(caught.value)


@given(st.lists(st.sampled_from(["a", "ab", "", "0123456789abcdef", "äö"])))
def test_codes_of_texts(texts: list[str]) -> None:
    for column in (texts, np.array([t.encode() for t in texts], "S16"), np.array([t.encode() for t in texts], "S17")):
        codes, names = text_codes(column)
        assert [names[code] for code in codes.tolist()] == texts
        assert len(set(names)) == len(names)
