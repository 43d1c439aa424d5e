"""The stack: spills and fills, writes and reads at known and at unknown places, what helpers read and fill.

Source: kernel/bpf/verifier.c, check_stack_write, check_stack_read, check_stack_range_initialized, as of Linux 6.12.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import state as st
from linscope.bpf.verifier import tnum
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.rejection import Rejection
from linscope.bpf.verifier.state import Slot

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.verifier.checker import Checker
    from linscope.bpf.verifier.registers import Register
    from linscope.bpf.verifier.state import Frame

MAX_OFFSET = 1 << 29  # BPF_MAX_VAR_OFF
_WRITTEN = {kind: {size: bytes((kind,)) * size for size in (1, 2, 4, 8)} for kind in (st.MISC, st.NULL, st.SPILL)}


def check_range(checker: Checker, number: int, off: int, size: int, *, write: bool, helper: bool = False) -> None:
    """Whether an access through register number stays in the stack; off is with the register's own.

    Raises Rejection.
    """
    register = checker.state.frames[-1].registers[number]
    bounds = register.bounds
    extra = " indirect access to" if helper else " write to" if write else " read from"
    fixed = not bounds[1]
    if fixed:
        low = bounds[bd.SMIN] + off
        high = low + size
    else:
        if bounds[bd.SMAX] >= MAX_OFFSET or bounds[bd.SMIN] <= -MAX_OFFSET:
            raise Rejection("stack-out-of-bounds", f"invalid unbounded variable-offset{extra} stack R{number}", number)
        low = bounds[bd.SMIN] + off
        high = bounds[bd.SMAX] + off + size
    frame = checker.frame_of(register)
    lowest = -b.MAX_BPF_STACK if write or checker.uninit_stack else -frame.depth
    if low < lowest or low > -1 or high > 0 or size < 0:
        if fixed:
            raise Rejection("stack-out-of-bounds", f"invalid{extra} stack R{number} off={low} size={size}", number)
        raise Rejection(
            "stack-out-of-bounds",
            f"invalid variable-offset{extra} stack R{number} var_off={tnum.text(bounds[:2])} off={off} size={size}",
            number,
        )
    grow(checker, frame, -low)


def grow(checker: Checker, frame: Frame, depth: int) -> None:
    """Note that a frame uses so many bytes of stack."""
    depth = (depth + 7) & ~7
    if depth > frame.depth:
        frame.depth = depth
    if depth > checker.stack_depths.get(frame.function, 0):
        checker.stack_depths[frame.function] = depth


def write(checker: Checker, number: int, off: int, size: int, value: int) -> None:
    """Store register value (-1: an immediate or something unknown) through stack pointer number.

    off is with the register's own.  Raises Rejection.
    """
    pointer = checker.state.frames[-1].registers[number]
    if pointer.bounds[1]:
        _write_somewhere(checker, pointer, off, size, value)
    else:
        _write_at(checker, pointer, off + pointer.bounds[bd.SMIN], size, value)


def _write_at(checker: Checker, pointer: Register, off: int, size: int, value: int) -> None:
    frame_number: int = pointer.info  # type: ignore[assignment]
    frame = checker.state.frames[frame_number]
    current = checker.state.frames[-1]
    number = (-off - 1) >> 3
    old = frame.stack.get(number, st.EMPTY)
    newer = checker.kernel >= (6, 8)
    if not checker.leaks_allowed and size != 8 and old.is_spill:
        spill = old.register
        if not newer or spill is None or spill.type != r.SCALAR:
            raise Rejection("spill-corrupted", "attempt to corrupt spilled pointer on stack")
    if st.DYNAMIC in old.kinds:
        _destroy_dynptr(checker, frame, number)
        old = frame.stack.get(number, st.EMPTY)
    register = current.registers[value] if value >= 0 else None
    instruction = checker.code[checker.slot]
    immediate = register is None and instruction.code & 0xE7 == b.BPF_ST | b.BPF_MEM
    if immediate and checker.capable and not off & 7 and (newer or instruction.imm):
        register = r.constant(instruction.imm)
        stored: Register | None = register
    elif register is not None and register.type == r.SCALAR:
        bounded = newer or (register.bounds != bd.UNKNOWN and not r.is_null(register))
        stored = register if checker.capable and not off & 7 and bounded else None
        if stored is not None and instruction.dst != 10 and not newer:
            mark_precise(checker, value)
        if stored is not None and newer and register.bounds[1] and not register.id:
            register = stored = register.with_id(checker.new_id())
            current.registers[value] = register
    else:
        stored = register if register is not None and register.type != r.NOT_INIT else None
        if stored is not None:
            if size != 8:
                raise Rejection("partial-spill", "invalid size of register spill", value)
            if frame is not current and register is not None and register.type == r.STACK:
                raise Rejection(
                    "stack-pointer-escapes", "cannot spill pointers to stack into stack frame of the caller", value
                )
    checker.remember(frame_number << 6 | number)
    if size == 8:
        frame.written |= 1 << number
    if stored is not None:
        if size == 8:
            frame.stack[number] = st.spilled(stored)
            return
        if stored.id and stored.bounds[bd.UMAX] >> 8 * size:
            stored = stored.with_id(0)
        rest = bytes(kind if kind in (st.NULL, st.INVALID) else st.MISC for kind in old.kinds[size:])
        frame.stack[number] = Slot(_WRITTEN[st.SPILL][size] + rest, stored)
        return
    zero = (register is not None and r.is_null(register)) or (immediate and not instruction.imm)
    if zero and value >= 0:
        mark_precise(checker, value)
    kind = st.NULL if zero else st.MISC
    if size == 8:
        frame.stack[number] = st.ZEROED if zero else st.UNKNOWN
        return
    kinds = old.kinds
    if kinds[0] == st.SPILL:
        kinds = bytes(st.MISC if one == st.SPILL else one for one in kinds)
    at = off & 7
    frame.stack[number] = Slot(kinds[:at] + _WRITTEN[kind][size] + kinds[at + size :])


def _write_somewhere(checker: Checker, pointer: Register, off: int, size: int, value: int) -> None:
    frame = checker.frame_of(pointer)
    low = pointer.bounds[bd.SMIN] + off
    high = pointer.bounds[bd.SMAX] + off + size
    register = checker.state.frames[-1].registers[value] if value >= 0 else None
    instruction = checker.code[checker.slot]
    zero = (register is not None and r.is_null(register)) or (
        register is None and instruction.code & 0xE7 == b.BPF_ST | b.BPF_MEM and not instruction.imm
    )
    used = False
    for number in range((-high) >> 3, (-low - 1 >> 3) + 1):
        base = -8 * (number + 1)
        first, last = max(low - base, 0), min(high - base, 8)
        if first >= last:
            continue
        old = frame.stack.get(number, st.EMPTY)
        if st.DYNAMIC in old.kinds:
            _destroy_dynptr(checker, frame, number)
            old = frame.stack.get(number, st.EMPTY)
        kinds = bytearray(old.kinds)
        for at in range(first, last):
            kind = kinds[at]
            if not checker.leaks_allowed and kind not in (st.MISC, st.NULL):
                raise Rejection(
                    "variable-stack-write",
                    f"spilled ptr in range of var-offset stack write; insn {checker.slot}, ptr off: {base + at}",
                )
            if kind == st.INVALID and not checker.uninit_stack:
                raise Rejection(
                    "variable-stack-write",
                    "uninit stack in range of var-offset write prohibited for !root; "
                    f"insn {checker.slot}, off: {base + at}",
                )
            if zero and kind == st.NULL:
                used = True
            else:
                kinds[at] = st.MISC
        frame.stack[number] = Slot(bytes(st.MISC if kind == st.SPILL else kind for kind in kinds))
    if used and value >= 0:
        mark_precise(checker, value)


def read(checker: Checker, number: int, off: int, size: int, value: int) -> None:
    """Load from the stack through register number into register value (-1: nowhere).  Raises Rejection."""
    current = checker.state.frames[-1]
    pointer = current.registers[number]
    bounds = pointer.bounds
    if bounds[1]:
        if value < 0:
            raise Rejection(
                "variable-stack-read",
                "variable offset stack pointer cannot be passed into helper function; "
                f"var_off={tnum.text(bounds[:2])} off={off} size={size}",
                number,
            )
        check_initialized(checker, number, off, size, helper=False)
        if value >= 0:
            zero = _all_zero(checker.frame_of(pointer), bounds[bd.SMIN] + off, bounds[bd.SMAX] + off + size)
            current.registers[value] = r.ZERO if zero else r.OF_SIZE[size]
        return
    off += bounds[bd.SMIN]
    frame_number: int = pointer.info  # type: ignore[assignment]
    frame = checker.state.frames[frame_number]
    place = (-off - 1) >> 3
    slot = frame.stack.get(place, st.EMPTY)
    at = off & 7
    checker.state.read_stack(frame_number, 1 << place)
    kinds = slot.kinds
    spill = slot.register
    if kinds[0] == st.SPILL and spill is not None:
        spill_size = kinds.count(st.SPILL)
        if size == 8 and spill_size == 8:
            if value >= 0:
                checker.remember(frame_number << 6 | place)
                current.registers[value] = spill
            elif checker.is_pointer(spill):
                raise Rejection("pointer-leak", f"leaking pointer from stack off {off}")
            return
        if spill.type != r.SCALAR:
            raise Rejection("partial-fill", "invalid size of register fill")
        if value < 0:
            return
        if not at and size <= spill_size and (size == spill_size or checker.kernel >= (6, 8)):
            checker.remember(frame_number << 6 | place)
            filled = spill.with_bounds(bd.truncate(spill.bounds, size))
            if spill.bounds[bd.UMAX] >> 8 * size and filled.id:
                filled = filled.with_id(0)
            current.registers[value] = filled
            return
        _check_bytes(checker, kinds, off, at, size, {st.SPILL, st.MISC, st.NULL})
        part = kinds[at : at + size]
        if all(kind == st.NULL for kind in part) or (r.is_null(spill) and all(kind == st.SPILL for kind in part)):
            current.registers[value] = r.ZERO
        else:
            current.registers[value] = r.OF_SIZE[size]
        return
    _check_bytes(checker, kinds, off, at, size, {st.MISC, st.NULL})
    if value >= 0:
        zero = kinds[at : at + size].count(st.NULL) == size
        current.registers[value] = r.ZERO if zero else r.OF_SIZE[size]


def _check_bytes(checker: Checker, kinds: bytes, off: int, at: int, size: int, fine: set[int]) -> None:
    for index in range(size):
        kind = kinds[at + index]
        if kind in fine or (kind == st.INVALID and checker.uninit_stack):
            continue
        raise Rejection("uninitialized-stack", f"invalid read from stack off {off}+{index} size {size}")


def _all_zero(frame: Frame, low: int, high: int) -> bool:
    for off in range(low, high):
        slot = frame.stack.get((-off - 1) >> 3)
        if slot is None:
            return False
        kind = slot.kinds[off & 7]
        if kind != st.NULL:
            return False
    return True


def check_initialized(
    checker: Checker, number: int, off: int, size: int, *, helper: bool, zero_allowed: bool = False,
    raw: bool = False, written: bool = True,
) -> bool:  # fmt: skip
    """Whether memory of the stack may be read by a helper (or by a load at an unknown place).

    written: the helper may write there too (before v6.13, 37cce22dbd51, it always may); raw: it only fills it.
    True when it is to be filled: it was not looked at.  Raises Rejection.
    """
    register = checker.state.frames[-1].registers[number]
    extra = " indirect" if helper else ""
    clobber = helper and (written or checker.kernel < (6, 13))
    if not size and not zero_allowed:
        raise Rejection("zero-size", "invalid zero-sized read", number)
    check_range(checker, number, off, size, write=helper, helper=helper)
    bounds = register.bounds
    fixed = not bounds[1]
    if fixed:
        low = high = bounds[bd.SMIN] + off
    else:
        if not checker.bypass_speculation:
            raise Rejection(
                "unprivileged-variable-stack",
                f"R{number}{extra} variable offset stack access prohibited for !root, var_off={tnum.text(bounds[:2])}",
                number,
            )
        raw = False
        low, high = bounds[bd.SMIN] + off, bounds[bd.SMAX] + off
    if raw:
        return True
    frame = checker.frame_of(register)
    read = 0
    for at in range(low, high + size):
        place = (-at - 1) >> 3
        slot = frame.stack.get(place, st.EMPTY)
        kind = slot.kinds[at & 7]
        read |= 1 << place
        if kind == st.MISC:
            continue
        if kind == st.NULL or (kind == st.INVALID and checker.uninit_stack):
            if clobber:
                frame.stack[place] = _with_byte(slot, at & 7)
            continue
        spill = slot.register
        if slot.is_spill and spill is not None and (spill.type == r.SCALAR or checker.leaks_allowed):
            if clobber:
                frame.stack[place] = Slot(bytes(st.MISC if one == st.SPILL else one for one in slot.kinds))
            continue
        where = f"off {low}" if fixed else f"var_off {tnum.text(bounds[:2])}"
        raise Rejection(
            "uninitialized-stack",
            f"invalid{extra} read from stack R{number} {where}+{at - low} size {size}",
            number,
        )
    checker.state.read_stack(register.info, read)  # type: ignore[arg-type]
    return False


def _with_byte(slot: Slot, at: int) -> Slot:
    return Slot(slot.kinds[:at] + bytes((st.MISC,)) + slot.kinds[at + 1 :], slot.register)


def fill(checker: Checker, number: int, off: int, size: int) -> None:
    """A helper fills size bytes through register number: they hold something now.  Raises Rejection."""
    register = checker.state.frames[-1].registers[number]
    frame = checker.frame_of(register)
    low = off + register.bounds[bd.SMIN]
    for place in range((-(low + size)) >> 3, ((-low - 1) >> 3) + 1):
        base = -8 * (place + 1)
        first, last = max(low - base, 0), min(low + size - base, 8)
        if first >= last:
            continue
        old = frame.stack.get(place, st.EMPTY)
        if st.DYNAMIC in old.kinds:
            _destroy_dynptr(checker, frame, place)
            old = frame.stack.get(place, st.EMPTY)
        if not checker.leaks_allowed and old.is_spill:
            raise Rejection("spill-corrupted", "attempt to corrupt spilled pointer on stack", number)
        if last - first == 8:
            frame.stack[place] = st.UNKNOWN
            frame.written |= 1 << place
            continue
        kinds = bytearray(st.MISC if one == st.SPILL else one for one in old.kinds)
        kinds[first:last] = bytes((st.MISC,)) * (last - first)
        frame.stack[place] = Slot(bytes(kinds))


def _destroy_dynptr(checker: Checker, frame: Frame, place: int) -> None:
    """Something is written over a part of a dynptr: it is gone, unless a reference would be lost.

    Raises Rejection.
    """
    slot = frame.stack[place]
    register = slot.register
    if register is not None and register.ref:
        raise Rejection("dynptr-overwritten", "cannot overwrite referenced dynptr")
    for other in (place - 1, place, place + 1):
        near = frame.stack.get(other)
        if near is None or near.register is None or register is None:
            continue
        if st.DYNAMIC in near.kinds and near.register.id == register.id:
            frame.stack[other] = st.EMPTY
