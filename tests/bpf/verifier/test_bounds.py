"""Tristate numbers and ranges against brute force on few bits, and against samples on 64."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from linscope.abi import bpf as b
from linscope.bpf.verifier import arithmetic, comparison, tnum
from linscope.bpf.verifier import bounds as bd

U64, U32 = bd.U64, bd.U32
SMALL = [(value, mask) for value in range(8) for mask in range(8) if not value & mask]
EDGES = (
    0, 1, 2, 7, 8, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, U64,
    U64 - 1, U64 - 7,
)  # fmt: skip


def members(number: tuple[int, int]) -> list[int]:
    value, mask = number
    return [value | bits for bits in range(mask + 1) if not bits & ~mask]


def has(number: tuple[int, int], value: int) -> bool:
    return value & ~number[1] & U64 == number[0]


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def fits(bounds: bd.Bounds, value: int) -> bool:
    """Whether a number is within all that bounds say."""
    value &= U64
    low = value & U32
    return (
        has(bounds[:2], value) and bounds[2] <= signed(value) <= bounds[3] and bounds[4] <= value <= bounds[5]
        and bounds[6] <= signed(low, 32) <= bounds[7] and bounds[8] <= low <= bounds[9]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (tnum.add, lambda x, y: x + y),
        (tnum.sub, lambda x, y: x - y),
        (tnum.multiply, lambda x, y: x * y),
        (tnum.and_, lambda x, y: x & y),
        (tnum.or_, lambda x, y: x | y),
        (tnum.xor, lambda x, y: x ^ y),
    ],
    ids=["add", "sub", "multiply", "and", "or", "xor"],
)
def test_tnum_holds_every_result(
    function: Callable[[tnum.Tnum, tnum.Tnum], tnum.Tnum], plain: Callable[[int, int], int]
) -> None:
    for a, c in itertools.product(SMALL, SMALL):
        result = function(a, c)
        assert all(has(result, plain(x, y) & U64) for x in members(a) for y in members(c)), (a, c, result)


def test_tnum_shifts() -> None:
    for a, shift in itertools.product(SMALL, range(4)):
        assert all(has(tnum.left(a, shift), x << shift & U64) for x in members(a))
        assert all(has(tnum.right(a, shift), x >> shift) for x in members(a))
        high = (a[0] << 61, a[1] << 61)
        moved = tnum.arithmetic_right(high, shift, 64)
        assert all(has(moved, signed(x << 61) >> shift & U64) for x in members(a))


def test_tnum_of_a_range_is_the_least() -> None:
    for low, high in itertools.combinations_with_replacement(range(20), 2):
        number = tnum.between(low, high)
        assert all(has(number, value) for value in range(low, high + 1))


def test_tnum_holds_says_subset() -> None:
    for a, c in itertools.product(SMALL, SMALL):
        assert tnum.holds(a, c) == set(members(a)).issuperset(members(c))


def make(chance: random.Random) -> tuple[int, bd.Bounds]:
    """A number and bounds that hold it."""

    def one() -> int:
        pick = chance.random()
        if pick < 0.3:
            return chance.choice(EDGES)
        if pick < 0.6:
            return chance.choice(EDGES) + chance.randrange(-9, 9) & U64
        return chance.getrandbits(chance.choice((4, 8, 31, 32, 33, 63, 64)))

    value = one()
    others = [value, value, one(), one(), value + chance.randrange(8) & U64]
    wide = [signed(x) for x in others]
    low = [x & U32 for x in others]
    narrow = [signed(x, 32) for x in others]
    mask = chance.choice((U64, value ^ chance.choice(others), 0xFF))
    pick = chance.choice
    return value, bd.sync(
        value & ~mask, mask, min(wide[0], pick(wide)), max(wide[0], pick(wide)),
        min(value, pick(others)), max(value, pick(others)), min(narrow[0], pick(narrow)), max(narrow[0], pick(narrow)),
        min(low[0], pick(low)), max(low[0], pick(low)),
    )  # fmt: skip


def test_ranges_and_bits_tell_each_other_only_what_is_so() -> None:
    chance = random.Random(1)
    for _ in range(4000):
        value, bounds = make(chance)
        assert bounds is not bd.CONTRADICTION
        assert fits(bounds, value), (hex(value), bounds)
        assert bd.sync(*bounds) == bounds or bd.is_within(bounds, bd.sync(*bounds))
        assert fits(bd.low_half(bounds), value & U32)
        for size in (1, 2, 4):
            kept = (1 << 8 * size) - 1
            assert fits(bd.truncate(bounds, size), value & kept)
            assert fits(bd.sign_extend(bounds, size), signed(value, 8 * size))


OPERATIONS: dict[int, Callable[[int, int, int], int]] = {
    b.BPF_ADD: lambda x, y, bits: x + y,
    b.BPF_SUB: lambda x, y, bits: x - y,
    b.BPF_MUL: lambda x, y, bits: x * y,
    b.BPF_AND: lambda x, y, bits: x & y,
    b.BPF_OR: lambda x, y, bits: x | y,
    b.BPF_XOR: lambda x, y, bits: x ^ y,
    b.BPF_LSH: lambda x, y, bits: x << y,
    b.BPF_RSH: lambda x, y, bits: (x & (1 << bits) - 1) >> y,
    b.BPF_ARSH: lambda x, y, bits: signed(x, bits) >> y,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("wide", [True, False])
def test_arithmetic_holds_every_result(operation: int, wide: bool) -> None:
    chance = random.Random(operation)
    bits = 64 if wide else 32
    for _ in range(700):
        x, a = make(chance)
        y, c = make(chance)
        if operation in (b.BPF_LSH, b.BPF_RSH, b.BPF_ARSH):
            ends = sorted((chance.randrange(bits), chance.randrange(bits)))
            y = chance.randint(*ends)
            c = chance.choice((bd.known(y), bd.unsigned_range(*ends)))
        expected = OPERATIONS[operation](x, y, bits) & (1 << bits) - 1
        result = arithmetic.compute(operation, a, c, wide=wide)
        assert fits(result, expected), (hex(x), hex(y), a, c, result)


HOLDS: dict[int, Callable[[int, int, int], bool]] = {
    b.BPF_JEQ: lambda x, y, bits: x == y,
    b.BPF_JNE: lambda x, y, bits: x != y,
    b.BPF_JGT: lambda x, y, bits: x > y,
    b.BPF_JGE: lambda x, y, bits: x >= y,
    b.BPF_JLT: lambda x, y, bits: x < y,
    b.BPF_JLE: lambda x, y, bits: x <= y,
    b.BPF_JSGT: lambda x, y, bits: signed(x, bits) > signed(y, bits),
    b.BPF_JSGE: lambda x, y, bits: signed(x, bits) >= signed(y, bits),
    b.BPF_JSLT: lambda x, y, bits: signed(x, bits) < signed(y, bits),
    b.BPF_JSLE: lambda x, y, bits: signed(x, bits) <= signed(y, bits),
    b.BPF_JSET: lambda x, y, bits: bool(x & y),
}


@pytest.mark.parametrize("operation", HOLDS)
@pytest.mark.parametrize("wide", [True, False])
def test_a_branch_learns_only_what_is_so(operation: int, wide: bool) -> None:
    chance = random.Random(operation)
    bits = 64 if wide else 32
    kept = (1 << bits) - 1
    for _ in range(1500):
        (x, a), (y, c) = make(chance), make(chance)
        if chance.random() < 0.3:
            c = bd.known(y)
        holds = HOLDS[operation](x & kept, y & kept, bits)
        outcome = comparison.outcome(operation, a, c, wide=wide)
        assert outcome in (-1, int(holds)), (hex(x), hex(y), a, c)
        one = operation if holds else comparison.OPPOSITE[operation]
        first, second = comparison.refine(one, a, c, wide=wide)
        assert fits(first, x) and fits(second, y), (hex(x), hex(y), a, c, first, second)
