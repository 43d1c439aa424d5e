"""A column that grows chunk by chunk, without its rows being copied, and whose unfilled rows cost no memory."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST = 1 << 10  # rows
_MAPPED = 1 << 20  # bytes from which on a column has a mapping of its own, which grows by mremap(2)
_HUGE = 1 << 21  # bytes of a large page: mappings of whole ones lie at places where they can be used


class GrowingColumn:
    """Rows are appended; ``finish`` gives the array."""

    def __init__(self, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        """shape: of one row; () for a plain column."""
        self._rows = np.empty((_FIRST, *shape), dtype)
        self._map: mmap.mmap | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, part: Any, count: int | None = None) -> None:
        """Append rows.  part: an array, or one value that count rows have; it is converted to the column's type."""
        count = len(part) if count is None else count
        end = self._count + count
        if end > len(self._rows):
            self._grow(max(end, 2 * len(self._rows)))
        self._rows[self._count : end] = part
        self._count = end

    def _grow(self, rows: int) -> None:
        """Make room for some rows in all.

        Not resize(), which writes zeros; and a larger array would have to be filled again, page by page.
        """
        old = self._rows
        size = rows * (old.nbytes // len(old))
        if size < _MAPPED:
            self._rows = np.empty((rows, *old.shape[1:]), old.dtype)
            self._rows[: self._count] = old[: self._count]
            return
        size += -size % _HUGE
        if self._map is None:
            self._map = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self._map.madvise(mmap.MADV_HUGEPAGE)
            self._rows = self._view()
            self._rows[: self._count] = old[: self._count]
        else:
            dtype, shape = old.dtype, old.shape
            del old
            self._rows = np.empty((0, *shape[1:]), dtype)  # nobody may look while the mapping moves
            self._map.resize(size)
            self._rows = self._view()

    def _view(self) -> NDArray[Any]:
        """All of the mapping as rows."""
        assert self._map is not None
        shape = self._rows.shape[1:]
        row = self._rows.dtype.itemsize * int(np.prod(shape))
        count = len(self._map) // row
        return np.frombuffer(self._map, self._rows.dtype, count * row // self._rows.dtype.itemsize).reshape(-1, *shape)

    def finish(self) -> NDArray[Any]:
        """All rows; nothing may be appended afterwards."""
        if self._map is None:
            self._rows.resize((self._count, *self._rows.shape[1:]), refcheck=False)
            return self._rows
        return self._rows[: self._count]
