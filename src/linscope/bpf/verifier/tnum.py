"""Tristate numbers: what is known of each bit of a 64-bit value.

A tnum is the pair (value, mask), both unsigned: a bit set in mask is unknown, and 0 in value; the others are as in
value.  Plain tuples, for these run for each instruction.
Source: kernel/bpf/tnum.c; "Sound, Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022).
"""

from __future__ import annotations

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import TypeAlias

    Tnum: TypeAlias = tuple[int, int]

UNKNOWN: Tnum = (0, U64)


def between(low: int, high: int) -> Tnum:
    """The least tnum that holds all from low to high, unsigned."""
    bits = (low ^ high).bit_length()
    mask = (1 << bits) - 1
    return low & ~mask, mask


def add(a: Tnum, b: Tnum) -> Tnum:
    """a + b, modulo 2**64."""
    masks = a[1] + b[1]
    values = a[0] + b[0]
    mask = ((masks + values) ^ values | a[1] | b[1]) & U64
    return values & ~mask & U64, mask


def sub(a: Tnum, b: Tnum) -> Tnum:
    """a - b, modulo 2**64."""
    values = a[0] - b[0]
    mask = ((values + a[1]) ^ (values - b[1]) | a[1] | b[1]) & U64
    return values & ~mask & U64, mask


def negate(a: Tnum) -> Tnum:
    """-a, modulo 2**64."""
    return sub((0, 0), a)


def and_(a: Tnum, b: Tnum) -> Tnum:
    """a & b."""
    value = a[0] & b[0]
    return value, (a[0] | a[1]) & (b[0] | b[1]) & ~value


def or_(a: Tnum, b: Tnum) -> Tnum:
    """a | b."""
    value = a[0] | b[0]
    return value, (a[1] | b[1]) & ~value


def xor(a: Tnum, b: Tnum) -> Tnum:
    """a ^ b."""
    mask = a[1] | b[1]
    return (a[0] ^ b[0]) & ~mask, mask


def multiply(a: Tnum, b: Tnum) -> Tnum:
    """a * b, modulo 2**64: the known bits are multiplied, the unknown ones of b added up bit by bit of a."""
    product = a[0] * b[0] & U64
    (value, mask), (other_value, other_mask) = a, b
    total: Tnum = (0, 0)
    while value or mask:
        if value & 1:
            total = add(total, (0, other_mask))
        elif mask & 1:
            total = add(total, (0, other_value | other_mask))
        value >>= 1
        mask >>= 1
        other_value = other_value << 1 & U64
        other_mask = other_mask << 1 & U64
    return add((product, 0), total)


def left(a: Tnum, shift: int) -> Tnum:
    """a << shift, of 64 bits."""
    return a[0] << shift & U64, a[1] << shift & U64


def right(a: Tnum, shift: int) -> Tnum:
    """a >> shift, unsigned."""
    return a[0] >> shift, a[1] >> shift


def arithmetic_right(a: Tnum, shift: int, bits: int) -> Tnum:
    """a >> shift, signed, of 32 or 64 bits (the upper half of the result is 0 for 32)."""
    top = 1 << (bits - 1)
    full = (1 << bits) - 1
    value = (((a[0] & full) ^ top) - top) >> shift
    mask = (((a[1] & full) ^ top) - top) >> shift
    return value & full & ~mask, mask & full


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """What both say; they must not contradict each other."""
    mask = a[1] & b[1]
    return (a[0] | b[0]) & ~mask, mask


def low_bytes(a: Tnum, size: int) -> Tnum:
    """The lower size bytes, zero-extended."""
    kept = (1 << 8 * size) - 1
    return a[0] & kept, a[1] & kept


def holds(a: Tnum, b: Tnum) -> bool:
    """Whether each value of b is one of a."""
    return not b[1] & ~a[1] and a[0] == b[0] & ~a[1]


def is_aligned(a: Tnum, size: int) -> bool:
    """Whether all values are multiples of size, a power of two."""
    return not (a[0] | a[1]) & (size - 1)


def text(a: Tnum) -> str:
    """As the verifier writes it: ``(0x0; 0xff)``."""
    return f"({a[0]:#x}; {a[1]:#x})"
