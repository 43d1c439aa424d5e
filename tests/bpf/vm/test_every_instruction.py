"""Every arithmetic, jump and atomic instruction at edge values, beside a model in plain Python that shares no code."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machines import both

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction, wide
from linscope.bpf.program import Program
from linscope.bpf.vm import Machine

EDGES = (0, 1, 2, 31, 63, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 1 << 63,
         (1 << 63) - 1, (1 << 64) - 1, (1 << 64) - 2, 0x1122334455667788)  # fmt: skip
IMMEDIATES = (0, 1, 7, 31, -1, -2, 0x7FFFFFFF, -0x80000000)


def signed(value: int, bits: int) -> int:
    value %= 1 << bits
    return value - (1 << bits) if value >= 1 << (bits - 1) else value


def quotient(a: int, c: int) -> int:
    return 0 if not c else abs(a) // abs(c) * (1 if (a < 0) == (c < 0) else -1)


def remainder(a: int, c: int) -> int:
    return a if not c else a - c * quotient(a, c)


# (operation, off) -> (operands are signed, second operand is a shift, result)
ARITHMETIC: dict[tuple[int, int], tuple[bool, bool, Callable[[int, int], int]]] = {
    (b.BPF_ADD, 0): (False, False, operator.add),
    (b.BPF_SUB, 0): (False, False, operator.sub),
    (b.BPF_MUL, 0): (False, False, operator.mul),
    (b.BPF_DIV, 0): (False, False, quotient),
    (b.BPF_MOD, 0): (False, False, remainder),
    (b.BPF_DIV, 1): (True, False, quotient),
    (b.BPF_MOD, 1): (True, False, remainder),
    (b.BPF_OR, 0): (False, False, operator.or_),
    (b.BPF_AND, 0): (False, False, operator.and_),
    (b.BPF_XOR, 0): (False, False, operator.xor),
    (b.BPF_MOV, 0): (False, False, lambda a, c: c),
    (b.BPF_LSH, 0): (False, True, operator.lshift),
    (b.BPF_RSH, 0): (False, True, operator.rshift),
    (b.BPF_ARSH, 0): (True, True, operator.rshift),
}
COMPARISONS: dict[int, tuple[bool, Callable[[int, int], bool]]] = {
    b.BPF_JEQ: (False, operator.eq), b.BPF_JNE: (False, operator.ne), b.BPF_JGT: (False, operator.gt),
    b.BPF_JGE: (False, operator.ge), b.BPF_JLT: (False, operator.lt), b.BPF_JLE: (False, operator.le),
    b.BPF_JSET: (False, lambda a, c: a & c != 0), b.BPF_JSGT: (True, operator.gt), b.BPF_JSGE: (True, operator.ge),
    b.BPF_JSLT: (True, operator.lt), b.BPF_JSLE: (True, operator.le),
}  # fmt: skip
ATOMICS: dict[int, Callable[[int, int], int]] = {
    b.BPF_ADD: operator.add, b.BPF_OR: operator.or_, b.BPF_AND: operator.and_, b.BPF_XOR: operator.xor,
}  # fmt: skip
EXIT = Instruction(b.BPF_JMP | b.BPF_EXIT, 0, 0, 0, 0)


def results(code: list[Instruction], pairs: list[tuple[int, int]], interpret: bool) -> list[tuple[int, int]]:
    """(r0, first word of the record afterwards) of each pair; it is given to the code in r2 and r3."""
    load = b.BPF_LDX | b.BPF_MEM | b.BPF_DW
    machine = Machine(Program([Instruction(load, 2, 1, 0, 0), Instruction(load, 3, 1, 8, 0), *code, EXIT]))
    made = []
    for a, c in pairs:
        record = bytearray(a.to_bytes(8, "little") + c.to_bytes(8, "little"))
        made.append((machine.run(record, interpret=interpret), int.from_bytes(record[:8], "little")))
    return made


PAIRS = [(a, c) for a in EDGES for c in EDGES]
TO_R0 = Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 0, 2, 0, 0)


@both
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(("operation", "off"), ARITHMETIC)
def test_arithmetic(operation: int, off: int, bits: int, interpret: bool) -> None:
    is_signed, shifts, model = ARITHMETIC[operation, off]
    cls = b.BPF_ALU64 if bits == 64 else b.BPF_ALU

    def expected(a: int, c: int) -> int:
        c = c % bits if shifts else signed(c, bits) if is_signed else c % (1 << bits)
        return model(signed(a, bits) if is_signed else a % (1 << bits), c) % (1 << bits)

    by_register = [Instruction(cls | operation | b.BPF_X, 2, 3, off, 0), TO_R0]
    assert [r0 for r0, _ in results(by_register, PAIRS, interpret)] == [expected(a, c) for a, c in PAIRS]
    for value in IMMEDIATES:
        by_value = [Instruction(cls | operation, 2, 0, off, value), TO_R0]
        ones = [(a, 0) for a in EDGES]
        assert [r0 for r0, _ in results(by_value, ones, interpret)] == [expected(a, value) for a in EDGES], value


@both
@pytest.mark.parametrize("bits", [32, 64])
def test_moves_and_loads_with_sign(bits: int, interpret: bool) -> None:
    cls = b.BPF_ALU64 if bits == 64 else b.BPF_ALU
    ones = [(a, 0) for a in EDGES]
    for width in (8, 16, 32)[: 3 if bits == 64 else 2]:
        code = [Instruction(cls | b.BPF_MOV | b.BPF_X, 0, 2, width, 0)]
        assert [r0 for r0, _ in results(code, ones, interpret)] == [signed(a, width) % (1 << bits) for a in EDGES]
    for size, width in ((b.BPF_B, 8), (b.BPF_H, 16), (b.BPF_W, 32)):
        for mode in (b.BPF_MEM, b.BPF_MEMSX):
            code = [Instruction(b.BPF_LDX | mode | size, 0, 1, 0, 0)]
            want = [(signed(a, width) if mode == b.BPF_MEMSX else a % (1 << width)) % (1 << 64) for a in EDGES]
            assert [r0 for r0, _ in results(code, ones, interpret)] == want


@both
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("operation", COMPARISONS)
def test_jumps(operation: int, bits: int, interpret: bool) -> None:
    is_signed, model = COMPARISONS[operation]
    cls = b.BPF_JMP if bits == 64 else b.BPF_JMP32

    def expected(a: int, c: int) -> int:
        pair = (signed(a, bits), signed(c, bits)) if is_signed else (a % (1 << bits), c % (1 << bits))
        return int(model(*pair))

    one, none = (Instruction(b.BPF_ALU64 | b.BPF_MOV, 0, 0, 0, value) for value in (1, 0))
    code = [one, Instruction(cls | operation | b.BPF_X, 2, 3, 1, 0), none]
    assert [r0 for r0, _ in results(code, PAIRS, interpret)] == [expected(a, c) for a, c in PAIRS]
    for value in IMMEDIATES:
        code = [one, Instruction(cls | operation, 2, 0, 1, value), none]
        made = results(code, [(a, 0) for a in EDGES], interpret)
        assert [r0 for r0, _ in made] == [expected(a, value) for a in EDGES], value


@both
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("fetch", [0, b.BPF_FETCH])
@pytest.mark.parametrize("operation", [*ATOMICS, b.BPF_XCHG, b.BPF_CMPXCHG])
def test_atomics(operation: int, fetch: int, bits: int, interpret: bool) -> None:
    size = b.BPF_DW if bits == 64 else b.BPF_W
    code = [
        *wide(0, 0x80000000),  # what cmpxchg compares with
        Instruction(b.BPF_STX | b.BPF_ATOMIC | size, 1, 3, 0, operation | fetch),
    ]
    if operation != b.BPF_CMPXCHG:
        code.append(Instruction(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 0, 3, 0, 0))
    for (a, c), (r0, memory) in zip(PAIRS, results(code, PAIRS, interpret), strict=True):
        old, operand = a % (1 << bits), c % (1 << bits)
        if operation == b.BPF_XCHG:
            new, want = operand, old
        elif operation == b.BPF_CMPXCHG:
            new, want = operand if old == 0x80000000 else old, old
        else:
            new, want = ATOMICS[operation](old, operand) % (1 << bits), old if fetch else c
        assert memory == a >> bits << bits | new, (hex(a), hex(c))
        assert r0 == want, (hex(a), hex(c))


@both
def test_wide_constants_are_whole(interpret: bool) -> None:
    for value in EDGES:
        assert results(list(wide(0, value)), [(0, 0)], interpret)[0][0] == value
