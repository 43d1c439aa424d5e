"""Symbol tables: sorted address ranges that do not overlap; names are decoded only when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linscope.symbols.demangle import demangle

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
_MAX_NAME = 1 << 20


class SymbolTable:
    """Which name an address has.

    ``starts`` and ``ends`` are u64, sorted, without overlap; a symbol with another inside has several ranges.
    An address belongs to a range from start up to, not including, end.  What an address counts (file offset,
    distance from _text, absolute) is said by the AddressRule that comes with the table.
    """

    def __init__(
        self,
        starts: U64,
        ends: U64,
        names: U64,
        blob: bytes | memoryview,
        *,
        suffixes: Sequence[str] = (),
        suffix_ids: npt.NDArray[np.uint8] | None = None,
        same_as: I32 | None = None,
        demangled: bool = True,
    ) -> None:
        """names: offset of each range's NUL-terminated raw name in blob.

        suffixes: strings such as "@plt"; suffix_ids: which of them hangs on to the readable name (0: none,
        else 1 + index).
        same_as: for each range the first one of its symbol, None when each symbol is one range.
        """
        self.starts = starts
        self.ends = ends
        self.names = names
        self.blob = blob
        self.suffixes = tuple(suffixes)
        self.suffix_ids = suffix_ids
        self.same_as = same_as
        self.demangled = demangled
        self._shown: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        return f"<SymbolTable of {len(self)} symbols>"

    def take(self, which: npt.NDArray[np.bool_]) -> SymbolTable:
        """The symbols where the mask is true."""
        ids = None if self.suffix_ids is None else self.suffix_ids[which]
        same = None
        if self.same_as is not None:
            first, new_index = self.same_as[which], np.cumsum(which) - 1
            itself = np.arange(len(first))
            same = np.where(which[first], new_index[first], itself).astype(np.int32)
        return SymbolTable(
            self.starts[which],
            self.ends[which],
            self.names[which],
            self.blob,
            suffixes=self.suffixes,
            suffix_ids=ids,
            same_as=same,
            demangled=self.demangled,
        )

    def find(self, addresses: npt.NDArray[np.uint64]) -> I32:
        """Index of the symbol at each address, -1 where there is none; one index a symbol."""
        addresses = np.asarray(addresses, np.uint64)
        if not len(self.starts):
            return np.full(addresses.shape, -1, np.int32)
        found = np.searchsorted(self.starts, addresses, "right").astype(np.int32) - np.int32(1)
        hit = (found >= 0) & (addresses < self.ends[found])
        if self.same_as is not None:
            found = self.same_as[found]
        return np.where(hit, found, -1).astype(np.int32)

    def raw_name(self, index: int) -> str:
        """The name as the linker knows it."""
        offset = int(self.names[index])
        blob = self.blob
        step = 128
        while True:
            piece = bytes(blob[offset : offset + step])
            end = piece.find(b"\0")
            if end >= 0:
                return piece[:end].decode("utf-8", "replace")
            if len(piece) < step or step >= _MAX_NAME:
                return piece.decode("utf-8", "replace")
            step *= 8

    def name(self, index: int) -> str:
        """The readable name: demangled, "@plt" added where it is a stub."""
        shown = self._shown.get(index)
        if shown is None:
            raw = self.raw_name(index)
            shown = demangle(raw) if self.demangled else raw
            if self.suffix_ids is not None and self.suffix_ids[index]:
                shown += self.suffixes[int(self.suffix_ids[index]) - 1]
            self._shown[index] = shown
        return shown


class AddressRule(NamedTuple):
    """How an instruction pointer becomes an address of a table.

    base "map": offset in the file (ip - map_start + map_pgoff); "start": distance from the mapping's start;
    "reference": distance from the kernel's _text, which lies shift bytes below map_pgoff (below map_start
    where the recording has no page offset); "absolute": the ip itself.
    """

    base: str
    shift: int = 0

    def apply(self, ips: U64, map_start: int | U64 = 0, map_pgoff: int | U64 = 0) -> U64:
        """Table addresses of ips (u64, modulo 2**64); the mapping's start and offset: one, or one each."""
        ips = np.asarray(ips, np.uint64)
        start = np.asarray(map_start, np.uint64)
        offset = np.asarray(map_pgoff, np.uint64)
        with np.errstate(over="ignore"):
            if self.base == "map":
                return ips - start + offset
            if self.base == "start":
                return ips - start
            if self.base == "reference":
                return ips - np.where(offset == 0, start, offset) + np.uint64(self.shift)
            return ips.copy()


def empty_table() -> SymbolTable:
    """A table that knows no address."""
    nothing = np.empty(0, np.uint64)
    return SymbolTable(nothing, nothing, nothing, b"")


def table_of_names(starts: U64, ends: U64, names: Sequence[str], *, demangled: bool = False) -> SymbolTable:
    """A table of ranges that are already sorted and apart, with one name for each."""
    parts = [name.encode("utf-8", "replace") + b"\0" for name in names]
    sizes = np.fromiter((len(part) for part in parts), np.uint64, len(parts))
    offsets = np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes, dtype=np.uint64)])[:-1]
    return SymbolTable(starts, ends, offsets, b"".join(parts), demangled=demangled)
