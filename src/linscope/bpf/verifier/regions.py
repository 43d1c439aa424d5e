"""Memory of a known size behind a pointer: is an access inside.

Source: kernel/bpf/verifier.c, check_mem_region_access, check_packet_access, __check_ptr_off_reg.
"""

from __future__ import annotations

from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import tnum
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.registers import Register

MAX_OFFSET = 1 << 29  # BPF_MAX_VAR_OFF


def check_region(checker: Checker, number: int, off: int, size: int, total: int, *, zero_allowed: bool = False) -> None:
    """Whether [off, off + size) behind register number, with its variable part, is within total bytes.

    Raises Rejection.
    """
    register = checker.state.frames[-1].registers[number]
    bounds = register.bounds
    smin = bounds[bd.SMIN]
    if smin < 0 and (smin == bd.S64_MIN or not bd.S32_MIN <= off + smin <= bd.S32_MAX or off + smin < 0):
        raise Rejection(
            "negative-offset",
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check.",
            number,
        )
    low = smin + off
    if not _fits(low, size, total, zero_allowed):
        rule, message = _message(register, number, low, size, total)
        raise Rejection(rule, f"{message}\nR{number} min value is outside of the allowed memory range", number)
    if not bounds[1]:
        return
    high = bounds[bd.UMAX]
    if high >= MAX_OFFSET:
        raise Rejection(
            "unbounded-offset",
            f"R{number} unbounded memory access, make sure to bounds check any such access",
            number,
        )
    if not _fits(high + off, size, total, zero_allowed):
        rule, message = _message(register, number, high + off, size, total)
        raise Rejection(rule, f"{message}\nR{number} max value is outside of the allowed memory range", number)


def _fits(off: int, size: int, total: int, zero_allowed: bool) -> bool:
    return off >= 0 and (size > 0 or (zero_allowed and not size)) and off + size <= total


def _message(register: Register, number: int, off: int, size: int, total: int) -> tuple[str, str]:
    base = register.type & r.BASE
    if base == r.MAP_KEY:
        text = f"invalid access to map key, key_size={total} off={off} size={size}"
        return "map-out-of-bounds", text
    if base == r.MAP_VALUE:
        text = f"invalid access to map value, value_size={total} off={off} size={size}"
        return "map-out-of-bounds", text
    if base in r.PACKETS_ANY:
        text = (
            f"invalid access to packet, off={off} size={size}, R{number}(id={register.id},off={off},r={max(total, 0)})"
        )
        return "packet-out-of-bounds", text
    return "memory-out-of-bounds", f"invalid access to memory, mem_size={total} off={off} size={size}"


def check_packet(checker: Checker, number: int, off: int, size: int, *, zero_allowed: bool = False) -> None:
    """Whether bytes of a packet are known to be there; off is with the register's own.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    if register.bounds[bd.SMIN] < 0:
        raise Rejection(
            "negative-offset",
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check.",
            number,
        )
    if register.range < 0 or not _fits(off, size, register.range, zero_allowed):
        rule, message = _message(register, number, off, size, register.range)
        if register.range < 0:
            rule, message = "packet-out-of-bounds", f"R{number} offset is outside of the packet"
        else:
            message += f"\nR{number} offset is outside of the packet"
        raise Rejection(rule, message, number)


def check_no_offset(checker: Checker, register: Register, number: int, *, fixed_fine: bool = False) -> None:
    """Whether a pointer was left as it was, as those to contexts and kernel objects must be.  Raises Rejection."""
    bounds = register.bounds
    name = r.type_name(register.type)
    if register.off < 0:
        raise Rejection(
            "modified-pointer", f"negative offset {name} ptr R{number} off={register.off} disallowed", number
        )
    if not fixed_fine and register.off:
        raise Rejection(
            "modified-pointer", f"dereference of modified {name} ptr R{number} off={register.off} disallowed", number
        )
    if bounds[1] or bounds[0]:
        raise Rejection(
            "variable-pointer", f"variable {name} access var_off={tnum.text(bounds[:2])} disallowed", number
        )
