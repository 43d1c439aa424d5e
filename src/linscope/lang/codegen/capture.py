"""Captures: what a script reads, written to a perf event's buffer, so that its replay can read it again.

A record is u16 kind, u16 program, u32 bytes, u64 address or value, then the bytes; see ir.Capture.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.program import Map
from linscope.lang import ir
from linscope.lang.codegen import memory, scalars
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R5, R6, R10, Label
from linscope.lang.codegen.function import Function

CAPTURES = "captures"  # the map of the perf events, by CPU
HEADER_SIZE = 16
STOPPED = 1  # the kind of a capture that tells that the program did nothing: the script had not begun, or had ended
_PERF_EVENT_OUTPUT, _CURRENT_CPU = 25, 0xFFFFFFFF


def captures_map(f: Function) -> int:
    """The place of the map."""
    place = f.generator.places.get(CAPTURES)
    if place is None:
        made = Map(CAPTURES, b.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, f.generator.options.cpus)
        place = f.generator.add_map(CAPTURES, made)
    return place


def tell_stopped(f: Function, program: int) -> None:
    """Tell that this event runs nothing.  program: its place in the unit, from 1 on."""
    code = f.code
    code.store_constant(R10, -16, STOPPED | program << 16, 4)
    code.store_constant(R10, -12, 0, 4)
    code.store_constant(R10, -8, 0, 8)
    code.move(R1, R6)
    code.map(R2, captures_map(f))
    code.constant(R3, _CURRENT_CPU)
    code.move(R4, R10)
    code.alu_constant("+", R4, -16)
    code.constant(R5, HEADER_SIZE)
    code.call(_PERF_EVENT_OUTPUT)


def capture(f: Function, node: ir.Capture) -> None:
    """Read what there is once more, and tell it: zeros, as the script reads them, when it cannot be read."""
    code = f.code
    scalars.scalar(f, node.value)
    value = f.keep(R0)
    room = f.memory(HEADER_SIZE + node.size, scratch=True)
    base, at = f.with_base(room, R1)
    code.store_constant(base, at, node.kind | node.program << 16, 4)
    code.store_constant(base, at + 4, node.size, 4)
    f.restore(value, R1)
    code.store(f.base(room), room.offset + 8, R1, 8)
    size = None
    if node.size:
        f.address(room.further(HEADER_SIZE), R1)
        code.constant(R2, node.size)
        f.restore(value, R3)
        code.call((memory.READ_STRING if node.text else memory.READ)[node.space][0])
        if node.text:
            some = Label()
            code.branch_constant("s>", R0, 0, some)
            code.constant(R0, 1)  # the helper has left zeros
            code.place(some)
            memory.clamp(f, R0, node.size)
            code.store(f.base(room), room.offset + 4, R0, 4)
            size = f.keep(R0, known=True)
    code.move(R1, R6)
    code.map(R2, captures_map(f))
    code.constant(R3, _CURRENT_CPU)
    f.address(room, R4)
    if size is None:
        code.constant(R5, HEADER_SIZE + node.size)
    else:
        f.restore(size, R5)
        f.give_up(size)
        code.alu_constant("+", R5, HEADER_SIZE)
    code.call(_PERF_EVENT_OUTPUT)
    f.give_up(value)
