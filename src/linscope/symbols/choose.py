"""Which of several symbols an address belongs to: the choices that ``perf report`` makes.

Source: what tools/perf/util/symbol.c of Linux 6.1 does (symbols__fixup_end, choose_best_symbol), checked
against the real tool address by address in tests/symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linscope.binfmt.elf import STB_GLOBAL, STB_WEAK
from linscope.symbols.demangle import demangle, is_mangled

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
_PAGE = 4096


class Candidates(NamedTuple):
    """Symbols in the order in which perf would insert them; names are offsets into a string table."""

    starts: U64
    ends: U64
    bindings: U8
    kinds: U8
    names: U64

    def take(self, which: npt.NDArray[Any]) -> Candidates:
        """The candidates at these places, or where this mask is true."""
        return Candidates(*(column[which] for column in self))

    def sorted(self) -> Candidates:
        """By start; those of one start keep their order."""
        return self.take(np.argsort(self.starts, kind="stable"))


def join(first: Candidates, second: Candidates) -> Candidates:
    """The second after the first."""
    return Candidates(
        np.concatenate([first.starts, second.starts]),
        np.concatenate([first.ends, second.ends]),
        np.concatenate([first.bindings, second.bindings]),
        np.concatenate([first.kinds, second.kinds]),
        np.concatenate([first.names, second.names]),
    )


def extend_ends(symbols: Candidates) -> None:
    """Let symbols without a size reach to the next symbol, the last to the end of its page; changes them in
    place.

    Labels (STT_NOTYPE) too: hand-written assembly has little else.
    """
    starts, ends = symbols.starts, symbols.ends
    if not len(starts):
        return
    empty = np.flatnonzero(ends[:-1] == starts[:-1])
    ends[empty] = starts[empty + 1]
    if ends[-1] == starts[-1]:
        ends[-1] = min((int(starts[-1]) + _PAGE - 1) // _PAGE * _PAGE + _PAGE, 2**64 - 1)


def choose_names(symbols: Candidates, name_of: Callable[[int], bytes]) -> Candidates:
    """One symbol for each start.

    With a length before without, strong before weak, global before local, fewer leading underscores (of the
    readable name), then the longer name, then the first.
    name_of: raw name at an offset.
    """
    starts = symbols.starts
    if not len(starts):
        return symbols
    first = np.flatnonzero(np.concatenate([[True], starts[1:] != starts[:-1]]))
    counts = np.diff(np.append(first, len(starts)))
    if len(first) == len(starts):
        return symbols
    rank = (symbols.ends > starts).astype(np.uint8) << 2
    rank |= (symbols.bindings != STB_WEAK).astype(np.uint8) << 1
    rank |= (symbols.bindings == STB_GLOBAL).astype(np.uint8)
    best = np.repeat(np.maximum.reduceat(rank, first), counts)
    group = np.repeat(np.arange(len(first)), counts)
    leaders = np.flatnonzero(rank == best)
    leader_groups = group[leaders]
    new = np.concatenate([[True], leader_groups[1:] != leader_groups[:-1]])
    chosen = leaders[new]
    ties = np.diff(np.append(np.flatnonzero(new), len(leaders)))
    offset = np.flatnonzero(new)
    names = symbols.names
    for place in np.flatnonzero(ties > 1).tolist():
        rivals = leaders[offset[place] : offset[place] + ties[place]].tolist()
        chosen[place] = rivals[_best_name([name_of(int(names[one])) for one in rivals])]
    return symbols.take(chosen)


def _best_name(names: list[bytes]) -> int:
    """Index of the name that perf shows; the first among equals."""
    if any(is_mangled(name) for name in names):
        # constructors and destructors come in pairs (C1, C2) whose readable names are the same
        same = {name.replace(b"C1", b"C2").replace(b"D1", b"D2") for name in names}
        if len(same) == 1:
            return 0
        names = [demangle(name.decode("utf-8", "replace")).encode() for name in names]
    keys = [(len(name.lstrip(b"_")) - len(name), len(name)) for name in names]
    return keys.index(max(keys))


class Ranges(NamedTuple):
    """Ranges that do not overlap, and for each the index of the one it was cut from."""

    starts: U64
    ends: U64
    owners: npt.NDArray[np.int64]

    def same_as(self) -> npt.NDArray[np.int32] | None:
        """For each range the first of its owner; None when no owner has two."""
        count = len(self.owners)
        if not count:
            return None
        first = np.full(int(self.owners.max()) + 1, count, np.int32)
        np.minimum.at(first, self.owners, np.arange(count, dtype=np.int32))
        same = first[self.owners]
        return None if np.array_equal(same, np.arange(count)) else same


def flatten(starts: U64, ends: U64) -> Ranges:
    """Cut overlapping ranges so that of two the later one (by index) keeps the common part.

    Empty ranges vanish.  Needs no more than two pieces for each range given.
    """
    keep = np.flatnonzero(ends > starts)
    order = keep[np.argsort(starts[keep], kind="stable")]
    low, high = starts[order], ends[order]
    if not np.any(high[:-1] > low[1:]):
        return Ranges(low, high, order)
    # ranges that touch no other stay as they are
    reach = np.maximum.accumulate(high)
    cluster = np.cumsum(np.concatenate([[False], low[1:] >= reach[:-1]]))
    alone = np.bincount(cluster)[cluster] == 1
    cut = _paint(starts, ends, np.sort(order[~alone]))
    begins = np.concatenate([low[alone], cut.starts])
    merged = np.argsort(begins, kind="stable")
    return Ranges(
        begins[merged],
        np.concatenate([high[alone], cut.ends])[merged],
        np.concatenate([order[alone], cut.owners])[merged],
    )


def _paint(starts: U64, ends: U64, which: npt.NDArray[np.int64]) -> Ranges:
    """The ranges of these indexes, each painted over those before it."""
    edges = np.sort(np.concatenate([starts[which], ends[which]]))
    edges = edges[np.concatenate([[True], edges[1:] != edges[:-1]])]
    owner = np.full(len(edges) - 1, -1, np.int64)
    first = np.searchsorted(edges, starts[which])
    last = np.searchsorted(edges, ends[which])
    for one, begin, end in zip(which.tolist(), first.tolist(), last.tolist(), strict=True):
        owner[begin:end] = one
    change = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    begins, finishes = edges[change], edges[np.append(change[1:], len(edges) - 1)]
    used = owner[change] >= 0
    return Ranges(begins[used], finishes[used], owner[change][used])
