"""A bit a page, in the file: which are set, and how many are set before one.

Nothing is read before it is asked for.  Counts are kept a block of 524,288 bits (2 GB of memory), and for the blocks
in use a group of 4,096 bits: a dump of 1 TB costs 512 numbers, not an array over its 268 million pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from linscope.memory._pieces import Source

_BLOCK_SHIFT, _GROUP_SHIFT = 19, 12  # bits
_BLOCK_BYTES, _GROUP_BYTES = 1 << _BLOCK_SHIFT - 3, 1 << _GROUP_SHIFT - 3
_GROUPS = 1 << _BLOCK_SHIFT - _GROUP_SHIFT
_MAX_BLOCKS = 32  # 2 MB kept
_NONE, _ALL = bytes(_BLOCK_BYTES), b"\xff" * _BLOCK_BYTES


class Bitmap:
    """Bits in the order of makedumpfile: the lowest bit of a byte first."""

    def __init__(self, file: Source, offset: int, bits: int) -> None:
        """offset: its place in the file; bits: how many there are; what the file lacks of them is not set."""
        self.file = file
        self.offset = offset
        self.bits = bits
        self._before = [0]  # set bits before each block, as far as they have been counted
        self._blocks: dict[int, tuple[bytes, list[int]]] = {}  # a block's bytes, set bits before each group in it

    def test(self, bit: int) -> bool:
        """True if it is set; what is outside is not."""
        if not 0 <= bit < self.bits:
            return False
        block, place = bit >> _BLOCK_SHIFT, bit & (1 << _BLOCK_SHIFT) - 1
        data = (self._blocks.get(block) or self._load(block))[0]
        return bool(data[place >> 3] >> (place & 7) & 1)

    def rank(self, bit: int) -> int:
        """How many bits before this one are set; those behind the last are not."""
        bit = min(bit, self.bits)
        if bit <= 0:
            return 0
        number, place = bit >> _BLOCK_SHIFT, bit & (1 << _BLOCK_SHIFT) - 1
        before = self._before
        while len(before) <= number:
            data = self._bytes(len(before) - 1)
            plain = data in (_NONE, _ALL)  # compared in a tenth of the time of counting
            count = 8 * len(data) * (data[0] & 1) if plain else int.from_bytes(data, "little").bit_count()
            before.append(before[-1] + count)
        data, groups = self._blocks.get(number) or self._load(number)
        start = (place >> _GROUP_SHIFT) * _GROUP_BYTES
        group = int.from_bytes(data[start : start + _GROUP_BYTES], "little")
        inside = (group & (1 << (place & (1 << _GROUP_SHIFT) - 1)) - 1).bit_count()
        return before[number] + groups[place >> _GROUP_SHIFT] + inside

    def iter_runs(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """(first, behind the last) of each run of set bits between start and end, in order."""
        end = self.bits if end is None else min(end, self.bits)
        first = run_end = -1  # of the run that has not ended
        at = start = max(start, 0)
        while at < end:
            block = at >> _BLOCK_SHIFT
            data = self._bytes(block)
            limit = min(end, block + 1 << _BLOCK_SHIFT)
            for begin, behind in _runs(data, block << _BLOCK_SHIFT):
                begin, behind = max(begin, start), min(behind, limit)
                if begin >= behind:
                    continue
                if first >= 0 and begin == run_end:
                    run_end = behind
                    continue
                if first >= 0:
                    yield first, run_end
                first, run_end = begin, behind
            at = limit
        if first >= 0:
            yield first, run_end

    def _load(self, block: int) -> tuple[bytes, list[int]]:
        if len(self._blocks) >= _MAX_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        data = self._bytes(block)
        counts = (
            int.from_bytes(data[at : at + _GROUP_BYTES], "little").bit_count()
            for at in range(0, _BLOCK_BYTES, _GROUP_BYTES)
        )
        made = data, list(accumulate(counts, initial=0))[:_GROUPS]
        self._blocks[block] = made
        return made

    def _bytes(self, block: int) -> bytes:
        """A block's bytes; bits behind the last one are cleared."""
        start = block * _BLOCK_BYTES
        bits = min(self.bits - (block << _BLOCK_SHIFT), 1 << _BLOCK_SHIFT)
        if bits <= 0:
            return _NONE
        data = self.file.peek(self.offset + start, bits + 7 >> 3)
        if bits & 7 and len(data) == bits + 7 >> 3:
            data = data[:-1] + bytes((data[-1] & (1 << (bits & 7)) - 1,))
        return data.ljust(_BLOCK_BYTES, b"\0")


def _runs(data: bytes, base: int) -> Iterator[tuple[int, int]]:
    """Runs of set bits in a block whose first bit has the number base; a run may be told in touching parts."""
    import re  # not where a few pages are read

    for found in re.finditer(rb"\xff+|[^\0\xff]", data):
        at, byte = base + 8 * found.start(), data[found.start()]
        if byte == 0xFF:
            yield at, base + 8 * found.end()
            continue
        bit = 0
        while byte >> bit:
            rest = byte >> bit
            if rest & 1:
                width = (rest + 1 & ~rest).bit_length() - 1  # of the lowest run of ones
                yield at + bit, at + bit + width
                bit += width
            else:
                bit += 1
