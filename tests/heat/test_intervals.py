"""Matching events into intervals: the fast way beside a slow one that takes event by event."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from heat_profiles import heat_profile
from hypothesis import given
from hypothesis import strategies as st

from linscope.analysis.intervals import key_codes, match, spans_a_loss
from linscope.columns.profile import Loss
from linscope.errors import UsageError

Event = tuple[int, int, int]  # key, time, sample

events = st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 12)), max_size=60)


def slow_match(starts: list[Event], ends: list[Event], repeat: str) -> set[tuple[int, int]]:
    """(sample of the start, sample of the end) of each interval, event by event."""
    queue = [(time, sample, True, key) for key, time, sample in starts]
    queue += [(time, sample, False, key) for key, time, sample in ends]
    open_starts: dict[int, list[int]] = {}
    found = set()
    for _, sample, is_start, key in sorted(queue):  # at one sample the end (False) goes first
        waiting = open_starts.setdefault(key, [])
        if is_start:
            waiting.append(sample)
        elif waiting:
            found.add((waiting[0] if repeat == "first" else waiting[-1], sample))
            if repeat == "nested":
                waiting.pop()
            else:
                waiting.clear()
    return found


def columns(rows: list[Event]) -> tuple[Any, Any, Any]:
    table = np.array(rows, np.int64).reshape(-1, 3)
    return table[:, 0].astype(np.uint32), table[:, 1], table[:, 2]


@given(events)
@pytest.mark.parametrize("repeat", ["last", "first", "nested"])
def test_beside_the_slow_way(repeat: str, rows: list[tuple[bool, int, int]]) -> None:
    starts = [(key, time, sample) for sample, (is_start, key, time) in enumerate(rows) if is_start]
    ends = [(key, time, sample) for sample, (is_start, key, time) in enumerate(rows) if not is_start]
    found = match(columns(starts), columns(ends), repeat)
    pairs = {(starts[i][2], ends[j][2]) for i, j in zip(found.start.tolist(), found.end.tolist(), strict=True)}
    assert pairs == slow_match(starts, ends, repeat)
    assert len(found.start) == len(pairs)
    assert found.repeated + found.open + len(pairs) == len(starts)
    assert found.ends + len(pairs) == len(ends)


@given(events)
def test_one_event_to_the_next(rows: list[tuple[bool, int, int]]) -> None:
    same = [(key, time, sample) for sample, (_, key, time) in enumerate(rows)]
    found = match(columns(same), columns(same))
    by_key: dict[int, list[Event]] = {}
    for event in sorted(same, key=lambda e: (e[1], e[2])):
        by_key.setdefault(event[0], []).append(event)
    expected = {(a[2], b[2]) for chain in by_key.values() for a, b in pairwise(chain)}
    assert set(zip(found.start.tolist(), found.end.tolist(), strict=True)) == expected


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(["a", "b", "äö"])), min_size=1, max_size=30))
def test_keys_of_numbers_and_texts(rows: list[tuple[int, str]]) -> None:
    half = max(1, len(rows) // 2)
    numbers = np.array([number for number, _ in rows], np.int32)
    texts = [text for _, text in rows]
    fixed = np.array([text.encode() for text in texts], "S16")
    left, right = key_codes([numbers[:half], texts[:half]], [numbers[half:].astype(np.int64), fixed[half:]])
    for i, first in enumerate(rows[:half]):
        for j, second in enumerate(rows[half:]):
            assert (left[i] == right[j]) == (first == second)


def test_a_number_is_no_text() -> None:
    with pytest.raises(UsageError, match="a number cannot equal a text"):
        key_codes([np.array([1])], [["1"]])


def test_intervals_that_span_a_loss_on_their_cpu() -> None:
    rows = [("begin", 100, 1), ("end", 200, 1), ("begin", 210, 1), ("end", 300, 1), ("begin", 310, 1), ("end", 400, 1)]
    losses = [Loss(200, 0, 5, -1), Loss(250, 1, 5, -1), Loss(350, 0, 9, 1, of_event=True)]
    profile = heat_profile(rows, cpus=[0, 0, 1, 2, 0, 0], losses=losses)
    doubtful = spans_a_loss(profile, np.array([0, 2, 4]), np.array([1, 3, 5]))
    assert doubtful.tolist() == [True, True, False]  # on its CPU; on the CPU that it began on; counted without a time
