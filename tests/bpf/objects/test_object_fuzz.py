"""Damaged objects: an error with its place, never a crash, a hang or much memory.  The same damage in every run."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from linscope.binfmt.btf import Btf
from linscope.binfmt.btf_layout import size_of, type_name
from linscope.binfmt.btf_text import type_text
from linscope.binfmt.elf import ElfFile
from linscope.bpf.objects.btf_ext import parse_btf_ext
from linscope.bpf.objects.raw_types import RawTypes
from linscope.bpf.objects.reader import read_object
from linscope.bpf.objects.target import Target
from linscope.errors import FormatError, InputError, LinscopeError, UnknownNameError

Compiled = Callable[[str], Path]
NAMES = ("counter", "core", "globals", "callbacks", "nested", "percpu", "user")
CONFIG = {"CONFIG_HZ": "250", "CONFIG_BPF_SYSCALL": "y", "CONFIG_CC_VERSION_TEXT": '"x"'}
FACTS = {"LINUX_KERNEL_VERSION": 1, "LINUX_HAS_BPF_COOKIE": 1}
ROUNDS = 250  # for each object


def damage(data: bytes, dice: random.Random, begin: int = 0, end: int = 0) -> bytes:
    """Some bytes changed, between two places, or all from a place on gone."""
    end = end or len(data)
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5, 30))):
        at = dice.randrange(begin, min(end, len(changed)))
        way = dice.randrange(6)
        if way == 0:
            changed[at] ^= 1 << dice.randrange(8)
        elif way == 1:
            changed[at] = dice.randrange(256)
        elif way == 2:
            changed[at : at + 4] = struct.pack("<I", dice.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 1 << 24, len(data))))
        elif way == 3:
            changed[at : at + 8] = struct.pack("<Q", dice.choice((0, 1 << 63, (1 << 64) - 1, len(data) - 1)))
        elif way == 4:
            size = dice.randrange(1, 64)
            other = dice.randrange(begin, end)
            changed[at : at + size] = changed[other : other + size]
        elif dice.random() < 0.1:
            del changed[at:]
            break
        else:
            changed[at : at + 2] = struct.pack("<H", dice.randrange(1 << 16))
    return bytes(changed[: len(data)])


def section_span(image: bytes, name: str) -> tuple[int, int]:
    with ElfFile(image) as elf:
        section = elf.section(name)
        assert section is not None
        return section.offset, section.offset + section.size


def read_damaged(image: bytes, target: Target) -> bool:
    """Whether it could be read all the same."""
    try:
        read_object(image, target=target, name="damaged")
    except (InputError, UnknownNameError) as error:
        assert str(error)
        return False
    return True


@pytest.mark.parametrize("part", ["all", ".BTF", ".BTF.ext", ".symtab", "headers"])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_objects(name: str, part: str, compiled: Compiled) -> None:
    image = compiled(name).read_bytes()
    begin, end = 0, len(image)
    if part == "headers":
        begin = struct.unpack_from("<Q", image, 40)[0]
    elif part != "all":
        begin, end = section_span(image, part)
    # its own types are the kernel's, so that relocations find something
    own = read_object(image, name="whole").btf
    target = Target(own, config=CONFIG, facts=FACTS, addresses={"_stext": 0xFFFFFFFF81000000})
    dice = random.Random(f"{name} {part}")
    read = sum(read_damaged(damage(image, dice, begin, end), target) for _ in range(ROUNDS))
    assert read < ROUNDS  # some damage is seen


@pytest.mark.parametrize("name", ["counter", "core"])
def test_objects_cut_short(name: str, compiled: Compiled) -> None:
    image = compiled(name).read_bytes()
    for size in range(0, len(image) - 1, 37):
        with pytest.raises(FormatError):
            read_object(image[:size], name="short")


def test_random_bytes() -> None:
    dice = random.Random("bytes")
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 1, 247, 1)
    for number in range(2000):
        data = dice.randbytes(dice.randrange(400))
        with pytest.raises(InputError):
            read_object(head + data if number % 2 else data, name="random")


def test_damaged_extensions_of_types(compiled: Compiled) -> None:
    """.BTF.ext alone: an error that names an offset, or records whose strings and places are checked later."""
    image = compiled("core").read_bytes()
    begin, end = section_span(image, ".BTF.ext")
    at, stop = section_span(image, ".BTF")
    data, names = image[begin:end], bytes(RawTypes(image[at:stop]).strings)
    dice = random.Random("extensions")
    refused = 0
    for _ in range(3000):
        try:
            parse_btf_ext(damage(data, dice), names, little_endian=True, at=begin)
        except FormatError as error:
            refused += 1
            assert error.offset is not None and error.offset >= begin
    assert refused > 500


def test_damaged_types(compiled: Compiled) -> None:
    image = compiled("core").read_bytes()
    begin, end = section_span(image, ".BTF")
    dice = random.Random("types")
    for _ in range(3000):
        try:
            raw = RawTypes(damage(image[begin:end], dice), at=begin)
            Btf(raw.to_bytes())
        except FormatError as error:
            assert error.offset is not None


def test_damaged_types_as_text(compiled: Compiled) -> None:
    """Whatever is asked of damaged types: text or an error; not deeper and deeper."""
    image = compiled("globals").read_bytes()
    begin, end = section_span(image, ".BTF")
    dice = random.Random("text")
    told = 0
    for _ in range(150):
        try:
            types = Btf(damage(image[begin:end], dice))
        except FormatError:
            continue
        for number in range(1, 60):
            try:
                size_of(types, number)
                told += bool(type_text(types, number) and type_name(types, number))
            except LinscopeError as error:
                assert str(error)
    assert told > 1000


EMPTY = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"\0"


def test_structs_of_gigabytes() -> None:
    raw = RawTypes(EMPTY)
    number = raw.add(1, "int", 4, 32)
    raw.add(4, "huge", 0xFFFFFFFF, raw.string("only"), number, 0, count=1)
    with pytest.raises(FormatError, match="behind its last member"):
        type_text(Btf(raw.to_bytes()), 2)


def test_sections_in_themselves() -> None:
    raw = RawTypes(EMPTY)
    raw.add(15, ".data", 4, 1, 0, 4, count=1)  # KIND_DATASEC, with itself as its variable
    with pytest.raises(FormatError, match="section in section"):
        type_text(Btf(raw.to_bytes()), 1)
