"""Arithmetic instructions: which are well-formed, and what is in the register afterward.

Source: kernel/bpf/verifier.c, check_alu_op, adjust_reg_min_max_vals.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.verifier import arithmetic
from linscope.bpf.verifier import bounds as bd
from linscope.bpf.verifier import registers as r
from linscope.bpf.verifier.pointers import SYMBOLS, add_to_pointer, note_number_operation
from linscope.bpf.verifier.precision import mark_precise
from linscope.bpf.verifier.registers import Register
from linscope.bpf.verifier.rejection import Rejection

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from linscope.bpf.instructions import Instruction
    from linscope.bpf.verifier.bounds import Bounds
    from linscope.bpf.verifier.checker import Checker

_SHIFTS = (b.BPF_LSH, b.BPF_RSH, b.BPF_ARSH)
_SIGNED = (b.BPF_DIV, b.BPF_MOD)


def check_alu(checker: Checker, instruction: Instruction) -> None:
    """Run one arithmetic instruction on the current state.  Raises Rejection."""
    code, dst, src, off, imm = instruction
    operation = code & 0xF0
    wide = code & 7 == b.BPF_ALU64
    registers = checker.state.frames[-1].registers
    if operation == b.BPF_MOV:
        _move(checker, instruction, wide)
        return
    if operation in (b.BPF_END, b.BPF_NEG):
        _check_unary(instruction, operation, wide)
        register = checker.read(dst)
        if checker.is_pointer(register):
            raise Rejection("pointer-arithmetic", f"R{dst} pointer arithmetic prohibited", dst)
        checker.check_writable(dst)
        if checker.kernel < ((6, 17) if operation == b.BPF_NEG else (6, 18)):
            registers[dst] = r.UNKNOWN if wide or operation == b.BPF_END else r.OF_SIZE[4]
        elif operation == b.BPF_NEG and register.type == r.SCALAR:
            registers[dst] = Register(r.SCALAR, arithmetic.negate(register.bounds, wide=wide))
        elif register.type == r.SCALAR:
            registers[dst] = Register(r.SCALAR, _swap(register.bounds, imm, wide or bool(code & b.BPF_TO_BE)))
        else:
            registers[dst] = r.UNKNOWN
        return
    if operation > b.BPF_END:
        raise Rejection("invalid-instruction", f"invalid BPF_ALU opcode {operation:x}")
    if code & b.BPF_X:
        if imm or off not in ((0, 1) if operation in _SIGNED and checker.kernel >= (6, 6) else (0,)):
            raise Rejection("reserved-fields", "BPF_ALU uses reserved fields")
        other = checker.read(src)
    else:
        if src or off not in ((0, 1) if operation in _SIGNED and checker.kernel >= (6, 6) else (0,)):
            raise Rejection("reserved-fields", "BPF_ALU uses reserved fields")
        other = r.constant(imm)
    register = checker.read(dst)
    if operation in _SIGNED and not code & b.BPF_X and not imm:
        raise Rejection("division-by-zero", "div by zero", dst)
    if operation in _SHIFTS and not code & b.BPF_X and not 0 <= imm < (64 if wide else 32):
        raise Rejection("invalid-shift", f"invalid shift {imm}", dst)
    checker.check_writable(dst)
    if register.type != r.SCALAR or other.type != r.SCALAR:
        registers[dst] = _with_pointers(checker, instruction, register, other)
        return
    if not checker.bypass_speculation and operation in (b.BPF_ADD, b.BPF_SUB):
        note_number_operation(checker, instruction)
    a, c = register.bounds, other.bounds
    result = arithmetic.compute(operation, a, c, wide=wide)
    if result == bd.UNKNOWN:
        registers[dst] = r.UNKNOWN
    else:
        registers[dst] = Register(r.SCALAR, result)


def _swap(bounds: Bounds, bits: int, swaps: bool) -> Bounds:
    """The lower bits, their bytes in the other order if swaps (this is for little-endian machines)."""
    size = bits // 8
    value, mask = bounds[0] & (1 << bits) - 1, bounds[1] & (1 << bits) - 1
    if not swaps:
        return bd.truncate(bounds, size)
    value = int.from_bytes(value.to_bytes(size, "little"), "big")
    mask = int.from_bytes(mask.to_bytes(size, "little"), "big")
    return bd.of_tnum(value, mask)


def _check_unary(instruction: Instruction, operation: int, wide: bool) -> None:
    code, _, src, off, imm = instruction
    if operation == b.BPF_NEG:
        if code & b.BPF_X or src or off or imm:
            raise Rejection("reserved-fields", "BPF_NEG uses reserved fields")
    elif src or off or imm not in (16, 32, 64) or (wide and code & b.BPF_X):
        raise Rejection("reserved-fields", "BPF_END uses reserved fields")


def _with_pointers(checker: Checker, instruction: Instruction, register: Register, other: Register) -> Register:
    """Arithmetic with a pointer on one side or both."""
    code, dst, src, _, _ = instruction
    operation = code & 0xF0
    if register.type != r.SCALAR:
        if other.type != r.SCALAR:
            if operation == b.BPF_SUB and checker.leaks_allowed:
                return r.UNKNOWN
            raise Rejection("pointer-arithmetic", f"R{dst} pointer {SYMBOLS[operation]} pointer prohibited", dst)
        if code & b.BPF_X:
            mark_precise(checker, src)
        return add_to_pointer(checker, instruction, register, other, pointer_is_dst=True)
    # number operation pointer: the sum is a pointer
    mark_precise(checker, dst)
    return add_to_pointer(checker, instruction, other, register, pointer_is_dst=False)


def _move(checker: Checker, instruction: Instruction, wide: bool) -> None:
    code, dst, src, off, imm = instruction
    registers = checker.state.frames[-1].registers
    if not code & b.BPF_X:
        if src or off:
            raise Rejection("reserved-fields", "BPF_MOV uses reserved fields")
        checker.check_writable(dst)
        registers[dst] = r.constant(imm if wide else imm & bd.U32)
        return
    signs = (8, 16, 32) if wide else (8, 16)
    if imm or (off and (off not in signs or checker.kernel < (6, 6))):
        raise Rejection("reserved-fields", "BPF_MOV uses reserved fields")
    register = checker.read(src)
    checker.check_writable(dst)
    if wide and not off:
        if register.type == r.SCALAR and register.bounds[1] and not register.id:
            register = register.with_id(checker.new_id())
            registers[src] = register
        registers[dst] = register
        return
    if register.type != r.SCALAR:
        if checker.is_pointer(register):
            what = "sign-extension part of pointer" if off else "partial copy of pointer"
            raise Rejection("pointer-leak", f"R{src} {what}", src)
        registers[dst] = r.OF_SIZE[4] if not wide else r.UNKNOWN
        return
    bounds = register.bounds
    if off:
        narrow = bd.sign_extend(bounds, off // 8)
        result = narrow if wide else bd.low_half(narrow)
        registers[dst] = Register(r.SCALAR, result)
        return
    result = bd.low_half(bounds)
    if bounds[bd.UMAX] <= bd.U32:
        # the upper half is 0 already: both stay the same number
        if bounds[1] and not register.id:
            register = register.with_id(checker.new_id())
            registers[src] = register
        registers[dst] = Register(r.SCALAR, result, id=register.id)
    else:
        registers[dst] = Register(r.SCALAR, result)
