"""Arguments and types of a program's functions, by its debug information.

An argument lies where the calling convention has it when the function is entered, whatever the debug information says
of later.  Source: System V ABI for x86-64, 3.2.3; Procedure Call Standard for the Arm 64-bit Architecture, 6.8.
"""

from __future__ import annotations

from linscope.binfmt import dwarf as dw
from linscope.binfmt.dwarf import Die, Dwarf
from linscope.binfmt.elf_view import ElfView
from linscope.errors import FormatError
from linscope.lang import types as t
from linscope.lang.bpftrace import registers
from linscope.lang.definitions.user_types import UserTypes, find_named, type_text

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_DEBUG = "/usr/lib/debug"
_WORD = 8
_IN_REGISTERS = 16  # bytes of the largest struct that is passed in registers
_MOST_FLOATS = 4  # of one kind, in a struct that goes in floating-point registers (aarch64)


class UserProgram:
    """What a file's debug information says of its functions and types."""

    def __init__(self, path: str) -> None:
        """Raises OSError, FormatError: the file cannot be read."""
        self.elf = ElfView(path)
        self.debug = self._debug_file()
        self.dwarf = Dwarf(self.debug)
        self.types = UserTypes()

    def _debug_file(self) -> ElfView:
        """The file with the debug information: this one, or the separate one of its build-id."""
        if self.elf.section(".debug_info") is None and self.elf.build_id:
            build_id = self.elf.build_id
            try:
                return ElfView(f"{_DEBUG}/.build-id/{build_id[:2]}/{build_id[2:]}.debug")
            except (OSError, FormatError):
                return self.elf
        return self.elf

    def subprogram(self, name: str) -> Die | None:
        """The entry of a function, by its symbol; None: it is not described.  Raises FormatError."""
        symbol = self.elf.find_symbol(name) or self.debug.find_symbol(name)
        return self.dwarf.subprogram_at(symbol.value) if symbol is not None and self.dwarf else None

    def arguments(self, name: str) -> t.Struct | None:
        """The arguments of a function as fields at the offsets of their registers in struct pt_regs.

        Those on the stack, and structs in two registers, are left out; numbers with a fraction are Void: their
        registers are not saved.  None: the function is not described.  Raises FormatError.
        """
        subprogram = self.subprogram(name)
        if subprogram is None:
            return None
        fields = []
        free = list(registers.ARGUMENTS)
        if registers.IS_X86 and _is_in_memory(self.types.type(subprogram.type)):
            free.pop(0)  # holds where the result goes (aarch64 has x8 for that)
        for die in parameters(subprogram):
            type = self.types.type(die.type)
            count = 0 if isinstance(type, t.Void) else _registers_of(type)
            if isinstance(type, t.Void):
                fields.append(t.Field(die.name, type, 0))
            elif count and count <= len(free):
                if count == 1:
                    fields.append(t.Field(die.name, type, registers.OFFSETS[free[0]]))
                del free[:count]
            elif count and not registers.IS_X86:
                free.clear()
        return t.Struct(name, _WORD * len(registers.OFFSETS), lambda: fields)

    def returns(self, name: str) -> t.Type | None:
        """The type of a function's result; None: the function is not described.  Raises FormatError."""
        subprogram = self.subprogram(name)
        return None if subprogram is None else self.types.type(subprogram.type)

    def find_type(self, tag: str | None, name: str) -> t.Type | None:
        """A type of the program, by "struct", "union", "enum" or None for a typedef.  Raises FormatError."""
        found = find_named(self.dwarf, tag, name) if self.dwarf else None
        return None if found is None else self.types.type(found)


def parameters(subprogram: Die) -> list[Die]:
    """The entries of a function's parameters, in order."""
    return [die for die in subprogram.children() if die.tag == dw.PARAMETER]


def _is_in_memory(type: t.Type) -> bool:
    """Whether a value is given in memory and not in registers."""
    return not type.is_scalar and type.size > _IN_REGISTERS


def _registers_of(type: t.Type) -> int:
    """General registers that an argument takes; 0: it is on the stack, or in floating-point registers."""
    if type.is_scalar:
        return 1
    if not type.size:
        return 0
    if _is_in_memory(type):
        return 0 if registers.IS_X86 else 1  # x86-64: a copy on the stack; aarch64: its address
    if not registers.IS_X86 and len(_floats(type)) in range(1, _MOST_FLOATS + 1) and _is_all(type, _is_float):
        return 0
    words = (type.size + _WORD - 1) // _WORD
    return sum(any(not _is_float(leaf) for at, leaf in _leaves(type) if at // _WORD == word) for word in range(words))


def _is_float(type: t.Type) -> bool:
    return isinstance(type, t.Void)


def _is_all(type: t.Type, holds: Callable[[t.Type], bool]) -> bool:
    return all(holds(leaf) for _, leaf in _leaves(type))


def _floats(type: t.Type) -> list[t.Type]:
    return [leaf for _, leaf in _leaves(type) if _is_float(leaf)]


def _leaves(type: t.Type, at: int = 0) -> list[tuple[int, t.Type]]:
    """(offset, type) of the scalars of a value of at most 16 bytes."""
    if isinstance(type, t.Struct):
        return [leaf for field in type.fields for leaf in _leaves(field.type, at + field.offset)]
    if isinstance(type, t.Array):
        step = max(type.element.size, 1)
        return [leaf for place in range(min(type.count, 16)) for leaf in _leaves(type.element, at + place * step)]
    if isinstance(type, t.String):
        return [(at + place, t.UINT8) for place in range(type.size)]
    return [(at, type)]


def function_arguments(path: str, function: str) -> t.Struct | None:
    """The arguments of a function, at the offsets of their registers; None: they are not known."""
    try:
        return UserProgram(path).arguments(function)
    except (OSError, FormatError):
        return None


def describe_arguments(path: str, function: str, *, result: bool = False) -> list[str]:
    """``int * n`` for each argument of a function, or for its result; empty when they are not known."""
    try:
        program = UserProgram(path)
        found = program.subprogram(function)
        if found is None:
            return []
        if result:
            return [f"{type_text(found.type)} retval"] if found.type is not None else []
        return [f"{type_text(die.type)} {die.name}" for die in parameters(found)]
    except (OSError, FormatError):
        return []
