"""The ring that the kernel fills with records: one control page and 2^n data pages, shared by mmap(2).

Source: perf_event_open(2), section "MMAP layout"; include/uapi/linux/perf_event.h, struct
perf_event_mmap_page.
"""

from __future__ import annotations

import mmap
from errno import EPERM

from linscope.abi.perf_event import MMAP_PAGE_DATA_HEAD, MMAP_PAGE_DATA_TAIL

PAGE_SIZE = mmap.PAGESIZE


class Ring:
    """One event's ring buffer.  The owner must ``close()`` it before the event's descriptor."""

    __slots__ = ("_control", "_data", "_map", "fd", "mask", "size", "tail")

    def __init__(self, fd: int, data_size: int) -> None:
        """data_size: bytes, a power of two of pages.  Raises OSError: EPERM over the user's
        locked-memory limit."""
        self.fd = fd
        self.size = data_size
        self.mask = data_size - 1
        self._map = mmap.mmap(fd, PAGE_SIZE + data_size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        whole = memoryview(self._map)
        self._control = whole[:PAGE_SIZE].cast("Q")
        self._data = whole[PAGE_SIZE:]
        whole.release()
        self.tail = self._control[MMAP_PAGE_DATA_TAIL // 8]

    def pending(self) -> list[memoryview]:
        """What the kernel wrote since the last ``consume``: no, one or two slices of the shared
        memory, uncopied."""
        head = self._control[MMAP_PAGE_DATA_HEAD // 8]
        tail = self.tail
        if head == tail:
            return []
        start, end = tail & self.mask, head & self.mask
        self.tail = head
        if start < end:
            return [self._data[start:end]]
        return [self._data[start:], self._data[:end]] if end else [self._data[start:]]

    def consume(self) -> None:
        """Give the space of the last ``pending`` back to the kernel."""
        self._control[MMAP_PAGE_DATA_TAIL // 8] = self.tail

    def close(self) -> None:
        """Unmap; when slices from ``pending`` are still held, as soon as the last of them goes."""
        try:
            self._control.release()
            self._data.release()
            self._map.close()
        except BufferError:
            del self._control, self._data, self._map


def open_ring(fd: int, data_size: int) -> Ring:
    """A ring of data_size bytes, or of half, a quarter... when the locked-memory limit forbids that much.

    Raises OSError when even four pages are refused.
    """
    while True:
        try:
            return Ring(fd, data_size)
        except OSError as error:
            if error.errno != EPERM or data_size <= 4 * PAGE_SIZE:
                raise
            data_size //= 2
