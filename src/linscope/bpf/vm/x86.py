"""x86-64 code for single eBPF instructions: bytes by table, nothing that knows a program.

Registers: r0 rax, r1 rsi, r2 rdx, r3 rcx, r4 r8, r5 r9 (so that arguments are where C expects them behind the state in
rdi), r6 rbx, r7 r13, r8 r14, r9 r15, r10 rbp; r12 holds the state; rdi, r10 and r11 are free.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

import struct

from linscope.abi import bpf as b
from linscope.bpf.vm.state import OFFSET

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
REGISTERS = (RAX, RSI, RDX, RCX, R8, R9, RBX, R13, R14, R15, RBP)
_int32 = struct.Struct("<i").pack
_uint64 = struct.Struct("<Q").pack
S32 = range(-(1 << 31), 1 << 31)


def int32(value: int) -> bytes:
    """A displacement or an immediate, signed or not."""
    return _int32((value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000)


def rr(opcode: bytes, reg: int, rm: int, wide: bool = True, force: bool = False) -> bytes:
    """An instruction on two registers; force: a REX prefix even where none is needed, for sil and dil."""
    rex = 0x40 | wide << 3 | (reg >> 3) << 2 | rm >> 3
    prefix = bytes((rex,)) if rex != 0x40 or force else b""
    return prefix + opcode + bytes((0xC0 | (reg & 7) << 3 | rm & 7,))


def rm(opcode: bytes, reg: int, base: int, offset: int, wide: bool = True, force: bool = False) -> bytes:
    """An instruction on a register and memory at base + offset; operand-size prefixes come before it."""
    rex = 0x40 | wide << 3 | (reg >> 3) << 2 | base >> 3
    prefix = bytes((rex,)) if rex != 0x40 or force else b""
    sib = b"\x24" if base & 7 == 4 else b""
    if -128 <= offset < 128:
        return prefix + opcode + bytes((0x40 | (reg & 7) << 3 | base & 7,)) + sib + bytes((offset & 0xFF,))
    return prefix + opcode + bytes((0x80 | (reg & 7) << 3 | base & 7,)) + sib + _int32(offset)


def field(opcode: bytes, reg: int, name: str, wide: bool = True) -> bytes:
    """An instruction on a register and a field of the state."""
    return rm(opcode, reg, R12, OFFSET[name], wide)


def move(to: int, of: int, wide: bool = True) -> bytes:
    """mov between registers; 32 bits clear the upper half."""
    return rr(b"\x89", of, to, wide)


def set_field(name: str, value: int) -> bytes:
    """mov qword [state.name], a signed 32-bit value."""
    return rm(b"\xc7", 0, R12, OFFSET[name]) + int32(value)


def load_constant(to: int, value: int) -> bytes:
    """The shortest mov of a 64-bit value."""
    value &= (1 << 64) - 1
    if value == 0:
        return rr(b"\x31", to, to, False)
    if value < 1 << 32:
        return (b"\x41" if to > 7 else b"") + bytes((0xB8 | to & 7,)) + int32(value)
    if value >= (1 << 64) - (1 << 31):
        return rr(b"\xc7", 0, to) + int32(value)
    return bytes((0x48 | to >> 3, 0xB8 | to & 7)) + _uint64(value)


JMP, CALL, RET = b"\xe9", b"\xe8", b"\xc3"
_REGISTER_OPS = {b.BPF_ADD: b"\x01", b.BPF_SUB: b"\x29", b.BPF_OR: b"\x09", b.BPF_AND: b"\x21", b.BPF_XOR: b"\x31"}
_IMMEDIATE_OPS = {b.BPF_ADD: 0, b.BPF_SUB: 5, b.BPF_OR: 1, b.BPF_AND: 4, b.BPF_XOR: 6}
_SHIFTS = {b.BPF_LSH: 4, b.BPF_RSH: 5, b.BPF_ARSH: 7}
# second byte of the conditional jump (0f 8x)
JUMPS = {
    b.BPF_JEQ: 0x84, b.BPF_JNE: 0x85, b.BPF_JSET: 0x85, b.BPF_JGT: 0x87, b.BPF_JGE: 0x83, b.BPF_JLT: 0x82,
    b.BPF_JLE: 0x86, b.BPF_JSGT: 0x8F, b.BPF_JSGE: 0x8D, b.BPF_JSLT: 0x8C, b.BPF_JSLE: 0x8E,
}  # fmt: skip
_LOADS = {
    b.BPF_B: (b"\x0f\xb6", False), b.BPF_H: (b"\x0f\xb7", False), b.BPF_W: (b"\x8b", False), b.BPF_DW: (b"\x8b", True),
}  # fmt: skip
_SIGNED_LOADS = {b.BPF_B: b"\x0f\xbe", b.BPF_H: b"\x0f\xbf", b.BPF_W: b"\x63"}


def load(code: int, to: int, base: int, offset: int) -> bytes:
    """BPF_LDX; to, base: machine registers."""
    size = code & 0x18
    if code & 0xE0 == b.BPF_MEMSX:
        return rm(_SIGNED_LOADS[size], to, base, offset)
    opcode, wide = _LOADS[size]
    return rm(opcode, to, base, offset, wide)


def store(size: int, of: int, base: int, offset: int) -> bytes:
    """BPF_STX; size: BPF_B and so on."""
    if size == b.BPF_B:
        return rm(b"\x88", of, base, offset, False, force=True)
    prefix = b"\x66" if size == b.BPF_H else b""
    return prefix + rm(b"\x89", of, base, offset, size == b.BPF_DW)


def store_immediate(size: int, value: int, base: int, offset: int) -> bytes:
    """BPF_ST."""
    if size == b.BPF_B:
        return rm(b"\xc6", 0, base, offset, False) + bytes((value & 0xFF,))
    if size == b.BPF_H:
        return b"\x66" + rm(b"\xc7", 0, base, offset, False) + (value & 0xFFFF).to_bytes(2, "little")
    return rm(b"\xc7", 0, base, offset, size == b.BPF_DW) + int32(value)


def _short_jump(condition: int, over: bytes) -> bytes:
    """A conditional jump over some code; condition: the byte of the short form (7x), or 0xeb."""
    return bytes((condition, len(over)))


def _divide(code: int, dst: int, signed: bool) -> bytes:
    """Division or modulo of dst by r11, as RFC 9669 defines it for zero and for overflow."""
    wide = code & 7 == b.BPF_ALU64
    modulo = code & 0xF0 == b.BPF_MOD
    body = b""
    if dst != RAX:
        body += move(R10, RAX) + move(RAX, dst, wide)
    if dst != RDX:
        body += move(RDI, RDX)
    body += (b"\x48\x99" if wide else b"\x99") if signed else rr(b"\x31", RDX, RDX, False)
    body += rr(b"\xf7", 7 if signed else 6, R11, wide)
    body += move(R11, RDX if modulo else RAX, wide)
    if dst != RAX:
        body += move(RAX, R10)
    if dst != RDX:
        body += move(RDX, RDI)
    body += move(dst, R11, wide)
    zero = rr(b"\x31", dst, dst, False) if not modulo else b"" if wide else move(dst, dst, False)
    if not signed:
        if zero:
            body += _short_jump(0xEB, zero)
        return rr(b"\x85", R11, R11, wide) + _short_jump(0x74, body) + body + zero
    overflow = rr(b"\x31", dst, dst, False) if modulo else rr(b"\xf7", 3, dst, wide)  # by -1
    tail = zero + _short_jump(0xEB, overflow) + overflow
    body += _short_jump(0xEB, tail)
    minus_one = rr(b"\x83", 7, R11, wide) + b"\xff" + bytes((0x74, len(body) + len(zero) + 2))
    return rr(b"\x85", R11, R11, wide) + bytes((0x74, len(minus_one) + len(body))) + minus_one + body + tail


def _shift(op: int, dst: int, src: int, wide: bool) -> bytes:
    extension = _SHIFTS[op]
    if src == RCX:
        return rr(b"\xd3", extension, dst, wide)
    if dst == RCX:
        return move(R11, RCX) + move(RCX, src, False) + rr(b"\xd3", extension, R11, wide) + move(RCX, R11, wide)
    return move(R11, RCX) + move(RCX, src, False) + rr(b"\xd3", extension, dst, wide) + move(RCX, R11)


def alu_register(code: int, dst: int, src: int, off: int) -> bytes:
    """Arithmetic on two registers; dst, src: machine registers."""
    op = code & 0xF0
    wide = code & 7 == b.BPF_ALU64
    if op in _REGISTER_OPS:
        return rr(_REGISTER_OPS[op], src, dst, wide)
    if op == b.BPF_MOV:
        if off == 8:
            return rr(b"\x0f\xbe", dst, src, wide, force=True)
        if off == 16:
            return rr(b"\x0f\xbf", dst, src, wide)
        return rr(b"\x63", dst, src) if off == 32 else move(dst, src, wide)
    if op == b.BPF_MUL:
        return rr(b"\x0f\xaf", dst, src, wide)
    if op in _SHIFTS:
        return _shift(op, dst, src, wide)
    if op == b.BPF_NEG:
        return rr(b"\xf7", 3, dst, wide)
    return move(R11, src, wide) + _divide(code, dst, bool(off))


def alu_immediate(code: int, dst: int, off: int, imm: int) -> bytes:
    """Arithmetic on a register and a constant."""
    op = code & 0xF0
    wide = code & 7 == b.BPF_ALU64
    if op in _IMMEDIATE_OPS:
        if -128 <= imm < 128:
            return rr(b"\x83", _IMMEDIATE_OPS[op], dst, wide) + bytes((imm & 0xFF,))
        return rr(b"\x81", _IMMEDIATE_OPS[op], dst, wide) + _int32(imm)
    if op == b.BPF_MOV:
        return load_constant(dst, imm if wide else imm & 0xFFFFFFFF)
    if op == b.BPF_MUL:
        return rr(b"\x69", dst, dst, wide) + _int32(imm)
    if op in _SHIFTS:
        count = imm & (63 if wide else 31)
        return rr(b"\xc1", _SHIFTS[op], dst, wide) + bytes((count,)) if count else move(dst, dst, wide)
    if op == b.BPF_NEG:
        return rr(b"\xf7", 3, dst, wide)
    return load_constant(R11, imm if wide else imm & 0xFFFFFFFF) + _divide(code, dst, bool(off))


def swap(code: int, dst: int, bits: int) -> bytes:
    """BPF_END on this little-endian machine."""
    swaps = code & 7 == b.BPF_ALU64 or code & b.BPF_TO_BE
    if bits == 16:
        turned = b"\x66" + rr(b"\xc1", 0, dst, False) + b"\x08" if swaps else b""
        return turned + rr(b"\x0f\xb7", dst, dst, False)
    if not swaps:
        return b"" if bits == 64 else move(dst, dst, False)
    rex = 0x40 | (bits == 64) << 3 | dst >> 3
    return (bytes((rex,)) if rex != 0x40 else b"") + bytes((0x0F, 0xC8 | dst & 7))


def compare(code: int, dst: int, src: int, imm: int) -> bytes:
    """What sets the flags of a conditional jump; src: machine register, -1 for the constant."""
    wide = code & 7 == b.BPF_JMP
    if code & 0xF0 == b.BPF_JSET:
        return rr(b"\x85", src, dst, wide) if src >= 0 else rr(b"\xf7", 0, dst, wide) + _int32(imm)
    if src >= 0:
        return rr(b"\x39", src, dst, wide)
    if imm == 0:
        return rr(b"\x85", dst, dst, wide)
    if -128 <= imm < 128:
        return rr(b"\x83", 7, dst, wide) + bytes((imm & 0xFF,))
    return rr(b"\x81", 7, dst, wide) + _int32(imm)


def atomic(code: int, dst_address: int, src: int, op: int) -> bytes:
    """An atomic operation on memory at the address in a register; only one program runs at a time: no lock prefix."""
    wide = code & 0x18 == b.BPF_DW
    size = code & 0x18
    if op == b.BPF_STORE_REL:
        return store(size, src, dst_address, 0)
    if op in (b.BPF_XCHG, b.BPF_CMPXCHG):
        old = rm(b"\x8b", R10, dst_address, 0, wide)
        write = store(size, src, dst_address, 0)
        if op == b.BPF_XCHG:
            return old + write + move(src, R10)
        return old + rr(b"\x39", RAX, R10, wide) + _short_jump(0x75, write) + write + move(RAX, R10)
    change = rm(_REGISTER_OPS[op & 0xF0], src, dst_address, 0, wide)
    if op & b.BPF_FETCH:
        return rm(b"\x8b", R10, dst_address, 0, wide) + change + move(src, R10)
    return change
