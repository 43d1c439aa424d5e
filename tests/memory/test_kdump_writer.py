"""Dumps that we write, read back by our reader and by makedumpfile; what a kill or a full disk leaves."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_dumps import PAGE, Tables, elf, kdump, note, page_of, prstatus, qemu

from linscope.errors import FormatError, MemoryFault, OutputError, UnsupportedError, UsageError
from linscope.memory import open_memory
from linscope.memory.kdump_writer import WriteOptions, Written, write_kdump
from linscope.memory.physical import PhysicalMemory

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dumps" / "debian-6.1-lzo.kdump"
COMPRESSIONS = ["zstd", "zlib", "lzo", "none"]


def pages_of(memory: PhysicalMemory) -> dict[int, bytes]:
    """All that can be read, by page frame."""
    found: dict[int, bytes] = {}
    for address, chunk in memory.iter_chunks():
        assert address % PAGE == len(chunk) % PAGE == 0
        found |= {(address + at) // PAGE: chunk[at : at + PAGE] for at in range(0, len(chunk), PAGE)}
    return found


def converted(tmp_path: Path, data: bytes, level: int = 0, compression: str = "zstd") -> tuple[Written, str]:
    """Write a dump of what is in some bytes; (result, path)."""
    (tmp_path / "source").write_bytes(data)
    target = str(tmp_path / "target")
    with open_memory(str(tmp_path / "source")) as memory:
        return write_kdump(memory, target, WriteOptions(level=level, compression=compression)), target


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_all_pages_come_back(tmp_path: Path, compression: str) -> None:
    pages = {n: page_of(n, dull=n % 3 != 0) for n in [*range(3, 1500), 40_000, 200_000]}
    pages |= {7: bytes(PAGE), 9: bytes(PAGE)}
    segments = [(0, n << 12, data, PAGE) for n, data in pages.items()]
    notes = prstatus(5, {"rip": 77}) + prstatus(6, {"rip": 78}) + qemu({"cr3": 1 << 12}) + qemu({"cr3": 2 << 12})
    text = b"OSRELEASE=6.1.0-x\nNUMBER(phys_base)=-4096\nKERNELOFFSET=0\n"
    written, target = converted(tmp_path, elf(segments, notes + note(b"VMCOREINFO", 0, text)), 1, compression)
    assert written[:3] == (len(pages), len(pages), 2)
    assert (written.excluded, written.missing, written.lost) == ({}, 0, 0)
    assert written.size_bytes == os.path.getsize(target)
    assert written.memory_bytes == len(pages) * PAGE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
    assert os.stat(target).st_mode & 0o777 == 0o600
    with open_memory(target) as memory, open_memory(str(tmp_path / "source")) as source:
        assert pages_of(memory) == pages
        assert memory.ranges == source.ranges
        assert not memory.is_incomplete
        assert memory.dump_level == 1
        assert memory.vmcoreinfo == text
        assert memory.utsname is not None
        assert memory.utsname.release == "6.1.0-x"
        assert [(cpu.pid, cpu.registers["rip"], cpu.cr3) for cpu in memory.cpus] == [(5, 77, 1 << 12), (6, 78, 2 << 12)]
        with pytest.raises(MemoryFault) as caught:
            memory.read(2000 << 12, 8)
        assert caught.value.reason == MemoryFault.HOLE


def test_pages_that_are_there_in_part_are_filled_with_zeros(tmp_path: Path) -> None:
    low, middle, high = page_of(1)[:0xC00], page_of(2)[:8], page_of(3)[:100] * 50
    segments = [(0, 0x9F000, low, 0xC00), (0, 0x200010, middle, 8), (0, 0x200020, middle, 8), (0, 0x200800, high, 9000)]
    _, target = converted(tmp_path, elf(segments))
    with open_memory(target) as memory:
        assert memory.ranges == [(0x9F000, 0xA0000), (0x200000, 0x203000)]
        assert memory.read(0x9F000, PAGE) == low.ljust(PAGE, b"\0")
        wanted = bytearray(3 * PAGE)
        wanted[0x10:0x18] = wanted[0x20:0x28] = middle
        wanted[0x800 : 0x800 + 5000] = high
        assert memory.read(0x200000, 3 * PAGE) == bytes(wanted)


def test_zero_pages_share_one_page_of_the_file(tmp_path: Path) -> None:
    written, target = converted(tmp_path, elf([(0, 0, b"x" * PAGE, 20_000 * PAGE)]), 1, "none")
    assert written.zero == 19_999
    assert written.size_bytes < 20_000 * 24 + 100_000
    with open_memory(target) as memory:
        assert memory.read(PAGE, 19_999 * PAGE) == bytes(19_999 * PAGE)


def test_what_a_dump_has_left_out_stays_out(tmp_path: Path) -> None:
    pages = {n: page_of(n) for n in range(200, 900)}
    source = kdump(pages, excluded=range(900, 1000), level=16)
    written, target = converted(tmp_path, source, 1)
    assert (written.pages, written.stored, written.missing) == (800, 700, 100)
    with open_memory(target) as memory:
        assert pages_of(memory) == pages
        assert memory.dump_level == 17
        with pytest.raises(MemoryFault) as caught:
            memory.read(950 << 12, 8)
        assert caught.value.reason == MemoryFault.EXCLUDED


def test_damaged_pages_are_counted_and_the_others_are_kept(tmp_path: Path) -> None:
    pages = {n: page_of(n, dull=False) for n in range(2000)}
    data = bytearray(kdump(pages))
    for index in (0, 700, 1999):
        struct.pack_into("<QI", data, 4 * PAGE + 24 * index, 9000, 5000)
    written, target = converted(tmp_path, bytes(data))
    assert (written.stored, written.lost) == (1997, 3)
    for index in (0, 700, 1999):
        del pages[index]
    with open_memory(target) as memory:
        assert pages_of(memory) == pages
        assert not memory.is_incomplete


def kernel_memory() -> tuple[dict[int, bytes], bytes]:
    """A kernel that has page tables, a uts_namespace and struct pages: of 2,048 pages, a third free, some of files."""
    image, vmemmap, direct = 0xFFFFFFFF81000000, 0xFFFFEA0000000000, 0xFFFF888000000000
    tables = Tables(0x100000)
    tables.map(image, 0x100000)
    tables.map(image + PAGE, 0x200000)
    for number in (0x201, 0x202):
        tables.map(direct + (number << 12), number << 12)
    structs = bytearray(2048 * 64)
    for number in range(2048):
        struct.pack_into("<I", structs, 64 * number + 48, 0xFFFFFFFF)
    for number in range(1024, 1536, 8):
        struct.pack_into("<I", structs, 64 * number + 48, -129 & 0xFFFFFFFF)
        struct.pack_into("<Q", structs, 64 * number + 40, 3)
    for number in range(1536, 1600):
        struct.pack_into("<Q", structs, 64 * number, 1 << 4)
    for number in range(1600, 1610):
        struct.pack_into("<Q", structs, 64 * number + 24, 0xFFFF888000000001)
    pages = {n: page_of(n, dull=n % 4 != 0) for n in range(2048)}
    pages[0x201] = struct.pack("<QQ", direct + 0x202000, 0).ljust(PAGE, b"\0")
    pages[0x202] = struct.pack("<QQ", vmemmap | 3, 0).ljust(PAGE, b"\0")
    names = b"".join(text.ljust(65, b"\0") for text in (b"Linux", b"node", b"6.1.0", b"#1 SMP", b"x86_64", b"(none)"))
    pages[0x200] = (bytes(16) + names).ljust(PAGE, b"\0")
    for at in range(32):
        tables.map(vmemmap + at * PAGE, 0x300000 + at * PAGE)
        pages[0x300 + at] = bytes(structs[at * PAGE : (at + 1) * PAGE])
    numbers = {
        "SIZE(page)": 64, "OFFSET(page.flags)": 0, "OFFSET(page.mapping)": 24, "OFFSET(page._mapcount)": 48,
        "OFFSET(page.private)": 40, "OFFSET(page.compound_head)": 8, "NUMBER(PG_lru)": 4, "NUMBER(PG_private)": 13,
        "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)": -129, "NUMBER(SECTION_SIZE_BITS)": 27, "SIZE(mem_section)": 16,
        "OFFSET(mem_section.section_mem_map)": 0, "LENGTH(mem_section)": 1, "NUMBER(phys_base)": -0xF00000,
        "OFFSET(uts_namespace.name)": 16,
    }  # fmt: skip
    text = "OSRELEASE=6.1.0\n" + "".join(f"{name}={value}\n" for name, value in numbers.items())
    text += f"SYMBOL(swapper_pg_dir)={image:x}\nSYMBOL(init_uts_ns)={image + PAGE:x}\n"
    text += f"SYMBOL(mem_section)={direct + 0x201000:x}\n"
    return pages | tables.pages(), text.encode()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[PhysicalMemory]:
    pages, text = kernel_memory()
    segments = [(0, 0, b"".join(pages[n] for n in range(2048)), 2048 * PAGE)]
    (tmp_path / "vmcore").write_bytes(elf(segments, prstatus(1, {}) + note(b"VMCOREINFO", 0, text)))
    with open_memory(str(tmp_path / "vmcore")) as memory:
        yield memory


@pytest.mark.parametrize(
    ("level", "excluded"),
    [
        (0, {}), (1, {}), (2, {"cache": 64}), (4, {"cache": 64}), (8, {"user": 10}), (16, {"free": 512}),
        (31, {"cache": 64, "free": 512, "user": 10}),
    ],
)  # fmt: skip
def test_levels(kernel: PhysicalMemory, tmp_path: Path, level: int, excluded: dict[str, int]) -> None:
    written = write_kdump(kernel, str(tmp_path / "dump"), WriteOptions(level=level))
    assert written.excluded == excluded
    spans = {"cache": range(1536, 1600), "user": range(1600, 1610), "free": range(1024, 1536)}
    gone = {number for name in excluded for number in spans[name]}
    with open_memory(str(tmp_path / "dump")) as memory:
        assert pages_of(memory) == {n: page for n, page in pages_of(kernel).items() if n not in gone}
        assert memory.utsname == ("Linux", "node", "6.1.0", "#1 SMP", "x86_64", "(none)")
        assert memory.dump_level == level
        for number in gone:
            with pytest.raises(MemoryFault, match="filtered out"):
                memory.read(number << 12, 8)


def test_a_source_that_tells_nothing_of_its_pages(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot find the kernel's page tables"):
        converted(tmp_path, elf([(0, 0, page_of(1), PAGE)]), 31)
    pages, text = kernel_memory()
    source = kdump(pages, vmcoreinfo=text.replace(b"SIZE(page)", b"SIZE(other)"))
    with pytest.raises(UnsupportedError, match=r"VMCOREINFO has no SIZE\(page\)"):
        converted(tmp_path, source, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_wrong_options(kernel: PhysicalMemory, tmp_path: Path) -> None:
    for options in (WriteOptions(level=32), WriteOptions(level=-1), WriteOptions(compression="rar")):
        with pytest.raises(UsageError):
            write_kdump(kernel, str(tmp_path / "dump"), options)
    for target in ("no/such/folder", "", "."):
        with pytest.raises(OutputError):
            write_kdump(kernel, str(tmp_path / target), WriteOptions(level=0))
    big = {n: b"".join(page_of(16 * n + k) for k in range(16)) for n in (0, 1, 5)}
    with pytest.raises(UnsupportedError, match="pages of 65536 bytes"):
        converted(tmp_path, kdump(big, block_size=65536, machine="aarch64"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "vmcore"]


def test_an_existing_dump_is_kept_until_the_new_one_is_whole(kernel: PhysicalMemory, tmp_path: Path) -> None:
    target = tmp_path / "dump"
    target.write_bytes(b"old")

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert 0 < done <= total
        assert target.read_bytes() == b"old"
        raise Stop

    with pytest.raises(Stop):
        write_kdump(kernel, str(target), WriteOptions(progress=stop))
    assert target.read_bytes() == b"old"
    assert not (tmp_path / "dump.part").exists()
    write_kdump(kernel, str(target))
    assert target.read_bytes()[:8] == b"KDUMP   "


KILLED = """
import os, signal, sys
from linscope.memory import open_memory
from linscope.memory.kdump_writer import WriteOptions, write_kdump

def progress(done, total):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

with open_memory(sys.argv[1]) as memory:
    write_kdump(memory, sys.argv[2], WriteOptions(level=0, progress=progress))
"""


def test_what_a_kill_leaves_is_an_incomplete_dump_with_another_name(tmp_path: Path) -> None:
    windows = 8
    segments = [(0, n << 27, page_of(n, dull=False) + page_of(n + 100), 3 * PAGE) for n in range(windows)]
    source = tmp_path / "source"
    source.write_bytes(elf(segments))
    done = subprocess.run([sys.executable, "-c", KILLED, str(source), str(tmp_path / "dump")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump.part", "source"]
    with open_memory(str(tmp_path / "dump.part")) as memory:
        assert memory.is_incomplete
        half = windows // 2 + 1
        for n in range(half):
            assert memory.read(n << 27, 3 * PAGE) == page_of(n, dull=False) + page_of(n + 100) + bytes(PAGE)
        for n in range(half, windows):
            with pytest.raises(MemoryFault) as caught:
                memory.read(n << 27, 8)
            assert caught.value.reason == MemoryFault.CUT


def test_a_full_disk_keeps_what_fits(tmp_path: Path) -> None:
    pages = {n << 15 | k: page_of(n << 15 | k, dull=False) for n in range(4) for k in range(60)}
    (tmp_path / "source").write_bytes(elf([(0, n << 12, page, PAGE) for n, page in pages.items()]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_memory(str(tmp_path / "source")) as memory:
        resource.setrlimit(resource.RLIMIT_FSIZE, (550_000, hard))
        try:
            with pytest.raises(OutputError, match="the dump is not whole") as caught:
                write_kdump(memory, str(tmp_path / "dump"), WriteOptions(level=0, compression="none"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / "dump.incomplete") in caught.value.next_step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump.incomplete", "source"]
    with open_memory(str(tmp_path / "dump.incomplete")) as memory:
        assert memory.is_incomplete
        good = pages_of(memory)
        assert 60 <= len(good) < 240
        assert all(pages[number] == page for number, page in good.items())


def test_memory_of_1_tb_costs_a_window(tmp_path: Path) -> None:
    """Pages at both ends and in the middle of 1 TB: the file is as small as they are, memory as large as a window."""
    tops = (0, 1 << 37, (1 << 40) - 6 * PAGE)
    segments = [(0, at, b"".join(page_of(at // PAGE + n) for n in range(6)), 6 * PAGE) for at in tops]
    (tmp_path / "source").write_bytes(elf(segments))
    with open_memory(str(tmp_path / "source")) as memory:
        tracemalloc.start()
        try:
            written = write_kdump(memory, str(tmp_path / "dump"), WriteOptions(level=0))
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
    assert written.stored == 18
    assert os.stat(tmp_path / "dump").st_blocks * 512 < 1 << 20
    with open_memory(str(tmp_path / "dump")) as memory:
        assert memory.size == 1 << 40
        assert memory.read((1 << 37) + 5 * PAGE, 8) == page_of((1 << 25) + 5)[:8]


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/dumps beside the checkout; clone it there")
@pytest.mark.parametrize("compression", ["zstd", "zlib"])
def test_a_real_dump_written_again(tmp_path: Path, compression: str) -> None:
    with open_memory(str(SHARED)) as source:
        written = write_kdump(source, str(tmp_path / "dump"), WriteOptions(compression=compression))
        assert (written.excluded, written.lost) == ({}, 0)
        assert 0.9 * SHARED.stat().st_size > written.size_bytes
        with open_memory(str(tmp_path / "dump")) as memory:
            assert pages_of(memory) == pages_of(source)
            assert memory.utsname == source.utsname
            assert memory.cpus == source.cpus
            assert memory.vmcoreinfo == source.vmcoreinfo


@pytest.mark.peer
@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/dumps beside the checkout; clone it there")
@pytest.mark.parametrize("compression", ["zlib", "lzo"])
def test_makedumpfile_reads_ours(tmp_path: Path, compression: str) -> None:
    """It filters ours again and finds nothing more to leave out; the log is that of the source."""
    if shutil.which("makedumpfile") is None:
        pytest.skip("needs makedumpfile: apt-get install makedumpfile")
    with open_memory(str(SHARED)) as source:
        write_kdump(source, str(tmp_path / "ours"), WriteOptions(compression=compression))
        wanted = pages_of(source)
    run = ["makedumpfile", "-d", "31", "-c", str(tmp_path / "ours"), str(tmp_path / "theirs")]
    subprocess.run(run, check=True, capture_output=True)
    with open_memory(str(tmp_path / "theirs")) as memory:
        assert pages_of(memory) == wanted
    for path in (SHARED, tmp_path / "ours"):
        run = ["makedumpfile", "--dump-dmesg", str(path), str(tmp_path / f"log-{path.name}")]
        subprocess.run(run, check=True, capture_output=True)
    log = (tmp_path / "log-ours").read_text()
    assert log == (tmp_path / f"log-{SHARED.name}").read_text()
    assert "sysrq triggered crash" in log
