"""Read a ``.bpf.o``: its programs, maps, variables and types, ready to be loaded, checked or run.

Source: libbpf 1.5, src/libbpf.c, bpf_object_open and bpf_object_load: what is done with which section.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from linscope.abi import bpf as b
from linscope.binfmt import btf_types as bt
from linscope.binfmt.btf import Btf
from linscope.binfmt.elf import SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS
from linscope.bpf.objects import externs as ex
from linscope.bpf.objects.btf_ext import BtfExt, parse_btf_ext
from linscope.bpf.objects.core import Fitter
from linscope.bpf.objects.elf_object import ElfObject
from linscope.bpf.objects.linking import Code, Linker, Part
from linscope.bpf.objects.map_definitions import MAPS, Declared, data_map, declared_maps
from linscope.bpf.objects.raw_types import RawTypes
from linscope.bpf.objects.sections import find_kind
from linscope.bpf.program import Map, Program
from linscope.errors import FormatError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from linscope.binfmt.elf import Section
    from linscope.bpf.objects.target import Target

_DATA = (".data", ".rodata", ".bss")
_MAX_OBJECT = 1 << 28  # bytes


class Variable(NamedTuple):
    """A global variable."""

    map: Map
    offset: int
    size: int
    type: int


class InitialValue(NamedTuple):
    """What a map holds at first: a map in it, or a program, by name."""

    map: str
    place: int
    value: str


class Object:
    """An object file.  ``programs`` and ``maps`` are by name, maps of variables by their section (".bss").

    ``manual`` are programs that are loaded only when asked for (SEC("?...")); ``initial`` what maps of maps and
    arrays of programs hold at first.
    """

    def __init__(
        self, name: str, programs: dict[str, Program], maps: dict[str, Map], *, btf: Btf | None, license: str,
        manual: frozenset[str], initial: list[InitialValue], variables: dict[str, Variable],
    ) -> None:  # fmt: skip
        """See ``read_object``."""
        self.name = name
        self.programs = programs
        self.maps = maps
        self.btf = btf
        self.license = license
        self.manual = manual
        self.initial = initial
        self.variables = variables

    def __repr__(self) -> str:
        return f"<Object {self.name!r}: programs {', '.join(self.programs)}; maps {', '.join(self.maps)}>"

    def set(self, name: str, value: bytes | int) -> None:
        """Give a variable its value before the object is loaded; a number in as many bytes as it has.

        Raises UnknownNameError, UsageError: it does not fit.
        """
        variable = self.variables.get(name)
        if variable is None:
            raise UnknownNameError("variable", name, self.variables)
        if isinstance(value, int):
            little = self.btf is None or self.btf.little_endian
            bits = 8 * variable.size
            if not -(1 << bits - 1) <= value < 1 << bits:
                raise UsageError(f"{value} does not fit into the {variable.size} bytes of {name!r}")
            value = (value & (1 << bits) - 1).to_bytes(variable.size, "little" if little else "big")
        if len(value) != variable.size:
            raise UsageError(f"{name!r} has {variable.size} bytes, not {len(value)}")
        held = variable.map
        whole = bytearray(held.initial or bytes(held.value_size))
        whole[variable.offset : variable.offset + variable.size] = value
        held.initial = bytes(whole)


def read_object(source: str | bytes, *, target: Target | None = None, name: str = "", where: str = "") -> Object:
    """The object of a file or of the bytes of one.

    target: the kernel whose types, settings and symbols it is fitted to; None: what depends on them stays as it was
    compiled.  name: what the kernel shows in front of the maps of variables; by the file's name when empty.
    Raises FormatError (damaged, or not what a compiler makes), UnsupportedError (legacy maps, struct_ops),
    UnknownNameError (the target lacks a name), OSError.
    """
    if isinstance(source, str):
        where = where or source
        with open(source, "rb") as file:
            image = file.read(_MAX_OBJECT + 1)
        if len(image) > _MAX_OBJECT:
            raise FormatError("an object file of more than 256 MB", where=where)
        name = name or os.path.basename(source).partition(".")[0]
    else:
        image = source
    elf = ElfObject(image, where=where)
    return _Reader(elf, target, name).read()


class _Reader:
    """One object on its way from ELF to programs."""

    def __init__(self, elf: ElfObject, target: Target | None, name: str) -> None:
        self.elf = elf
        self.target = target
        self.name = name
        self.btf: Btf | None = None
        self.strings = b"\0"
        self.externs: dict[int, ex.Extern] = {}

    def read(self) -> Object:
        elf = self.elf
        for section in elf.sections:
            if section.name == "maps":
                raise elf.unsupported(
                    "maps in the legacy section \"maps\"", section, "declare them in SEC(\".maps\") with __uint, __type"
                )
            if section.name.startswith((".struct_ops", "?.struct_ops")) and section.size:
                raise elf.unsupported("struct_ops", section, "load it with libbpf or bpftool")
        code = Code(elf)
        hidden = {part.name for part in code.parts if part.is_global and part.hidden}
        self._read_types(hidden)
        information = self._read_information()
        maps, by_place, initial = self._read_maps(code)
        data_maps: dict[int, Map] = {}
        for section in elf.sections:
            if self._is_data(section):
                contents = b"" if section.kind == SHT_NOBITS else elf.data(section)
                made = data_map(section.name, self.name, section.size, contents, self.btf)
                data_maps[section.number] = made
                maps[section.name] = made
        kconfig = self._resolve(maps)
        if self.target is not None and information is not None and any(information.relocations.values()):
            self._fit(code, information)
        linker = Linker(
            code, by_place, data_maps, self.externs, kconfig, information, self.strings,
            resolved=self.target is not None,
        )  # fmt: skip
        programs, manual = self._programs(code, linker)
        return Object(
            self.name, programs, maps, btf=self.btf, license=self._license(), manual=manual, initial=initial,
            variables=self._variables(maps),
        )  # fmt: skip

    def _is_data(self, section: Section) -> bool:
        if not section.flags & SHF_ALLOC or section.flags & SHF_EXECINSTR or not section.size:
            return False
        return section.name in _DATA or section.name.startswith((".data.", ".rodata.", ".bss."))

    def _license(self) -> str:
        section = self.elf.section("license")
        data = self.elf.data(section) if section is not None else b""
        return data.partition(b"\0")[0].decode("utf-8", "replace")

    # -- types

    def _read_types(self, hidden: set[str]) -> None:
        """BTF, with what the compiler leaves to who loads it: where variables are, externs, linkage of hidden
        functions."""
        elf = self.elf
        section = elf.section(".BTF")
        if section is None:
            self.externs = ex.collect(elf, None)
            return
        data = bytearray(elf.data(section))
        at = section.offset
        order = "little" if elf.little_endian else "big"
        for each in elf.relocations.get(section.number, ()):
            if each.offset + 4 > len(data):
                raise elf.fail("a relocation beyond the types", section, each.offset)
            place = slice(each.offset, each.offset + 4)
            value = int.from_bytes(data[place], order) + elf.symbols[each.symbol].value  # type: ignore[arg-type]
            data[place] = (value & 0xFFFFFFFF).to_bytes(4, order)  # type: ignore[arg-type]
        raw = RawTypes(bytes(data), where=elf.where, at=at)
        first = Btf(bytes(data), where=elf.where)
        self.externs = ex.collect(elf, first)
        sections = {raw.name(n): n for n in range(1, len(raw)) if raw.kind(n) == bt.KIND_DATASEC}
        for name, number in sections.items():
            if name not in (ex.KCONFIG, ex.KSYMS):
                self._fix_section(raw, name, number)
        ex.fix_types(raw, self.externs, sections)
        for number in range(1, len(raw)) if hidden else ():
            if raw.kind(number) == bt.KIND_FUNC and raw.name(number) in hidden:
                raw.set(number, 1, bt.KIND_FUNC << 24)
        for number in sections.values():
            _sort_variables(raw, number)
        self.strings = bytes(raw.strings)
        self.btf = Btf(raw.to_bytes(), where=elf.where)

    def _fix_section(self, raw: RawTypes, name: str, number: int) -> None:
        section = self.elf.section(name)
        if section is None:
            raise FormatError(f"types of the section {name!r}, which is not there", where=self.elf.where)
        raw.set(number, 2, section.size)
        places = {symbol.name: symbol.value for symbol in self.elf.symbols
                  if symbol.section == section.number and symbol.bind != 0}  # fmt: skip
        for place in range(3, 3 + 3 * raw.count(number), 3):
            var = raw.get(number, place)
            if raw.kind(var) == bt.KIND_VAR and raw.name(var) in places:
                raw.set(number, place + 1, places[raw.name(var)])

    def _read_information(self) -> BtfExt | None:
        section = self.elf.section(".BTF.ext")
        if section is None or self.btf is None:
            return None
        return parse_btf_ext(
            self.elf.data(section), self.strings, little_endian=self.elf.little_endian, where=self.elf.where,
            at=section.offset,
        )  # fmt: skip

    # -- maps

    def _read_maps(self, code: Code) -> tuple[dict[str, Map], dict[tuple[int, int], Map], list[InitialValue]]:
        section = self.elf.section(MAPS)
        if section is None or not section.size:
            return {}, {}, []
        if self.btf is None:
            raise self.elf.fail("maps without their types: compile with -g", section)
        declared = declared_maps(self.elf, self.btf)
        by_place = {(section.number, each.offset): each.map for each in declared}
        initial = list(self._initial(section, declared, code))
        return {each.map.name: each.map for each in declared}, by_place, initial

    def _initial(self, section: Section, declared: list[Declared], code: Code) -> list[InitialValue]:
        found = []
        for each in self.elf.relocations.get(section.number, ()):
            holder = max((d for d in declared if d.offset <= each.offset), key=lambda d: d.offset, default=None)
            symbol = self.elf.symbols[each.symbol]
            at = each.offset - (holder.offset + holder.values_at if holder is not None else 0)
            if holder is None or holder.values_at < 0 or at < 0 or at % 8:
                raise self.elf.fail(f"{symbol.name!r} in what is no map's values", section, each.offset)
            if holder.map.type == b.BPF_MAP_TYPE_PROG_ARRAY:
                known = any(part.name == symbol.name for part in code.parts)
            else:
                known = any(d.map.name == symbol.name for d in declared)
            if not known:
                raise self.elf.fail(f"{symbol.name!r} cannot be in map {holder.map.name!r}", section, each.offset)
            found.append(InitialValue(holder.map.name, at // 8, symbol.name))
            holder.map.max_entries = max(holder.map.max_entries, at // 8 + 1)
        return found

    def _resolve(self, maps: dict[str, Map]) -> Map | None:
        """Ask the target for the externs; the map of settings."""
        if not self.externs:
            return None
        contents = b""
        size = max((e.offset + e.size for e in self.externs.values() if e.section == ex.KCONFIG), default=0)
        if self.target is not None:
            contents = ex.resolve(self.externs, self.btf, self.target)
        if not size:
            return None
        made = data_map(ex.KCONFIG, self.name, size, contents, self.btf)
        maps[ex.KCONFIG] = made
        return made

    def _variables(self, maps: dict[str, Map]) -> dict[str, Variable]:
        found: dict[str, Variable] = {}
        if self.btf is None:
            return found
        for number in self.btf.iter_ids(bt.KIND_DATASEC):
            section = self.btf.type(number)
            if not isinstance(section, bt.DataSection) or section.name == MAPS or section.name not in maps:
                continue
            held = maps[section.name]
            for each in section.variables:
                var = self.btf.type(each.variable)
                if isinstance(var, bt.Var) and each.offset + each.size <= held.value_size:
                    found[var.name] = Variable(held, each.offset, each.size, var.type)
        return found

    # -- programs

    def _fit(self, code: Code, information: BtfExt) -> None:
        assert self.btf is not None and self.target is not None
        fitter = Fitter(self.btf, self.target)
        numbers = {section.name: number for number, section in code.sections.items()}
        for name, relocations in information.relocations.items():
            if name not in numbers:
                continue
            texts = []
            for each in relocations:
                end = self.strings.find(b"\0", each.access)
                if end < 0:
                    raise FormatError(f"CO-RE relocation: no string at {each.access}", where=self.elf.where)
                texts.append(self.strings[each.access : end].decode("utf-8", "replace"))
            fitter.fit(code.instructions[numbers[name]], relocations, texts)

    def _programs(self, code: Code, linker: Linker) -> tuple[dict[str, Program], frozenset[str]]:
        license = self._license()
        programs: dict[str, Program] = {}
        manual = set()
        for part in code.parts:
            section = code.sections[part.section].name
            if section == ".text" or section.startswith(".text.") or not part.is_global:
                continue
            optional = section.startswith("?")
            program = self._program(part, section.removeprefix("?"), linker, license)
            if program.name in programs:
                raise FormatError(f"two programs of the name {program.name!r}", where=self.elf.where)
            programs[program.name] = program
            if optional:
                manual.add(program.name)
        return programs, frozenset(manual)

    def _program(self, part: Part, section: str, linker: Linker, license: str) -> Program:
        kind = find_kind(section)
        linked = linker.link(part)
        return Program(
            linked.instructions, type=kind.type if kind else b.BPF_PROG_TYPE_UNSPEC, name=part.name,
            attach_type=kind.attach_type if kind else 0, target=kind.target if kind else "", section=section,
            license=license, maps=linked.maps, functions=linked.functions, lines=linked.lines, btf=self.btf,
            flags=kind.flags if kind else 0,
        )  # fmt: skip


def _sort_variables(raw: RawTypes, number: int) -> None:
    """Put the variables of a section in order of their offsets, as the kernel wants them."""
    rows = [
        (raw.get(number, place + 1), raw.get(number, place), raw.get(number, place + 2))
        for place in range(3, 3 + 3 * raw.count(number), 3)
    ]
    for place, (offset, variable, size) in zip(range(3, 3 + 3 * len(rows), 3), sorted(rows), strict=True):
        for word, value in enumerate((variable, offset, size)):
            raw.set(number, place + word, value)
