"""Memory in pieces: ranges of addresses, each of which lies in one stretch of the file, is zero, or is cut off."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from linscope.errors import MemoryFault
from linscope.memory.physical import ADDRESS_END, PhysicalMemory, merge_ranges

ZERO, CUT = -1, -2  # instead of a file offset


class Source(Protocol):
    """A file, or what looks like one."""

    where: str
    size: int
    is_cut: bool  # True: it says itself that its end is missing

    def close(self) -> None: ...

    def peek(self, offset: int, size: int) -> bytes: ...

    def read(self, offset: int, size: int, what: str) -> bytes: ...


class Piece(NamedTuple):
    """Addresses first to behind (exclusive) lie at a file offset, or ZERO, or CUT."""

    first: int
    behind: int
    offset: int


class Pieces:
    """A map from addresses to places in a file; what is given may overlap, the first with bytes wins."""

    def __init__(self, file: Source, given: Iterable[Piece]) -> None:
        """given: in any order; stretches beyond the file's end become CUT."""
        self.file = file
        stored: list[Piece] = []
        others: list[Piece] = []
        for piece in given:
            if piece.offset < 0:
                others.append(piece)
                continue
            inside = max(min(file.size - piece.offset, piece.behind - piece.first), 0)
            stored.append(Piece(piece.first, piece.first + inside, piece.offset))
            others.append(Piece(piece.first + inside, piece.behind, CUT))
        self.pieces = _overlay(_overlay([], stored), others)
        self._firsts = [piece.first for piece in self.pieces]

    def find(self, address: int) -> Piece | None:
        """The piece that has an address, None when none does."""
        index = bisect_right(self._firsts, address) - 1
        if index >= 0 and address < self.pieces[index].behind:
            return self.pieces[index]
        return None

    def has(self, address: int) -> bool:
        """True if there are bytes for it."""
        piece = self.find(address)
        return piece is not None and piece.offset != CUT

    def read(self, address: int, size: int, fault: Callable[..., MemoryFault]) -> bytes:
        """All bytes; fault(address, reason, why=) makes the error that is raised."""
        parts = []
        end = address + size
        while address < end:
            piece = self.find(address)
            if piece is None or piece.offset == CUT:
                raise fault(address, MemoryFault.CUT if piece else MemoryFault.HOLE)
            count = min(piece.behind, end) - address
            if piece.offset == ZERO:
                parts.append(bytes(count))
            else:
                data = self.file.peek(piece.offset + address - piece.first, count)
                parts.append(data)
                if len(data) != count:
                    offset = piece.offset + address - piece.first + len(data)
                    raise fault(address + len(data), MemoryFault.DAMAGED, offset=offset, why="it cannot be read")
            address += count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def iter_present(self, start: int, end: int, margin: int | None = None) -> Iterator[tuple[int, int]]:
        """(first, behind) of what can be read between start and end; neighbors are joined.

        margin: of what is zero, only so many bytes at the ends of each piece; None: all.
        """
        clipped: list[tuple[int, int]] = []
        for piece in self.pieces[max(bisect_right(self._firsts, start) - 1, 0) : bisect_left(self._firsts, end)]:
            first, behind = max(piece.first, start), min(piece.behind, end)
            if piece.offset == ZERO and margin is not None and behind - first > 2 * margin:
                clipped += [(first, first + margin), (behind - margin, behind)]
            elif piece.offset != CUT:
                clipped.append((first, behind))
        yield from merge_ranges(clipped)


def _overlay(lower: list[Piece], given: list[Piece]) -> list[Piece]:
    """Pieces in order without overlap: what lower has stays, given fills the gaps, the first of them wins.

    [(2, 4, 10)] and [(0, 8, 50)] -> [(0, 2, 50), (2, 4, 10), (4, 8, 54)]
    """
    made: list[Piece] = []
    ordered = sorted(given)
    index = covered = 0
    for piece in [*lower, None]:
        limit = piece.first if piece else 1 << 64
        while index < len(ordered):
            one = ordered[index]
            first = max(one.first, covered)
            if first >= limit:
                break
            behind = min(one.behind, limit)
            if first < behind:
                made.append(Piece(first, behind, one.offset if one.offset < 0 else one.offset + first - one.first))
                covered = behind
            if one.behind > limit:
                break  # its rest may come behind the piece
            index += 1
        if piece:
            made.append(piece)
            covered = max(covered, piece.behind)
    return made


class PieceMemory(PhysicalMemory):
    """Physical memory that lies in a file as it is."""

    def __init__(self, file: Source, pieces: Iterable[Piece]) -> None:
        """file: closed with it; pieces: by physical address."""
        super().__init__(file.where, [file])
        self.pieces = Pieces(file, pieces)
        self._is_incomplete = file.is_cut or any(piece.offset == CUT for piece in self.pieces.pieces)

    def has(self, address: int) -> bool:
        """True if the file has the byte at a physical address."""
        return self.pieces.has(address)

    def _load(self, address: int, size: int) -> bytes:
        return self.pieces.read(address, size, self.fault)

    def _iter_ranges(self) -> Iterator[tuple[int, int]]:
        yield from merge_ranges((piece.first, piece.behind) for piece in self.pieces.pieces)

    def iter_present(self, start: int = 0, end: int = ADDRESS_END) -> Iterator[tuple[int, int]]:
        """See PhysicalMemory."""
        yield from self.pieces.iter_present(start, end)

    def _iter_stored(self, start: int, end: int, margin: int) -> Iterator[tuple[int, int]]:
        return self.pieces.iter_present(start, end, margin)
