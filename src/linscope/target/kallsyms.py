"""The kernel's own table of symbols, read in its memory.

A name is a length (two bytes when the first has bit 7) and that many codes; a code stands for a text of the token
table; the first character of all is the symbol's type as nm has it.  Addresses are 32-bit distances.
Source: scripts/kallsyms.c, kernel/kallsyms.c, kernel/kallsyms_internal.h.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from linscope.errors import FormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from linscope.contracts import Memory
    from linscope.memory.vmcoreinfo import VmcoreInfo

_MOST_SYMBOLS = 4_000_000
_MEAN_NAME = 48  # bytes that a name may have on the average, as codes
_FUNCTIONS = frozenset("tTwW")


_PARTS = ("num_syms", "relative_base", "offsets", "token_index", "token_table", "names")


def _place(info: VmcoreInfo, part: str) -> int:
    """Where a part of the table is.  Raises FormatError."""
    found = info.symbol(f"kallsyms_{part}")
    if found is None:
        raise FormatError(
            f"VMCOREINFO of {info.release} does not tell kallsyms_{part}",
            why="kernels do since v6.0 (f09bddbd8661), distributions' older ones with it",
        )
    return found


class KernelSymbols:
    """The symbols of vmlinux, by address and by name.  Names are decoded when they are asked for."""

    def __init__(self, addresses: Sequence[int], names: bytes, tokens: list[bytes]) -> None:
        """addresses: of all symbols, as they are in the table, not falling; names: the kernel's encoded names."""
        self._addresses = addresses
        self._names = names
        self._tokens = tokens
        self._starts, self._ends = self._find_names(len(addresses))  # of each name's codes
        self._by_name: dict[bytes, int] | None = None

    @classmethod
    def read(cls, memory: Memory, info: VmcoreInfo) -> KernelSymbols:
        """From a kernel's memory.  Raises FormatError for damaged tables, MemoryFault for missing ones."""
        places = {name: _place(info, name) for name in _PARTS}
        count = int.from_bytes(memory.read(places["num_syms"], 4), "little")
        if not 0 < count < _MOST_SYMBOLS:
            raise FormatError(f"kallsyms tells of {count} symbols")
        base = int.from_bytes(memory.read(places["relative_base"], 8), "little")
        offsets = array("i", memory.read(places["offsets"], 4 * count))
        index = array("H", memory.read(places["token_index"], 512))
        table_at = places["token_table"]
        table = memory.read(table_at, max(index) + 256)
        tokens = [table[at : table.index(b"\0", at)] for at in index]
        # the table of names has no size; what lies behind it in memory bounds it, and so does reason
        start = places["names"]
        size = min([*(address - start for address in places.values() if address > start), _MEAN_NAME * count])
        names = memory.read(start, size)
        # negative ones count from the base (CONFIG_KALLSYMS_ABSOLUTE_PERCPU), others are absolute; without that
        # option, gone since v6.15 (01157ddc58dc), all are unsigned and count from the base
        if min(offsets) < 0:
            addresses = [offset if offset >= 0 else base - 1 - offset for offset in offsets]
        else:
            addresses = [base + offset for offset in offsets]
        return cls(addresses, names, tokens)

    def __len__(self) -> int:
        return len(self._addresses)

    def __repr__(self) -> str:
        return f"<KernelSymbols: {len(self):,}>"

    def _find_names(self, count: int) -> tuple[array[int], array[int]]:
        names, at, end = self._names, 0, len(self._names)
        starts, ends = array("I"), array("I")
        for _ in range(count):
            if at + 1 >= end:
                raise FormatError("the names of kallsyms end too early")
            length = names[at]
            at += 1
            if length & 0x80:  # v6.1, 73bbb94466fd
                length = length & 0x7F | names[at] << 7
                at += 1
            starts.append(at)
            at += length
            ends.append(at)
        if at > end:
            raise FormatError("the names of kallsyms end too early")
        return starts, ends

    def _text(self, place: int) -> bytes:
        """Type and name of one symbol."""
        tokens = self._tokens
        return b"".join([tokens[code] for code in self._names[self._starts[place] : self._ends[place]]])

    def name(self, place: int) -> str:
        """Name of the symbol at a place of the table."""
        return self._text(place)[1:].decode("utf-8", "replace")

    def kind(self, place: int) -> str:
        """Type of the symbol at a place, as nm has it: "t", "T", "d" ..."""
        return self._text(place)[:1].decode("latin-1")

    def address(self, place: int) -> int:
        """Address of the symbol at a place."""
        return self._addresses[place]

    def _names_index(self) -> dict[bytes, int]:
        """Place of the first symbol of each name."""
        if self._by_name is None:
            names, join, get = self._names, b"".join, self._tokens.__getitem__
            found = {}
            for place in range(len(self) - 1, -1, -1):
                found[join(map(get, names[self._starts[place] : self._ends[place]]))[1:]] = place
            self._by_name = found
        return self._by_name

    def find(self, name: str) -> int | None:
        """Address of the first symbol of a name; None when there is none."""
        place = self._names_index().get(name.encode())
        return None if place is None else self._addresses[place]

    def find_all(self, name: str) -> list[int]:
        """Addresses of all symbols of a name (static ones may share it)."""
        return [address for address, _, found in self if found == name]

    def names(self, begin: str) -> list[str]:
        """Names that begin so."""
        start = begin.encode()
        return sorted(one.decode("utf-8", "replace") for one in self._names_index() if one.startswith(start))

    def near(self, text: str) -> list[str]:
        """Names that may have been meant."""
        import difflib

        return difflib.get_close_matches(text, self.names(text[:3]), n=3)

    def find_place(self, address: int) -> int | None:
        """Place of the symbol that an address belongs to (the last at or before it); None below the first."""
        place = bisect_right(self._addresses, address) - 1
        if place < 0:
            return None
        # of several at one address the first is the one that others are aliases of (scripts/kallsyms.c sorts so)
        while place and self._addresses[place - 1] == self._addresses[place]:
            place -= 1
        return place

    def is_function(self, place: int) -> bool:
        """Whether the symbol at a place is code."""
        return self.kind(place) in _FUNCTIONS

    def __iter__(self) -> Iterator[tuple[int, str, str]]:
        """(address, type, name) of all, by address."""
        for place, address in enumerate(self._addresses):
            text = self._text(place).decode("utf-8", "replace")
            yield address, text[:1], text[1:]
