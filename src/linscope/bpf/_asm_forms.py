"""One line of assembler -> its instructions; which form it is in is seen by how it begins."""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf import mnemonics as m
from linscope.bpf._asm_operands import (
    Statement,
    call_target,
    immediate,
    jump_target,
    offset,
    wide_operand,
)
from linscope.bpf._asm_text import Register, Scanner, WrongText
from linscope.bpf._asm_words import CLASSIC, classic_statement
from linscope.bpf.instructions import Instruction, decode, wide

_SIZES = {name: size for size, name in m.SIZE_TYPES.items()}
_SIGNED_SIZES = {name: size for size, name in m.SIGNED_TYPES.items()}
_ALU = {sign: (operation, 0) for operation, sign in m.ALU_SIGNS.items()}
_ALU |= {sign: (operation, 1) for operation, sign in m.SIGNED_SIGNS.items()}
_ALU_SIGNS = sorted(_ALU, key=len, reverse=True)
_JUMPS = {sign: operation for operation, sign in m.JUMP_SIGNS.items()}
_JUMP_SIGNS = sorted(_JUMPS, key=len, reverse=True)
_ATOMICS = {word: operation for operation, word in m.ATOMIC_WORDS.items()}
_ATOMIC_SIGNS = {m.ALU_SIGNS[operation]: operation for operation in m.ATOMIC_WORDS}
_SWAPS = {
    **{f"be{bits}": (b.BPF_ALU | b.BPF_END | b.BPF_TO_BE, bits) for bits in (16, 32, 64)},
    **{f"le{bits}": (b.BPF_ALU | b.BPF_END | b.BPF_TO_LE, bits) for bits in (16, 32, 64)},
    **{f"bswap{bits}": (b.BPF_ALU64 | b.BPF_END, bits) for bits in (16, 32, 64)},
}
_LLVM_ATOMICS = {
    "xchg_64": (b.BPF_DW, b.BPF_XCHG), "xchg32_32": (b.BPF_W, b.BPF_XCHG),
    "cmpxchg_64": (b.BPF_DW, b.BPF_CMPXCHG), "cmpxchg32_32": (b.BPF_W, b.BPF_CMPXCHG),
}  # fmt: skip


def parse_statement(line: Scanner) -> Statement:
    """The instruction that a line holds.  Raises WrongText."""
    line.space()
    start = line.at
    if line.take("*"):
        return _store(line)
    register = line.find_register()
    if register is not None:
        return _assignment(line, register)
    word = line.word()
    if word == "lock" and line.take("*"):
        return _locked(line)
    if word in _WORDS:
        return _WORDS[word](line)
    if word in CLASSIC:
        return classic_statement(word, line)
    import difflib

    near = difflib.get_close_matches(word, [*_WORDS, *CLASSIC], n=3) if word else []
    what = f"no instruction {word!r}" if word else f"an instruction cannot begin with {line.rest()!r}"
    raise WrongText(what, start, f"did you mean {' or '.join(near)}?" if near else "")


def _plain(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Statement:
    return Statement([Instruction(code, dst, src, off, imm)])


# -- lines that begin with a word


def _if(line: Scanner) -> Statement:
    left = line.register()
    sign_at = line.at
    sign = line.take(*_JUMP_SIGNS)
    if not sign:
        raise WrongText(f"expected a comparison, not {line.rest()!r}", sign_at, " ".join(_JUMP_SIGNS))
    class_ = b.BPF_JMP32 if left.half else b.BPF_JMP
    right = line.find_register()
    if right is not None:
        _same_half(left, right)
        one = Instruction(class_ | _JUMPS[sign] | b.BPF_X, left.number, right.number, 0, 0)
    else:
        one = Instruction(class_ | _JUMPS[sign], left.number, 0, 0, immediate(line))
    line.expect("goto")
    return jump_target(line, one, "off")


def _goto(line: Scanner) -> Statement:
    return jump_target(line, Instruction(b.BPF_JMP | b.BPF_JA, 0, 0, 0, 0), "off")


def _gotol(line: Scanner) -> Statement:
    return jump_target(line, Instruction(b.BPF_JMP32 | b.BPF_JA, 0, 0, 0, 0), "imm")


def _may_goto(line: Scanner) -> Statement:
    return jump_target(line, Instruction(b.BPF_JMP | b.BPF_JCOND, 0, 0, 0, b.BPF_MAY_GOTO), "off")


def _exit(line: Scanner) -> Statement:
    return _plain(b.BPF_JMP | b.BPF_EXIT)


def _callx(line: Scanner) -> Statement:
    return _plain(b.BPF_JMP | b.BPF_CALL | b.BPF_X, line.register().number)


def _bytes(line: Scanner) -> Statement:
    value = line.number(0, (1 << 64) - 1, "eight bytes")
    return Statement(decode(value.to_bytes(8, "little")))


def _ld_pseudo(line: Scanner) -> Statement:
    dst = line.register().number
    line.expect(",")
    source = line.number(0, 15, "a kind of address")
    line.expect(",")
    return Statement(wide(dst, line.number(-(1 << 63), (1 << 64) - 1, "a 64-bit number"), source))


def _store_release(line: Scanner) -> Statement:
    size, register, off = _cast_place(line)
    line.expect(",")
    src = line.register().number
    line.expect(")")
    return _plain(b.BPF_STX | b.BPF_ATOMIC | size, register, src, off, b.BPF_STORE_REL)


_WORDS = {
    "if": _if, "goto": _goto, "gotol": _gotol, "may_goto": _may_goto, "exit": _exit, "call": call_target,
    "callx": _callx, ".8byte": _bytes, "ld_pseudo": _ld_pseudo, "store_release": _store_release,
}  # fmt: skip


# -- memory


def _type(line: Scanner, names: dict[str, int]) -> int:
    """BPF_W ... of "u32 *)", its first bracket passed over."""
    at = line.at
    word = line.word()
    if word not in names:
        raise WrongText(f"no size of memory: {word!r}", at, ", ".join(names))
    line.expect("* )")
    return names[word]


def _cast_place(line: Scanner) -> tuple[int, int, int]:
    """Size, register and offset of "((u64 *)(r1 +0)"; its last bracket is not passed over."""
    line.expect("( (")
    size = _type(line, _SIZES)
    register, off = _in_brackets(line)
    return size, register, off


def _in_brackets(line: Scanner) -> tuple[int, int]:
    line.expect("(")
    register = line.register().number
    off = offset(line)
    line.expect(")")
    return register, off


def _store(line: Scanner) -> Statement:
    line.expect("(")
    size = _type(line, _SIZES)
    dst, off = _in_brackets(line)
    line.expect("=")
    src = line.find_register()
    if src is not None:
        return _plain(b.BPF_STX | b.BPF_MEM | size, dst, src.number, off)
    return _plain(b.BPF_ST | b.BPF_MEM | size, dst, 0, off, immediate(line))


def _locked(line: Scanner) -> Statement:
    line.expect("(")
    size = _type(line, _SIZES)
    dst, off = _in_brackets(line)
    at = line.at
    sign = line.take(*_ATOMIC_SIGNS)
    if not sign:
        raise WrongText(f"expected an atomic operation, not {line.rest()!r}", at, " ".join(_ATOMIC_SIGNS))
    src = line.register().number
    return _plain(b.BPF_STX | b.BPF_ATOMIC | size, dst, src, off, _ATOMIC_SIGNS[sign])


# -- register = ...


def _same_half(one: Register, other: Register) -> None:
    if one.half != other.half:
        raise WrongText("one register is a whole one, the other a half", other.at, "w1 goes with w2, r1 with r2")


def _assignment(line: Scanner, dst: Register) -> Statement:
    at = line.at
    sign = line.take(*_ALU_SIGNS)
    if not sign:
        raise WrongText(f"expected an operation, not {line.rest()!r}", at, " ".join(m.ALU_SIGNS.values()))
    operation, off = _ALU[sign]
    class_ = b.BPF_ALU if dst.half else b.BPF_ALU64
    if sign == "=":
        found = _special(line, dst, class_)
        if found is not None:
            return found
    src = line.find_register()
    if src is not None:
        _same_half(dst, src)
        return _plain(class_ | operation | b.BPF_X, dst.number, src.number, off)
    return _plain(class_ | operation, dst.number, 0, off, immediate(line))


def _special(line: Scanner, dst: Register, class_: int) -> Statement | None:
    """What may stand behind "r1 =" beside a register and a short number."""
    if line.take("*"):
        return _load(line, dst)
    if line.take("("):
        return _sign_extended(line, dst, class_)
    word_at = line.at
    word = line.peek_word()
    if word in _SWAPS:
        line.word()
        same = line.register()
        if same.number != dst.number:
            raise WrongText("the same register has to stand on both sides", same.at)
        code, bits = _SWAPS[word]
        return _plain(code, dst.number, 0, 0, bits)
    if word in _LLVM_ATOMICS or word.startswith("atomic"):
        line.word()
        return _fetching(line, dst, word, word_at)
    if word == "load_acquire":
        line.word()
        size, register, off = _cast_place(line)
        line.expect(")")
        return _plain(b.BPF_STX | b.BPF_ATOMIC | size, dst.number, register, off, b.BPF_LOAD_ACQ)
    if word == "addr_space_cast":
        line.word()
        return _address_space_cast(line, dst)
    start = line.at
    if line.take("-"):
        same_ = line.find_register()
        if same_ is not None:
            if same_.number != dst.number or same_.half != dst.half:
                raise WrongText("the same register has to stand on both sides", same_.at)
            return _plain(class_ | b.BPF_NEG, dst.number)
        line.at = start
    if not dst.half:
        found = wide_operand(line, plain_decimals=True)
        if found is not None:
            return Statement(wide(dst.number, *found))
    return None


def _load(line: Scanner, dst: Register) -> Statement:
    line.expect("(")
    names = _SIGNED_SIZES if line.peek_word() in _SIGNED_SIZES else _SIZES
    size = _type(line, names)
    if line.take("skb ["):
        return _legacy(line, dst, size)
    src, off = _in_brackets(line)
    mode = b.BPF_MEM if names is _SIZES else b.BPF_MEMSX
    return _plain(b.BPF_LDX | mode | size, dst.number, src, off)


def _legacy(line: Scanner, dst: Register, size: int) -> Statement:
    if dst.number or size == b.BPF_DW:
        raise WrongText("a packet is read into r0, four bytes at most", dst.at)
    src = line.find_register()
    if src is None:
        imm = immediate(line)
    else:
        imm = immediate(line) if line.take("+") or line.rest().startswith("-") else 0
    line.expect("]")
    mode = b.BPF_ABS if src is None else b.BPF_IND
    return _plain(b.BPF_LD | mode | size, 0, src.number if src else 0, 0, imm)


def _sign_extended(line: Scanner, dst: Register, class_: int) -> Statement:
    at = line.at
    word = line.word()
    bits = {"s8": 8, "s16": 16, "s32": 32}.get(word, 0)
    if not bits or (bits == 32 and dst.half):
        raise WrongText(f"no size to extend from: {word!r}", at, "s8, s16, s32; of half registers s8, s16")
    line.expect(")")
    src = line.register()
    _same_half(dst, src)
    return _plain(class_ | b.BPF_MOV | b.BPF_X, dst.number, src.number, bits)


def _fetching(line: Scanner, dst: Register, word: str, at: int) -> Statement:
    """atomic64_fetch_add((u64 *)(r1 +0), r2), atomic_xchg(...), xchg_64(r1 + 0, r2) ..."""
    if word in _LLVM_ATOMICS:
        size, operation = _LLVM_ATOMICS[word]
        line.expect("(")
        place, off = line.register().number, offset(line)
    else:
        name = word.removeprefix("atomic64_").removeprefix("atomic_")
        known = {"xchg": b.BPF_XCHG, "cmpxchg": b.BPF_CMPXCHG}
        known |= {f"fetch_{one}": code | b.BPF_FETCH for one, code in _ATOMICS.items()}
        if name not in known:
            raise WrongText(f"no atomic operation {word!r}", at, ", ".join(f"atomic64_{one}" for one in known))
        operation = known[name]
        size, place, off = _cast_place(line)
    line.expect(",")
    if operation == b.BPF_CMPXCHG:
        compared = line.register()
        if compared.number or dst.number:
            raise WrongText("cmpxchg compares with r0, and gives r0", compared.at if compared.number else dst.at)
        line.expect(",")
    src = line.register()
    if operation != b.BPF_CMPXCHG and src.number != dst.number:
        raise WrongText("the same register has to stand on both sides", src.at)
    line.expect(")")
    return _plain(b.BPF_STX | b.BPF_ATOMIC | size, place, src.number, off, operation)


def _address_space_cast(line: Scanner, dst: Register) -> Statement:
    line.expect("(")
    src = line.register().number
    line.expect(",")
    to = line.number(0, 0xFFFF, "an address space")
    line.expect(",")
    from_ = line.number(0, 0xFFFF, "an address space")
    line.expect(")")
    imm = (to << 16 | from_) - (1 << 32 if to >> 15 else 0)
    return _plain(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, dst.number, src, b.BPF_ADDR_SPACE_CAST, imm)


