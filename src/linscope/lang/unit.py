"""The bytes between an eBPF program and user space: events in the ring buffer, keys and values of maps.

**An event** is a u32 with its number in ``Unit.events``, a u32 with the total size, then its values.  First the fixed
part: each value aligned to min(its align, 8) from the record's start, scalars and memory as they are; a value whose
type is String, Buffer or a scalar-free join string is a u32 with its number of bytes here (without NUL, without a
Buffer's own length), and these bytes follow the fixed part in order, without gaps.

**A map**: key bytes are the key type's (a scalar in its own size), value bytes the value type's.  A scalar map is an
array of one entry (key u32 0).  With a value in BUCKETED each bucket is an entry: the key is the map's key, rounded up
to 4 bytes, then a u32 bucket; of a scalar map only the u32 (a per-CPU array of ``bucket_count`` entries).

**A family** (ir.Family) is a u32 with the parent process, then its name, then that of the process's first thread.
"""

from __future__ import annotations

from linscope.lang import types as t
from linscope.lang.types import round_up

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER_SIZE = 8  # bytes of an event before its values
BUCKETED = (t.Histogram, t.LinearHistogram, t.TimeSeries)
MOST_STRINGS = 16  # of join()
PARENT, PARENT_COMM, LEADER_COMM = 0, 4, 20  # offsets in a family, bytes
FAMILY_ADDRESS = 2**64 - 2**16  # where no memory is


def is_variable(type: t.Type) -> bool:
    """Whether a value of an event lies behind the fixed part, with its length in it."""
    return isinstance(type, t.String | t.Buffer)


def event_layout(values: Sequence[t.Type]) -> tuple[list[int], int]:
    """Offset of each value in the fixed part, from the record's start, and where the fixed part ends."""
    at = HEADER_SIZE
    offsets = []
    for type in values:
        size, align = (4, 4) if is_variable(type) else (type.size, min(type.align, 8))
        at = round_up(at, align)
        offsets.append(at)
        at += size
    return offsets, at


def bucket_offset(key: t.Type | None) -> int:
    """Where the u32 with the bucket lies in the key of a bucketed map."""
    return 0 if key is None else round_up(key.size, 4)


def bucket_count(value: t.Type) -> int:
    """Number of buckets that a value can have.  Raises TypeError for a value without buckets."""
    if isinstance(value, t.Histogram):
        return 1 + (64 - value.bits << value.bits)
    if isinstance(value, t.LinearHistogram):
        return 2 + (value.most - value.least) // value.step
    if isinstance(value, t.TimeSeries):
        return value.intervals
    raise TypeError(f"{type(value).__name__} has no buckets")


def histogram_bucket(value: int, bits: int) -> int:
    """Bucket of a signed value in a Histogram: 0 below zero; then linear up to 2**bits; then 2**bits per power.

    >>> [histogram_bucket(v, 0) for v in (-1, 0, 1, 2, 3, 4)]
    [0, 1, 2, 3, 3, 4]
    """
    if value < 0:
        return 0
    if value < 1 << bits:
        return 1 + value
    power = value.bit_length() - 1 - bits  # of two, by which the buckets here are wide
    return 1 + (power << bits) + (value >> power)


def bucket_range(bucket: int, bits: int) -> tuple[int, int]:
    """First value of a Histogram's bucket and the one behind its last; bucket is not 0.

    >>> bucket_range(4, 0)
    (4, 8)
    """
    place = bucket - 1
    if place < 1 << bits + 1:
        return place, place + 1
    power = (place >> bits) - 1
    low = (place - (power << bits)) << power
    return low, low + (1 << power)


def linear_bucket(value: int, kind: t.LinearHistogram) -> int:
    """Bucket of a signed value in a LinearHistogram: 0 below least, the last from most on."""
    if value < kind.least:
        return 0
    if value >= kind.most:
        return 1 + (kind.most - kind.least) // kind.step
    return 1 + (value - kind.least) // kind.step
