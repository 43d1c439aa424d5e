"""Page tables: sizes of pages, levels, what is not present, tables that lie; the kernel's own found by VMCOREINFO."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_dumps import PAGE, Tables, kdump, page_of, prstatus, qemu

from linscope.errors import FormatError, MemoryFault, UsageError
from linscope.memory import open_memory
from linscope.memory._pieces import Piece, PieceMemory
from linscope.memory.kernel_image import image_physical, kernel_space
from linscope.memory.paging import AddressSpace, Mapping, describe_absent
from linscope.memory.vmcoreinfo import VmcoreInfo, iter_vmcoreinfo

TOP = 1 << 64
NX = 1 << 63


class Bytes:
    """A file that is in memory."""

    where, is_cut = "bytes", False

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.reads = 0

    def close(self) -> None:
        pass

    def peek(self, offset: int, size: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + size]

    def read(self, offset: int, size: int, what: str) -> bytes:
        return self.peek(offset, size)


def memory_of(frames: dict[int, bytes]) -> PieceMemory:
    """Physical memory with these frames."""
    data = Bytes(b"".join(frames.values()))
    return PieceMemory(data, [Piece(n << 12, n + 1 << 12, at * PAGE) for at, n in enumerate(frames)])


def space_of(tables: Tables, frames: dict[int, bytes] | None = None) -> AddressSpace:
    """The space that tables make, over memory that has them and some frames."""
    memory = memory_of(tables.pages() | (frames or {}))
    return AddressSpace(memory, tables.root, levels=tables.levels, encryption_mask=tables.encryption_mask)


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("mask", [0, 1 << 47, 1 << 51])
def test_pages_of_all_sizes(levels: int, mask: int) -> None:
    tables = Tables(levels=levels, encryption_mask=mask)
    upper = 0xFFFF888000000000 if levels == 4 else 0xFF11000000000000
    tables.map(0x400000, 0x40_0000)
    tables.map(0x401000, 0x50_0000)
    tables.map(upper, 0x20_0000, shift=21)
    tables.map(upper + (1 << 30), 1 << 30, shift=30)
    frames = {0x400: page_of(1), 0x500: page_of(2), 0x200: page_of(3), 0x3FF: page_of(4), 0x7FFFF: page_of(5)}
    space = space_of(tables, frames)
    assert space.read(0x400FF8, 16) == page_of(1)[-8:] + page_of(2)[:8]
    assert space.read(upper, PAGE) == page_of(3)
    assert space.read(upper + 0x1FF000, 8) == page_of(4)[:8]
    assert space.read(upper + (2 << 30) - 8, 8) == page_of(5)[-8:]
    assert space.translate(upper + (1 << 30) + 0x12345) == (1 << 30) + 0x12345
    assert [(entry.level, entry.is_leaf) for entry in space.walk(0x401000)][-2:] == [("PMD", False), ("PTE", True)]
    assert len(space.walk(0x401000)) == levels
    assert space.walk(upper + 5)[-1].target == 0x20_0000
    assert [found[:3] for found in space.ranges()] == [
        (0x400000, 0x401000, 0x40_0000), (0x401000, 0x402000, 0x50_0000), (upper, upper + (2 << 20), 0x20_0000),
        (upper + (1 << 30), upper + (2 << 30), 1 << 30),
    ]  # fmt: skip


def test_rights_are_those_of_all_levels() -> None:
    tables = Tables()
    tables.map(0x400000, 0x40_0000, flags=0x67)
    tables.map(0x600000, 0x60_0000, flags=0x65 | NX)
    tables.map(0x601000, 0x60_1000, flags=0x65 | NX)
    tables.map(0x602000, 0x60_2000, flags=0x61)
    assert list(space_of(tables).ranges()) == [
        Mapping(0x400000, 0x401000, 0x40_0000, True, True, True),
        Mapping(0x600000, 0x602000, 0x60_0000, False, True, False),
        Mapping(0x602000, 0x603000, 0x60_2000, False, False, True),
    ]
    assert [(one.start, one.end) for one in space_of(tables).ranges(0x601000, 0x602001)] == [
        (0x601000, 0x602000), (0x602000, 0x603000)
    ]  # fmt: skip
    entry = space_of(tables).walk(0x600000)[-1]
    assert entry.flags == ["PRESENT", "USER", "ACCESSED", "DIRTY", "NX"]


@pytest.mark.parametrize(
    ("levels", "address"), [(4, 1 << 47), (4, TOP - (1 << 47) - 1), (5, 1 << 56), (4, -8), (4, TOP), (5, TOP)]
)
def test_addresses_that_are_not_canonical(levels: int, address: int) -> None:
    space = space_of(Tables(levels=levels))
    for ask in (space.translate, space.walk, lambda at: space.read(at, 8)):
        with pytest.raises(MemoryFault) as caught:
            ask(address)
        assert caught.value.reason == MemoryFault.WIDTH
        assert caught.value.space == "virtual"
    with pytest.raises(UsageError):
        space.read(0, -1)
    with pytest.raises(UsageError):
        AddressSpace(space.physical, 0, levels=3)


def test_what_is_not_present_says_what_it_is() -> None:
    """pgtable_64.h: swap entries have type and offset; pgtable-invert.h: PROT_NONE keeps the address inverted."""
    tables = Tables()
    at = tables.map(0x400000, 0x40_0000)
    inverted = ~0x50_0000 & 0x000F_FFFF_FFFF_F000 | 0x100
    swapped = 2 << 59 | (~0x1234 & (1 << 50) - 1) << 9
    for index, value in enumerate([0, swapped, 25 << 59 | (~5 & (1 << 50) - 1) << 9, inverted, 0x50_0000 | 0x100]):
        tables.entry(at & -PAGE, index, value)
    space = space_of(tables, {0x500: page_of(5)})
    for page, what in ((0, "not mapped"), (1, "swapped out to area 2, page 0x1234"), (2, "migration entry, page 0x5")):
        with pytest.raises(MemoryFault, match=what) as caught:
            space.read(0x400000 + page * PAGE + 9, 8)
        assert (caught.value.reason, caught.value.address) == (MemoryFault.UNMAPPED, 0x400009 + page * PAGE)
    assert space.read(0x403008, 8) == page_of(5)[8:16]
    assert space.read(0x404008, 8) == page_of(5)[8:16]
    assert describe_absent(0) == ""
    assert "no access allowed" in describe_absent(0x9000 | 0x100)


def test_a_read_stops_at_the_first_byte_that_is_missing() -> None:
    tables = Tables()
    for number in range(5):
        tables.map(0x400000 + number * PAGE, 0x40_0000 + number * PAGE)
    space = space_of(tables, {0x400: page_of(1), 0x401: page_of(2), 0x403: page_of(4)})
    assert space.read(0x400000, 2 * PAGE) == page_of(1) + page_of(2)
    for start in (0x400000, 0x401FFF, 0x402000, 0x402800):
        with pytest.raises(MemoryFault) as caught:
            space.read(start, 3 * PAGE)
        assert caught.value.address == max(start, 0x402000)
        assert "physical 0x402" in caught.value.detail
    with pytest.raises(MemoryFault) as caught:
        space.read(0x404FFE, 4)
    assert caught.value.address == 0x404FFE


def test_tables_that_are_missing_or_lead_nowhere() -> None:
    tables = Tables()
    tables.entry(tables.root, 1, 0x000F_FFFF_FFFF_F000 | 0x67)  # beyond all memory
    tables.entry(tables.root, 2, 0x9999000 | 0x67)
    tables.map(0x400000, 0x40_0000)
    space = space_of(tables, {0x400: page_of(1)})
    for index, table in ((1, 0x000F_FFFF_FFFF_F000), (2, 0x9999000)):
        with pytest.raises(MemoryFault, match=f"page table at physical {table:#x}") as caught:
            space.read(index << 39, 8)
        assert caught.value.address == index << 39
        with pytest.raises(MemoryFault):
            space.walk(index << 39)
    assert [found.start for found in space.ranges()] == [0x400000]
    nothing = AddressSpace(space.physical, 0x7777000)
    with pytest.raises(MemoryFault):
        nothing.translate(0)
    assert list(nothing.ranges()) == []


def test_tables_in_a_circle_end() -> None:
    """A table that is its own entry gives no endless walk: a walk has as many steps as there are levels."""
    tables = Tables()
    for index in range(512):
        tables.entry(tables.root, index, tables.root | 0x67)
    space = space_of(tables)
    assert len(space.walk(0x123456789000)) == 4
    assert space.read(0x1000, 8) == struct.pack("<Q", tables.root | 0x67)
    assert list(space.ranges()) == []  # below itself it maps nothing new
    first, second = Tables(0x1000), 0x9000
    first.frames[9] = bytearray(PAGE)
    for index in range(512):  # two that lead to each other: 512 ** 3 ways through them
        first.entry(first.root, index, second | 0x67)
        first.entry(second, index, first.root | 0x67)
    space = space_of(first)
    assert list(space.ranges()) == []


def test_a_bomb_of_shared_tables_is_given_up() -> None:
    """Each level leads 512 times to the next: 2 ** 36 pages out of four tables."""
    tables = Tables()
    tables.map(0, 0)
    for table in (0x1000, 0x2000, 0x3000):
        for index in range(512):
            tables.entry(table, index, table + PAGE | 0x67)
    space = space_of(tables)
    file = space.physical._files[0]
    with pytest.raises(MemoryFault, match="more than 200 page tables") as caught:
        list(space.ranges(max_tables=200))
    assert caught.value.reason == MemoryFault.DAMAGED
    assert isinstance(file, Bytes)
    assert file.reads <= 210


@given(
    st.dictionaries(
        st.tuples(st.sampled_from([0, 0x7FFF_FFFF, 0xFFFF_8880_0000, 0xFFFF_FFFF_F]), st.integers(0, 600)),
        st.integers(0, 1 << 20),
        max_size=40,
    ),
    st.sampled_from([4, 5]),
)
def test_ranges_and_translate_agree_with_what_was_mapped(mapped: dict[tuple[int, int], int], levels: int) -> None:
    tables = Tables(levels=levels)
    wanted = {}
    for (page, index), frame in mapped.items():
        virtual = ((page << 12 if page < 1 << 32 else page << 16) + index * PAGE) & TOP - 1
        if page == 0x7FFF_FFFF:
            virtual &= (1 << 46) - 1
        if virtual >= 1 << 47:
            virtual |= TOP - (1 << 47)
        tables.map(virtual, frame << 12)
        wanted[virtual] = frame << 12
    space = space_of(tables)
    found = {}
    last = -1
    for one in space.ranges():
        assert one.start >= last
        last = one.end
        found |= {one.start + at: one.physical + at for at in range(0, one.end - one.start, PAGE)}
    assert found == wanted
    assert all(space.translate(virtual + 5) == physical + 5 for virtual, physical in wanted.items())


def test_caches_are_bounded() -> None:
    tables = Tables(0x100_0000)
    for number in range(10_000):
        tables.map(0x400000 + number * PAGE, (number % 7) << 12)
    space = space_of(tables, {n: page_of(n) for n in range(7)})
    for number in range(10_000):
        assert space.read(0x400000 + number * PAGE, 8) == page_of(number % 7)[:8]
    assert max(len(space._frames), len(space._small), len(space._huge)) <= 4096
    space.forget()
    assert not space._frames


# -- the kernel's own tables

IMAGE = 0xFFFFFFFF80000000


def kernel_pages(phys_base: int, *, levels: int = 4, mask: int = 0, offset: int = 0) -> tuple[Tables, int]:
    """Tables at the image's physical place that map it; and the address of swapper_pg_dir."""
    root = 0x1A0A000 + phys_base
    tables = Tables(root, levels=levels, encryption_mask=mask)
    for at in range(0x1000000, 0x2000000, 1 << 21):
        tables.map(IMAGE + at + offset, at + phys_base + offset, shift=21)
    return tables, IMAGE + 0x1A0A000


def information(symbol: int, phys_base: int, **more: object) -> bytes:
    """A VMCOREINFO text."""
    lines = {"OSRELEASE": "6.1.0-test", "SYMBOL(swapper_pg_dir)": f"{symbol:x}", "NUMBER(phys_base)": phys_base, **more}
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode()


def dump(tmp_path: Path, pages: dict[int, bytes], **more: object) -> str:
    path = tmp_path / "dump"
    path.write_bytes(kdump(pages, **more))  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("phys_base", [0, 0x600000, -0x800000])
@pytest.mark.parametrize(("levels", "mask"), [(4, 0), (5, 0), (4, 1 << 47)])
def test_the_kernels_tables_are_found(tmp_path: Path, phys_base: int, levels: int, mask: int) -> None:
    tables, symbol = kernel_pages(phys_base, levels=levels, mask=mask)
    text = information(symbol, phys_base, **{"NUMBER(pgtable_l5_enabled)": levels - 4, "NUMBER(sme_mask)": mask})
    with open_memory(dump(tmp_path, tables.pages(), vmcoreinfo=text)) as memory:
        space = kernel_space(memory)
        assert (space.root, space.levels) == (tables.root, levels)
        assert space.read(symbol, 16) == bytes(tables.frames[tables.root >> 12][:16])
    with open_memory(dump(tmp_path, tables.pages() | {7: text.ljust(PAGE, b"\0")})) as memory:
        assert memory.vmcoreinfo is None  # no note: it is found in the memory
        assert kernel_space(memory).root == tables.root
        assert memory.vmcoreinfo == text


def test_decoys_are_not_believed(tmp_path: Path) -> None:
    """A page cache may have the VMCOREINFO of another kernel, before the true one."""
    tables, symbol = kernel_pages(0)
    wrong = information(symbol + 0x3000, 0)
    no_symbol = b"OSRELEASE=5\nSYMBOL(x)=1\n"
    text = information(symbol, 0)
    pages = tables.pages() | {
        4: wrong.ljust(PAGE, b"\0"), 5: no_symbol.ljust(PAGE, b"\0"), 6: b"OSRELEASE=".rjust(PAGE),
        8: (b"x" * 3000 + text).ljust(PAGE, b"\0"),
    }  # fmt: skip
    with open_memory(dump(tmp_path, pages)) as memory:
        assert [VmcoreInfo(found).release for found in iter_vmcoreinfo(memory)] == ["6.1.0-test", "5", "6.1.0-test"]
        assert kernel_space(memory).root == tables.root
        assert memory.vmcoreinfo == text


def test_registers_help_where_phys_base_is_missing(tmp_path: Path) -> None:
    """QEMU's dump has cr3: a process's tables lead to the kernel's too (with PTI, the user's half has bit 12 set)."""
    tables, symbol = kernel_pages(0x400000)
    pages = tables.pages()
    pages[0x8000] = pages[tables.root >> 12]
    text = information(symbol, 0x400000).replace(b"NUMBER(phys_base)", b"NUMBER(other)")
    notes = prstatus(1, {}) + qemu({"cr3": 0x8000000 | 0x1005})
    with open_memory(dump(tmp_path, pages, vmcoreinfo=text, notes=notes)) as memory:
        assert kernel_space(memory).root == tables.root


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"OSRELEASE=6\n", "does not tell swapper_pg_dir"),
        (information(IMAGE + 0x1A0A000, 0x200000), "no virtual memory"),
        (information(0x1000, 0), "not in the kernel's image"),
        (b"", "there is no VMCOREINFO in it"),
    ],
)
def test_without_page_tables(tmp_path: Path, text: bytes, why: str) -> None:
    tables, _ = kernel_pages(0)
    with open_memory(dump(tmp_path, tables.pages(), vmcoreinfo=text)) as memory:
        with pytest.raises(FormatError, match="cannot find the kernel's page tables") as caught:
            kernel_space(memory)
        assert why in str(caught.value)


def test_tables_that_lead_to_others(tmp_path: Path) -> None:
    symbol = IMAGE + 0x1000000
    first, second = Tables(0x1000000), Tables(0x2000000)
    first.map(symbol, second.root)
    second.map(symbol, first.root)
    path = dump(tmp_path, first.pages() | second.pages(), vmcoreinfo=information(symbol, 0))
    wanted = pytest.raises(FormatError, match="the tables at 0x2000000 do not map themselves")
    with open_memory(path) as memory, wanted:
        kernel_space(memory)


def test_the_image_in_physical_memory() -> None:
    assert image_physical(IMAGE + 0x1000000, 0x600000) == 0x1600000
    assert image_physical(IMAGE + 0x1000000, -0x200000) == 0xE00000
    assert image_physical(IMAGE + 0x1000000, -0x200000 & TOP - 1) == 0xE00000
    for address, base in ((0xFFFF888000000000, 0), (IMAGE, -1), (TOP, 0), (0, 0)):
        with pytest.raises(MemoryFault):
            image_physical(address, base)


def test_vmcoreinfo() -> None:
    info = VmcoreInfo(
        b"OSRELEASE=6.1.0\nBUILD-ID=abcd\nPAGESIZE=4096\nSYMBOL(x)=ffffffff81000000\nOFFSET(list_head.next)=8\n"
        b"SIZE(page)=64\nLENGTH(free_area)=11\nNUMBER(a)=-5\nNUMBER(b)=0xff\nKERNELOFFSET=1a000000\nCRASHTIME=1700000000\n"
        b"no assignment\nNUMBER(bad)=x\nSYMBOL(bad)=\n\xff=\xff\n\0\0"
    )
    assert (info.release, info.build_id) == ("6.1.0", "abcd")
    assert (info.kernel_offset, info.crash_time_s) == (0x1A000000, 1700000000)
    assert (info.symbol("x"), info.symbol("y"), info.symbol("bad")) == (0xFFFFFFFF81000000, None, None)
    assert (info.number("a"), info.number("b"), info.number("bad"), info.number("c")) == (-5, 255, None, None)
    assert (info.offset("list_head.next"), info.size("page"), info.length("free_area")) == (8, 64, 11)
    empty = VmcoreInfo(b"")
    assert (empty.release, empty.build_id, empty.kernel_offset, empty.crash_time_s) == ("", "", 0, None)
