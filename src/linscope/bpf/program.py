"""A program before it is anywhere: what assembler and ELF reader make, and verifier, machine and kernel take.

Maps are named by their place in ``Program.maps``: a wide load with src BPF_PSEUDO_MAP_IDX (the map) or
BPF_PSEUDO_MAP_IDX_VALUE (its first value, plus the upper half as offset) has that place in ``imm``.  Calls of
subprograms and function addresses are relative, as the kernel takes them.
"""

from __future__ import annotations

# The helper, which there is not, that is called in place of an instruction whose CO-RE relocation has no answer
# (0xbad2310); libbpf writes the same, so that the verifier's log shows it.
POISON = 195896080

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple

    from linscope.binfmt.btf import Btf
    from linscope.bpf.instructions import Instruction
else:
    from linscope.bpf._named import named_tuple

if TYPE_CHECKING:

    class Line(NamedTuple):
        """Where an instruction comes from: struct bpf_line_info with its strings."""

        slot: int  # of the first instruction of the line
        file: str
        line: int  # from 1
        column: int  # from 1; 0: not known
        text: str  # the line itself, "" when not known

    class Function(NamedTuple):
        """A function of a program, the main one included: struct bpf_func_info."""

        slot: int  # of its first instruction
        name: str
        type_id: int  # BTF_KIND_FUNC in the program's BTF; 0: not known

else:
    Line = named_tuple("Line", "slot file line column text")
    Function = named_tuple("Function", "slot name type_id")


class Map:
    """What a map is to be: the attributes of BPF_MAP_CREATE, and what it holds at first."""

    __slots__ = (
        "extra", "flags", "frozen", "initial", "inner", "key_size", "key_type", "max_entries", "name", "pinning",
        "type", "value_size", "value_type",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        inner: Map | None = None,
        key_type: int = 0,
        value_type: int = 0,
        initial: bytes = b"",
        frozen: bool = False,
        pinning: str = "",
        extra: int = 0,
    ) -> None:
        """type: BPF_MAP_TYPE_*; sizes in bytes; key_type, value_type: ids in the program's BTF, 0 when not known.

        inner: what the maps in it look like; initial: bytes of the first value (.data, .rodata, .bss); frozen: the
        program sees it as constant; pinning: path or ""; extra: map_extra.
        """
        self.name = name
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.inner = inner
        self.key_type = key_type
        self.value_type = value_type
        self.initial = initial
        self.frozen = frozen
        self.pinning = pinning
        self.extra = extra

    def __repr__(self) -> str:
        return f"<Map {self.name!r}: type {self.type}, {self.key_size} -> {self.value_size}, {self.max_entries}>"


class Program:
    """Instructions and all that is to be known to check, run or load them."""

    __slots__ = (
        "attach_type", "btf", "flags", "functions", "instructions", "license", "lines", "maps", "name", "section",
        "target", "type",
    )  # fmt: skip

    def __init__(
        self,
        instructions: Sequence[Instruction],
        *,
        type: int = 0,
        name: str = "",
        attach_type: int = 0,
        target: str = "",
        section: str = "",
        license: str = "GPL",
        maps: Sequence[Map] = (),
        functions: Sequence[Function] = (),
        lines: Sequence[Line] = (),
        btf: Btf | None = None,
        flags: int = 0,
    ) -> None:
        """type: BPF_PROG_TYPE_*; attach_type: BPF_* of enum bpf_attach_type, for types that are checked by it.

        target: the kernel's name of what it is attached to, where the verifier looks at it ("sched_switch" of tp_btf,
        "vfs_read" of fentry, "task" of an iterator); section: as in the object file ("tp_btf/sched_switch");
        functions, lines: in order of slot; btf: the program's own types; flags: of BPF_PROG_LOAD
        (BPF_F_SLEEPABLE, ...).
        """
        self.instructions = list(instructions)
        self.type = type
        self.name = name
        self.attach_type = attach_type
        self.target = target
        self.section = section
        self.license = license
        self.maps = list(maps)
        self.functions = list(functions)
        self.lines = list(lines)
        self.btf = btf
        self.flags = flags

    def __repr__(self) -> str:
        return f"<Program {self.name!r} {self.section}: {len(self.instructions)} instructions, {len(self.maps)} maps>"
