"""Words and signs of the text forms of eBPF instructions, shared by assembler and disassembler.

Source: kernel/bpf/disasm.c (the verifier's form); llvm/lib/Target/BPF/BPFInstrInfo.td (llvm-objdump's); the classic
mnemonics are those of the ubpf assembler and of the bpf_conformance suite.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi.bpf_helpers import HELPER_NAMES
from linscope.bpf.instructions import WIDE, Instruction

# operation -> sign of the C-like forms, classic mnemonic
ALU_SIGNS = {
    b.BPF_ADD: "+=", b.BPF_SUB: "-=", b.BPF_MUL: "*=", b.BPF_DIV: "/=", b.BPF_OR: "|=", b.BPF_AND: "&=",
    b.BPF_LSH: "<<=", b.BPF_RSH: ">>=", b.BPF_MOD: "%=", b.BPF_XOR: "^=", b.BPF_MOV: "=", b.BPF_ARSH: "s>>=",
}  # fmt: skip
SIGNED_SIGNS = {b.BPF_DIV: "s/=", b.BPF_MOD: "s%="}  # with off 1
ALU_WORDS = {
    b.BPF_ADD: "add", b.BPF_SUB: "sub", b.BPF_MUL: "mul", b.BPF_DIV: "div", b.BPF_OR: "or", b.BPF_AND: "and",
    b.BPF_LSH: "lsh", b.BPF_RSH: "rsh", b.BPF_MOD: "mod", b.BPF_XOR: "xor", b.BPF_MOV: "mov", b.BPF_ARSH: "arsh",
}  # fmt: skip
SIGNED_WORDS = {b.BPF_DIV: "sdiv", b.BPF_MOD: "smod"}
JUMP_SIGNS = {
    b.BPF_JEQ: "==", b.BPF_JGT: ">", b.BPF_JGE: ">=", b.BPF_JSET: "&", b.BPF_JNE: "!=", b.BPF_JSGT: "s>",
    b.BPF_JSGE: "s>=", b.BPF_JLT: "<", b.BPF_JLE: "<=", b.BPF_JSLT: "s<", b.BPF_JSLE: "s<=",
}  # fmt: skip
JUMP_WORDS = {
    b.BPF_JEQ: "jeq", b.BPF_JGT: "jgt", b.BPF_JGE: "jge", b.BPF_JSET: "jset", b.BPF_JNE: "jne", b.BPF_JSGT: "jsgt",
    b.BPF_JSGE: "jsge", b.BPF_JLT: "jlt", b.BPF_JLE: "jle", b.BPF_JSLT: "jslt", b.BPF_JSLE: "jsle",
}  # fmt: skip
SIZE_TYPES = {b.BPF_B: "u8", b.BPF_H: "u16", b.BPF_W: "u32", b.BPF_DW: "u64"}
SIGNED_TYPES = {b.BPF_B: "s8", b.BPF_H: "s16", b.BPF_W: "s32"}
SIZE_LETTERS = {b.BPF_B: "b", b.BPF_H: "h", b.BPF_W: "w", b.BPF_DW: "dw"}
ATOMIC_WORDS = {b.BPF_ADD: "add", b.BPF_AND: "and", b.BPF_OR: "or", b.BPF_XOR: "xor"}
UNKNOWN_HELPER = "unknown"
KFUNC = "kernel-function"  # as disasm.c calls one whose name it is not told


def helper_name(number: int) -> str:
    """Name in C of a helper: 1 is bpf_map_lookup_elem; UNKNOWN_HELPER for a number that none has."""
    return f"bpf_{HELPER_NAMES[number]}" if 0 < number < len(HELPER_NAMES) else UNKNOWN_HELPER


def helper_number(name: str) -> int:
    """The number of "map_lookup_elem" or "bpf_map_lookup_elem"; 0: there is none of that name."""
    bare = name.removeprefix("bpf_")
    return HELPER_NAMES.index(bare) if bare in HELPER_NAMES else 0


def has_plain_form(one: Instruction) -> bool:
    """True if all that is not 0 in an instruction is also said by its text; False: it is shown as bytes.

    The second slot of a wide load is not asked for.
    """
    code, dst, src, off, imm = one
    if dst >= b.MAX_BPF_REG or src >= b.MAX_BPF_REG:
        return False
    class_, operation, by_register = code & 7, code & 0xF0, code & b.BPF_X
    if class_ in (b.BPF_ALU, b.BPF_ALU64):
        return _alu_is_plain(one, class_ == b.BPF_ALU64)
    if class_ in (b.BPF_JMP, b.BPF_JMP32):
        return _jump_is_plain(one, class_ == b.BPF_JMP, operation, by_register)
    mode, size = code & 0xE0, code & 0x18
    if class_ == b.BPF_LD:
        if code == WIDE:
            return not off and src <= b.BPF_PSEUDO_MAP_IDX_VALUE
        legacy = mode == b.BPF_ABS or mode == b.BPF_IND
        return legacy and size != b.BPF_DW and not dst and not off and (mode == b.BPF_IND or not src)
    if class_ == b.BPF_LDX:
        return not imm and (mode == b.BPF_MEM or (mode == b.BPF_MEMSX and size != b.BPF_DW))
    if class_ == b.BPF_ST:
        return mode == b.BPF_MEM and not src
    if mode == b.BPF_ATOMIC:
        return _atomic_is_plain(imm, size)
    return mode == b.BPF_MEM and not imm


def _alu_is_plain(one: Instruction, is_64: bool) -> bool:
    code, _, src, off, imm = one
    operation = code & 0xF0
    if operation == b.BPF_END:
        return not src and not off and imm in (16, 32, 64) and not (is_64 and code & b.BPF_TO_BE)
    if operation == b.BPF_NEG:
        return not src and not off and not imm and not code & b.BPF_X
    if operation not in ALU_SIGNS:
        return False
    if code & b.BPF_X:
        if operation == b.BPF_MOV and is_64 and off == b.BPF_ADDR_SPACE_CAST:
            return True
        if imm:
            return False
        if operation == b.BPF_MOV and off:
            return off in ((8, 16, 32) if is_64 else (8, 16))
    elif src:
        return False
    return not off or (off == 1 and operation in SIGNED_SIGNS)


def _jump_is_plain(one: Instruction, is_64: bool, operation: int, by_register: int) -> bool:
    _, dst, src, off, imm = one
    if operation == b.BPF_JA:
        return not by_register and not dst and not src and not (imm if is_64 else off)
    if operation == b.BPF_JCOND:
        return is_64 and not by_register and not dst and not src and imm == b.BPF_MAY_GOTO
    if operation == b.BPF_EXIT:
        return is_64 and not by_register and not (dst or src or off or imm)
    if operation == b.BPF_CALL:
        if by_register:
            return is_64 and not (src or off or imm)
        return is_64 and not dst and src <= b.BPF_PSEUDO_KFUNC_CALL and (src == b.BPF_PSEUDO_KFUNC_CALL or not off)
    if operation not in JUMP_SIGNS:
        return False
    return not (imm if by_register else src)


def _atomic_is_plain(imm: int, size: int) -> bool:
    if imm in (b.BPF_LOAD_ACQ, b.BPF_STORE_REL):
        return True
    wide_enough = size in (b.BPF_W, b.BPF_DW)
    return wide_enough and (imm in (b.BPF_XCHG, b.BPF_CMPXCHG) or imm & ~b.BPF_FETCH in ATOMIC_WORDS)
