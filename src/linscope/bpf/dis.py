"""eBPF instructions as text: as the kernel's verifier writes them, as llvm-objdump does, or in classic mnemonics.

    kernel   r0 = *(u64 *)(r1 +8)     if w1 s< 0x5 goto pc+3    call bpf_ktime_get_ns#5
    llvm     r0 = *(u64 *)(r1 + 8)    if w1 s< 5 goto +3        call 5
    classic  ldxdw %r0, [%r1+8]       jslt32 %r1, 5, +3         call 5

An instruction with something in a field that its text would not say, or that is none, becomes ``.8byte 0x...``; so
every text assembles back to the same bytes (linscope.bpf.asm), but for llvm's, which writes calls of subprograms like
calls of helpers.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf import mnemonics as m
from linscope.bpf.instructions import WIDE, Instruction, encode, wide_value
from linscope.errors import UsageError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STYLES = ("kernel", "llvm", "classic")
_ATOMIC_LLVM = {b.BPF_XCHG: "xchg", b.BPF_CMPXCHG: "cmpxchg"}


def format_instruction(instructions: Sequence[Instruction], slot: int, style: str = "kernel") -> str:
    """The text of the instruction that begins at a slot; the second half of a wide load is part of its text.

    style: one of STYLES; UsageError for another.
    """
    if style not in STYLES:
        raise UsageError(f"no such form of instructions: {style!r}", next_step=", ".join(STYLES))
    one = instructions[slot]
    if one.code == WIDE:
        if slot + 1 >= len(instructions) or instructions[slot + 1][:4] != (0, 0, 0, 0) or not m.has_plain_form(one):
            return _as_bytes(one)
        return _wide(one, wide_value(instructions, slot), style)
    if not m.has_plain_form(one):
        return _as_bytes(one)
    return _CLASSIC[one.code & 7](one) if style == "classic" else _SIGNS[one.code & 7](one, style == "llvm")


def iter_text(instructions: Sequence[Instruction], style: str = "kernel") -> Iterator[tuple[int, str]]:
    """(slot, text) of every instruction; see format_instruction."""
    slot = 0
    while slot < len(instructions):
        text = format_instruction(instructions, slot, style)
        yield slot, text
        slot += 2 if instructions[slot].code == WIDE and not text.startswith(".8byte") else 1


def _as_bytes(one: Instruction) -> str:
    return f".8byte 0x{int.from_bytes(encode([one]), 'little'):016x}"


def _wide(one: Instruction, value: int, style: str) -> str:
    source = one.src
    low, high = value & 0xFFFFFFFF, value >> 32
    if style == "llvm":
        return f"ld_pseudo r{one.dst}, {source}, {value}" if source else f"r{one.dst} = {value} ll"
    text = f"0x{value:x}"
    if source == b.BPF_PSEUDO_MAP_FD and not high:
        text = f"map[id:{low}]"
    elif source == b.BPF_PSEUDO_MAP_VALUE:
        text = f"map[id:{low}][0]+{high}"
    elif source == b.BPF_PSEUDO_MAP_IDX and not high:
        text = f"map[idx:{low}]"
    elif source == b.BPF_PSEUDO_MAP_IDX_VALUE:
        text = f"map[idx:{low}][0]+{high}"
    elif source == b.BPF_PSEUDO_BTF_ID:
        text = f"btf[id:{low}]" + (f"[fd:{high}]" if high else "")
    elif source == b.BPF_PSEUDO_FUNC and not high:
        text = f"subprog[{one.imm:+d}]"
    elif source:
        return _as_bytes(one)
    return f"lddw %r{one.dst}, {text}" if style == "classic" else f"r{one.dst} = {text}"


def _place(register: int, off: int, llvm: bool) -> str:
    """A register and an offset, as the C-like forms write them."""
    if llvm:
        return f"r{register} {'-' if off < 0 else '+'} {abs(off)}"
    return f"r{register} {off:+d}"


# -- the C-like forms


def _alu(one: Instruction, llvm: bool) -> str:
    code, dst, src, off, imm = one
    is_64 = code & 7 == b.BPF_ALU64
    operation = code & 0xF0
    letter = "r" if is_64 else "w"
    if operation == b.BPF_END:
        word = "bswap" if is_64 else "be" if code & b.BPF_TO_BE else "le"
        return f"r{dst} = {word}{imm} r{dst}"
    if operation == b.BPF_NEG:
        return f"{letter}{dst} = -{letter}{dst}"
    sign = m.SIGNED_SIGNS[operation] if off == 1 and operation in m.SIGNED_SIGNS else m.ALU_SIGNS[operation]
    if not code & b.BPF_X:
        return f"{letter}{dst} {sign} {imm}"
    if operation == b.BPF_MOV and off == b.BPF_ADDR_SPACE_CAST:
        return f"r{dst} = addr_space_cast(r{src}, {imm >> 16 & 0xFFFF}, {imm & 0xFFFF})"
    if operation == b.BPF_MOV and off:
        return f"{letter}{dst} = (s{off}){letter}{src}"
    return f"{letter}{dst} {sign} {letter}{src}"


def _jump(one: Instruction, llvm: bool) -> str:
    code, dst, src, off, imm = one
    operation = code & 0xF0
    is_64 = code & 7 == b.BPF_JMP
    pc = "" if llvm else "pc"
    if operation == b.BPF_JA:
        return f"goto {pc}{off:+d}" if is_64 else f"gotol {pc}{imm:+d}"
    if operation == b.BPF_JCOND:
        return f"may_goto {pc}{off:+d}"
    if operation == b.BPF_EXIT:
        return "exit"
    if operation == b.BPF_CALL:
        return _call(one, llvm)
    letter = "r" if is_64 else "w"
    if code & b.BPF_X:
        other = f"{letter}{src}"
    else:
        other = str(imm) if llvm else f"0x{imm & 0xFFFFFFFF:x}"
    return f"if {letter}{dst} {m.JUMP_SIGNS[operation]} {other} goto {pc}{off:+d}"


def _call(one: Instruction, llvm: bool) -> str:
    if one.code & b.BPF_X:
        return f"callx r{one.dst}"
    if llvm:
        return f"call {one.imm}"
    if one.src == b.BPF_PSEUDO_CALL:
        return f"call pc{one.imm:+d}"
    if one.src == b.BPF_PSEUDO_KFUNC_CALL:
        return f"call {m.KFUNC}#{one.imm}" + (f" fd_idx:{one.off}" if one.off else "")
    return f"call {m.helper_name(one.imm)}#{one.imm}"


def _load(one: Instruction, llvm: bool) -> str:
    size = one.code & 0x18
    type_ = m.SIGNED_TYPES[size] if one.code & 0xE0 == b.BPF_MEMSX else m.SIZE_TYPES[size]
    return f"r{one.dst} = *({type_} *)({_place(one.src, one.off, llvm)})"


def _store_immediate(one: Instruction, llvm: bool) -> str:
    return f"*({m.SIZE_TYPES[one.code & 0x18]} *)({_place(one.dst, one.off, llvm)}) = {one.imm}"


def _store(one: Instruction, llvm: bool) -> str:
    code, dst, src, off, imm = one
    size = code & 0x18
    type_, place = m.SIZE_TYPES[size], _place(dst, off, llvm)
    if code & 0xE0 == b.BPF_MEM:
        return f"*({type_} *)({place}) = r{src}"
    if imm == b.BPF_LOAD_ACQ:
        return f"r{dst} = load_acquire(({type_} *)({_place(src, off, llvm)}))"
    if imm == b.BPF_STORE_REL:
        return f"store_release(({type_} *)({place}), r{src})"
    bits = "64" if size == b.BPF_DW else ""
    if imm in _ATOMIC_LLVM:
        word, letter = _ATOMIC_LLVM[imm], "r" if bits else "w"
        compared = imm == b.BPF_CMPXCHG
        if llvm:
            name = f"{word}_64" if bits else f"{word}32_32"
            result = f"{letter}0" if compared else f"{letter}{src}"
            middle = f"{letter}0, " if compared else ""
            return f"{result} = {name}({place}, {middle}{letter}{src})"
        result, middle = ("r0", "r0, ") if compared else (f"r{src}", "")
        return f"{result} = atomic{bits}_{word}(({type_} *)({place}), {middle}r{src})"
    operation = imm & ~b.BPF_FETCH
    if not imm & b.BPF_FETCH:
        return f"lock *({type_} *)({place}) {m.ALU_SIGNS[operation]} r{src}"
    bits, letter = ("", "r" if bits else "w") if llvm else (bits, "r")
    return f"{letter}{src} = atomic{bits}_fetch_{m.ATOMIC_WORDS[operation]}(({type_} *)({place}), {letter}{src})"


def _legacy(one: Instruction, llvm: bool) -> str:
    type_ = m.SIZE_TYPES[one.code & 0x18]
    if one.code & 0xE0 == b.BPF_ABS:
        return f"r0 = *({type_} *)skb[{one.imm}]"
    if llvm:
        return f"r0 = *({type_} *)skb[r{one.src}]"
    return f"r0 = *({type_} *)skb[r{one.src} + {one.imm}]"


_SIGNS: dict[int, Callable[[Instruction, bool], str]] = {
    b.BPF_LD: _legacy,
    b.BPF_LDX: _load,
    b.BPF_ST: _store_immediate,
    b.BPF_STX: _store,
    b.BPF_ALU: _alu,
    b.BPF_JMP: _jump,
    b.BPF_JMP32: _jump,
    b.BPF_ALU64: _alu,
}


# -- the classic form


def _classic_alu(one: Instruction) -> str:
    code, dst, src, off, imm = one
    is_64 = code & 7 == b.BPF_ALU64
    operation = code & 0xF0
    if operation == b.BPF_END:
        return f"{'swap' if is_64 else 'be' if code & b.BPF_TO_BE else 'le'}{imm} %r{dst}"
    bits = "" if is_64 else "32"
    if operation == b.BPF_NEG:
        return f"neg{bits} %r{dst}"
    if code & b.BPF_X and operation == b.BPF_MOV and off:
        if off == b.BPF_ADDR_SPACE_CAST:
            return f"addr_space_cast %r{dst}, %r{src}, {imm}"
        return f"movsx{off}{bits or 64} %r{dst}, %r{src}"
    word = m.SIGNED_WORDS[operation] if off else m.ALU_WORDS[operation]
    return f"{word}{bits} %r{dst}, " + (f"%r{src}" if code & b.BPF_X else str(imm))


def _classic_jump(one: Instruction) -> str:
    code, dst, src, off, imm = one
    operation = code & 0xF0
    bits = "" if code & 7 == b.BPF_JMP else "32"
    if operation == b.BPF_JA:
        return f"ja32 {imm:+d}" if bits else f"ja {off:+d}"
    if operation == b.BPF_JCOND:
        return f"may_goto {off:+d}"
    if operation == b.BPF_EXIT:
        return "exit"
    if operation == b.BPF_CALL:
        if code & b.BPF_X:
            return f"call %r{dst}"
        if src == b.BPF_PSEUDO_CALL:
            return f"call local {imm:+d}"
        if src == b.BPF_PSEUDO_KFUNC_CALL:
            return f"call {m.KFUNC}#{imm}" + (f" fd_idx:{off}" if off else "")
        return f"call {imm}"
    return f"{m.JUMP_WORDS[operation]}{bits} %r{dst}, {f'%r{src}' if code & b.BPF_X else imm}, {off:+d}"


def _classic_load(one: Instruction) -> str:
    signed = "s" if one.code & 0xE0 == b.BPF_MEMSX else ""
    return f"ldx{signed}{m.SIZE_LETTERS[one.code & 0x18]} %r{one.dst}, [%r{one.src}{one.off:+d}]"


def _classic_store_immediate(one: Instruction) -> str:
    return f"st{m.SIZE_LETTERS[one.code & 0x18]} [%r{one.dst}{one.off:+d}], {one.imm}"


def _classic_store(one: Instruction) -> str:
    code, dst, src, off, imm = one
    size = code & 0x18
    if code & 0xE0 == b.BPF_MEM:
        return f"stx{m.SIZE_LETTERS[size]} [%r{dst}{off:+d}], %r{src}"
    if imm == b.BPF_LOAD_ACQ:
        return f"ldacq{m.SIZE_LETTERS[size]} %r{dst}, [%r{src}{off:+d}]"
    if imm == b.BPF_STORE_REL:
        return f"strel{m.SIZE_LETTERS[size]} [%r{dst}{off:+d}], %r{src}"
    bits = "" if size == b.BPF_DW else "32"
    word = _ATOMIC_LLVM.get(imm) or ("fetch " if imm & b.BPF_FETCH else "") + m.ATOMIC_WORDS[imm & ~b.BPF_FETCH]
    return f"lock {word}{bits} [%r{dst}{off:+d}], %r{src}"


def _classic_legacy(one: Instruction) -> str:
    letters = m.SIZE_LETTERS[one.code & 0x18]
    if one.code & 0xE0 == b.BPF_ABS:
        return f"ldabs{letters} {one.imm}"
    return f"ldind{letters} %r{one.src}, {one.imm}"


_CLASSIC: dict[int, Callable[[Instruction], str]] = {
    b.BPF_LD: _classic_legacy,
    b.BPF_LDX: _classic_load,
    b.BPF_ST: _classic_store_immediate,
    b.BPF_STX: _classic_store,
    b.BPF_ALU: _classic_alu,
    b.BPF_JMP: _classic_jump,
    b.BPF_JMP32: _classic_jump,
    b.BPF_ALU64: _classic_alu,
}
