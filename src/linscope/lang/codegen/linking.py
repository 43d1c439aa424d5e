"""The functions of one program -> its instructions, with lines and, when it has callbacks, the types of functions.

The kernel takes the address of a function only with BTF of it (kernel/bpf/verifier.c, check_ld_imm).
"""

from __future__ import annotations

from _bisect import bisect_right  # bisect itself is Python to read

from linscope.bpf.instructions import Instruction
from linscope.bpf.program import Function, Line

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf
    from linscope.lang import ir
    from linscope.lang.codegen.assembler import Assembler

_LAST_COLUMN = 1023  # the kernel keeps ten bits of it


def join_functions(unit: ir.Unit, main: Assembler) -> tuple[list[Instruction], list[Function], list[Line], Btf | None]:
    """(instructions, functions, lines, types) of a program."""
    order = [main]
    for function in order:
        for _, callback in function.callbacks:
            if callback not in order:
                order.append(callback)
    starts: dict[int, int] = {}
    slots: list[Instruction] = []
    for function in order:
        starts[id(function)] = len(slots)
        slots += function.slots
    lines: list[Line] = []
    place = _Places(unit)
    for function in order:
        start = starts[id(function)]
        for slot, callback in function.callbacks:
            at = start + slot
            code, to, source, _, _ = slots[at]
            slots[at] = Instruction(code, to, source, 0, starts[id(callback)] - at - 1)
        spans = [(slot, span) for slot, span in function.spans if slot < len(function.slots)]
        if spans and spans[0][0]:  # the kernel wants a line where a function begins, or none at all
            spans.insert(0, (0, spans[0][1]))
        elif not spans and any(other.spans for other in order):
            spans = [(0, (0, 0))]
        lines += [place.line(start + slot, span[0]) for slot, span in spans]
    if len(order) == 1:
        return slots, [], lines, None
    btf, types = _function_types([function.name for function in order])
    functions = [
        Function(starts[id(function)], function.name, type_id) for function, type_id in zip(order, types, strict=True)
    ]
    return slots, functions, lines, btf


class _Places:
    """Characters of the script as lines and columns."""

    def __init__(self, unit: ir.Unit) -> None:
        self.unit = unit
        self.lines = unit.text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def line(self, slot: int, at: int) -> Line:
        """Where an instruction comes from."""
        number = bisect_right(self.starts, at) - 1
        number = min(max(number, 0), len(self.lines) - 1)
        column = min(at - self.starts[number] + 1, _LAST_COLUMN)
        return Line(slot, self.unit.where, number + 1, column, self.lines[number].strip())


def _function_types(names: list[str]) -> tuple[Btf, list[int]]:
    """BTF in which all functions are static int f(void), and their ids."""
    from linscope.binfmt import btf_types as bt
    from linscope.binfmt.btf import Btf
    from linscope.binfmt.btf_writer import BtfWriter

    writer = BtfWriter()
    number = writer.add(bt.Int("int", 4, 32, 0, bt.INT_SIGNED))
    prototype = writer.add(bt.FuncProto(number, (), False))
    ids = [writer.add(bt.Func(name, prototype, 0)) for name in names]
    return Btf(writer.data()), ids
