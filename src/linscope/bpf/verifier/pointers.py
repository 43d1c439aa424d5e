"""Arithmetic on pointers, and what unprivileged programs may not do there because a CPU may speculate.

Source: kernel/bpf/verifier.c, adjust_ptr_min_max_vals, sanitize_ptr_alu.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier import tnum
from linscope.bpf.verifier.map_values import check_map_access
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.bounds import Bounds
    from linscope.bpf.verifier.checker import Checker

MAX_OFFSET = 1 << 29  # BPF_MAX_VAR_OFF
SYMBOLS = {
    b.BPF_ADD: "+=", b.BPF_SUB: "-=", b.BPF_MUL: "*=", b.BPF_DIV: "/=", b.BPF_OR: "|=", b.BPF_AND: "&=",
    b.BPF_LSH: "<<=", b.BPF_RSH: ">>=", b.BPF_NEG: "neg", b.BPF_MOD: "%=", b.BPF_XOR: "^=", b.BPF_MOV: "=",
    b.BPF_ARSH: "s>>=", b.BPF_END: "endian",
}  # fmt: skip
_FIXED = frozenset((r.PACKET_END, r.SOCKET, r.SOCK_COMMON, r.TCP_SOCK, r.XDP_SOCK))
_FOR_ROOT = "pointer arithmetic with it prohibited for !root"
_NEGATIVE, _IMMEDIATE, _SOURCE, _DESTINATION = 1, 2, 4, 8  # what an operation was found to be, see _sanitize


def _check_offset(bounds: Bounds, off: int, kind: int) -> None:
    """An offset must be small enough for sums of offsets never to wrap: check_reg_sane_offset."""
    name = r.type_name(kind)
    if not bounds[1] and not -MAX_OFFSET < bounds[bd.SMIN] < MAX_OFFSET:
        raise Rejection("pointer-arithmetic-range", f"math between {name} pointer and {bounds[bd.SMIN]} is not allowed")
    if not -MAX_OFFSET < off < MAX_OFFSET:
        raise Rejection("pointer-arithmetic-range", f"{name} pointer offset {off} is not allowed")
    if bounds[bd.SMIN] == bd.S64_MIN:
        raise Rejection(
            "pointer-arithmetic-range",
            f"math between {name} pointer and register with unbounded min value is not allowed",
        )
    if not -MAX_OFFSET < bounds[bd.SMIN] < MAX_OFFSET:
        raise Rejection("pointer-arithmetic-range", f"value {bounds[bd.SMIN]} makes {name} pointer be out of bounds")


def add_to_pointer(
    checker: Checker, instruction: Instruction, pointer: Register, offset: Register, *, pointer_is_dst: bool
) -> Register:
    """What ``pointer operation offset`` gives; the operation is the instruction's.  Raises Rejection."""
    code, dst = instruction.code, instruction.dst
    operation = code & 0xF0
    kind = pointer.type
    base = kind & r.BASE
    if code & 7 != b.BPF_ALU64:
        if operation == b.BPF_SUB and checker.leaks_allowed:
            return r.UNKNOWN
        raise Rejection("pointer-arithmetic", f"R{dst} 32-bit pointer arithmetic prohibited", dst)
    if kind & r.OR_NULL:
        raise Rejection(
            "pointer-arithmetic-null",
            f"R{dst} pointer arithmetic on {r.type_name(kind)} prohibited, null-check it first",
            dst,
        )
    known = not offset.bounds[1]
    by = offset.bounds[bd.SMIN]
    moved = base == r.MAP_PTR and not (known and not by and operation == b.BPF_ADD)
    if moved or base in _FIXED or (base == r.FLOW_KEYS and not known):
        raise Rejection("pointer-arithmetic", f"R{dst} pointer arithmetic on {r.type_name(kind)} prohibited", dst)
    _check_offset(offset.bounds, 0, kind)
    _check_offset(pointer.bounds, pointer.off, kind)
    info: list[int] = []
    sanitize = operation in (b.BPF_ADD, b.BPF_SUB) and not checker.bypass_speculation
    if sanitize:
        _sanitize(checker, instruction, pointer, offset, info, pointer_is_dst=pointer_is_dst, commit=False)
    if operation == b.BPF_ADD:
        if known and bd.S32_MIN <= pointer.off + by <= bd.S32_MAX:
            result = Register(
                kind, pointer.bounds, pointer.off + by, pointer.id, pointer.ref, pointer.info, pointer.range,
                pointer.uid,
            )  # fmt: skip
        else:
            result = _moved(checker, pointer, _sum(pointer.bounds, offset.bounds), keep_range=False)
    elif operation == b.BPF_SUB:
        if not pointer_is_dst:
            raise Rejection("pointer-arithmetic", f"R{dst} tried to subtract pointer from scalar", dst)
        if base == r.STACK:
            raise Rejection("pointer-arithmetic", f"R{dst} subtraction from stack pointer prohibited", dst)
        if known and bd.S32_MIN <= pointer.off - by <= bd.S32_MAX:
            result = Register(
                kind, pointer.bounds, pointer.off - by, pointer.id, pointer.ref, pointer.info, pointer.range,
                pointer.uid,
            )  # fmt: skip
        else:
            result = _moved(
                checker, pointer, _difference(pointer.bounds, offset.bounds), keep_range=offset.bounds[bd.SMIN] >= 0
            )
    elif operation in (b.BPF_AND, b.BPF_OR, b.BPF_XOR):
        raise Rejection(
            "pointer-arithmetic", f"R{dst} bitwise operator {SYMBOLS[operation]} on pointer prohibited", dst
        )
    else:
        raise Rejection(
            "pointer-arithmetic", f"R{dst} pointer arithmetic with {SYMBOLS[operation]} operator prohibited", dst
        )
    _check_offset(result.bounds, result.off, kind)
    if not checker.bypass_speculation:
        _check_speculated(checker, result, dst)
        if sanitize:
            _sanitize(checker, instruction, result, offset, info, pointer_is_dst=pointer_is_dst, commit=True)
    return result


def _moved(checker: Checker, pointer: Register, bounds: Bounds, *, keep_range: bool) -> Register:
    packet = pointer.type in r.PACKETS
    return Register(
        pointer.type, bounds, pointer.off, checker.new_id() if packet else pointer.id, pointer.ref, pointer.info,
        0 if packet and not keep_range else pointer.range, pointer.uid,
    )  # fmt: skip


def _sum(a: Bounds, c: Bounds) -> Bounds:
    smin, smax = a[2] + c[2], a[3] + c[3]
    if smin < bd.S64_MIN or smax > bd.S64_MAX:
        smin, smax = bd.S64_MIN, bd.S64_MAX
    umin, umax = a[4] + c[4], a[5] + c[5]
    if umax > bd.U64:
        umin, umax = 0, bd.U64
    value, mask = tnum.add(a[:2], c[:2])
    return bd.sync(value, mask, smin, smax, umin, umax, bd.S32_MIN, bd.S32_MAX, 0, bd.U32)


def _difference(a: Bounds, c: Bounds) -> Bounds:
    smin, smax = a[2] - c[3], a[3] - c[2]
    if smin < bd.S64_MIN or smax > bd.S64_MAX:
        smin, smax = bd.S64_MIN, bd.S64_MAX
    umin, umax = a[4] - c[5], a[5] - c[4]
    if umin < 0:
        umin, umax = 0, bd.U64
    value, mask = tnum.sub(a[:2], c[:2])
    return bd.sync(value, mask, smin, smax, umin, umax, bd.S32_MIN, bd.S32_MAX, 0, bd.U32)


def _check_speculated(checker: Checker, result: Register, dst: int) -> None:
    """Unprivileged: the new pointer must be in bounds already, for the CPU may run ahead.  Raises Rejection."""
    if result.type == r.STACK:
        off = result.off + result.bounds[bd.SMIN]
        if result.bounds[1]:
            raise Rejection(
                "unprivileged-pointer-arithmetic",
                f"R{dst} variable stack access prohibited for !root, var_off={tnum.text(result.bounds[:2])} off={off}",
                dst,
            )
        if off >= 0 or off < -b.MAX_BPF_STACK:
            raise Rejection(
                "unprivileged-pointer-arithmetic",
                f"R{dst} stack pointer arithmetic goes out of range, prohibited for !root; off={off}",
                dst,
            )
    elif result.type == r.MAP_VALUE:
        registers = checker.state.frames[-1].registers
        old, registers[dst] = registers[dst], result
        try:
            check_map_access(checker, dst, result.off, 1, helper=True)
        except Rejection as rejection:
            raise Rejection(
                "unprivileged-pointer-arithmetic",
                f"{rejection.message}\nR{dst} pointer arithmetic of map value goes out of range, prohibited for !root",
                dst,
            ) from None
        finally:
            registers[dst] = old


def _sanitize(
    checker: Checker, instruction: Instruction, pointer: Register, offset: Register, info: list[int], *,
    pointer_is_dst: bool, commit: bool,
) -> None:  # fmt: skip
    """Unprivileged, by a register: each path must move the pointer the same way, so that a mask can hold it.

    info: filled before the operation (state, limit, whether to the left), used when it is committed.  Raises Rejection.
    """
    code, dst, src, _, _ = instruction
    if not code & b.BPF_X:
        return
    operation = code & 0xF0
    word = "add" if operation == b.BPF_ADD else "sub"
    constant = not offset.bounds[1]
    negative = offset.bounds[bd.SMIN] < 0
    if not checker.state.speculative:
        if not commit:
            if not constant and (offset.bounds[bd.SMIN] < 0) != (offset.bounds[bd.SMAX] < 0):
                number = src if pointer_is_dst else dst
                raise Rejection(
                    "unprivileged-pointer-arithmetic",
                    f"R{number} has unknown scalar with mixed signed bounds, {_FOR_ROOT}", number,
                )  # fmt: skip
            info.append(int((operation == b.BPF_ADD and negative) or (operation == b.BPF_SUB and not negative)))
        limit = _limit(pointer, bool(info[0]))
        if limit is None:
            number = dst if pointer_is_dst else src
            raise Rejection(
                "unprivileged-pointer-arithmetic",
                f"R{number} has pointer with unsupported alu operation, {_FOR_ROOT}", number,
            )  # fmt: skip
        if limit < 0:
            raise Rejection(
                "unprivileged-pointer-arithmetic",
                f"R{dst} tried to {word} beyond pointer bounds, {_FOR_ROOT}", dst,
            )  # fmt: skip
        if commit:
            found = (info[1], abs(info[2] - limit))
            before = checker.alu_states.setdefault(checker.slot, found)
            if before != found:
                raise Rejection(
                    "unprivileged-pointer-arithmetic",
                    f"R{dst} tried to {word} from different maps, paths or scalars, {_FOR_ROOT}", dst,
                )  # fmt: skip
        else:
            kind = (_NEGATIVE if negative else 0) | (_IMMEDIATE if constant else 0)
            kind |= _SOURCE if pointer_is_dst else _DESTINATION
            if not constant:
                checker.explore_limits = True
            info += [kind, limit]
    if commit or constant:
        return
    # the CPU may take 0 for the offset: go on with the pointer as it was, too
    registers = checker.state.frames[-1].registers
    old = registers[dst]
    registers[dst] = pointer
    checker.push(checker.slot + 1, checker.slot, speculative=True)
    registers[dst] = old


def _limit(pointer: Register, left: bool) -> int | None:
    """How far the pointer may move: None for pointers that may not, -1 beyond."""
    if pointer.type == r.STACK:
        most = b.MAX_BPF_STACK + int(left)
        limit = -(pointer.bounds[bd.SMIN] + pointer.off)
    elif pointer.type == r.MAP_VALUE:
        most = getattr(pointer.info, "value_size", 0)
        limit = (pointer.bounds[bd.SMIN] if left else pointer.bounds[bd.UMAX]) + pointer.off
    else:
        return None
    limit &= bd.U32
    return limit if limit < most else -1


def note_number_operation(checker: Checker, instruction: Instruction) -> None:
    """Unprivileged: an operation on numbers must not be one on pointers on another path.  Raises Rejection."""
    code, dst = instruction.code, instruction.dst
    if not code & b.BPF_X:
        return
    found = (0, 0)
    if checker.alu_states.setdefault(checker.slot, found) != found:
        word = "add" if code & 0xF0 == b.BPF_ADD else "sub"
        raise Rejection(
            "unprivileged-pointer-arithmetic",
            f"R{dst} tried to {word} from different maps, paths or scalars, {_FOR_ROOT}", dst,
        )  # fmt: skip
