"""Comparisons of two numbers: can it only be true or false, and what each branch tells about both.

Source: kernel/bpf/verifier.c, is_scalar_branch_taken and regs_refine_cond_op, as of Linux 6.12.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.bounds import Bounds

NOT_SET = 0x1000  # the opposite of BPF_JSET, which has no instruction
OPPOSITE = {
    b.BPF_JEQ: b.BPF_JNE, b.BPF_JNE: b.BPF_JEQ, b.BPF_JGT: b.BPF_JLE, b.BPF_JLE: b.BPF_JGT, b.BPF_JGE: b.BPF_JLT,
    b.BPF_JLT: b.BPF_JGE, b.BPF_JSGT: b.BPF_JSLE, b.BPF_JSLE: b.BPF_JSGT, b.BPF_JSGE: b.BPF_JSLT,
    b.BPF_JSLT: b.BPF_JSGE, b.BPF_JSET: NOT_SET, NOT_SET: b.BPF_JSET,
}  # fmt: skip
FLIPPED = {
    b.BPF_JGT: b.BPF_JLT, b.BPF_JLT: b.BPF_JGT, b.BPF_JGE: b.BPF_JLE, b.BPF_JLE: b.BPF_JGE, b.BPF_JSGT: b.BPF_JSLT,
    b.BPF_JSLT: b.BPF_JSGT, b.BPF_JSGE: b.BPF_JSLE, b.BPF_JSLE: b.BPF_JSGE,
}  # fmt: skip
SYMBOLS = {
    b.BPF_JEQ: "==", b.BPF_JNE: "!=", b.BPF_JGT: ">", b.BPF_JLE: "<=", b.BPF_JGE: ">=", b.BPF_JLT: "<",
    b.BPF_JSGT: "s>", b.BPF_JSLE: "s<=", b.BPF_JSGE: "s>=", b.BPF_JSLT: "s<", b.BPF_JSET: "&", NOT_SET: "!&",
}  # fmt: skip


def outcome(operation: int, a: Bounds, c: Bounds, *, wide: bool) -> int:
    """1: always true, 0: never, -1: it depends."""
    if wide:
        value, mask, smin, smax, umin, umax = a[:6]
        other, other_mask, smin2, smax2, umin2, umax2 = c[:6]
    else:
        value, mask = a[0] & bd.U32, a[1] & bd.U32
        other, other_mask = c[0] & bd.U32, c[1] & bd.U32
        smin, smax, umin, umax = a[6:]
        smin2, smax2, umin2, umax2 = c[6:]
    if operation == b.BPF_JEQ or operation == b.BPF_JNE:
        if not mask and not other_mask:
            equal = int(value == other)
        elif (
            umin > umax2 or umax < umin2 or smin > smax2 or smax < smin2
            or (value ^ other) & ~(mask | other_mask) & (bd.U64 if wide else bd.U32)
        ):  # fmt: skip
            equal = 0
        elif wide and (a[8] > c[9] or a[9] < c[8] or a[6] > c[7] or a[7] < c[6]):
            equal = 0
        else:
            return -1
        return equal if operation == b.BPF_JEQ else 1 - equal
    if operation == b.BPF_JSET:
        if other_mask:
            return -1
        if value & other:
            return 1
        return 0 if not (value | mask) & other else -1
    if operation in _FLIP_FIRST:
        operation = FLIPPED[operation]
        smin, smax, umin, umax, smin2, smax2, umin2, umax2 = smin2, smax2, umin2, umax2, smin, smax, umin, umax
    if operation == b.BPF_JLT:
        return 1 if umax < umin2 else 0 if umin >= umax2 else -1
    if operation == b.BPF_JLE:
        return 1 if umax <= umin2 else 0 if umin > umax2 else -1
    if operation == b.BPF_JSLT:
        return 1 if smax < smin2 else 0 if smin >= smax2 else -1
    return 1 if smax <= smin2 else 0 if smin > smax2 else -1


_FLIP_FIRST = (b.BPF_JGT, b.BPF_JGE, b.BPF_JSGT, b.BPF_JSGE)


def refine(operation: int, a: Bounds, c: Bounds, *, wide: bool) -> tuple[Bounds, Bounds]:
    """Both numbers where ``a operation c`` holds."""
    if operation in _FLIP_FIRST:
        c, a = refine(FLIPPED[operation], c, a, wide=wide)
        return a, c
    if operation == b.BPF_JEQ:
        return _equal(a, c, wide)
    if operation == b.BPF_JNE:
        if not _mask(c, wide):
            return _without(a, c[0], wide), c
        if not _mask(a, wide):
            return a, _without(c, a[0], wide)
        return a, c
    if operation in (b.BPF_JSET, NOT_SET):
        if not _mask(c, wide):
            return _bits(a, c[0], wide, operation == b.BPF_JSET), c
        if not _mask(a, wide):
            return a, _bits(c, a[0], wide, operation == b.BPF_JSET)
        return a, c
    strict = int(operation in (b.BPF_JLT, b.BPF_JSLT))
    if operation in (b.BPF_JLT, b.BPF_JLE):
        low, high = (4, 5) if wide else (8, 9)
    else:
        low, high = (2, 3) if wide else (6, 7)
    first, second = a, c
    if c[high] - strict < a[high]:
        changed = list(a)
        changed[high] = c[high] - strict
        first = bd.sync(*changed)
    if a[low] + strict > c[low]:
        changed = list(c)
        changed[low] = a[low] + strict
        second = bd.sync(*changed)
    return first, second


def _mask(a: Bounds, wide: bool) -> int:
    return a[1] if wide else a[1] & bd.U32


def _equal(a: Bounds, c: Bounds, wide: bool) -> tuple[Bounds, Bounds]:
    if not wide:
        # the lower halves are equal, the upper ones stay as they are
        ranges = (max(a[6], c[6]), min(a[7], c[7]), max(a[8], c[8]), min(a[9], c[9]))
        value = (a[0] | c[0]) & bd.U32
        mask = a[1] & c[1] & bd.U32
        value &= ~mask
        first = bd.sync(a[0] & ~bd.U32 | value, a[1] & ~bd.U32 | mask, a[2], a[3], a[4], a[5], *ranges)
        second = bd.sync(c[0] & ~bd.U32 | value, c[1] & ~bd.U32 | mask, c[2], c[3], c[4], c[5], *ranges)
        return first, second
    if not c[1]:
        return c, c
    if not a[1]:
        return a, a
    mask = a[1] & c[1]
    both = bd.sync(
        (a[0] | c[0]) & ~mask, mask, max(a[2], c[2]), min(a[3], c[3]), max(a[4], c[4]), min(a[5], c[5]),
        max(a[6], c[6]), min(a[7], c[7]), max(a[8], c[8]), min(a[9], c[9]),
    )  # fmt: skip
    return both, both


def _without(a: Bounds, value: int, wide: bool) -> Bounds:
    """The ends of the ranges lose a value."""
    changed = list(a)
    if wide:
        signed = value - (1 << 64) if value >> 63 else value
        places = ((2, 3, signed), (4, 5, value))
    else:
        value &= bd.U32
        signed = value - (1 << 32) if value >> 31 else value
        places = ((6, 7, signed), (8, 9, value))
    for low, high, one in places:
        if changed[low] == one and changed[high] > one:
            changed[low] += 1
        if changed[high] == one and changed[low] < one:
            changed[high] -= 1
    return a if tuple(changed) == a else bd.sync(*changed)


def _bits(a: Bounds, value: int, wide: bool, is_set: bool) -> Bounds:
    """After a test of bits: all are 0, or if it is but one, it is 1.

    Where they are 0 the ranges are forgotten, as the kernel does it (since v6.17, 6279846b9b25).
    """
    if not wide:
        value &= bd.U32
    changed = list(a)
    if is_set:
        if not value or value & (value - 1):
            return a
        changed[0] |= value
        changed[1] &= ~value
    else:
        changed = [a[0] & ~value, a[1] & ~value, *bd.UNKNOWN[2:]]
    return bd.sync(*changed)
