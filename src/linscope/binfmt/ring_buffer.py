"""Pages of the kernel's trace ring buffer -> where each event's data lie and when it happened.

A page is u64 time, a long whose low bits are the bytes used, then events: a u32 of type_len (5 bits) and time_delta
(27 bits), and what belongs to it.  All pages are walked side by side, an event of each at a time, so that the work is
numpy's.  Source: kernel/trace/ring_buffer.c; include/linux/ring_buffer.h, enum ring_buffer_type.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
_COMMIT = (1 << 20) - 1
_MISSED_EVENTS, _MISSED_STORED = 1 << 31, 1 << 30
_DELTA_BITS = 27
_STAMP_BITS = 59  # an absolute time has no more; the rest is the page's


class PageEvents(NamedTuple):
    """Events in the order of the pages."""

    at: NDArray[np.int64]  # offset of the data in the buffer
    size: NDArray[np.int64]  # bytes of data
    time: NDArray[np.uint64]
    page: NDArray[np.int64]  # number of the page
    missed: dict[int, int]  # page -> events that were lost before it; -1: some, not known how many
    damaged: dict[int, int]  # page -> offset at which its events stop making sense


def decode_pages(
    data: NDArray[np.uint8], starts: NDArray[np.int64], page_size: int, *, long_size: int = 8, big_endian: bool = False
) -> PageEvents:
    """Find the events of the pages that begin at starts in data, each page_size bytes long and inside of data.

    long_size: of the kernel.  An event that does not fit ends its page, which is told in ``damaged``.
    """
    order = ">" if big_endian else "<"
    head = 8 + long_size
    time = _numbers(data, starts, 8, order)
    commit = _numbers(data, starts + 8, long_size, order)
    end = starts + head + np.minimum((commit & np.uint64(_COMMIT)).astype(np.int64), page_size - head)
    missed = _missed(data, starts, end, commit, page_size, long_size, order)
    bad: dict[int, int] = {
        int(page): int(starts[page])
        for page in np.flatnonzero((commit & np.uint64(_COMMIT)).astype(np.int64) > page_size - head)
    }
    page = np.arange(len(starts))
    at = starts + head
    found: list[tuple[NDArray[np.int64], ...]] = []
    times: list[NDArray[np.uint64]] = []
    while len(page):
        more = at + 4 <= end
        page, at, end, time = page[more], at[more], end[more], time[more]
        word = _numbers(data, at, 4, order).astype(np.int64)
        kind, delta = (word >> _DELTA_BITS, word & ((1 << _DELTA_BITS) - 1)) if big_endian else (word & 31, word >> 5)
        long = (kind == 0) | (kind >= PADDING)
        extra = np.zeros(len(at), np.int64)
        has_extra = long & (at + 8 <= end)
        extra[has_extra] = _numbers(data, at[has_extra] + 4, 4, order).astype(np.int64)
        size = np.where(kind == 0, extra - 4, kind * 4)
        whole = np.where((kind == 0) | (kind == PADDING), 4 + ((extra + 3) & ~3), np.where(long, 8, 4 + kind * 4))
        stamp = (extra << _DELTA_BITS) + delta
        step = np.where(kind == TIME_EXTEND, stamp, delta).astype(np.uint64)
        high = time & np.uint64(~((1 << _STAMP_BITS) - 1) & ((1 << 64) - 1))
        time = np.where(kind == TIME_STAMP, high | stamp.astype(np.uint64), time + step)
        rest = (kind == PADDING) & (delta == 0)  # nothing follows
        fits = (at + whole <= end) & (~long | has_extra) & ((kind != 0) | (extra >= 4))
        for number in np.flatnonzero(~fits & ~rest).tolist():
            bad[int(page[number])] = int(at[number])
        good = fits & ~rest
        event = good & (kind < PADDING)
        skip = np.where(kind == 0, 8, 4)
        found.append((at[event] + skip[event], size[event], page[event]))
        times.append(time[event])
        page, at, end, time = page[good], (at + whole)[good], end[good], time[good]
    columns = [np.concatenate([part[i] for part in found]) if found else np.empty(0, np.int64) for i in range(3)]
    all_times = np.concatenate(times) if times else np.empty(0, np.uint64)
    by_page = np.argsort(columns[2], kind="stable")
    where, sizes, pages = (column[by_page] for column in columns)
    return PageEvents(where, sizes, all_times[by_page], pages, missed, bad)


def _numbers(data: NDArray[np.uint8], at: NDArray[np.int64], size: int, order: str) -> NDArray[np.uint64]:
    """Unsigned numbers of size bytes at these offsets."""
    raw = np.ascontiguousarray(data[at[:, None] + np.arange(size)])
    return raw.view(f"{order}u{size}").reshape(-1).astype(np.uint64)


def _missed(
    data: NDArray[np.uint8],
    starts: NDArray[np.int64],
    end: NDArray[np.int64],
    commit: NDArray[np.uint64],
    page_size: int,
    long_size: int,
    order: str,
) -> dict[int, int]:
    """Losses before pages; their number stands behind the events, if there was room."""
    found = {}
    for page in np.flatnonzero(commit & np.uint64(_MISSED_EVENTS)).tolist():
        count = -1
        if int(commit[page]) & _MISSED_STORED and int(end[page]) + long_size <= int(starts[page]) + page_size:
            count = int(_numbers(data, end[page : page + 1], long_size, order)[0])
        found[page] = count
    return found
