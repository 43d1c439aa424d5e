"""ELF vmcores: overlapping segments, zero tails, notes, hostile heads."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from made_dumps import PAGE, elf, note, page_of, prstatus, qemu

from linscope.errors import FormatError, InputError, MemoryFault, UnsupportedError
from linscope.memory import open_memory
from linscope.memory._pieces import CUT, ZERO, Piece, Pieces, _overlay
from linscope.memory.physical import PhysicalMemory, merge_ranges


def opened(tmp_path: Path, data: bytes) -> PhysicalMemory:
    path = tmp_path / "dump"
    path.write_bytes(data)
    return open_memory(str(path))


def test_reads_within_and_across_segments(tmp_path: Path) -> None:
    one, two = page_of(1) + page_of(2), page_of(3)
    with opened(tmp_path, elf([(0, 0x1000, one, 0x2000), (0, 0x3000, two, 0x1000)])) as memory:
        assert memory.format == "ELF"
        assert memory.ranges == [(0x1000, 0x4000)]
        assert memory.size == 0x4000
        assert memory.read(0x1000, 0x3000) == one + two
        assert memory.read(0x2FFC, 8) == (one + two)[0x1FFC:0x2004]
        assert memory.read(0x1008, 0) == b""
        assert memory.has(0x1000) and memory.has(0x3FFF) and not memory.has(0x4000) and not memory.has(0xFFF)
        assert list(memory.read_pages([0, 1, 3, 4])) == [None, one[:PAGE], two, None]
        assert not memory.is_incomplete and not memory.is_live


def test_segments_that_start_and_end_within_a_page(tmp_path: Path) -> None:
    """As /proc/vmcore has them: the low memory ends at 0x9fc00, the first page begins at 0x1000."""
    low = page_of(7)[:0xC00]
    with opened(tmp_path, elf([(0, 0x9F000, low, 0xC00), (0, 0x100000, page_of(8), PAGE)])) as memory:
        assert memory.read(0x9FBF8, 8) == low[-8:]
        with pytest.raises(MemoryFault) as caught:
            memory.read(0x9FBF8, 16)
        assert caught.value.address == 0x9FC00
        assert caught.value.reason == MemoryFault.HOLE
        assert caught.value.space == "physical"
        assert next(memory.read_pages([0x9F])) is None


def test_overlapping_segments_and_zero_tails(tmp_path: Path) -> None:
    """What is stored wins over what a longer segment only says to be zero, wherever it stands in the table."""
    stored, text = page_of(1), page_of(2)
    segments = [(0xFF00, 0x0, stored, 8 * PAGE), (0xFFFF, 4 * PAGE, text, PAGE), (0xFFEE, 0, stored, PAGE)]
    for order in (segments, segments[::-1]):
        with opened(tmp_path, elf(order)) as memory:
            assert memory.read(0, 8 * PAGE) == stored + bytes(3 * PAGE) + text + bytes(3 * PAGE)
            assert memory.ranges == [(0, 8 * PAGE)]
            chunks = list(memory.iter_chunks())
            assert [(address, len(data)) for address, data in chunks] == [(0, 8 * PAGE)]


def test_a_search_passes_over_what_is_only_said_to_be_zero(tmp_path: Path) -> None:
    """A tail of 2 ** 51 bytes costs nothing; a pattern that reaches into it is found."""
    data = page_of(1)[:-3] + b"END"
    with opened(tmp_path, elf([(0, 0x1000, data, 1 << 51), (0, (1 << 51) + 0x2000, b"NEXT", 1 << 50)])) as memory:
        assert list(memory.find(b"END\0\0")) == [0x1FFD]
        assert list(memory.find(b"\0\0NEXT")) == []  # it begins behind the other's end
        assert list(memory.find(b"XT\0")) == [(1 << 51) + 0x2002]
        assert next(memory.find(bytes(5000))) == 0x2000
    with opened(tmp_path, elf([(0, 0, b"", 1 << 40), (0, 1 << 40, b"NEXT", 4)])) as memory:
        assert list(memory.find(b"\0\0NEXT")) == [(1 << 40) - 2]


def test_overlay_against_a_plain_one() -> None:
    import random

    generator = random.Random(5)
    for _ in range(3000):
        lower = _overlay([], [Piece(at, at + 2, 1000 + at) for at in generator.sample(range(0, 40, 4), 3)])
        given = [
            Piece(at, at + generator.randrange(1, 12), generator.choice([ZERO, CUT, 100, 500]))
            for at in (generator.randrange(40) for _ in range(generator.randrange(5)))
        ]
        made = _overlay(lower, given)
        assert all(one.behind <= other.first for one, other in pairwise(made))
        for address in range(60):
            mine = [p for p in made if p.first <= address < p.behind]
            below = [p for p in lower if p.first <= address < p.behind]
            any_ = [p for p in given if p.first <= address < p.behind]
            assert len(mine) == bool(below or any_)
            if below:
                assert mine[0].offset + address - mine[0].first == below[0].offset + address - below[0].first
            elif mine:
                place = mine[0].offset if mine[0].offset < 0 else mine[0].offset + address - mine[0].first
                assert place in [p.offset if p.offset < 0 else p.offset + address - p.first for p in any_]


def test_merged_ranges() -> None:
    assert merge_ranges([(4, 6), (0, 2), (1, 4), (9, 9)]) == [(0, 6)]
    assert merge_ranges([]) == []


def test_cut_files_are_read_up_to_the_end(tmp_path: Path) -> None:
    data = elf([(0, 0x1000, page_of(1) + page_of(2), 2 * PAGE)], prstatus(1, {}))
    with opened(tmp_path, data[:-100]) as memory:
        assert memory.is_incomplete
        assert memory.read(0x1000, PAGE) == page_of(1)
        assert memory.read(0x2000, 8) == page_of(2)[:8]
        with pytest.raises(MemoryFault) as caught:
            memory.read(0x2F98, 16)
        assert caught.value.address == 0x3000 - 100
        assert caught.value.reason == MemoryFault.CUT
        assert memory.ranges == [(0x1000, 0x3000)]
        assert sum(len(chunk) for _, chunk in memory.iter_chunks()) == 2 * PAGE - 100
    heads = 64 + 2 * 56
    for size in range(0, heads, 7):
        with pytest.raises(InputError) as refused:
            opened(tmp_path, data[:size])
        assert str(tmp_path) in str(refused.value)
    for size in range(heads, len(data) - 2 * PAGE, 7):  # no memory is left, but what there was is known
        with opened(tmp_path, data[:size]) as memory:
            assert memory.is_incomplete
            assert memory.ranges == [(0x1000, 0x3000)]
            assert list(memory.iter_chunks()) == []


def test_notes(tmp_path: Path) -> None:
    registers = [{"rip": 0xFFFFFFFF81000000, "rsp": 7, "gs_base": 9}, {"rip": 5, "r15": 1}]
    more = [{"cr3": 0x1234000, "cr4": 1 << 12, "gs_base": 0xFF11, "kernel_gs_base": 3}, {"cr3": 0x5000}]
    notes = b"".join(prstatus(pid, one) for pid, one in zip((17, 0), registers, strict=True))
    notes += b"".join(qemu(one) for one in more) + note(b"VMCOREINFO", 0, b"OSRELEASE=6.1.0\nSYMBOL(x)=10\n")
    with opened(tmp_path, elf([(0, 0, page_of(0), PAGE)], notes)) as memory:
        assert memory.vmcoreinfo == b"OSRELEASE=6.1.0\nSYMBOL(x)=10\n"
        assert [cpu.pid for cpu in memory.cpus] == [17, 0]
        assert memory.cpus[0].registers["rip"] == 0xFFFFFFFF81000000
        assert memory.cpus[0].registers["rsp"] == 7
        assert memory.cpus[1].registers["r15"] == 1
        assert memory.cpus[0].cr3 == 0x1234000
        assert memory.cpus[0].qemu["gs_base"] == 0xFF11
        assert memory.cpus[0].qemu["kernel_gs_base"] == 3
        assert memory.cpus[1].cr3 == 0x5000
    with opened(tmp_path, elf([(0, 0, page_of(0), PAGE)], prstatus(1, {}) + qemu({"cr3": 3}, old=True))) as memory:
        assert memory.cpus[0].cr3 == 3
        assert "kernel_gs_base" not in memory.cpus[0].qemu
    short = note(b"CORE", 1, b"short") + note(b"QEMU", 0, b"x")
    with opened(tmp_path, elf([(0, 0, page_of(0), PAGE)], short)) as memory:
        assert memory.cpus == []


def test_more_segments_than_65534(tmp_path: Path) -> None:
    segments = [(0, n * 2 * PAGE, struct.pack("<I", n), 4) for n in range(70_000)]
    with opened(tmp_path, elf(segments, many=True)) as memory:
        assert len(memory.ranges) == 70_000
        assert memory.read(69_999 * 2 * PAGE, 4) == struct.pack("<I", 69_999)


def test_other_machines_and_kinds(tmp_path: Path) -> None:
    good = elf([(0, 0, page_of(0), PAGE)])
    with opened(tmp_path, elf([(0, 0, page_of(0), PAGE)], prstatus(1, {}), machine=183)) as memory:
        assert memory.machine == "aarch64"
        assert memory.cpus == []  # the registers are others
    for offset, value, kind in ((4, b"\1", UnsupportedError), (5, b"\2", UnsupportedError), (16, b"\2", FormatError)):
        with pytest.raises(kind) as caught:
            opened(tmp_path, good[:offset] + value + good[offset + 1 :])
        assert caught.value.offset == offset
    with pytest.raises(FormatError, match="without memory"):
        opened(tmp_path, elf([], b""))


def test_absurd_segments(tmp_path: Path) -> None:
    """Sizes and offsets beyond all bounds cost nothing and read nothing."""
    data = bytearray(elf([(0, 0x1000, page_of(1), PAGE), (0, 0x100000, page_of(2), PAGE)]))
    second = 64 + 2 * 56
    struct.pack_into("<QQQQQ", data, second + 8, (1 << 63) - 1, 0, 0x100000, (1 << 64) - 1, (1 << 64) - 1)
    with opened(tmp_path, bytes(data)) as memory:
        assert memory.is_incomplete
        assert memory.read(0x1000, PAGE) == page_of(1)
        with pytest.raises(MemoryFault) as caught:
            memory.read(0x100000, 8)
        assert caught.value.reason == MemoryFault.CUT
        with pytest.raises(MemoryFault):
            memory.read(0x1000, 1 << 40)
    struct.pack_into("<H", data, 56, 0xFFFE)
    with pytest.raises(FormatError, match="65534 ELF segments beyond the end"):
        opened(tmp_path, bytes(data))


@pytest.mark.parametrize(("address", "size"), [(-8, 8), (1 << 52, 8), ((1 << 52) - 4, 8), (1 << 64, 1)])
def test_addresses_out_of_range(tmp_path: Path, address: int, size: int) -> None:
    with opened(tmp_path, elf([(0, 0, page_of(0), PAGE)])) as memory:
        with pytest.raises(MemoryFault) as caught:
            memory.read(address, size)
        assert caught.value.reason in (MemoryFault.WIDTH, MemoryFault.HOLE)


def test_pieces_are_found_at_their_borders(tmp_path: Path) -> None:
    class File:
        where, size, is_cut = "file", 100, False

        def close(self) -> None:
            pass

        def peek(self, offset: int, size: int) -> bytes:
            return bytes(range(100))[offset : offset + size]

        def read(self, offset: int, size: int, what: str) -> bytes:
            return self.peek(offset, size)

    pieces = Pieces(File(), [Piece(10, 20, 5), Piece(20, 25, ZERO), Piece(30, 200, 50)])
    assert pieces.pieces == [Piece(10, 20, 5), Piece(20, 25, ZERO), Piece(30, 80, 50), Piece(80, 200, CUT)]
    assert [pieces.has(at) for at in (9, 10, 24, 25, 79, 80)] == [False, True, True, False, True, False]
    assert pieces.read(18, 4, MemoryFault) == b"\x0d\x0e\0\0"
    assert list(pieces.iter_present(12, 60)) == [(12, 25), (30, 60)]
