"""Address spaces and names over time: which mapping an address meant when it was sampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linscope.columns import spaces
from linscope.columns.profile import Mapping
from linscope.columns.spaces import CommBuilder, SpaceBuilder


def at(builder: SpaceBuilder, pid: int, time: int, address: int) -> str:
    """Path of the mapping at an address of a process at a time, "" for none."""
    (number,) = builder.spaces_at(np.array([pid], np.uint32), np.array([time], np.uint64)).tolist()
    found = [m for m in builder.spaces[number].mappings if m.start <= address < m.end]
    assert len(found) <= 1
    return found[0].path if found else ""


def mapped(start: int, end: int, path: str, page_offset: int = 0) -> Mapping:
    return Mapping(start, end, page_offset, path)


def test_a_replaced_mapping_holds_until_then() -> None:
    builder = SpaceBuilder()
    builder.map(7, 10, mapped(0x1000, 0x5000, "/old"))
    builder.map(7, 50, mapped(0x2000, 0x3000, "/new"))
    assert [at(builder, 7, 20, a) for a in (0x1000, 0x2000, 0x4fff)] == ["/old"] * 3
    assert [at(builder, 7, 50, a) for a in (0x1fff, 0x2000, 0x2fff, 0x3000)] == ["/old", "/new", "/new", "/old"]


def test_a_split_mapping_keeps_its_offsets() -> None:
    builder = SpaceBuilder()
    builder.map(7, 10, mapped(0x10000, 0x50000, "/lib", 0x4000))
    builder.map(7, 50, mapped(0x20000, 0x30000, "/other"))
    space = builder.spaces[builder.current(7, 50)]
    assert space.mappings == [
        mapped(0x10000, 0x20000, "/lib", 0x4000),
        mapped(0x20000, 0x30000, "/other"),
        mapped(0x30000, 0x50000, "/lib", 0x24000),
    ]


def test_exec_starts_an_epoch() -> None:
    builder = SpaceBuilder()
    builder.map(7, 10, mapped(0x400000, 0x500000, "/bin/sh"))
    builder.exec(7, 30)
    builder.map(7, 31, mapped(0x400000, 0x480000, "/bin/true"))
    assert at(builder, 7, 29, 0x400100) == "/bin/sh"
    assert at(builder, 7, 31, 0x400100) == "/bin/true"


def test_fork_copies_and_both_go_their_own_way() -> None:
    builder = SpaceBuilder()
    builder.map(1, 5, mapped(0x1000, 0x2000, "/common"))
    builder.fork(2, 1, 10)
    builder.map(2, 20, mapped(0x8000, 0x9000, "/child"))
    builder.map(1, 20, mapped(0x8000, 0x9000, "/parent"))
    builder.fork(3, 2, 30)
    builder.map(3, 40, mapped(0x1000, 0x2000, "/third"))
    assert at(builder, 2, 15, 0x1000) == "/common"
    assert at(builder, 2, 25, 0x8000) == "/child"
    assert at(builder, 1, 25, 0x8000) == "/parent"
    assert [at(builder, 3, t, 0x1000) for t in (35, 45)] == ["/common", "/third"]
    assert [at(builder, pid, 99, 0x1000) for pid in (1, 2)] == ["/common", "/common"]


def test_a_pid_that_is_used_again() -> None:
    builder = SpaceBuilder()
    builder.map(1, 1, mapped(0x1000, 0x2000, "/shell"))
    builder.map(9, 5, mapped(0x1000, 0x2000, "/first"))
    builder.fork(9, 1, 50)
    builder.exec(9, 51)
    builder.map(9, 52, mapped(0x1000, 0x2000, "/second"))
    assert [at(builder, 9, t, 0x1000) for t in (10, 50, 60)] == ["/first", "/shell", "/second"]


def test_mprotect_repeats_a_mapping_without_a_new_epoch() -> None:
    builder = SpaceBuilder()
    builder.map(7, 10, mapped(0x1000, 0x5000, "/lib", 0x1000))
    before = len(builder.spaces)
    builder.map(7, 20, mapped(0x2000, 0x3000, "/lib", 0x2000))
    assert len(builder.spaces) == before
    assert at(builder, 7, 30, 0x2500) == "/lib"


def test_samples_before_the_first_record_and_of_unknown_pids() -> None:
    builder = SpaceBuilder()
    builder.map(7, 100, mapped(0x1000, 0x2000, "/lib"))
    assert at(builder, 7, 5, 0x1000) == "/lib"
    assert at(builder, 8, 5, 0x1000) == ""


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, int, int, str]]:
    """(what, pid, other pid or start, end, path) in order of time."""
    steps = []
    for n in range(draw(st.integers(1, 25))):
        what = draw(st.sampled_from(("map", "map", "map", "fork", "exec")))
        pid = draw(st.integers(1, 3))
        start = draw(st.integers(0, 9))
        steps.append((what, pid, start if what == "map" else pid % 3 + 1, start + draw(st.integers(1, 5)), f"/{n}"))
    return steps


@settings(max_examples=300, deadline=None)
@given(histories())
def test_beside_a_page_by_page_model(steps: list[tuple[str, int, int, int, str]]) -> None:
    """A dict of pages for each process at each time says the same."""
    builder = SpaceBuilder()
    pages: dict[int, dict[int, str]] = {1: {}, 2: {}, 3: {}}
    seen: list[tuple[int, int, dict[int, str]]] = []
    for pid in pages:
        builder.map(pid, 0, mapped(100, 101, f"/start{pid}"))
        pages[pid][100] = f"/start{pid}"
    for n, (what, pid, start, end, path) in enumerate(steps):
        time = 10 * (n + 1)
        if what == "map":
            builder.map(pid, time, mapped(start, end, path))
            pages[pid] |= dict.fromkeys(range(start, end), path)
        elif what == "fork":
            builder.fork(pid, start, time)
            pages[pid] = dict(pages[start])
        else:  # the old program's mappings stay until others lie over them
            builder.exec(pid, time)
        seen += [(p, time, dict(of)) for p, of in pages.items()]
    for pid, time, expected in seen:
        for page in (*range(15), 100):
            found = at(builder, pid, time, page)
            if page in expected:
                assert found == expected[page]
            else:  # what is mapped later into an empty place needs no epoch of its own
                assert found in ("", *(step[4] for step in steps))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file made up of mappings that replace one another does not copy without end."""
    monkeypatch.setattr(spaces, "_MAX_COPIED", 100_000)
    builder = SpaceBuilder()
    for n in range(1000):
        builder.map(7, 1, mapped(n * 16, n * 16 + 8, "/a"))
    for n in range(5000):
        builder.map(7, 2 + n, mapped(n % 1000 * 16, n % 1000 * 16 + 8, f"/b{n}"))
    assert sum({id(s.mappings): len(s.mappings) for s in builder.spaces}.values()) < 200_000
    assert at(builder, 7, 2**40, 0) == "/b4000"


def test_names_over_time() -> None:
    comms = CommBuilder()
    comms.name(1, 0, "shell")
    comms.fork(2, 1, 10)
    comms.name(2, 20, "worker")
    comms.fork(2, 1, 50)  # the number is used again
    tids = np.array([2, 2, 2, 1, 0, 99, 2**32 - 1], np.uint32)
    times = np.array([15, 25, 55, 99, 5, 5, 5], np.uint64)
    names = [comms.comms[i] for i in comms.comms_at(tids, times).tolist()]
    assert names == ["shell", "worker", "shell", "shell", "swapper", ":99", ":-1"]
