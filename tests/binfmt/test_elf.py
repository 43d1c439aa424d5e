"""ELF reading against readelf, and on damaged files."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elf_writer import Symbol, write_elf
from hypothesis import given
from hypothesis import strategies as st

from linscope.binfmt.elf import ET_DYN, SHT_DYNSYM, SHT_SYMTAB, ElfFile
from linscope.binfmt.notes import Note, find_build_id, iter_notes
from linscope.errors import FormatError
from linscope.symbols.elf_symbols import build_table

READELF = shutil.which("readelf")
FILES = [
    path for path in (sys.executable, "/bin/sh", "/usr/lib/x86_64-linux-gnu/libc.so.6") if Path(path).exists()
]


def readelf(*arguments: str) -> str:
    assert READELF
    return subprocess.run([READELF, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.peer
@pytest.mark.skipif(not READELF, reason="readelf is not installed: apt-get install binutils")
@pytest.mark.parametrize("path", FILES)
def test_symbols_sections_and_build_id_equal_readelf(path: str) -> None:
    with ElfFile(path) as elf:
        build_id = re.search(r"Build ID: ([0-9a-f]+)", readelf("-n", path))
        assert elf.build_id == (build_id[1] if build_id else "")
        sections = re.findall(r"^ +\[ *(\d+)\] (\S*)", readelf("-SW", path), re.M)
        assert [section.name for section in elf.sections[1:]] == [name for _, name in sections[1:]]
        for kind, option in ((SHT_DYNSYM, "--dyn-syms"), (SHT_SYMTAB, "-s")):
            section = elf.section_of_kind(kind)
            if section is None:
                continue
            text = readelf(option, "-W", path)
            part = text.partition(f"table '{section.name}'")[2].partition("\n\n")[0]
            theirs = re.findall(r"^ +\d+: ([0-9a-f]+) +(0x[0-9a-f]+|\d+) ", part, re.M)
            table = elf.symbols(section)
            assert [(int(v, 16), int(s, 0)) for v, s in theirs] == list(
                zip(table["value"].tolist(), table["size"].tolist(), strict=True)
            )


@pytest.mark.parametrize("is_64", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_all_classes_and_byte_orders(is_64: bool, little: bool) -> None:
    image = write_elf(
        [Symbol("first", 0x401010, 0x20), Symbol("label", 0x401100, kind=0)],
        is_64=is_64,
        little=little,
        machine=62 if is_64 else 20,
        build_id=bytes(range(20)),
    )
    with ElfFile(image) as elf:
        assert (elf.is_64, elf.little_endian, elf.kind) == (is_64, little, ET_DYN)
        assert elf.build_id == bytes(range(20)).hex()
        table = build_table(elf, elf)
    assert table.starts.tolist() == [0x1010, 0x1100]
    assert table.ends.tolist()[0] == 0x1030
    assert [table.name(0), table.name(1)] == ["first", "label"]


@pytest.mark.parametrize("machine, expected", [(40, [0x1010]), (183, [0x1011])])
def test_arm_mapping_symbols_do_not_count(machine: int, expected: list[int]) -> None:
    symbols = [
        Symbol("$d", 0x401000, kind=0, binding=0),
        Symbol("$x.7", 0x401008, kind=0, binding=0),
        Symbol("run", 0x401011, 8),  # on 32-bit ARM the lowest bit says Thumb
    ]
    with ElfFile(write_elf(symbols, machine=machine, is_64=machine == 183)) as elf:
        assert build_table(elf, elf).starts.tolist() == expected


def test_what_is_not_elf() -> None:
    for data in (b"", b"\x7fELF", b"#!/bin/sh\n" * 10, b"\x7fELF\x09\x01" + bytes(100)):
        with pytest.raises(FormatError):
            ElfFile(data)


def test_devices_and_folders_are_not_opened(tmp_path: Path) -> None:
    for path in ("/dev/null", str(tmp_path)):
        with pytest.raises(FormatError, match="not a regular file"):
            ElfFile(path)


def test_huge_counts_are_refused_before_memory_is_taken() -> None:
    image = bytearray(write_elf([Symbol("f", 0x401000, 4)]))
    image[60:62] = bytes(2)  # e_shnum 0: the count is in section 0
    at = int.from_bytes(image[40:48], "little")
    image[at + 32 : at + 40] = (1 << 40).to_bytes(8, "little")
    with pytest.raises(FormatError):
        ElfFile(bytes(image))


def exercise(data: bytes) -> None:
    """Everything that a report does with a file; FormatError is the one error allowed."""
    try:
        with ElfFile(data) as elf:
            _ = elf.build_id, elf.debug_link(), repr(elf)
            table = build_table(elf, elf)
            for index in range(min(len(table), 50)):
                table.name(index)
            table.find(table.starts)
    except FormatError:
        pass


def test_flipped_bits() -> None:
    small = write_elf([Symbol(f"_ZN1a{len(str(i)) + 1}f{i}Ev", 0x401000 + 16 * i, 8) for i in range(40)])
    chance = random.Random(1)
    start = 0x1000 + 0x1000
    for _ in range(2000):
        image = bytearray(small)
        for _ in range(chance.randint(1, 4)):
            at = chance.choice([chance.randrange(0, 120), chance.randrange(start, len(image))])
            image[at] ^= 1 << chance.randrange(8)
        exercise(bytes(image))


@pytest.mark.skipif(not Path("/usr/bin/gzip").exists(), reason="no /usr/bin/gzip")
def test_flipped_bits_and_cut_ends_of_a_real_program() -> None:
    real = Path("/usr/bin/gzip").read_bytes()
    chance = random.Random(2)
    for _ in range(300):
        image = bytearray(real)
        for _ in range(chance.randint(1, 20)):
            image[chance.randrange(len(image))] ^= 1 << chance.randrange(8)
        exercise(bytes(image))
    for _ in range(200):
        exercise(real[: chance.randrange(len(real))])


@given(st.binary(max_size=200), st.booleans())
def test_notes_of_any_bytes(data: bytes, little: bool) -> None:
    find_build_id(data, little_endian=little)
    assert all(isinstance(note, Note) for note in iter_notes(data, little_endian=little))
