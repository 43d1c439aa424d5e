"""Matching two kinds of events into intervals by key: a sort and a few passes over whole columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope.analysis.event_filter import text_codes
from linscope.columns.profile import Profile
from linscope.columns.trees import intern_pairs
from linscope.errors import UsageError
from linscope.sources.known_pairs import FIRST, LAST, NESTED

Index = NDArray[np.int64]
REPEATS = (LAST, FIRST, NESTED)


class Matched(NamedTuple):
    """Intervals as places in the columns of starts and of ends; and how many events belong to none."""

    start: Index
    end: Index
    repeated: int  # starts that another start of the key came after (or, for "first", before) without an end
    open: int  # starts whose end did not come
    ends: int  # ends whose start was not seen


def key_codes(starts: list[Any], ends: list[Any]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """One number for each distinct combination of key columns, the same for starts as for ends.

    starts, ends: columns, of numbers or text, in pairs.  Raises UsageError for a pair that cannot be equal.
    """
    count = len(starts[0])
    code = np.zeros(count + len(ends[0]), np.uint32)
    for left, right in zip(starts, ends, strict=True):
        both = _joined(left, right)
        code, _, _ = intern_pairs(both.view(np.uint64), code)
    return code[:count], code[count:]


def _joined(left: Any, right: Any) -> Index:
    numbers = [isinstance(column, np.ndarray) and column.dtype.kind in "iu" for column in (left, right)]
    if all(numbers):
        if left.ndim > 1 or right.ndim > 1:
            raise UsageError("arrays cannot be a key", next_step="choose other fields with --key")
        return np.concatenate([column.astype(np.int64, copy=False) for column in (left, right)])
    if any(numbers):
        raise UsageError("a number cannot equal a text", next_step="choose other fields with --key")
    found: dict[str, int] = {}
    parts = []
    for column in (left, right):
        if isinstance(column, np.ndarray) and column.dtype.kind != "S":
            raise UsageError("a field that is neither a number nor text cannot be a key")
        codes, texts = text_codes(column)
        parts.append(np.array([found.setdefault(text, len(found)) for text in texts], np.int64)[codes])
    return np.concatenate(parts)


def match(
    starts: tuple[NDArray[np.uint32], Index, Index], ends: tuple[NDArray[np.uint32], Index, Index], repeat: str = LAST
) -> Matched:
    """Intervals from each start to the next end of its key.

    starts, ends: (key, time in ns, sample number) of each event; sample numbers ascend.
    repeat: which start counts when several of a key come before the end: "last" (a wakeup again, an end that was
    lost), "first" (raised again while pending), or "nested" (recursion: the innermost start takes the first end).
    Events of a key are taken in the order of their times, at equal times in the order of the file.  An event that
    is an end and a start of the same key (A..A) ends the interval before it begins the next.
    """
    count = len(starts[0])
    key = np.concatenate([starts[0], ends[0]])
    time = np.concatenate([starts[1], ends[1]])
    sample = np.concatenate([starts[2], ends[2]])
    is_start = np.arange(len(key)) < count
    order = np.argsort(sample * 2 + is_start, kind="stable")
    order = order[np.argsort(time[order], kind="stable")]
    order = order[np.argsort(key[order], kind="stable")]
    opening = is_start[order]
    if repeat == NESTED:
        first, last = _nested(opening, key[order])
        begins, finishes = order[first], order[last]
        return _result(begins, finishes, count, 0, count - len(begins), len(key) - count - len(finishes))
    key = key[order]
    same = key[1:] == key[:-1]
    last = np.flatnonzero(opening[:-1] & ~opening[1:] & same) + 1  # ends right behind a start of their key
    repeated = opening[:-1] & opening[1:] & same
    first = last - 1
    if repeat == FIRST:  # go back over the run of starts
        head = np.flatnonzero(opening & np.r_[True, ~repeated]) if len(opening) else first
        first = head[np.searchsorted(head, first, side="right") - 1]
    open_starts = int(np.count_nonzero(opening[-1:])) + int(np.count_nonzero(opening[:-1] & ~same))
    lone = len(sample) - count - len(last)
    return _result(order[first], order[last], count, int(np.count_nonzero(repeated)), open_starts, lone)


def _result(begins: Index, finishes: Index, count: int, repeated: int, left_open: int, lone: int) -> Matched:
    finishes = finishes - count
    order = np.argsort(finishes, kind="stable")
    return Matched(begins[order], finishes[order], repeated, left_open, lone)


def _nested(opening: NDArray[np.bool_], key: NDArray[np.uint32]) -> tuple[Index, Index]:
    """Places of starts and of their ends: neighbors among the events of one key at one depth of nesting.

    The depth is that of parentheses, counted from the key's first event; below zero after ends without start.
    """
    if not len(key):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    depth = np.cumsum(np.where(opening, 1, -1))
    edges = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    before = np.r_[0, depth[edges[1:] - 1]]
    depth = depth - np.repeat(before, np.diff(np.r_[edges, len(key)]))
    level = np.where(opening, depth, depth + 1)
    order = np.lexsort((level, key))  # stable: in one key and level by time
    opens, keys, levels = opening[order], key[order], level[order]
    fits = opens[:-1] & ~opens[1:] & (keys[1:] == keys[:-1]) & (levels[1:] == levels[:-1])
    first = np.flatnonzero(fits)
    return order[first], order[first + 1]


def spans_a_loss(profile: Profile, start: Index, end: Index) -> NDArray[np.bool_]:
    """True for the intervals during which events were lost on the CPU that they began or ended on.

    start, end: sample numbers.  Losses that were only counted by event, without a time, say nothing.
    """
    doubtful = np.zeros(len(start), np.bool_)
    samples = profile.samples
    begin, finish = samples.time_ns[start], samples.time_ns[end]
    by_cpu: dict[int, list[int]] = {}
    for loss in profile.losses:
        if not loss.of_event:
            by_cpu.setdefault(loss.cpu, []).append(loss.time_ns)
    for cpu, times in by_cpu.items():
        when = np.sort(np.array(times, np.uint64))
        mine = (samples.cpu[start] == cpu) | (samples.cpu[end] == cpu)
        inside = np.searchsorted(when, finish[mine], side="right") > np.searchsorted(when, begin[mine], side="right")
        doubtful[mine] |= inside
    return doubtful
