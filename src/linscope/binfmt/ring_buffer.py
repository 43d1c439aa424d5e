"""Pages of the kernel's trace ring buffer -> where each event's data lie and when it happened.

A page is u64 time, a long whose low bits are the bytes used, then events: a u32 of type_len (5 bits) and time_delta
(27 bits), and what belongs to it.  The pages are walked by native code.
Source: kernel/trace/ring_buffer.c; include/linux/ring_buffer.h, enum ring_buffer_type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linscope._native import _core

NO_TYPE = 0xFFFF


class PageEvents(NamedTuple):
    """Events in the order of the pages; the columns have one length."""

    time: NDArray[np.uint64]  # as the trace's clock counts
    at: NDArray[np.uint32]  # offset of the data in the buffer
    size: NDArray[np.uint32]  # bytes of data
    page: NDArray[np.uint32]  # number of the page
    type: NDArray[np.uint16]  # common_type, the event's id; NO_TYPE where the data are too short for one
    pid: NDArray[np.uint32]  # common_pid
    missed: dict[int, int]  # page -> events that were lost before it; -1: some, not known how many
    damaged: dict[int, int]  # page -> offset at which its events stop making sense


def decode_pages(data: Any, page_size: int, *, long_size: int = 8, big_endian: bool = False) -> PageEvents:
    """Find the events of the pages in a buffer of whole pages of page_size bytes.

    long_size: of the kernel.  An event that does not fit ends its page, which is told in ``damaged``.
    Raises ValueError for sizes that no page has.
    """
    found = _core.ring_events(data, page_size, long_size, big_endian)
    return PageEvents(
        found["time"],
        found["at"],
        found["size"],
        found["page"],
        found["type"],
        found["pid"],
        dict(zip(found["missed_page"].tolist(), found["missed"].tolist(), strict=True)),
        dict(zip(found["damaged_page"].tolist(), found["damaged"].tolist(), strict=True)),
    )


def gather_fields(data: Any, at: NDArray[np.uint32], places: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """The bytes of fields of the events that begin at these offsets: for each (offset, size) size bytes a row.

    Raises ValueError when a field lies beyond the buffer.
    """
    return _core.gather(data, at, list(places))
