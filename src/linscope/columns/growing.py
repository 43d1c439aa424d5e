"""A column that grows chunk by chunk: the parts are freed at once, and rows that are not filled cost no memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST = 1 << 10  # rows


class GrowingColumn:
    """Rows are appended; ``finish`` gives the array."""

    def __init__(self, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        """shape: of one row; () for a plain column."""
        self._rows = np.empty((_FIRST, *shape), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, part: Any, count: int | None = None) -> None:
        """Append rows.  part: an array, or one value that count rows have; it is converted to the column's type."""
        count = len(part) if count is None else count
        end = self._count + count
        if end > len(self._rows):
            # Not resize(), which writes zeros: an empty array of megabytes lies in large pages, given when written to.
            larger = np.empty((max(end, 2 * len(self._rows)), *self._rows.shape[1:]), self._rows.dtype)
            larger[: self._count] = self._rows[: self._count]
            self._rows = larger
        self._rows[self._count : end] = part
        self._count = end

    def finish(self) -> NDArray[Any]:
        """All rows; nothing may be appended afterwards."""
        self._rows.resize((self._count, *self._rows.shape[1:]), refcheck=False)
        return self._rows
