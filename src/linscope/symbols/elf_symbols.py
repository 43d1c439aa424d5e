"""ELF file -> SymbolTable in file offsets, after perf's rules.

Source: tools/perf/util/symbol-elf.c of Linux 6.1 for which symbols count; System V psABI of each machine for
the procedure linkage table.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from linscope.binfmt.elf import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_X86_64,
    ET_REL,
    PT_LOAD,
    SHF_ALLOC,
    SHN_ABS,
    SHN_UNDEF,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    STB_GLOBAL,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STV_HIDDEN,
    STV_INTERNAL,
    ElfFile,
    Records,
    Section,
)
from linscope.errors import FormatError
from linscope.symbols.choose import Candidates, choose_names, extend_ends, flatten, join
from linscope.symbols.table import U64, SymbolTable, empty_table

_MAX_DEBUGDATA = 256 << 20
# header and entry of .plt in bytes; x86 tells its own in the section header
_PLT_SIZES = {EM_ARM: (20, 12), EM_AARCH64: (32, 16)}
# psABI x86-64, "Relocation Types": the slot gets what the resolver at the addend returns
_R_X86_64_IRELATIVE = 37
PLT_SUFFIX = "@plt"


class _Names:
    """String tables behind one another, and a few names of our own."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, data: bytes) -> int:
        """Offset that the first byte of data gets."""
        offset = self.size
        self.parts += [data, b"\0"]  # a table without a final NUL must not run into the next
        self.size += len(data) + 1
        return offset

    def at(self, offset: int) -> bytes:
        for part in self.parts:
            if offset < len(part):
                end = part.find(b"\0", offset)
                return part[offset : end if end >= 0 else None]
            offset -= len(part)
        return b""


def build_table(symbols: ElfFile, runtime: ElfFile, *, plt_like_perf: bool = False) -> SymbolTable:
    """The functions (and data) of an object, by offset in the runtime file.

    symbols: the file that has the symbol table (a separate debug file, or the runtime file itself).
    runtime: the file that was mapped.  plt_like_perf: count PLT stubs off as perf 6.1 does, which gives
    wrong names where IFUNC stubs are mixed in (libc).
    Raises FormatError when neither symbol table can be read.
    """
    names = _Names()
    chosen: Candidates | None = None
    for kind in (SHT_SYMTAB, SHT_DYNSYM):
        section = symbols.section_of_kind(kind)
        if section is None or section.size == 0:
            continue
        found = _candidates(symbols, runtime, section, names)
        if chosen is not None and len(chosen.starts):
            # what .symtab has at an address already, .dynsym repeats
            place = np.minimum(np.searchsorted(chosen.starts, found.starts), len(chosen.starts) - 1)
            found = found.take(chosen.starts[place] != found.starts)
            if not len(found.starts):
                continue
            found = join(chosen, found)
        found = found.sorted()
        extend_ends(found)
        chosen = choose_names(found, names.at)
    if chosen is None or not len(chosen.starts):
        return empty_table()
    suffix_ids = np.zeros(len(chosen.starts), np.uint8)
    stubs = _plt(runtime, chosen, names, plt_like_perf)
    if len(stubs.starts):
        # what has no size in front of .plt was extended over it
        first = stubs.starts.min()
        over = (chosen.starts < first) & (chosen.ends > first)
        chosen.ends[over] = _section_start(runtime, int(first))
        suffix_ids = np.concatenate([suffix_ids, np.ones(len(stubs.starts), np.uint8)])
        chosen = join(chosen, stubs)
    ranges = flatten(chosen.starts, chosen.ends)
    return SymbolTable(
        ranges.starts,
        ranges.ends,
        chosen.names[ranges.owners],
        b"".join(names.parts),
        suffixes=(PLT_SUFFIX,),
        suffix_ids=suffix_ids[ranges.owners],
        same_as=ranges.same_as(),
    )


def build_image_table(
    elf: ElfFile, anchors: Sequence[str], *, only_section: int | None = None
) -> tuple[SymbolTable, dict[str, int]]:
    """The symbols of a vmlinux or a kernel module by their own addresses (st_value), and the values of some
    by name.

    only_section: take that section's symbols alone.  Raises FormatError when the symbol table cannot be read.
    """
    section = elf.section_of_kind(SHT_SYMTAB)
    if section is None:
        return empty_table(), {}
    names = _Names()
    found = _candidates(elf, None, section, names, only_section)
    found = found.sorted()
    extend_ends(found)
    chosen = choose_names(found, names.at)
    ranges = flatten(chosen.starts, chosen.ends)
    blob = b"".join(names.parts)
    values = {}
    if anchors:
        every, strings = elf.symbols(section), elf.strings_of(section)
        for anchor in anchors:
            # a name may also be the tail of a longer one in the string table
            at = strings.find(b"\0" + anchor.encode() + b"\0") + 1
            rows = np.flatnonzero(every["name"] == at)
            if at and len(rows):
                values[anchor] = int(every["value"][rows[0]])
    shown = chosen.names[ranges.owners]
    table = SymbolTable(ranges.starts, ranges.ends, shown, blob, same_as=ranges.same_as(), demangled=False)
    return table, values


def _candidates(
    symbols: ElfFile,
    runtime: ElfFile | None,
    section: Section,
    names: _Names,
    only_section: int | None = None,
) -> Candidates:
    """The symbols of one table that can stand for an address.

    As file offsets of the runtime file, or as they are when there is none.
    """
    table = symbols.symbols(section)
    strings = symbols.strings_of(section)
    wanted = _wanted(symbols, table, strings)
    if only_section is not None:
        wanted &= table["section"] == only_section
    table = table[wanted]
    base = names.add(strings)
    values = table["value"].astype(np.uint64)
    kinds = (table["info"] & 15).astype(np.uint8)
    if symbols.machine == EM_ARM:
        values = np.where(kinds == STT_FUNC, values & ~np.uint64(1), values)  # bit 0 says Thumb
    starts = values if runtime is None else _file_offsets(symbols, runtime, values, table["section"])
    with np.errstate(over="ignore"):
        ends = starts + table["size"].astype(np.uint64)
    ends = np.where(ends < starts, starts, ends)
    return Candidates(
        starts,
        ends,
        (table["info"] >> 4).astype(np.uint8),
        kinds,
        table["name"].astype(np.uint64) + np.uint64(base),
    )


def _wanted(elf: ElfFile, table: Records, strings: bytes) -> npt.NDArray[np.bool_]:
    """Functions, objects, and labels in text or data sections; all of them defined, named and loaded."""
    kind = table["info"] & 15
    section = table["section"]
    count = len(elf.sections)
    loaded = np.zeros(0x10000, bool)
    labels = np.zeros(0x10000, bool)
    for one in elf.sections[: min(count, SHN_ABS)]:
        loaded[one.number] = bool(one.flags & SHF_ALLOC)
        labels[one.number] = "text" in one.name or "data" in one.name
    visibility = table["other"] & 3
    function = (kind == STT_FUNC) | (kind == STT_GNU_IFUNC) | (kind == STT_OBJECT)
    label = (kind == STT_NOTYPE) & (visibility != STV_HIDDEN) & (visibility != STV_INTERNAL) & labels[section]
    wanted: npt.NDArray[np.bool_] = (function | label) & (table["name"] != 0) & (section != SHN_UNDEF)
    wanted &= loaded[section] & (table["name"] < len(strings))
    if elf.machine in (EM_ARM, EM_AARCH64):
        wanted &= ~_mapping_symbols(table, strings)
    return wanted


def _mapping_symbols(table: Records, strings: bytes) -> npt.NDArray[np.bool_]:
    """Where a name is "$a", "$d", "$t", "$x" or "$d.12": a mark for disassemblers (AAELF64)."""
    text = np.frombuffer(strings + b"\0\0\0", np.uint8)
    at = np.minimum(table["name"], len(strings)).astype(np.int64)
    first = text[at] == ord("$")
    second = np.isin(text[at + 1], np.frombuffer(b"adtx", np.uint8))
    third = (text[at + 2] == 0) | (text[at + 2] == ord("."))
    return np.asarray(first & second & third)


def _file_offsets(symbols: ElfFile, runtime: ElfFile, values: U64, sections: npt.NDArray[Any]) -> U64:
    """Virtual addresses as offsets in the runtime file: by its segments, else by the section's header."""
    result = values.copy()
    known = np.zeros(len(values), bool)
    with np.errstate(over="ignore"):
        for segment in runtime.segments:
            size = max(segment.memory_size, segment.file_size)
            if segment.kind != PT_LOAD or not size:
                continue
            inside = ~known & (values - np.uint64(segment.address) < np.uint64(size))
            result[inside] += np.uint64((segment.offset - segment.address) % 2**64)
            known |= inside
        if not known.all():
            shifts = np.zeros(0x10000, np.uint64)
            for section in symbols.sections[:SHN_ABS]:
                if section.kind == SHT_NOBITS and section.number < len(runtime.sections):
                    section = runtime.sections[section.number]
                address = 0 if symbols.kind == ET_REL else section.address
                shifts[section.number] = (section.offset - address) % 2**64
            result[~known] += shifts[sections[~known]]
    return result


def _section_start(elf: ElfFile, offset: int) -> int:
    """Offset at which the section begins that holds an offset."""
    return next(
        (s.offset for s in elf.sections if s.kind != SHT_NOBITS and s.offset <= offset < s.offset + s.size),
        offset,
    )


def _address_to_offset(elf: ElfFile, address: int) -> int | None:
    for segment in elf.segments:
        size = max(segment.memory_size, segment.file_size)
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + size:
            return address - segment.address + segment.offset
    return None


_NO_STUBS = Candidates(
    np.empty(0, np.uint64),
    np.empty(0, np.uint64),
    np.empty(0, np.uint8),
    np.empty(0, np.uint8),
    np.empty(0, np.uint64),
)


def _stubs(starts: list[int], size: int, names: list[int]) -> Candidates:
    begin = np.array(starts, np.uint64)
    count = len(starts)
    return Candidates(
        begin,
        begin + np.uint64(size),
        np.full(count, STB_GLOBAL, np.uint8),
        np.full(count, STT_FUNC, np.uint8),
        np.array(names, np.uint64),
    )


def _plt(elf: ElfFile, chosen: Candidates, names: _Names, like_perf: bool) -> Candidates:
    """The stubs of .plt, .plt.sec and .plt.got as symbols; their names get PLT_SUFFIX."""
    dynsym = elf.section_of_kind(SHT_DYNSYM)
    plt = elf.section(".rela.plt") or elf.section(".rel.plt")
    if dynsym is None or plt is None or plt.kind not in (SHT_REL, SHT_RELA) or plt.link != dynsym.number:
        return _NO_STUBS
    try:
        symbol_names = elf.symbols(dynsym)["name"].astype(np.int64)
        base = names.add(elf.strings_of(dynsym))
        rows = elf.relocations(plt)
        if elf.machine == EM_X86_64:
            slots = _slot_names(elf, dynsym, chosen, symbol_names, base, names)
            parts = [
                _x86_64_stubs(elf, section, slots)
                for name in (".plt", ".plt.sec", ".plt.got")
                if (section := elf.section(name)) and not (like_perf and name == ".plt")
            ]
            if not like_perf:
                return _join_all(parts)
            return _join_all([_stubs_in_order(elf, rows["symbol"], symbol_names, base), *parts])
        return _stubs_in_order(elf, rows["symbol"], symbol_names, base)
    except FormatError:
        return _NO_STUBS  # a damaged linkage table takes no function away


def _join_all(parts: list[Candidates]) -> Candidates:
    result = _NO_STUBS
    for part in parts:
        result = join(result, part)
    return result


def _stubs_in_order(
    elf: ElfFile, symbols: npt.NDArray[Any], symbol_names: npt.NDArray[np.int64], base: int
) -> Candidates:
    """One stub after another behind the header of .plt, in the order of the relocations."""
    plt = elf.section(".plt")
    if plt is None or plt.kind == SHT_NOBITS or not len(symbols):
        return _NO_STUBS
    size = plt.entry_size
    if elf.machine in (EM_X86_64, EM_386) and size not in (8, 16):
        size = 8 if plt.align == 8 else 16
    header, size = _PLT_SIZES.get(elf.machine, (size, size))
    if not size:
        return _NO_STUBS
    count = min(len(symbols), max(0, plt.size - header) // size)
    index = np.minimum(symbols[:count].astype(np.int64), len(symbol_names) - 1)
    starts = [plt.offset + header + size * place for place in range(count)]
    return _stubs(starts, size, (symbol_names[index] + base).tolist())


def _slot_names(
    elf: ElfFile,
    dynsym: Section,
    chosen: Candidates,
    symbol_names: npt.NDArray[np.int64],
    base: int,
    names: _Names,
) -> dict[int, int]:
    """Address of a GOT slot -> offset of the name of what it points to."""
    slots: dict[int, int] = {}
    for section in elf.sections:
        if section.kind != SHT_RELA or section.link != dynsym.number:
            continue
        rows = elf.relocations(section)
        wanted = (rows["symbol"] > 0) & (rows["symbol"] < len(symbol_names))
        offsets = rows["offset"][wanted].tolist()
        slots.update(zip(offsets, (symbol_names[rows["symbol"][wanted]] + base).tolist(), strict=True))
        unnamed = rows["kind"] == _R_X86_64_IRELATIVE
        if unnamed.any():
            addends = np.frombuffer(elf.section_bytes(section), "<u8").reshape(-1, 3)[:, 2][unnamed]
            for slot, address in zip(rows["offset"][unnamed].tolist(), addends.tolist(), strict=True):
                slots[slot] = _resolver_name(elf, chosen, int(address), names)
    return slots


def _resolver_name(elf: ElfFile, chosen: Candidates, address: int, names: _Names) -> int:
    """Name offset of the IFUNC whose resolver lies at an address, else of a made-up name."""
    offset = _address_to_offset(elf, address)
    if offset is not None:
        place = int(np.searchsorted(chosen.starts, np.uint64(offset)))
        if place < len(chosen.starts) and int(chosen.starts[place]) == offset:
            return int(chosen.names[place])
    return names.add(f"ifunc_{address:#x}".encode())


def _x86_64_stubs(elf: ElfFile, section: Section, slots: dict[int, int]) -> Candidates:
    """Stubs that jump through a GOT slot: ``jmp *disp(%rip)``, bare or behind endbr64 and/or bnd."""
    size = section.entry_size if section.entry_size in (8, 16) else 16
    code = np.frombuffer(elf.section_bytes(section), np.uint8)
    code = code[: len(code) // size * size].reshape(-1, size)
    starts, found = [], []
    for skip in (0, 1, 4, 5):
        if skip + 6 > size:
            continue
        jumps = np.flatnonzero((code[:, skip] == 0xFF) & (code[:, skip + 1] == 0x25))
        distance = np.ascontiguousarray(code[jumps, skip + 2 : skip + 6]).view("<i4")[:, 0].astype(np.int64)
        targets = section.address + jumps * size + skip + 6 + distance
        for row, target in zip(jumps.tolist(), targets.tolist(), strict=True):
            if target in slots:
                starts.append(section.offset + row * size)
                found.append(slots[target])
    return _stubs(starts, size, found)


def mini_debug_info(elf: ElfFile) -> ElfFile | None:
    """The ELF image in .gnu_debugdata (xz), which Fedora ships instead of .symtab; None when there is none.

    Raises FormatError when it is damaged or unpacks to more than 256 MiB.
    """
    section = elf.section(".gnu_debugdata")
    if section is None:
        return None
    unpack = lzma.LZMADecompressor()
    try:
        data = unpack.decompress(elf.section_bytes(section), _MAX_DEBUGDATA)
    except lzma.LZMAError as error:
        where, offset = elf.path, section.offset
        raise FormatError("damaged .gnu_debugdata", where=where, offset=offset, why=str(error)) from error
    if not unpack.eof:
        raise FormatError(".gnu_debugdata cut short or too large", where=elf.path, offset=section.offset)
    return ElfFile(data, where=f"{elf.path} (.gnu_debugdata)")
