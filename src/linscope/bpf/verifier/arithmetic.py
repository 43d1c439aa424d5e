"""What arithmetic does to bounds: one function for each operation on two numbers, of 64 bits or of 32.

``compute`` is the entrance.  A result is never narrower than what the operation can give; tests hold it against
brute force.  Source: kernel/bpf/verifier.c, adjust_scalar_min_max_vals and what it calls, as of Linux 6.17.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import tnum

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.bounds import Bounds

U64, U32 = bd.U64, bd.U32
S64_MIN, S64_MAX, S32_MIN, S32_MAX = bd.S64_MIN, bd.S64_MAX, bd.S32_MIN, bd.S32_MAX


def compute(operation: int, a: Bounds, c: Bounds, *, wide: bool) -> Bounds:
    """Bounds of ``a operation c``; operation: BPF_ADD to BPF_ARSH without BPF_MOV; wide: of 64 bits.

    A division, and a shift by more than the width or by a number that is not known, give unknown numbers, of 64 bits in
    32-bit operations too, as the kernel has it since v6.10 (is_safe_to_compute_dst_reg_range).
    """
    if not wide:
        a, c = bd.low_half(a), bd.low_half(c)
    bits = 64 if wide else 32
    if operation in _SHIFTS and (c[bd.MASK] or c[bd.UMAX] >= bits):
        return bd.UNKNOWN
    if not a[bd.MASK] and not c[bd.MASK]:
        result = _constant(operation, a[bd.VALUE], c[bd.VALUE], bits)
        if result is not None:
            return bd.known(result & (U64 if wide else U32))
    function = _FUNCTIONS.get(operation)
    if function is None:
        return bd.UNKNOWN
    result_bounds = function(a, c, wide)
    return result_bounds if wide else bd.low_half(result_bounds)


def _constant(operation: int, a: int, c: int, bits: int) -> int | None:
    if operation == b.BPF_ADD:
        return a + c
    if operation == b.BPF_SUB:
        return a - c
    if operation == b.BPF_AND:
        return a & c
    if operation == b.BPF_OR:
        return a | c
    if operation == b.BPF_XOR:
        return a ^ c
    if operation == b.BPF_MUL:
        return a * c
    if operation == b.BPF_LSH:
        return a << c
    if operation == b.BPF_RSH:
        return a >> c
    if operation == b.BPF_ARSH:
        top = 1 << (bits - 1)
        return ((a ^ top) - top) >> c
    return None


def negate(a: Bounds, *, wide: bool) -> Bounds:
    """Bounds of -a."""
    return compute(b.BPF_SUB, bd.ZERO, a, wide=wide)


def _sum_range(low: int, high: int, least: int, most: int) -> tuple[int, int]:
    """A range after an operation: unknown when one end left the width and the other did not."""
    span = most - least + 1
    if low < least and high < least:
        return low + span, high + span
    if low > most and high > most:
        return low - span, high - span
    if low < least or high > most:
        return least, most
    return low, high


def _add(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    value, mask = tnum.add((a[0], a[1]), (c[0], c[1]))
    return bd.sync(
        value, mask,
        *_sum_range(a[2] + c[2], a[3] + c[3], S64_MIN, S64_MAX), *_sum_range(a[4] + c[4], a[5] + c[5], 0, U64),
        *_sum_range(a[6] + c[6], a[7] + c[7], S32_MIN, S32_MAX), *_sum_range(a[8] + c[8], a[9] + c[9], 0, U32),
    )  # fmt: skip


def _sub(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    value, mask = tnum.sub((a[0], a[1]), (c[0], c[1]))
    return bd.sync(
        value, mask,
        *_sum_range(a[2] - c[3], a[3] - c[2], S64_MIN, S64_MAX), *_sum_range(a[4] - c[5], a[5] - c[4], 0, U64),
        *_sum_range(a[6] - c[7], a[7] - c[6], S32_MIN, S32_MAX), *_sum_range(a[8] - c[9], a[9] - c[8], 0, U32),
    )  # fmt: skip


def _product_range(a: tuple[int, int], c: tuple[int, int], least: int, most: int) -> tuple[int, int]:
    ends = (a[0] * c[0], a[0] * c[1], a[1] * c[0], a[1] * c[1])
    low, high = min(ends), max(ends)
    return (low, high) if least <= low and high <= most else (least, most)


def _mul(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    value, mask = tnum.multiply((a[0], a[1]), (c[0], c[1]))
    return bd.sync(
        value, mask,
        *_product_range(a[2:4], c[2:4], S64_MIN, S64_MAX), *_product_range(a[4:6], c[4:6], 0, U64),
        *_product_range(a[6:8], c[6:8], S32_MIN, S32_MAX), *_product_range(a[8:10], c[8:10], 0, U32),
    )  # fmt: skip


def _and(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    value, mask = tnum.and_((a[0], a[1]), (c[0], c[1]))
    return bd.sync(
        value, mask, S64_MIN, S64_MAX, value, min(a[5], c[5]), S32_MIN, S32_MAX, value & U32, min(a[9], c[9])
    )  # fmt: skip


def _or(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    value, mask = tnum.or_((a[0], a[1]), (c[0], c[1]))
    return bd.sync(
        value, mask, S64_MIN, S64_MAX, max(a[4], c[4]), value | mask,
        S32_MIN, S32_MAX, max(a[8], c[8]), (value | mask) & U32,
    )  # fmt: skip


def _xor(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    return bd.of_tnum(*tnum.xor((a[0], a[1]), (c[0], c[1])))


def _lsh(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    shift = c[0]
    value, mask = tnum.left((a[0], a[1]), shift)
    signed = (a[2] << shift, a[3] << shift)
    unsigned = (a[4] << shift, a[5] << shift)
    unsigned32 = (a[8] << shift, a[9] << shift)
    return bd.sync(
        value, mask,
        *(signed if signed[0] >= S64_MIN and signed[1] <= S64_MAX else (S64_MIN, S64_MAX)),
        *(unsigned if unsigned[1] <= U64 else (0, U64)),
        S32_MIN, S32_MAX,
        *(unsigned32 if unsigned32[1] <= U32 else (0, U32)),
    )  # fmt: skip


def _rsh(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    shift = c[0]
    value, mask = tnum.right((a[0], a[1]), shift)
    return bd.sync(value, mask, S64_MIN, S64_MAX, a[4] >> shift, a[5] >> shift, S32_MIN, S32_MAX, 0, U32)


def _arsh(a: Bounds, c: Bounds, wide: bool) -> Bounds:
    shift = c[0]
    if wide:
        value, mask = tnum.arithmetic_right((a[0], a[1]), shift, 64)
        return bd.sync(value, mask, a[2] >> shift, a[3] >> shift, 0, U64, S32_MIN, S32_MAX, 0, U32)
    value, mask = tnum.arithmetic_right((a[0], a[1]), shift, 32)
    return bd.sync(value, mask, S64_MIN, S64_MAX, 0, U64, a[6] >> shift, a[7] >> shift, 0, U32)


_SHIFTS = (b.BPF_LSH, b.BPF_RSH, b.BPF_ARSH)
_FUNCTIONS = {
    b.BPF_ADD: _add, b.BPF_SUB: _sub, b.BPF_MUL: _mul, b.BPF_AND: _and, b.BPF_OR: _or, b.BPF_XOR: _xor,
    b.BPF_LSH: _lsh, b.BPF_RSH: _rsh, b.BPF_ARSH: _arsh,
}  # fmt: skip
