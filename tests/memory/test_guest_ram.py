"""Guests' RAM, LiME images, /proc/kcore, and files that are none of all that."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from made_dumps import PAGE, Tables, elf, kdump, lime, note, page_of

from linscope.errors import FormatError, InputError, MemoryFault, UnsupportedError, UsageError
from linscope.memory import open_memory
from linscope.memory.guest_ram import hole_of_machine
from linscope.memory.kcore import KcoreMemory, KcoreSpace
from linscope.memory.kernel_image import kernel_space

MB, GB = 1 << 20, 1 << 30
E820_AT = 0x13000


def ram(tmp_path: Path, size: int, *pieces: tuple[int, bytes]) -> str:
    """A sparse file with some bytes in it."""
    path = tmp_path / "ram"
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return str(path)


def boot_params(*entries: tuple[int, int, int]) -> bytes:
    """A struct boot_params with an E820 table of (address, size, type)."""
    page = bytearray(PAGE)
    page[0x202:0x206] = b"HdrS"
    page[0x1E8] = len(entries)
    for number, entry in enumerate(entries):
        struct.pack_into("<QQI", page, 0x2D0 + 20 * number, *entry)
    return bytes(page)


def rsdp(table: int) -> bytes:
    """An ACPI root pointer."""
    made = bytearray(b"RSD PTR \0BOCHS \0" + struct.pack("<I", table))
    made[8] = -sum(made) & 0xFF
    return bytes(made)


def test_little_ram_is_where_its_offsets_are(tmp_path: Path) -> None:
    path = ram(tmp_path, 64 * MB, (0x5000, page_of(5)), (64 * MB - 8, b"the end!"))
    with open_memory(path) as memory:
        assert memory.format == "guest RAM"
        assert memory.is_live
        assert memory.ranges == [(0, 64 * MB)]
        assert memory.read(0x5000, PAGE) == page_of(5)
        assert memory.read(64 * MB - 8, 8) == b"the end!"
        assert list(memory.find(b"the end!")) == [64 * MB - 8]
        with pytest.raises(MemoryFault):
            memory.read(64 * MB - 4, 8)


@pytest.mark.parametrize("low", [3 * GB, 2 * GB])
@pytest.mark.parametrize("evidence", ["e820", "e820 far away", "acpi", "machine type"])
def test_ram_above_4_gb(tmp_path: Path, low: int, evidence: str) -> None:
    size = 5 * GB
    table = boot_params(
        (0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (MB, low - MB - 0x20000, 1), (low - 0x20000, 0x20000, 2),
        (4 * GB, size - low, 1),
    )  # fmt: skip
    pieces = {
        "e820": [(E820_AT, table)],
        "e820 far away": [(100 * MB + 0x1000, table)],
        "acpi": [(0xF59D0, rsdp(low - 0x1C000)), (low - 0x1C000, b"RSDT")],
        "machine type": [],
    }[evidence]
    path = ram(tmp_path, size, *pieces, (low - 8, b"low end."), (low, b"high beg"))
    kind = "" if pieces else {3 * GB: "pc-i440fx-7.2", 2 * GB: "q35"}[low]
    with open_memory(path, machine_type=kind) as memory:
        assert memory.ranges == [(0, low), (4 * GB, 4 * GB + size - low)]
        assert memory.read(low - 8, 8) == b"low end."
        assert memory.read(4 * GB, 8) == b"high beg"
        assert not memory.has(low)


def test_tables_that_tell_no_hole_are_not_believed(tmp_path: Path) -> None:
    tables = [
        boot_params(),
        boot_params((0, 0, 1)),
        boot_params((0, 1 << 60, 1)),
        boot_params((0, GB, 1)),
        boot_params((0, GB, 77), (4 * GB, GB, 1)),
        boot_params((4 * GB, 100 * GB, 1)),
    ]
    pieces = [(0x13000 + PAGE * number, table) for number, table in enumerate(tables)]
    pieces += [(0xF59D0, rsdp(0xFFFFF000)), (0xF5AD0, rsdp(0x7000_0000)[:-1] + b"\1"), (0xF5BD0, rsdp(2 * GB - 4096))]
    pieces += [(2 * GB - 4096, b"DSDT"), (0x60, b"HdrS"), (2 * GB + 100 * MB, boot_params((0, GB, 1), (4 * GB, GB, 1)))]
    with open_memory(ram(tmp_path, 2 * GB + 256 * MB, *pieces)) as memory:
        assert memory.ranges == [(0, 2 * GB + 256 * MB)]


def test_a_live_guest_is_read_anew_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = ram(tmp_path, 2 * MB)
    with open_memory(path) as live, open_memory(path, live=False) as copy:
        assert not copy.is_live
        assert live.read(8, 4) == copy.read(8, 4) == bytes(4)
        with open(path, "r+b") as file:
            file.seek(8)
            file.write(b"news")
        assert live.read(8, 4) == b"news"
        assert copy.read(8, 4) == bytes(4)


def test_sizes_of_holes() -> None:
    """hw/i386/pc_piix.c, pc_q35.c, microvm.c."""
    assert hole_of_machine("pc", 3 * GB) == 3 * GB
    assert hole_of_machine("pc-i440fx-9.1", 0xE000_0000) == 3 * GB
    assert hole_of_machine("q35", 0xAFFF_F000) == 0xAFFF_F000
    assert hole_of_machine("pc-q35-8.2", 8 * GB) == 2 * GB
    assert hole_of_machine("microvm", 3 * GB) == 3 * GB
    with pytest.raises(UsageError, match="pc, q35 or microvm"):
        hole_of_machine("virt", GB)


def test_lime(tmp_path: Path) -> None:
    path = tmp_path / "ram.lime"
    one, two = page_of(1) * 3, page_of(2)
    good = lime([(0x1000, one), (1 << 32, two)])
    path.write_bytes(good)
    with open_memory(str(path)) as memory:
        assert memory.format == "LiME"
        assert not memory.is_live and not memory.is_incomplete
        assert memory.ranges == [(0x1000, 0x4000), (1 << 32, (1 << 32) + PAGE)]
        assert memory.read(0x2FF0, 32) == one[0x1FF0:0x2010]
        assert memory.read(1 << 32, PAGE) == two
    for size in (len(good) - 1, len(good) - PAGE - 1, len(good) - PAGE - 32, 3000):
        path.write_bytes(good[:size])
        with open_memory(str(path)) as memory:
            assert memory.is_incomplete or size == len(good) - PAGE - 32  # between two ranges, nothing shows it
            assert memory.read(0x1000, 8) == one[:8]
    for at, value, what in (
        (0x3020, struct.pack("<I", 0x4C694D46), "no head of a range"),
        (0x3024, struct.pack("<I", 2), "LiME version 2"),
        (0x3028, struct.pack("<QQ", 9, 8), "no head of a range"),
    ):
        path.write_bytes(good[:at] + value + good[at + len(value) :])
        with pytest.raises((FormatError, UnsupportedError), match=what) as caught:
            open_memory(str(path))
        assert caught.value.offset in (0x3020, 0x3024)
    path.write_bytes(struct.pack("<4sIQQ8x", b"EMiL", 1, 0, (1 << 64) - 1))
    with open_memory(str(path)) as memory:
        assert memory.is_incomplete
        assert list(memory.iter_chunks()) == []


def kcore(tables: Tables, direct: int, extra: list[tuple[int, int, bytes, int]]) -> bytes:
    """As fs/proc/kcore.c writes it: virtual ranges, with physical addresses where they have one."""
    first = min(tables.frames)
    frames = b"".join(tables.pages()[number] for number in range(first, max(tables.frames) + 1))
    info = note(b"VMCOREINFO", 0, b"OSRELEASE=6.1\nSYMBOL(swapper_pg_dir)=ffffffff81001000\nNUMBER(phys_base)=0\n")
    segments = [(direct + (first << 12), first << 12, frames, len(frames)), *extra]
    return elf(segments, note(b"CORE", 4, bytes(64)) + info)


def test_kcore(tmp_path: Path) -> None:
    """vmalloc memory has no physical address: it is read by its virtual one, and not as that of page 2^52 - 1."""
    direct, vmalloc, image = 0xFFFF888000000000, 0xFFFFC90000000000, 0xFFFFFFFF81000000
    tables = Tables(0x1001000)
    tables.map(image, 0x1000000, shift=21)
    tables.map(vmalloc + 0x9000, 0x1004000)
    path = tmp_path / "kcore"
    path.write_bytes(kcore(tables, direct, [(vmalloc, (1 << 64) - 1, page_of(77) + page_of(78), 2 * PAGE)]))
    with open_memory(str(path)) as memory:
        assert isinstance(memory, KcoreMemory)
        assert memory.is_live
        assert not memory.has((1 << 52) - 1)
        space = kernel_space(memory)
        assert isinstance(space, KcoreSpace)
        assert space.root == 0x1001000
        assert space.read(vmalloc + PAGE - 8, 16) == page_of(77)[-8:] + page_of(78)[:8]
        assert space.read(direct + 0x1001000, PAGE) == bytes(tables.frames[0x1001])
        assert space.translate(direct + 0x1001008) == 0x1001008
        assert space.translate(vmalloc + 0x9008) == 0x1004008  # by the tables
        with pytest.raises(MemoryFault) as caught:
            space.read(vmalloc + 3 * PAGE, 8)
        assert caught.value.reason == MemoryFault.UNMAPPED
        with pytest.raises(UsageError):
            space.read(vmalloc, -1)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "not a memory dump"),
        (b"just some text", "not a memory dump"),
        (b"\x1f\x8b\x08" + bytes(100), "gunzip"),
        (b"\xfd7zXZ\0" + bytes(100), "unxz"),
        (b"BZh9" + bytes(100), "bunzip2"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "unzstd"),
        (b"PK\3\4" + bytes(100), "unzip"),
        (bytes(MB + 1), "not a memory dump"),
        (bytes(4096), "not a memory dump"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "file").write_bytes(head)
    with pytest.raises(InputError, match=what) as caught:
        open_memory(str(tmp_path / "file"))
    assert str(tmp_path / "file") in str(caught.value)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_memory(str(tmp_path / "none"))
    with pytest.raises(InputError):
        open_memory(str(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnsupportedError, match="neither a file nor a block device"):
        open_memory(str(tmp_path / "fifo"))
    (tmp_path / "elf").write_bytes(elf([(0, 0, page_of(0), PAGE)]))
    with pytest.raises(FormatError, match="no part of a split dump"):
        open_memory(str(tmp_path / "elf"), str(tmp_path / "elf"))


def test_refused_files_are_closed(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"KDUMP   " + bytes(5000))
    (tmp_path / "flat").write_bytes(struct.pack(">16sqq", b"makedumpfile", 9, 9).ljust(5000, b"\0"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("bad", "flat", "bad", "flat"):
        with pytest.raises(InputError):
            open_memory(str(tmp_path / name))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_dump_that_is_replaced_or_cut_while_it_is_open(tmp_path: Path) -> None:
    """An open dump stays what it was when another takes its name; one that is cut gives faults, and no signal."""
    path = tmp_path / "dump"
    path.write_bytes(kdump({n: page_of(n, dull=False) for n in range(600)}))
    with open_memory(str(path)) as memory:
        assert memory.read(0, PAGE) == page_of(0, dull=False)
        (tmp_path / "new").write_bytes(kdump({n: page_of(n + 5) for n in range(600)}))
        (tmp_path / "new").replace(path)
        assert memory.read(300 << 12, PAGE) == page_of(300, dull=False)
        with open_memory(str(path)) as other:
            assert other.read(300 << 12, PAGE) == page_of(305)
            os.truncate(path, 20_000)
            with pytest.raises(MemoryFault) as caught:
                other.read(599 << 12, PAGE)
            assert caught.value.reason == MemoryFault.CUT
        assert memory.read(599 << 12, PAGE) == page_of(599, dull=False)


def test_closing_twice(tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(kdump({1: page_of(1)}))
    memory = open_memory(str(tmp_path / "dump"))
    assert memory.read(PAGE, 8) == page_of(1)[:8]
    memory.close()
    memory.close()
    with pytest.raises(MemoryFault):
        memory.read(PAGE, 8)


READ_AS_NOBODY = """
import os, sys
os.setgid(65534)
os.setuid(65534)
from linscope.errors import InputError
from linscope.memory import open_memory
try:
    open_memory(sys.argv[1])
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else: run as root")
def test_a_dump_of_others_is_refused_with_what_helps(tmp_path: Path) -> None:
    code = "import linscope.memory._opening, linscope.memory.guest_ram\n" + READ_AS_NOBODY  # what nobody may not import
    path = tmp_path / "dump"
    path.write_bytes(kdump({1: page_of(1)}))
    path.chmod(0o600)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "Permission denied" in done.stdout
    assert "run as root" in done.stdout


def test_two_readers_of_one_file_at_once(tmp_path: Path) -> None:
    pages = {n: page_of(n, dull=False) for n in range(800)}
    path = tmp_path / "dump"
    path.write_bytes(kdump(pages, compression="zstd"))

    def read(order: range) -> bool:
        with open_memory(str(path)) as memory:
            return all(memory.read(n << 12, PAGE) == pages[n] for n in order)

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(read, (range(800), range(799, -1, -1))))
