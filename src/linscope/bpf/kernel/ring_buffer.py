"""Ring buffers: what programs write is read from shared memory, in bulk and without numpy.

A program that submits with BPF_RB_NO_WAKEUP wakes nobody and is fast; ``wait`` looks every two milliseconds instead.
Source: Documentation/bpf/ringbuf.rst; kernel/bpf/ringbuf.c: the page of the consumer, the page of the producer, the
data twice in a row; a record's header is its length with BPF_RINGBUF_BUSY_BIT and BPF_RINGBUF_DISCARD_BIT, and a u32.
"""

from __future__ import annotations

import mmap
import select
import time

from linscope.abi import bpf as b
from linscope.bpf.kernel.descriptor import Closing
from linscope.errors import UsageError
from linscope.sys.bpf_errors import explain

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import NamedTuple

    from linscope.bpf.kernel.maps import KernelMap
else:
    from linscope.bpf._named import named_tuple

_PAGE = mmap.PAGESIZE
_HEADER = b.BPF_RINGBUF_HDR_SZ
_FLAGS = b.BPF_RINGBUF_BUSY_BIT | b.BPF_RINGBUF_DISCARD_BIT
INTERVAL_S = 0.002  # between two looks at a ring that wakes nobody

if TYPE_CHECKING:

    class Chunk(NamedTuple):
        """Records of one size: record n is ``data[n * stride : n * stride + size]``."""

        data: bytes
        size: int  # bytes of a record
        stride: int
        records: int

else:
    Chunk = named_tuple("Chunk", "data size stride records")


class RingBuffer(Closing):
    """The reading end of a map of the type BPF_MAP_TYPE_RINGBUF; there is one for a map."""

    def __init__(self, source: KernelMap) -> None:
        """source: stays the caller's, and open.  Raises UsageError (another type of map), SystemCallError."""
        if source.type != b.BPF_MAP_TYPE_RINGBUF:
            raise UsageError(f"map {source.name!r} is no ring buffer")
        self._fd = source.fd
        self.size = source.max_entries
        self._mask = self.size - 1
        try:
            self._consumer_map = mmap.mmap(source.fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            try:
                self._producer_map = mmap.mmap(
                    source.fd, _PAGE + 2 * self.size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE
                )
            except OSError:
                self._consumer_map.close()
                raise
        except OSError as error:
            raise explain(error, f"cannot map the ring buffer {source.name!r}") from error
        self._consumer = memoryview(self._consumer_map).cast("Q")
        whole = memoryview(self._producer_map)
        self._producer = whole[:_PAGE].cast("Q")
        self._data = whole[_PAGE:]
        self._words = self._data.cast("I")
        whole.release()
        self._poll: select.poll | None = None

    def close(self) -> None:
        """Unmap; harmless when repeated."""
        for view in (self._words, self._data, self._producer, self._consumer):
            view.release()
        self._producer_map.close()
        self._consumer_map.close()

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait, with headers, those of records that are not yet submitted among them."""
        return self._producer[0] - self._consumer[0]

    def read(self, limit: int = 1 << 30) -> list[bytes]:
        """The records that wait, limit of them at most; empty when there are none.

        A record that its program has reserved and not yet submitted stops the reading: order is kept.
        """
        at, end = self._consumer[0], self._producer[0]
        words, data, mask = self._words, self._data, self._mask
        found: list[bytes] = []
        add = found.append
        while at < end and len(found) < limit:
            place = at & mask
            length = words[place >> 2]
            if length & b.BPF_RINGBUF_BUSY_BIT:
                break
            size = length & ~_FLAGS
            if not length & b.BPF_RINGBUF_DISCARD_BIT:
                begin = place + _HEADER
                add(bytes(data[begin : begin + size]))
            at += size + _HEADER + 7 & ~7
        self._consumer[0] = at
        return found

    def read_chunk(self, size: int, limit: int = 1 << 20) -> Chunk | None:
        """The next records as one copy, as long as all are of one size: some 10 ns a record instead of 500.

        None when the next is of another size, discarded or not yet submitted, or nothing waits; ``read`` goes on then.
        limit: records at most.
        """
        stride = size + _HEADER + 7 & ~7
        at = self._consumer[0]
        count = min((self._producer[0] - at) // stride, limit)
        if not count:
            return None
        begin = at & self._mask
        headers = self._words[begin >> 2 : begin + count * stride >> 2 : stride >> 2].tolist()
        if headers.count(size) != count:
            count = next(number for number, header in enumerate(headers) if header != size)
            if not count:
                return None
        data = bytes(self._data[begin + _HEADER : begin + count * stride])
        self._consumer[0] = at + count * stride
        return Chunk(data, size, stride, count)

    def wait(self, timeout_s: float, *, interval_s: float = INTERVAL_S) -> bool:
        """Until something waits, or the time is over (False).

        A program that wakes ends the wait at once; what was submitted with BPF_RB_NO_WAKEUP is found by looking.
        """
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
        end = time.monotonic() + timeout_s
        while not self._ready():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._poll.poll(1000 * min(left, interval_s))
        return True

    def _ready(self) -> bool:
        at = self._consumer[0]
        return at < self._producer[0] and not self._words[(at & self._mask) >> 2] & b.BPF_RINGBUF_BUSY_BIT


class UserRingBuffer(Closing):
    """The writing end of a map of the type BPF_MAP_TYPE_USER_RINGBUF, which programs drain (since v6.1)."""

    def __init__(self, source: KernelMap) -> None:
        """source: stays the caller's, and open.  Raises UsageError, SystemCallError."""
        if source.type != b.BPF_MAP_TYPE_USER_RINGBUF:
            raise UsageError(f"map {source.name!r} is no user ring buffer")
        self.size = source.max_entries
        self._mask = self.size - 1
        writable = mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._consumer_map = mmap.mmap(source.fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
            try:
                self._producer_map = mmap.mmap(
                    source.fd, _PAGE + 2 * self.size, mmap.MAP_SHARED, writable, offset=_PAGE
                )
            except OSError:
                self._consumer_map.close()
                raise
        except OSError as error:
            raise explain(error, f"cannot map the user ring buffer {source.name!r}") from error
        self._consumer = memoryview(self._consumer_map).cast("Q")
        whole = memoryview(self._producer_map)
        self._producer = whole[:_PAGE].cast("Q")
        self._data = whole[_PAGE:]
        self._words = self._data.cast("I")
        whole.release()

    def close(self) -> None:
        """Unmap; harmless when repeated."""
        for view in (self._words, self._data, self._producer, self._consumer):
            view.release()
        self._producer_map.close()
        self._consumer_map.close()

    def write(self, record: bytes) -> bool:
        """Add a record; False when there is no room for it."""
        total = len(record) + _HEADER + 7 & ~7
        at = self._producer[0]
        if total > self.size - (at - self._consumer[0]):
            return False
        place = at & self._mask
        self._data[place + _HEADER : place + _HEADER + len(record)] = record
        self._words[(place >> 2) + 1] = 0
        self._words[place >> 2] = len(record)
        self._producer[0] = at + total
        return True
