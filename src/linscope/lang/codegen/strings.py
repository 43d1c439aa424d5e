"""Strings: compared, searched, measured.  Behind a string's NUL all is zero, up to its type's size."""

from __future__ import annotations

from linscope.lang import ir
from linscope.lang.codegen import memory
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R5, R7, Label
from linscope.lang.codegen.events import length_of_string
from linscope.lang.codegen.function import CONSTANT, SCRATCH, Function, Place
from linscope.lang.codegen.generator import enter_callback

_READ_KERNEL_STRING, _LOOP = 115, 181
_UNROLLED = 64  # characters that are looked for one after the other, without a loop


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


def concat(f: Function, node: ir.ConcatStrings, to: Place) -> None:
    """Two strings behind one another, and zeros."""
    mark = f.mark()
    code = f.code
    left, right = memory.memory(f, node.left), memory.memory(f, node.right)
    room = f.memory(node.type.size, scratch=True)
    memory.clear(f, room, node.type.size)
    f.address(room, R1)
    code.constant(R2, node.left.type.size)
    f.address(left, R3)
    code.call(_READ_KERNEL_STRING)
    length_of_string(f)
    memory.clamp(f, R0, node.left.type.size - 1)
    f.address(room, R1)
    code.alu("+", R1, R0)
    code.constant(R2, node.right.type.size)
    f.address(right, R3)
    code.call(_READ_KERNEL_STRING)
    memory.copy(f, to, room, node.type.size)
    f.release(mark)


def compare_long(f: Function, left: Place, right: Place, chunks: int, differ: Label) -> None:
    """Jump when some bytes are not equal: a loop over pieces of 64 bytes."""
    mark = f.mark()
    code = f.code
    left, right = _everywhere(f, left, 64 * chunks), _everywhere(f, right, 64 * chunks)
    result = f.memory(8, scratch=True).offset
    code.store_constant(R7, result, 0, 8)
    inner = f.callback("compare")
    inside = inner.code
    differs, end = Label(), Label()
    inside.branch_constant(">=", R1, chunks, end)  # it never is: the verifier wants to be told
    inside.alu_constant("<<", R1, 6)
    for place, register in ((left, R2), (right, R3)):
        inner.address(place, register)
        inside.alu("+", register, R1)
    for at in range(0, 64, 8):
        inside.load(R4, R2, at, 8)
        inside.load(R5, R3, at, 8)
        inside.branch("!=", R4, R5, differs)
    inside.constant(R0, 0)
    inside.exit()
    inside.place(differs)
    inside.store_constant(R7, result, 1, 8)
    inside.place(end)
    inside.constant(R0, 1)
    inside.exit()
    _loop(f, inner, chunks)
    code.load(R0, R7, result, 8)
    code.branch_constant("!=", R0, 0, differ)
    f.release(mark)


def _everywhere(f: Function, place: Place, size: int) -> Place:
    """Bytes where a callback finds them too."""
    if place.kind in (SCRATCH, CONSTANT):
        return place
    room = f.memory(size, scratch=True)
    memory.copy(f, room, place, size)
    return room


def _loop(f: Function, inner: Function, rounds: int) -> None:
    """Call a function back, with the number of the round and the main function's frame."""
    enter_callback(inner, R2)
    code = f.code
    code.constant(R1, rounds)
    code.callback(R2, inner.code)
    f.frame(R3)
    code.constant(R4, 0)
    code.call(_LOOP)


class _Search:
    """Where what is searched for, and where, lies in scratch."""

    def __init__(self, f: Function, node: ir.FindString) -> None:
        self.size = node.haystack.type.size
        self.literal: bytes | None = None
        if isinstance(node.needle, ir.Bytes):
            needle = node.needle.data[: node.needle.type.size].partition(b"\0")[0]
            self.length = len(needle)
            if self.length <= _UNROLLED:
                self.literal = needle
        else:
            self.length = node.needle.type.size - 1
        # behind the haystack are zeros, for a needle that is looked for at its end
        haystack = f.memory(self.size + self.length, scratch=True)
        memory.into(f, node.haystack, haystack)
        memory.clear(f, haystack.further(self.size), self.length)
        self.haystack = haystack.offset
        self.needle = self.at = self.differs = 0
        if self.literal is None:
            needle_place = f.memory(self.length + 1, scratch=True)
            memory.copy(f, needle_place, memory.memory(f, node.needle), self.length + 1)
            self.needle = needle_place.offset
            self.at, self.differs = (f.memory(8, scratch=True).offset for _ in range(2))
        self.result = f.memory(8, scratch=True).offset


def find(f: Function, node: ir.FindString) -> None:
    """r0 = where the needle first begins in the haystack, or -1"""
    mark = f.mark()
    code = f.code
    search = _Search(f, node)
    code.constant(R0, -1)
    code.store(R7, search.result, R0, 8)
    inner = f.callback("find")
    _compare_at(inner, search)
    _loop(f, inner, search.size)
    code.load(R0, R7, search.result, 8)
    f.release(mark)


def _compare_at(f: Function, search: _Search) -> None:
    """The callback: compare at the position in r1."""
    code = f.code
    next_, found, end = Label(), Label(), Label()
    code.branch_constant(">=", R1, search.size, end)
    code.move(R2, R7)
    code.alu_constant("+", R2, search.haystack)
    code.alu("+", R2, R1)
    if search.literal is not None:
        for at, letter in enumerate(search.literal):
            code.load(R3, R2, at, 1)
            code.branch_constant("!=", R3, letter, next_)
    elif search.length <= _UNROLLED:
        for at in range(search.length):
            code.load(R4, R7, search.needle + at, 1)
            code.branch_constant("==", R4, 0, found)
            code.load(R3, R2, at, 1)
            code.branch("!=", R3, R4, next_)
    else:
        code.move(R4, R7)
        code.alu_constant("+", R4, search.needle)
        code.load(R4, R4, 0, 1)
        code.branch_constant("==", R4, 0, found)
        code.load(R3, R2, 0, 1)
        code.branch_constant("==", R3, 0, end)
        differ = Label()
        code.branch("!=", R3, R4, differ)
        code.store(R7, search.at, R1, 8)
        code.store_constant(R7, search.differs, 0, 8)
        inner = f.callback("find_rest")
        _compare_letter(inner, search)
        _loop(f, inner, search.length)
        code.load(R3, R7, search.differs, 8)
        code.load(R1, R7, search.at, 8)
        code.branch_constant("==", R3, 0, found)
        code.place(differ)
        code.constant(R0, 0)
        code.exit()
    code.place(found)
    code.store(R7, search.result, R1, 8)
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


def _compare_letter(f: Function, search: _Search) -> None:
    """The callback inside: compare the needle's letter r1 with that of the haystack, as far behind the position."""
    code = f.code
    end, differs = Label(), Label()
    code.branch_constant(">=", R1, search.length, end)
    code.move(R2, R7)
    code.alu("+", R2, R1)
    code.move(R3, R2)
    code.alu_constant("+", R3, search.needle)
    code.load(R3, R3, 0, 1)
    code.branch_constant("==", R3, 0, end)
    code.load(R4, R7, search.at, 8)
    code.branch_constant(">=", R4, search.size, end)
    code.alu("+", R2, R4)
    code.alu_constant("+", R2, search.haystack)
    code.load(R5, R2, 0, 1)
    code.branch("!=", R3, R5, differs)
    code.constant(R0, 0)
    code.exit()
    code.place(differs)
    code.store_constant(R7, search.differs, 1, 8)
    code.place(end)
    code.constant(R0, 1)
    code.exit()
