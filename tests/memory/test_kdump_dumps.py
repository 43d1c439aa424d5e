"""kdump-compressed dumps, synthetic: versions, compressions, filtered pages, parts, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from made_dumps import PAGE, flatten, kdump, page_of, prstatus, qemu

from linscope.errors import FormatError, InputError, MemoryFault, UnsupportedError
from linscope.memory import open_memory
from linscope.memory.physical import PhysicalMemory

PAGES = {n: page_of(n, dull=n % 3 != 0) for n in [*range(1, 40), 500, 501, 9000]}
PAGES |= {41: bytes(PAGE), 42: bytes(PAGE)}
EXCLUDED = (40, 502, 8999)


def opened(tmp_path: Path, data: bytes) -> PhysicalMemory:
    path = tmp_path / "dump"
    path.write_bytes(data)
    return open_memory(str(path))


def check(memory: PhysicalMemory) -> None:
    """All pages are what they were, and the others are missing for the right reason."""
    for number, page in PAGES.items():
        assert memory.read(number << 12, PAGE) == page
        assert memory.read((number << 12) + 100, 9) == page[100:109]
        assert memory.has(number << 12)
    for number, reason in [*((n, MemoryFault.EXCLUDED) for n in EXCLUDED), *((n, MemoryFault.HOLE) for n in (0, 9001))]:
        with pytest.raises(MemoryFault) as caught:
            memory.read((number << 12) + 8, 8)
        assert (caught.value.reason, caught.value.address) == (reason, (number << 12) + 8)
        assert not memory.has(number << 12)
    assert memory.read(1 << 12, 39 * PAGE) == b"".join(PAGES[n] for n in range(1, 40))
    assert memory.read((38 << 12) + 4000, 200) == (PAGES[38] + PAGES[39])[4000:4200]
    with pytest.raises(MemoryFault) as caught:
        memory.read(30 << 12, 20 * PAGE)
    assert caught.value.address == 40 << 12
    assert memory.ranges == [(0x1000, 43 << 12), (500 << 12, 503 << 12), (8999 << 12, 9001 << 12)]
    seen = {}
    for address, chunk in memory.iter_chunks():
        assert address % PAGE == len(chunk) % PAGE == 0
        seen |= {(address + at) // PAGE: chunk[at : at + PAGE] for at in range(0, len(chunk), PAGE)}
    assert seen == PAGES
    assert list(seen) == sorted(PAGES)


@pytest.mark.parametrize("version", range(7))
@pytest.mark.parametrize("compression", ["zlib", "lzo", "snappy", "zstd", "none"])
def test_versions_and_compressions(tmp_path: Path, version: int, compression: str) -> None:
    data = kdump(PAGES, version=version, compression=compression, excluded=EXCLUDED)
    with opened(tmp_path, data) as memory:
        check(memory)
        assert memory.utsname is not None
        assert memory.utsname.release == "6.1.0-test"
        assert memory.dump_level == (31 if version >= 1 else None)
        assert not memory.is_incomplete
        assert compression in memory.format or compression == "none"


def test_pages_of_64_kb(tmp_path: Path) -> None:
    big = {n: b"".join(page_of(16 * n + k) for k in range(16)) for n in (0, 1, 5)}
    with opened(tmp_path, kdump(big, block_size=65536, machine="aarch64", excluded=[2])) as memory:
        assert memory.machine == "aarch64"
        assert memory.read(0x10000 - 8, 16) == (big[0] + big[1])[0x10000 - 8 : 0x10008]
        assert memory.read(0x53000, 8) == big[5][0x3000:0x3008]
        assert list(memory.read_pages([0x53, 0x20])) == [big[5][0x3000:0x4000], None]
        assert memory.ranges == [(0, 0x30000), (0x50000, 0x60000)]


def test_notes_and_vmcoreinfo(tmp_path: Path) -> None:
    notes = prstatus(3, {"rip": 77}) + prstatus(4, {"rip": 78}) + qemu({"cr3": 0x1000}) + qemu({"cr3": 0x2000})
    with opened(tmp_path, kdump(PAGES, notes=notes, vmcoreinfo=b"OSRELEASE=x\nSYMBOL(a)=1\n")) as memory:
        assert memory.vmcoreinfo == b"OSRELEASE=x\nSYMBOL(a)=1\n"
        assert [(cpu.pid, cpu.registers["rip"], cpu.cr3) for cpu in memory.cpus] == [(3, 77, 0x1000), (4, 78, 0x2000)]
    for version in range(4):
        with opened(tmp_path, kdump(PAGES, notes=notes, version=version)) as memory:
            assert memory.cpus == []
            assert memory.vmcoreinfo is None


def test_shared_pages_are_stored_once(tmp_path: Path) -> None:
    data = kdump({n: bytes(PAGE) for n in range(1000)}, compression="none")
    assert len(data) < 60_000
    with opened(tmp_path, data) as memory:
        assert memory.read(0, 1000 * PAGE) == bytes(1000 * PAGE)


def split_files(tmp_path: Path, spans: list[tuple[int, int]], **more: object) -> list[str]:
    paths = []
    for at, span in enumerate(spans):
        path = tmp_path / f"part{at}"
        path.write_bytes(kdump(PAGES, excluded=EXCLUDED, split=span, **more))  # type: ignore[arg-type]
        paths.append(str(path))
    return paths


SPANS = [(0, 20), (20, 41), (41, 501), (501, 9001)]


@pytest.mark.parametrize("version", [2, 5, 6])
def test_split_dumps(tmp_path: Path, version: int) -> None:
    paths = split_files(tmp_path, SPANS, version=version)
    for order in (paths, paths[::-1]):
        with open_memory(*order) as memory:
            check(memory)
            assert "split" in memory.format
    (tmp_path / "another").write_bytes(kdump(PAGES, split=(0, 9001), lies={"time": 5}))
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("KDUMP   is no dump")
    for path in paths:  # the others are found beside it
        with open_memory(path) as memory:
            check(memory)
    Path(paths[1]).unlink()
    with open_memory(paths[0]) as memory:
        assert memory.read(500 << 12, 8) == PAGES[500][:8]
        assert not memory.has(21 << 12)
        with pytest.raises(MemoryFault, match="a part of the split dump is missing"):
            memory.read(21 << 12, 8)
        assert sum(len(chunk) for _, chunk in memory.iter_chunks()) == PAGE * sum(not 20 <= n < 41 for n in PAGES)


def test_parts_of_different_dumps_are_refused(tmp_path: Path) -> None:
    paths = split_files(tmp_path, SPANS[:2])
    (tmp_path / "other").write_bytes(kdump(PAGES, split=(41, 9001), lies={"time": 5}))
    with pytest.raises(FormatError, match="a part of another dump"):
        open_memory(paths[0], str(tmp_path / "other"))
    (tmp_path / "elf").write_bytes(b"\x7fELF" + bytes(200))
    with pytest.raises(FormatError, match="not a kdump-compressed file"):
        open_memory(paths[0], str(tmp_path / "elf"))


def test_incomplete_dumps(tmp_path: Path) -> None:
    """makedumpfile could not write all: descriptors are zero, the status says so."""
    with opened(tmp_path, kdump(PAGES, unwritten=range(30, 10_000), status=8)) as memory:
        assert memory.is_incomplete
        assert memory.read(29 << 12, PAGE) == PAGES[29]
        with pytest.raises(MemoryFault) as caught:
            memory.read(30 << 12, 8)
        assert caught.value.reason == MemoryFault.CUT


@pytest.mark.parametrize("size", [1, 8, 400, 4096, 4196, 4400, 8192, 9000, 10_000, 12_288])
def test_a_head_that_is_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(InputError) as caught:
        opened(tmp_path, kdump(PAGES)[:size])
    assert caught.value.offset is not None


def test_pages_that_are_cut_off(tmp_path: Path) -> None:
    data = kdump(PAGES, excluded=EXCLUDED)
    bitmaps_end = 2 * PAGE + 2 * PAGE
    for size in (bitmaps_end, bitmaps_end + 30, bitmaps_end + 24 * len(PAGES), len(data) - 1000, len(data) - 1):
        with opened(tmp_path, data[:size]) as memory:
            good = 0
            for number, page in PAGES.items():
                try:
                    assert memory.read(number << 12, PAGE) == page
                    good += 1
                except MemoryFault as fault:
                    assert fault.reason == MemoryFault.CUT
            assert good < len(PAGES)
            assert good > 30 or size < len(data) - 1000
            with pytest.raises(MemoryFault) as caught:
                memory.read(40 << 12, 1)
            assert caught.value.reason == MemoryFault.EXCLUDED


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"block_size": 0}, "pages of 0 bytes"),
        ({"block_size": -4096}, "pages of -4096 bytes"),
        ({"block_size": 4097}, "pages of 4097 bytes"),
        ({"block_size": 1 << 30}, "pages of 1073741824 bytes"),
        ({"sub_blocks": 0}, "sub header of 0 blocks"),
        ({"sub_blocks": -1}, "sub header of -1 blocks"),
        ({"sub_blocks": 1 << 30}, "sub header of 1073741824 blocks"),
        ({"bitmap_blocks": 0xFFFFFFFF}, "bitmaps beyond the end of the file"),
        ({"split": 1, "start_pfn_64": 9, "end_pfn_64": 3}, "a part with the pages 9 to 3"),
    ],
)  # fmt: skip
def test_hostile_heads(tmp_path: Path, fields: dict[str, int], what: str) -> None:
    with pytest.raises(FormatError, match=what):
        opened(tmp_path, kdump(PAGES, lies=fields))


def test_heads_that_lie_without_harm(tmp_path: Path) -> None:
    """More pages than bitmaps, notes of absurd size or place: what can be read is read."""
    for lies in (
        {"max_mapnr_64": (1 << 64) - 1}, {"note_size": (1 << 64) - 1}, {"note": (1 << 64) - 1}, {"cpus": -1},
        {"vmcoreinfo": 1 << 62, "vmcoreinfo_size": 1 << 62},
    ):  # fmt: skip
        with opened(tmp_path, kdump(PAGES, excluded=EXCLUDED, notes=prstatus(1, {}), lies=lies)) as memory:
            check(memory)


def test_other_machines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="32-bit machine"):
        opened(tmp_path, kdump(PAGES, machine="i686"))
    data = bytearray(kdump(PAGES))
    for version, what in ((7, "version 7"), (6 << 24, "big-endian")):
        struct.pack_into("<i", data, 8, version)
        with pytest.raises(UnsupportedError, match=what):
            opened(tmp_path, bytes(data))


def descriptor(data: bytes, index: int) -> tuple[int, tuple[int, int, int, int]]:
    place = 4 * PAGE + 24 * index
    return place, struct.unpack_from("<QIIQ", data, place)


@pytest.mark.parametrize("compression", ["zlib", "lzo", "snappy", "zstd"])
def test_pages_that_expand_beyond_a_page(tmp_path: Path, compression: str) -> None:
    from made_dumps import COMPRESS

    for size in (PAGE - 1, PAGE + 1, 100 * PAGE, 600_000 if compression == "lzo" else 1 << 26):
        packed = COMPRESS[compression](bytes(size))
        data = bytearray(kdump({1: page_of(1), 2: page_of(2)}, compression=compression, frames=PAGE))
        place, (_, _, flags, _) = descriptor(bytes(data), 0)
        struct.pack_into("<QII", data, place, len(data), len(packed), flags)
        with opened(tmp_path, bytes(data) + packed) as memory:
            with pytest.raises(MemoryFault) as caught:
                memory.read(PAGE, 8)
            assert caught.value.reason == MemoryFault.DAMAGED
            assert caught.value.detail
            assert memory.read(2 * PAGE, PAGE) == page_of(2)


def test_damaged_descriptors(tmp_path: Path) -> None:
    data = kdump({1: page_of(1), 2: page_of(2)}, frames=PAGE)
    place, (offset, size, flags, _) = descriptor(data, 0)
    for values, reason in (
        ((offset, 0, flags), MemoryFault.DAMAGED),
        ((offset, PAGE + 1, flags), MemoryFault.DAMAGED),
        ((offset, (1 << 32) - 1, flags), MemoryFault.DAMAGED),
        ((offset, size, 0), MemoryFault.DAMAGED),
        ((offset, size, 3), MemoryFault.DAMAGED),
        ((offset, size, 0x80), MemoryFault.DAMAGED),
        ((offset, size, 2), MemoryFault.DAMAGED),
        ((offset, size, 0x20), MemoryFault.DAMAGED),
        ((offset, size, 4), MemoryFault.DAMAGED),
        ((offset + 1, size, flags), MemoryFault.DAMAGED),
        ((0, size, flags), MemoryFault.CUT),
        ((1 << 63, size, flags), MemoryFault.CUT),
        ((len(data) - 1, size, flags), MemoryFault.CUT),
    ):
        wrong = bytearray(data)
        struct.pack_into("<QII", wrong, place, *values)
        with opened(tmp_path, bytes(wrong)) as memory:
            with pytest.raises(MemoryFault) as caught:
                memory.read(PAGE + 5, 8)
            assert (caught.value.reason, caught.value.address) == (reason, PAGE + 5), values
            assert "file offset" in str(caught.value) or values[0] == 0
            assert memory.read(2 * PAGE, PAGE) == page_of(2)
            assert list(memory.read_pages([1, 2])) == [None, page_of(2)]
            assert dict(memory.iter_chunks()) == {2 * PAGE: page_of(2)}


def test_caches_are_bounded(tmp_path: Path) -> None:
    many = {n: page_of(n) for n in range(12_000)}
    with opened(tmp_path, kdump(many, compression="lzo")) as memory:
        for number in many:
            assert memory.read(number << 12, 8) == many[number][:8]
        assert len(memory._frames) <= 4096
        assert memory.read(5 << 12, 8) == many[5][:8]


def test_find(tmp_path: Path) -> None:
    pages = {n: bytearray(page_of(n)) for n in (1, 2, 3, 700)}
    pages[1][-3:] = b"NEE"
    pages[2][:3] = b"DLE"
    pages[3][-3:] = b"NEE"  # and nothing behind it
    pages[700][100:106] = b"NEEDLE"
    pages[700][103:109] = b"DLEDLE"
    with opened(tmp_path, kdump({n: bytes(page) for n, page in pages.items()})) as memory:
        assert list(memory.find(b"NEEDLE")) == [0x1FFD, 700 * PAGE + 100]
        assert list(memory.find(b"NEEDLE", 0x2000)) == [700 * PAGE + 100]
        assert list(memory.find(b"NEEDLE", 0, 0x3000)) == [0x1FFD]
        assert list(memory.find(b"DLE", 700 * PAGE)) == [700 * PAGE + 103, 700 * PAGE + 106]
        assert list(memory.find(b"XYZ")) == []


def test_flattened_dumps(tmp_path: Path) -> None:
    data = kdump(PAGES, excluded=EXCLUDED, compression="lzo")
    cut = [(at, data[at : at + 777]) for at in range(0, len(data), 777)]
    for records in (cut, cut[::-1], [(0, b"\xff" * 5000), *cut[::2], *cut[1::2]]):
        with opened(tmp_path, flatten(records)) as memory:
            check(memory)
    with opened(tmp_path, flatten(cut, end=False)) as memory:
        check(memory)
        assert memory.is_incomplete
    with opened(tmp_path, flatten(cut)[: -len(data) // 3]) as memory:
        assert memory.is_incomplete
        assert memory.read(1 << 12, PAGE) == PAGES[1]
        with pytest.raises(MemoryFault) as caught:
            memory.read(9000 << 12, 8)
        assert caught.value.reason == MemoryFault.CUT


def test_damaged_flattened_dumps(tmp_path: Path) -> None:
    data = kdump(PAGES)
    good = flatten([(0, data)])
    for target, size in ((-2, 10), (0, -5), (0, 0), (1 << 62, 1), ((1 << 63) - 1, (1 << 63) - 1)):
        with pytest.raises(FormatError) as caught:
            opened(tmp_path, good[:-16] + struct.pack(">qq", target, size))
        assert caught.value.offset == len(good) - 16
    with pytest.raises(UnsupportedError, match="type 1, version 2"):
        opened(tmp_path, struct.pack(">16sqq", b"makedumpfile", 1, 2).ljust(9000, b"\0"))
    with pytest.raises(InputError):
        opened(tmp_path, good[:20])
