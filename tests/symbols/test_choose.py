"""Overlaps, sizes and aliases: the fast code beside a slow twin, and perf's preferences one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linscope.symbols.choose import Candidates, choose_names, extend_ends, flatten
from linscope.symbols.table import AddressRule, SymbolTable, table_of_names

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=30)


@given(ranges)
def test_flatten_paints_later_ranges_over_earlier_ones(given_ranges: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in given_ranges], np.uint64)
    ends = np.array([start + size for start, size in given_ranges], np.uint64)
    slow = {}
    overlaps = False
    for index, (start, size) in enumerate(given_ranges):
        for address in range(start, start + size):
            overlaps |= address in slow
            slow[address] = index
    cut = flatten(starts, ends)
    fast = {
        address: owner
        for start, end, owner in zip(cut.starts.tolist(), cut.ends.tolist(), cut.owners.tolist(), strict=True)
        for address in range(start, end)
    }
    assert fast == slow
    assert np.all(cut.ends[:-1] <= cut.starts[1:])


@given(ranges, st.lists(st.integers(0, 100), max_size=20))
def test_find_equals_a_linear_search(given_ranges: list[tuple[int, int]], asked: list[int]) -> None:
    starts = np.array([start for start, _ in given_ranges], np.uint64)
    ends = np.array([start + size for start, size in given_ranges], np.uint64)
    cut = flatten(starts, ends)
    table = table_of_names(cut.starts, cut.ends, [f"f{owner}" for owner in cut.owners.tolist()])
    found = table.find(np.array(asked, np.uint64))
    for address, index in zip(asked, found.tolist(), strict=True):
        inside = [i for i in range(len(table)) if cut.starts[i] <= address < cut.ends[i]]
        assert [index] == (inside or [-1])
        if inside:
            assert table.name(index) == f"f{cut.owners[index]}"


def test_a_symbol_around_another_is_one_symbol() -> None:
    cut = flatten(np.array([0, 20], np.uint64), np.array([100, 30], np.uint64))
    table = table_of_names(cut.starts, cut.ends, ["outer", "inner", "outer"])
    table.same_as = cut.same_as()
    assert table.find(np.array([5, 25, 50, 100], np.uint64)).tolist() == [0, 1, 0, -1]
    rest = table.take(np.array([False, True, True]))
    assert rest.find(np.array([5, 25, 50], np.uint64)).tolist() == [-1, 0, 1]


def candidates(*rows: tuple[int, int, int, str]) -> tuple[Candidates, dict[int, bytes]]:
    """Of (start, size, binding, name)."""
    names = {index: name.encode() for index, (_, _, _, name) in enumerate(rows)}
    starts = np.array([row[0] for row in rows], np.uint64)
    made = Candidates(
        starts,
        starts + np.array([row[1] for row in rows], np.uint64),
        np.array([row[2] for row in rows], np.uint8),
        np.full(len(rows), 2, np.uint8),
        np.arange(len(rows), dtype=np.uint64),
    )
    return made.sorted(), names


LOCAL, GLOBAL, WEAK = 0, 1, 2


def winner(*aliases: tuple[int, int, str]) -> str:
    found, names = candidates(*((16, *alias) for alias in aliases))
    extend_ends(found)
    chosen = choose_names(found, names.__getitem__)
    assert len(chosen.starts) == 1
    return names[int(chosen.names[0])].decode()


def test_alias_preferences() -> None:
    assert winner((8, WEAK, "weak"), (8, LOCAL, "local")) == "local"
    assert winner((8, LOCAL, "local_long_name"), (8, GLOBAL, "glob")) == "glob"
    assert winner((8, GLOBAL, "__long_underscores"), (8, GLOBAL, "short")) == "short"
    assert winner((8, GLOBAL, "name"), (8, GLOBAL, "longer_name")) == "longer_name"
    assert winner((8, GLOBAL, "aa"), (8, GLOBAL, "bb")) == "aa"
    assert winner((0, GLOBAL, "sizeless"), (8, WEAK, "sized")) == "sized"
    # without sizes only the last reaches to the next symbol
    assert winner((0, GLOBAL, "first"), (0, WEAK, "last")) == "last"
    # readable names are compared: "S::S" has no underscore in front
    assert winner((8, GLOBAL, "_ZN1SC2Ev"), (8, GLOBAL, "_under_and_long")) == "_ZN1SC2Ev"


def test_sizeless_symbols_reach_to_the_next_and_the_last_to_its_page() -> None:
    found, _ = candidates((0x1000, 0, GLOBAL, "a"), (0x1040, 16, GLOBAL, "b"), (0x1100, 0, LOCAL, "c"))
    extend_ends(found)
    assert found.ends.tolist() == [0x1040, 0x1050, 0x3000]


def test_address_rules() -> None:
    ips = np.array([0x7F0000001234, 0xFFFFFFFF81000010], np.uint64)
    assert AddressRule("map").apply(ips[:1], 0x7F0000000000, 0x5000).tolist() == [0x6234]
    assert AddressRule("start").apply(ips[:1], 0x7F0000000000, 0x5000).tolist() == [0x1234]
    assert AddressRule("absolute").apply(ips).tolist() == ips.tolist()
    kernel = AddressRule("reference", 0x40)  # the page offset is that of _stext, 0x40 behind _text
    assert kernel.apply(ips[1:], 0xFFFFFFFF80FFFFF0, 0xFFFFFFFF81000000).tolist() == [0x50]
    assert AddressRule("reference").apply(ips[1:], 0xFFFFFFFF81000000, 0).tolist() == [0x10]


def test_names_of_a_damaged_table() -> None:
    one = np.array([1], np.uint64)
    beyond = SymbolTable(one, one + np.uint64(1), np.array([1 << 40], np.uint64), b"abc")
    assert beyond.name(0) == ""
    unended = SymbolTable(one, one + np.uint64(1), np.array([0], np.uint64), b"x" * 500)
    assert unended.name(0) == "x" * 500
