"""Events that come in pieces, each in an order of its own, into the order of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    Columns = dict[str, NDArray[Any]]


class _Piece:
    """Events of one piece that were not given yet."""

    __slots__ = ("columns", "data")

    def __init__(self, data: Any, columns: Columns) -> None:
        self.data = data
        self.columns = columns

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Forget all other events."""
        self.columns = {name: column[rows] for name, column in self.columns.items()}


class Pending:
    """Collects pieces; gives what is old enough, ordered.

    Columns have the names of contents.Window's, at least ``time`` and ``at``: where the record begins in the piece's
    data, or in what all pieces share.
    """

    def __init__(self, shared: Any = None) -> None:
        """shared: what ``at`` counts in for all pieces; None: each brings its own."""
        self.shared = shared
        self.pieces: list[_Piece] = []
        self.waiting = 0

    def add(self, data: Any, columns: Columns) -> None:
        """Take a piece; data: None with shared, else bytes-like, which must stay."""
        self.pieces.append(_Piece(data, columns))
        self.waiting += len(columns["time"])

    def give(self, limit: int | None) -> tuple[Any, Columns] | None:
        """(data, columns) of all that is not newer than limit (None: of all), in time order; None: there is nothing."""
        if not self.pieces:
            return None
        data, whole = self._whole()
        self._keep_newer(limit)
        order = ordered(whole["time"])
        if order is not None:
            whole = {name: column[order] for name, column in whole.items()}
        if limit is not None:
            count = int(np.searchsorted(whole["time"], np.uint64(limit), side="right"))
            whole = {name: column[:count] for name, column in whole.items()}
        return (data, whole) if len(whole["time"]) else None

    def _whole(self) -> tuple[Any, Columns]:
        pieces, base = self.pieces, 0
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in pieces[0].columns}
        for piece in pieces:
            for name, column in piece.columns.items():
                columns[name].append(column + np.uint64(base) if name == "at" and base else column)
            base += 0 if self.shared is not None else len(piece.data)
        data = self.shared if self.shared is not None else b"".join([piece.data for piece in pieces])
        return data, {name: _joined(parts) for name, parts in columns.items()}

    def _keep_newer(self, limit: int | None) -> None:
        kept = []
        for piece in self.pieces if limit is not None else ():
            newer = piece.columns["time"] > np.uint64(limit or 0)
            if newer.any():
                piece.keep(newer)
                kept.append(piece)
        self.pieces = kept
        self.waiting = sum(len(piece.columns["time"]) for piece in kept)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def ordered(time_ns: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """The rows in time order, equal times as they come; None: they are so already."""
    if len(time_ns) < 2 or bool((time_ns[1:] >= time_ns[:-1]).all()):
        return None
    return np.argsort(time_ns, kind="stable")
