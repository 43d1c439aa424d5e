"""Strings: compared, searched, measured.  Behind a string's NUL all is zero, up to its type's size."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang.codegen import memory
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R5, R7, Label
from linscope.lang.codegen.events import length_of_string
from linscope.lang.codegen.function import Function
from linscope.lang.codegen.generator import enter_callback

_READ_KERNEL_STRING, _LOOP = 115, 181
_MOST_NEEDLE = 128  # characters


def compare(f: Function, node: ir.CompareStrings) -> None:
    """r0 = 0 when two strings are equal, else 1"""
    mark = f.mark()
    left, right = node.left, node.right
    if isinstance(left, ir.Bytes):
        left, right = right, left
    size = min(left.type.size, right.type.size)
    if node.count is not None:
        size = min(size, node.count)
    differ, done = Label(), Label()
    place = memory.memory(f, left)
    if isinstance(right, ir.Bytes):
        memory.compare_constant(f, place, right.data.ljust(size, b"\0")[:size], differ)
    else:
        memory.compare_bytes(f, place, memory.memory(f, right), size, differ)
    f.code.constant(R0, 0)
    f.code.jump(done)
    f.code.place(differ)
    f.code.constant(R0, 1)
    f.code.place(done)
    f.release(mark)


def length(f: Function, node: ir.StringLength) -> None:
    """r0 = the characters before the NUL: those that a copy of the string takes"""
    mark = f.mark()
    place = memory.memory(f, node.text)
    size = node.text.type.size
    room = f.memory(size)
    f.address(room, R1)
    f.code.constant(R2, size)
    f.address(place, R3)
    f.code.call(_READ_KERNEL_STRING)
    length_of_string(f)
    f.release(mark)


def find(f: Function, node: ir.FindString) -> None:
    """r0 = where the needle first begins in the haystack, or -1"""
    mark = f.mark()
    code = f.code
    needle_size = min(node.needle.type.size, _MOST_NEEDLE)
    size = node.haystack.type.size
    haystack = f.memory(size + needle_size, scratch=True)
    memory.into(f, node.haystack, haystack)
    _clear_tail(f, haystack.offset, size, needle_size)
    needle = f.memory(needle_size, scratch=True)
    literal = node.needle.data if isinstance(node.needle, ir.Bytes) else None
    if literal is None:
        memory.copy(f, needle, memory.memory(f, node.needle), needle_size)
    result = f.memory(8, scratch=True)
    code.constant(R0, -1)
    code.store(R7, result.offset, R0, 8)
    inner = f.callback("find")
    _compare_at(inner, haystack.offset, needle.offset, needle_size, literal, (size, result.offset))
    enter_callback(inner, R2)
    code.constant(R1, size)
    code.callback(R2, inner.code)
    f.frame(R3)
    code.constant(R4, 0)
    code.call(_LOOP)
    code.load(R0, R7, result.offset, 8)
    f.release(mark)


def _clear_tail(f: Function, offset: int, size: int, more: int) -> None:
    """Zeros behind the haystack, for a needle that is looked for at its end."""
    for at in range(size, size + more):
        f.code.store_constant(R7, offset + at, 0, 1)


def _compare_at(
    inner: Function, haystack: int, needle: int, needle_size: int, literal: bytes | None, rest: tuple[int, int]
) -> None:
    """The callback: compare at the position in r1.  rest: size of the haystack, where the result goes."""
    code = inner.code
    size, result = rest
    next_, found, end = Label(), Label(), Label()
    code.branch_constant(">=", R1, size, end)
    code.move(R2, R7)
    code.alu_constant("+", R2, haystack)
    code.alu("+", R2, R1)
    if literal is not None:
        for place, letter in enumerate(literal[: needle_size - 1] if needle_size else b""):
            code.load(R3, R2, place, 1)
            code.branch_constant("!=", R3, letter, next_)
    else:
        for place in range(needle_size):
            code.load(R4, R7, needle + place, 1)
            code.branch_constant("==", R4, 0, found)
            code.load(R3, R2, place, 1)
            code.branch("!=", R3, R4, next_)
    code.place(found)
    code.store(R7, result, R1, 8)
    code.constant(R0, 1)
    code.exit()
    code.place(next_)
    code.load(R5, R2, 0, 1)
    code.branch_constant("==", R5, 0, end)
    code.constant(R0, 0)
    code.exit()
    code.place(end)
    code.constant(R0, 1)
    code.exit()
