"""What is known of a number: its bits and its ranges, unsigned and signed, as 64 and as 32 bits.

A bounds is a tuple of ten, in this order: value and mask of the tnum, smin, smax, umin, umax, s32min, s32max, u32min,
u32max.  ``sync`` lets each tell the others what it knows.
Source: kernel/bpf/verifier.c, reg_bounds_sync and __reg_deduce_bounds, as of Linux 6.17.
"""

from __future__ import annotations

from linscope.bpf.verifier import tnum

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from typing import TypeAlias

    Bounds: TypeAlias = tuple[int, int, int, int, int, int, int, int, int, int]

U64, U32 = tnum.U64, tnum.U32
S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
_HIGH = U64 ^ U32
VALUE, MASK, SMIN, SMAX, UMIN, UMAX, S32MIN, S32MAX, U32MIN, U32MAX = range(10)

UNKNOWN: Bounds = (0, U64, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)
CONTRADICTION: Bounds = (*UNKNOWN[:5], *UNKNOWN[5:])  # equal to UNKNOWN, but another object


def _known(value: int) -> Bounds:
    signed = value - (1 << 64) if value >> 63 else value
    low = value & U32
    signed_low = low - (1 << 32) if low >> 31 else low
    return value, 0, signed, signed, value, value, signed_low, signed_low, low, low


_SMALL = tuple(_known(value) for value in range(256))
ZERO = _SMALL[0]


def known(value: int) -> Bounds:
    """The bounds of a constant; signed or unsigned."""
    return _SMALL[value] if 0 <= value < 256 else _known(value & U64)


def of_tnum(value: int, mask: int) -> Bounds:
    """The bounds that bits alone give."""
    return sync(value, mask, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)


def unsigned_range(low: int, high: int) -> Bounds:
    """The bounds of all numbers from low to high, unsigned 64 bits."""
    return sync(0, U64, S64_MIN, S64_MAX, low, high, S32_MIN, S32_MAX, 0, U32)


def signed_range(low: int, high: int) -> Bounds:
    """The bounds of all numbers from low to high, signed 64 bits."""
    return sync(0, U64, low, high, 0, U64, S32_MIN, S32_MAX, 0, U32)


def of_size(size: int) -> Bounds:
    """An unknown number of 1, 2, 4 or 8 bytes, zero-extended: what a load gives."""
    return _OF_SIZE[size]


def sync(
    value: int, mask: int, smin: int, smax: int, umin: int, umax: int,
    s32min: int, s32max: int, u32min: int, u32max: int,
) -> Bounds:  # fmt: skip
    """Bounds that agree with each other; CONTRADICTION when they cannot: on a path that is never taken."""
    for last in (False, True):
        # bits -> ranges
        if mask >> 63:
            low, high = (value | 1 << 63) - (1 << 64), value | mask & S64_MAX
        elif value >> 63:
            low, high = value - (1 << 64), (value | mask) - (1 << 64)
        else:
            low, high = value, value | mask
        if low > smin:
            smin = low
        if high < smax:
            smax = high
        if value > umin:
            umin = value
        high = value | mask
        if high < umax:
            umax = high
        value32, mask32 = value & U32, mask & U32
        if mask32 >> 31:
            low, high = (value32 | 1 << 31) - (1 << 32), value32 | mask32 & S32_MAX
        elif value32 >> 31:
            low, high = value32 - (1 << 32), (value32 | mask32) - (1 << 32)
        else:
            low, high = value32, value32 | mask32
        if low > s32min:
            s32min = low
        if high < s32max:
            s32max = high
        if value32 > u32min:
            u32min = value32
        high = value32 | mask32
        if high < u32max:
            u32max = high
        if last:
            break
        # ranges -> ranges, until nothing changes; three times are enough for what the kernel learns
        for _ in range(3):
            before = (smin, smax, umin, umax, s32min, s32max, u32min, u32max)
            smin, smax, umin, umax, s32min, s32max, u32min, u32max = _deduce(*before)
            if before == (smin, smax, umin, umax, s32min, s32max, u32min, u32max):
                break
        # ranges -> bits
        if umin > umax or u32min > u32max:
            return CONTRADICTION
        bits = (umin ^ umax).bit_length()
        range_mask = (1 << bits) - 1
        other = umin & ~range_mask
        if (value ^ other) & ~(mask | range_mask):
            return CONTRADICTION
        value |= other
        mask &= range_mask
        value &= ~mask
        bits = (u32min ^ u32max).bit_length()
        range_mask = (1 << bits) - 1
        other = u32min & ~range_mask
        range_mask |= _HIGH
        if (value ^ other) & ~(mask | range_mask):
            return CONTRADICTION
        value |= other
        mask &= range_mask
        value &= ~mask
    if smin > smax or umin > umax or s32min > s32max or u32min > u32max:
        return CONTRADICTION
    return value, mask, smin, smax, umin, umax, s32min, s32max, u32min, u32max


def _signed32(value: int) -> int:
    value &= U32
    return value - (1 << 32) if value >> 31 else value


def _deduce(
    smin: int, smax: int, umin: int, umax: int, s32min: int, s32max: int, u32min: int, u32max: int
) -> tuple[int, int, int, int, int, int, int, int]:
    """One round of what the ranges tell each other."""
    # 64 -> 32 bits: ranges whose upper halves are one number, or two neighbors around zero
    for low, high in ((umin, umax), (smin, smax)):
        signed_low, signed_high = _signed32(low), _signed32(high)
        if low >> 32 == high >> 32:
            if low & U32 <= high & U32:
                u32min = max(u32min, low & U32)
                u32max = min(u32max, high & U32)
            if signed_low <= signed_high:
                s32min = max(s32min, signed_low)
                s32max = min(s32max, signed_high)
        elif ((low >> 32) + 1) & U32 == (high >> 32) & U32 and signed_low < 0 <= signed_high:
            s32min = max(s32min, signed_low)
            s32max = min(s32max, signed_high)
    # unsigned <-> signed
    if _signed32(u32min) <= _signed32(u32max):
        s32min = max(s32min, _signed32(u32min))
        s32max = min(s32max, _signed32(u32max))
    if s32min & U32 <= s32max & U32:
        u32min = max(u32min, s32min & U32)
        u32max = min(u32max, s32max & U32)
    elif u32max < s32min & U32:
        s32min = max(s32min, _signed32(u32min))
        u32max = min(u32max, s32max & U32)
    elif s32max & U32 < u32min:
        s32max = min(s32max, _signed32(u32max))
        u32min = max(u32min, s32min & U32)
    if umin >> 63 == umax >> 63:
        wrap = umin >> 63 << 64
        smin = max(smin, umin - wrap)
        smax = min(smax, umax - wrap)
    if (smin < 0) == (smax < 0):
        umin = max(umin, smin & U64)
        umax = min(umax, smax & U64)
    elif umax < smin & U64:
        smin = max(smin, umin if umin <= S64_MAX else smin)
        umax = min(umax, smax)
    elif smax < umin:
        smax = min(smax, umax - (1 << 64) if umax >> 63 else smax)
        umin = max(umin, smin & U64)
    # 32 -> 64 bits: the upper half of the bound with the lower one's
    umin = max(umin, umin & _HIGH | u32min)
    umax = min(umax, umax & _HIGH | u32max)
    smin = max(smin, smin & ~U32 | u32min)
    smax = min(smax, smax & ~U32 | u32max)
    if smin >= S32_MIN and smax <= S32_MAX:
        smin = max(smin, s32min)
        smax = min(smax, s32max)
    return smin, smax, umin, umax, s32min, s32max, u32min, u32max


def low_half(bounds: Bounds) -> Bounds:
    """The lower 32 bits, zero-extended: what a 32-bit operation leaves in a register."""
    value, mask, _, _, _, _, s32min, s32max, u32min, u32max = bounds
    if not mask:
        return known(value & U32)
    # the 32-bit ranges agreed with the lower bits already
    if s32min >= 0:
        return value & U32, mask & U32, s32min, s32max, u32min, u32max, s32min, s32max, u32min, u32max
    return value & U32, mask & U32, u32min, u32max, u32min, u32max, s32min, s32max, u32min, u32max


def truncate(bounds: Bounds, size: int) -> Bounds:
    """The lower size bytes, zero-extended."""
    if size == 8:
        return bounds
    if size == 4:
        return low_half(bounds)
    value, mask, _, _, umin, umax = bounds[:6]
    kept = (1 << 8 * size) - 1
    if not mask & kept:
        return known(value & kept)
    if umin & ~kept == umax & ~kept:
        umin, umax = umin & kept, umax & kept
    else:
        umin, umax = 0, kept
    return sync(value & kept, mask & kept, S64_MIN, S64_MAX, umin, umax, S32_MIN, S32_MAX, 0, U32)


def sign_extend(bounds: Bounds, size: int) -> Bounds:
    """The lower size bytes (1, 2 or 4), sign-extended to 64 bits."""
    bits = 8 * size
    kept = (1 << bits) - 1
    top = 1 << (bits - 1)
    value, mask, smin, smax = bounds[:4]
    if not mask & kept:
        return known(((value & kept) ^ top) - top)
    low, high = ((smin & kept) ^ top) - top, ((smax & kept) ^ top) - top
    if smin >> bits != smax >> bits or low > high:
        low, high = -top, top - 1
    if size == 4:
        low, high = max(low, bounds[S32MIN]), min(high, bounds[S32MAX])
    if mask & top:
        value, mask = value & kept, mask & kept | U64 ^ kept
    elif value & top:
        value, mask = value & kept | U64 ^ kept, mask & kept
    else:
        value, mask = value & kept, mask & kept
    return sync(value, mask, low, high, 0, U64, S32_MIN, S32_MAX, 0, U32)


def is_within(old: Bounds, new: Bounds) -> bool:
    """Whether each number of new is one of old."""
    return (
        old[SMIN] <= new[SMIN] and old[SMAX] >= new[SMAX] and old[UMIN] <= new[UMIN] and old[UMAX] >= new[UMAX]
        and old[S32MIN] <= new[S32MIN] and old[S32MAX] >= new[S32MAX]
        and old[U32MIN] <= new[U32MIN] and old[U32MAX] >= new[U32MAX]
        and not new[MASK] & ~old[MASK] and old[VALUE] == new[VALUE] & ~old[MASK]
    )  # fmt: skip


def text(bounds: Bounds) -> str:
    """As the verifier writes them, without what is not known: ``5``, ``smin=-1,umax=9,var_off=(0x0; 0xf)``."""
    value, mask, smin, smax, umin, umax, s32min, s32max, u32min, u32max = bounds
    if not mask:
        return str(smin)
    parts = []
    if smin != S64_MIN:
        parts.append(f"smin={smin}")
    if smax != S64_MAX:
        parts.append(f"smax={smax}")
    if umin:
        parts.append(f"umin={umin}")
    if umax != U64:
        parts.append(f"umax={umax}")
    if mask != U64:
        parts.append(f"var_off={tnum.text((value, mask))}")
    if s32min not in (smin, S32_MIN):
        parts.append(f"smin32={s32min}")
    if s32max not in (smax, S32_MAX):
        parts.append(f"smax32={s32max}")
    if u32min not in (umin, 0):
        parts.append(f"umin32={u32min}")
    if u32max not in (umax, U32):
        parts.append(f"umax32={u32max}")
    return ",".join(parts)


_OF_SIZE = {
    1: of_tnum(0, 0xFF),
    2: of_tnum(0, 0xFFFF),
    4: of_tnum(0, U32),
    8: UNKNOWN,
}
