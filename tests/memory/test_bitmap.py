"""The bitmaps of kdump dumps beside a plain list of bits; a dump of 1 TB in bounded memory."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from made_dumps import PAGE, kdump, page_of

from linscope.errors import MemoryFault
from linscope.memory import open_memory
from linscope.memory._bitmap import Bitmap
from linscope.memory._file import DumpFile

BLOCK = 1 << 19  # bits


def bits_file(tmp_path: Path, data: bytes) -> DumpFile:
    (tmp_path / "bits").write_bytes(b"head" + data)
    return DumpFile(str(tmp_path / "bits"))


@pytest.mark.parametrize("kind", ["sparse", "even", "dense", "runs"])
def test_bitmap_against_plain_bits(tmp_path: Path, kind: str) -> None:
    generator = random.Random(3)
    size = BLOCK // 8 + 12_345
    if kind == "runs":
        bytes_ = [b"\0", b"\xff", b"\x3c", b"\xfe"]
        data = b"".join(generator.choice(bytes_) * generator.randrange(9000) for _ in range(30))
        data = data[:size].ljust(size, b"\xff")
    else:
        odds = {"sparse": 300, "even": 2, "dense": 1}[kind]
        data = bytes(generator.randrange(256) if generator.randrange(odds) == 0 else 0 for _ in range(size))
    bits = 8 * size - 3  # the last three are not of the map
    plain = [bool(data[bit >> 3] >> (bit & 7) & 1) for bit in range(bits)]
    before = [0]
    for bit in plain:
        before.append(before[-1] + bit)
    file = bits_file(tmp_path, data)
    bitmap = Bitmap(file, 4, bits)
    for bit in [*generator.sample(range(bits), 3000), 0, bits - 1, BLOCK - 1, BLOCK, BLOCK + 1]:
        assert bitmap.test(bit) == plain[bit]
        assert bitmap.rank(bit) == before[bit]
    assert bitmap.rank(bits) == bitmap.rank(1 << 60) == before[bits]
    assert not any(bitmap.test(bit) for bit in (-1, bits, bits + 1, 1 << 60))
    spans = [sorted(generator.sample(range(bits), 2)) for _ in range(9)]
    for start, end in [(0, bits), (5, 6), (BLOCK - 9, BLOCK + 9), *spans]:
        runs = list(bitmap.iter_runs(start, end))
        found = [False] * (end - start)
        for first, behind in runs:
            assert start <= first < behind <= end
            found[first - start : behind - start] = [True] * (behind - first)
        assert found == plain[start:end]
        assert all(one[1] < other[0] for one, other in pairwise(runs))
    file.close()


def test_a_bitmap_whose_end_is_cut_off_has_no_bits_there(tmp_path: Path) -> None:
    file = bits_file(tmp_path, b"\xff" * 100)
    bitmap = Bitmap(file, 4, 4 * BLOCK)
    assert bitmap.test(799) and not bitmap.test(800)
    assert bitmap.rank(4 * BLOCK) == 800
    assert list(bitmap.iter_runs()) == [(0, 800)]
    file.close()


class Counting(DumpFile):
    """A file that counts the bytes that are read."""

    taken = 0

    def peek(self, offset: int, size: int) -> bytes:
        data = super().peek(offset, size)
        self.taken += len(data)
        return data


def test_a_dump_of_1_tb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 ** 28 pages: opening reads heads, a lookup reads its own part of the bitmap, memory stays below 6 MB."""
    from linscope.memory import _opening

    frames = 1 << 28
    dense = 40 * BLOCK  # pages from 0 on that are all in the dump
    single = [dense + 7, 100 * BLOCK + 12_345, 300 * BLOCK + 1, frames - 1]
    head = kdump({0: page_of(0)}, frames=8 * PAGE, lies={
        "max_mapnr_64": frames, "end_pfn_64": frames, "bitmap_blocks": 2 * (frames // 8 // PAGE)
    })[: 2 * PAGE]  # fmt: skip
    bitmap, stored = 2 * PAGE, 2 * PAGE + frames // 8
    descriptors = stored + frames // 8
    data = descriptors + 24 * (dense + len(single))
    with open(tmp_path / "dump", "wb") as file:
        file.write(head)
        for start in (bitmap, stored):
            file.seek(start)
            file.write(b"\xff" * (dense // 8))
            for bit in single:
                file.seek(start + (bit >> 3))
                file.write(bytes((1 << (bit & 7),)))
        place = data
        some = {number: number for number in (0, 1, BLOCK, 17 * BLOCK + 999, dense - 1)}
        some |= {number: dense + at for at, number in enumerate(single)}
        for number, rank in some.items():
            packed = zlib.compress(page_of(number))
            file.seek(descriptors + 24 * rank)
            file.write(struct.pack("<QIIQ", place, len(packed), 1, 0))
            file.seek(place)
            file.write(packed)
            place += len(packed)
    monkeypatch.setattr(_opening, "DumpFile", Counting)
    tracemalloc.start()
    try:
        with open_memory(str(tmp_path / "dump")) as memory:
            (source,) = memory._files
            assert isinstance(source, Counting)
            assert source.taken < 10_000
            for number in some:
                assert memory.read((number << 12) + 8, 8) == page_of(number)[:8]
            once = source.taken
            assert once < frames // 8 + 20 * (BLOCK // 8)  # the bitmap once, and the blocks of these pages
            for number in [*some, *reversed(some)]:
                assert memory.read(number << 12, PAGE) == page_of(number)
            memory._frames.clear()
            for number in some:
                assert memory.read(number << 12, PAGE) == page_of(number)
            assert source.taken - once < 2 * PAGE * len(some)  # the pages alone
            with pytest.raises(MemoryFault) as caught:
                memory.read(99 * BLOCK << 12, 8)
            assert caught.value.reason == MemoryFault.HOLE
            with pytest.raises(MemoryFault) as caught:
                memory.read(5 << 12, 8)  # its descriptor was never written
            assert caught.value.reason == MemoryFault.CUT
            assert not memory.is_incomplete
            assert memory.size == frames << 12
            assert len(memory.ranges) == 1 + len(single)
            assert memory.ranges[0] == (0, dense << 12)
            assert [a for a, _ in memory.iter_chunks(dense << 12)] == [number << 12 for number in single]
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
    finally:
        tracemalloc.stop()
