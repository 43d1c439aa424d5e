"""From sections of code to programs: subprograms are put behind the main function, names become places of maps.

Source: Documentation/bpf/llvm_reloc.rst; libbpf 1.5, src/libbpf.c, bpf_object__relocate: subprograms follow in the
order in which they are first called, each followed by its own.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from linscope.abi import bpf as b
from linscope.binfmt.elf import SHF_EXECINSTR
from linscope.bpf.instructions import WIDE, Instruction, decode, signed32
from linscope.bpf.objects.core import poison
from linscope.bpf.objects.elf_object import STT_FUNC
from linscope.bpf.objects.externs import KCONFIG, Extern
from linscope.bpf.program import Function, Line
from linscope.errors import FormatError

if TYPE_CHECKING:
    from linscope.binfmt.elf import Section
    from linscope.bpf.objects.btf_ext import BtfExt
    from linscope.bpf.objects.elf_object import ElfObject, Relocation
    from linscope.bpf.program import Map

_CALL = b.BPF_JMP | b.BPF_CALL
_MISSING_KFUNC = 2002000000  # a helper that there is not, in place of a weak kernel function; as libbpf writes it
_MAX_SLOTS = 1 << 22  # of a program with all its subprograms; the kernel takes a million


class Part(NamedTuple):
    """A function in a section of code."""

    name: str
    section: int
    begin: int  # slot
    end: int
    is_global: bool
    hidden: bool


class Linked(NamedTuple):
    """A program put together."""

    instructions: list[Instruction]
    functions: list[Function]
    lines: list[Line]
    maps: list[Map]


class Code:
    """All code of an object: the instructions of each section, fitted to a target or not, and what is in them."""

    def __init__(self, elf: ElfObject) -> None:
        """Raises FormatError: a function that is not wholly in its section."""
        self.elf = elf
        self.sections: dict[int, Section] = {}
        self.instructions: dict[int, list[Instruction]] = {}
        for section in elf.sections:
            if section.flags & SHF_EXECINSTR and section.size:
                self.sections[section.number] = section
                data = elf.data(section)
                if len(data) != section.size:
                    raise elf.fail(f"the code of section {section.name!r} is not in the file", section)
                if len(data) % 8:
                    raise elf.fail("instruction cut short", section, len(data) // 8 * 8)
                self.instructions[section.number] = decode(data, little_endian=elf.little_endian)
        self.parts: list[Part] = []
        self.part_at: dict[tuple[int, int], Part] = {}
        for symbol in elf.symbols:
            if symbol.kind != STT_FUNC or symbol.section not in self.sections:
                continue
            section = self.sections[symbol.section]
            end = symbol.value + symbol.size
            if symbol.value % 8 or symbol.size % 8 or not symbol.size or end > section.size:
                raise elf.fail(f"the function {symbol.name!r} is not in its section", section, 0)
            part = Part(
                symbol.name, symbol.section, symbol.value // 8, end // 8, symbol.bind != 0, symbol.visibility in (1, 2)
            )
            self.parts.append(part)
            self.part_at.setdefault((part.section, part.begin), part)
        self.parts.sort(key=lambda part: (part.section, part.begin))


class Linker:
    """Puts programs together.  ``maps`` are found by section and place, ``externs`` by symbol."""

    def __init__(
        self, code: Code, maps: dict[tuple[int, int], Map], data_maps: dict[int, Map], externs: dict[int, Extern],
        kconfig: Map | None, information: BtfExt | None, strings: bytes, *, resolved: bool,
    ) -> None:  # fmt: skip
        """maps: of ``.maps`` by (section, offset); data_maps: by section; strings: of BTF, for lines.

        resolved: externs have their values; else what refers to them stays as it is.
        """
        self.code = code
        self.elf = code.elf
        self.maps = maps
        self.data_maps = data_maps
        self.externs = externs
        self.kconfig = kconfig
        self.information = information
        self.strings = strings
        self.resolved = resolved
        self._relocations = {
            number: {each.offset // 8: each for each in self.elf.relocations.get(number, ())}
            for number in code.sections
        }

    def link(self, main: Part) -> Linked:
        """A main function with all that it needs.  Raises FormatError."""
        result = Linked([], [], [], [])
        bases: dict[Part, int] = {}
        pending: list[tuple[Part, int]] = []  # depth first: the function and the slot to go on at

        def append(part: Part) -> None:
            bases[part] = len(result.instructions)
            result.instructions.extend(self.code.instructions[part.section][part.begin : part.end])
            if len(result.instructions) > _MAX_SLOTS:
                raise self._fail(part, part.begin, f"the program {main.name!r} is too long")
            self._describe(part, bases[part], result)
            pending.append((part, part.begin))

        append(main)
        while pending:
            part, slot = pending.pop()
            base = bases[part]
            while slot < part.end:
                place = base + slot - part.begin
                callee = self._instruction(part, slot, place, result)
                if callee is not None:
                    if callee not in bases:
                        pending.append((part, slot))  # again, when its code is there
                        append(callee)
                        break
                    one = result.instructions[place]
                    result.instructions[place] = one._replace(imm=bases[callee] - place - 1)
                slot += 2 if self.code.instructions[part.section][slot].code == WIDE else 1
        result.functions.sort()
        result.lines.sort()
        return result

    def _fail(self, part: Part, slot: int, what: str) -> FormatError:
        return self.elf.fail(f"function {part.name!r}: {what}", self.code.sections[part.section], 8 * slot)

    def _instruction(self, part: Part, slot: int, place: int, result: Linked) -> Part | None:
        """Fill in what one instruction refers to; the function when it is one."""
        one = result.instructions[place]
        relocation = self._relocations[part.section].get(slot)
        if one.code == _CALL:
            if relocation is not None and self.elf.symbols[relocation.symbol].section == 0:
                self._kernel_function(relocation, part, slot, place, result)
                return None
            if one.src != b.BPF_PSEUDO_CALL:
                if relocation is not None:
                    raise self._fail(part, slot, "a relocation at a call of a helper")
                return None
            if relocation is None:
                return self._part(part, slot, part.section, slot + one.imm + 1)
            symbol = self.elf.symbols[relocation.symbol]
            if symbol.value % 8:
                raise self._fail(part, slot, f"a call into the middle of an instruction of {symbol.name!r}")
            return self._part(part, slot, symbol.section, symbol.value // 8 + one.imm + 1)
        if relocation is None:
            if one.code == WIDE and one.src == b.BPF_PSEUDO_FUNC:
                raise self._fail(part, slot, "the address of a function without a relocation")
            return None
        if one.code != WIDE or slot + 1 >= part.end:
            # a patched-out access of CO-RE may have had one
            raise self._fail(part, slot, f"a relocation at an instruction of code {one.code:#x}")
        return self._wide(relocation, part, slot, place, result)

    def _part(self, part: Part, slot: int, section: int, target: int) -> Part:
        found = self.code.part_at.get((section, target))
        if found is None:
            raise self._fail(part, slot, f"calls slot {target} of section {section}, where no function begins")
        return found

    def _wide(self, relocation: Relocation, part: Part, slot: int, place: int, result: Linked) -> Part | None:
        """A 64-bit load of an address: of a map, a variable, a function, or something of the kernel."""
        code = result.instructions
        one = code[place]
        symbol = self.elf.symbols[relocation.symbol]
        if symbol.section == 0:
            self._kernel_address(relocation, part, slot, place, result)
            return None
        if symbol.section in self.code.sections:
            if (symbol.value + one.imm) % 8:
                raise self._fail(part, slot, f"the address of the middle of an instruction of {symbol.name!r}")
            code[place] = one._replace(src=b.BPF_PSEUDO_FUNC)
            return self._part(part, slot, symbol.section, (symbol.value + one.imm) // 8)
        if symbol.section in self.data_maps:
            offset = symbol.value + one.imm
            index = _index(result.maps, self.data_maps[symbol.section])
            code[place] = Instruction(WIDE, one.dst, b.BPF_PSEUDO_MAP_IDX_VALUE, 0, index)
            code[place + 1] = Instruction(0, 0, 0, 0, signed32(offset))
            return None
        found = self.maps.get((symbol.section, symbol.value))
        if found is None:
            raise self._fail(part, slot, f"{symbol.name!r} is neither a map nor a variable")
        code[place] = Instruction(WIDE, one.dst, b.BPF_PSEUDO_MAP_IDX, 0, _index(result.maps, found))
        code[place + 1] = Instruction(0, 0, 0, 0, 0)
        return None

    def _extern(self, relocation: Relocation, part: Part, slot: int) -> Extern:
        found = self.externs.get(relocation.symbol)
        if found is None:
            name = self.elf.symbols[relocation.symbol].name
            raise self._fail(part, slot, f"{name!r} is defined nowhere")
        return found

    def _kernel_address(self, relocation: Relocation, part: Part, slot: int, place: int, result: Linked) -> None:
        extern = self._extern(relocation, part, slot)
        code = result.instructions
        one = code[place]
        if extern.section == KCONFIG:
            if self.kconfig is None:
                return
            index = _index(result.maps, self.kconfig)
            code[place] = Instruction(WIDE, one.dst, b.BPF_PSEUDO_MAP_IDX_VALUE, 0, index)
            code[place + 1] = Instruction(0, 0, 0, 0, extern.offset)
            return
        if not self.resolved:
            return
        value = extern.value or 0
        typed = bool(extern.type) and extern.value is not None
        code[place] = Instruction(WIDE, one.dst, b.BPF_PSEUDO_BTF_ID if typed else 0, 0, signed32(value))
        code[place + 1] = Instruction(0, 0, 0, 0, 0 if typed else signed32(value >> 32))

    def _kernel_function(self, relocation: Relocation, part: Part, slot: int, place: int, result: Linked) -> None:
        extern = self._extern(relocation, part, slot)
        if not self.resolved:
            return
        if extern.value is None:
            poison(result.instructions, place, _MISSING_KFUNC)
        else:
            result.instructions[place] = Instruction(_CALL, 0, b.BPF_PSEUDO_KFUNC_CALL, 0, extern.value)

    def _describe(self, part: Part, base: int, result: Linked) -> None:
        """The function's own entry and its lines, at the place where it is now."""
        section = self.code.sections[part.section].name
        information = self.information
        functions = information.functions.get(section, []) if information is not None else []
        type_id = next((each.type for each in functions if each.offset == 8 * part.begin), 0)
        result.functions.append(Function(base, part.name, type_id))
        if information is None:
            return
        lines = information.lines.get(section, [])
        for each in lines[bisect_left(lines, (8 * part.begin,)) : bisect_left(lines, (8 * part.end,))]:
            slot, rest = divmod(each.offset, 8)
            if not rest:
                file, text = self._string(each.file), self._string(each.text)
                result.lines.append(Line(base + slot - part.begin, file, each.line, each.column, text))

    def _string(self, offset: int) -> str:
        end = self.strings.find(b"\0", offset)
        return self.strings[offset:end].decode("utf-8", "replace") if end >= 0 else ""


def _index(maps: list[Map], wanted: Map) -> int:
    for index, each in enumerate(maps):
        if each is wanted:
            return index
    maps.append(wanted)
    return len(maps) - 1
