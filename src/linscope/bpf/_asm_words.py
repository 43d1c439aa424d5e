"""The classic mnemonics: ``ldxw %r0, [%r1+4]``, ``jeq32 %r1, 5, done``, ``lock fetch add [%r10-8], %r1``."""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf import mnemonics as m
from linscope.bpf._asm_operands import Statement, immediate, jump_target, memory_place, wide_operand
from linscope.bpf._asm_text import Scanner, WrongText
from linscope.bpf.instructions import Instruction, wide

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES = {letters: size for size, letters in m.SIZE_LETTERS.items()}


def classic_statement(word: str, line: Scanner) -> Statement:
    """The instruction that begins with a mnemonic of CLASSIC, which is passed over.  Raises WrongText."""
    form, code, more = CLASSIC[word]
    return form(line, code, more)


def _comma(line: Scanner) -> None:
    line.expect(",")


def _alu(line: Scanner, code: int, off: int) -> Statement:
    dst = line.register().number
    _comma(line)
    src = line.find_register()
    if src is not None:
        return Statement([Instruction(code | b.BPF_X, dst, src.number, off, 0)])
    return Statement([Instruction(code, dst, 0, off, immediate(line))])


def _registers(line: Scanner, code: int, off: int) -> Statement:
    dst = line.register().number
    _comma(line)
    return Statement([Instruction(code, dst, line.register().number, off, 0)])


def _one_register(line: Scanner, code: int, imm: int) -> Statement:
    return Statement([Instruction(code, line.register().number, 0, 0, imm)])


def _address_space_cast(line: Scanner, code: int, off: int) -> Statement:
    made = _registers(line, code, off)
    _comma(line)
    return Statement([made.instructions[0]._replace(imm=immediate(line))])


def _jump(line: Scanner, code: int, _: int) -> Statement:
    dst = line.register().number
    _comma(line)
    src = line.find_register()
    if src is not None:
        one = Instruction(code | b.BPF_X, dst, src.number, 0, 0)
    else:
        one = Instruction(code, dst, 0, 0, immediate(line))
    _comma(line)
    return jump_target(line, one, "off")


def _goto(line: Scanner, code: int, in_imm: int) -> Statement:
    return jump_target(line, Instruction(code, 0, 0, 0, 0), "imm" if in_imm else "off")


def _load(line: Scanner, code: int, imm: int) -> Statement:
    dst = line.register().number
    _comma(line)
    src, off = memory_place(line)
    return Statement([Instruction(code, dst, src, off, imm)])


def _store(line: Scanner, code: int, imm: int) -> Statement:
    dst, off = memory_place(line)
    _comma(line)
    return Statement([Instruction(code, dst, line.register().number, off, imm)])


def _store_immediate(line: Scanner, code: int, _: int) -> Statement:
    dst, off = memory_place(line)
    _comma(line)
    return Statement([Instruction(code, dst, 0, off, immediate(line))])


def _wide(line: Scanner, _: int, __: int) -> Statement:
    dst = line.register().number
    _comma(line)
    found = wide_operand(line, plain_decimals=False)
    if found is None:
        raise WrongText(f"expected a 64-bit number, not {line.rest()!r}", line.at)
    return Statement(wide(dst, *found))


def _absolute(line: Scanner, code: int, _: int) -> Statement:
    return Statement([Instruction(code, 0, 0, 0, immediate(line))])


def _indirect(line: Scanner, code: int, _: int) -> Statement:
    src = line.register().number
    _comma(line)
    return Statement([Instruction(code, 0, src, 0, immediate(line))])


def _lock(line: Scanner, _: int, __: int) -> Statement:
    at = line.at
    word = line.word()
    fetch = word == "fetch"
    if fetch:
        word = line.word()
    half = word.endswith("32")
    name = word.removesuffix("32")
    operations = {one: operation for operation, one in m.ATOMIC_WORDS.items()}
    if not fetch:
        operations |= {"xchg": b.BPF_XCHG, "cmpxchg": b.BPF_CMPXCHG}
    if name not in operations:
        what = f"no atomic operation {word!r}" if word else "Invalid number of operands for lock"
        raise WrongText(what, at, "lock add|and|or|xor|xchg|cmpxchg, lock fetch add ...; 32 behind it for four bytes")
    operation = operations[name] | (b.BPF_FETCH if fetch else 0)
    return _store(line, b.BPF_STX | b.BPF_ATOMIC | (b.BPF_W if half else b.BPF_DW), operation)


def _forms() -> dict[str, tuple[Callable[[Scanner, int, int], Statement], int, int]]:
    """Mnemonic -> what reads its operands, code, and a number of the form's own."""
    made: dict[str, tuple[Callable[[Scanner, int, int], Statement], int, int]] = {}
    for bits, class_ in (("", b.BPF_ALU64), ("32", b.BPF_ALU)):
        for operation, word in m.ALU_WORDS.items():
            made[word + bits] = _alu, class_ | operation, 0
            if not bits:
                made[f"{word}64"] = made[word]
        for operation, word in m.SIGNED_WORDS.items():
            made[word + bits] = _alu, class_ | operation, 1
        made[f"neg{bits}"] = _one_register, class_ | b.BPF_NEG, 0
    for bits, class_ in (("", b.BPF_JMP), ("32", b.BPF_JMP32)):
        for operation, word in m.JUMP_WORDS.items():
            made[word + bits] = _jump, class_ | operation, 0
    for source in (8, 16, 32):
        made[f"movsx{source}64"] = _registers, b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, source
        if source < 32:
            made[f"movsx{source}32"] = _registers, b.BPF_ALU | b.BPF_MOV | b.BPF_X, source
    for bits_ in (16, 32, 64):
        made[f"be{bits_}"] = _one_register, b.BPF_ALU | b.BPF_END | b.BPF_TO_BE, bits_
        made[f"le{bits_}"] = _one_register, b.BPF_ALU | b.BPF_END | b.BPF_TO_LE, bits_
        for word in ("swap", "bswap"):
            made[f"{word}{bits_}"] = _one_register, b.BPF_ALU64 | b.BPF_END, bits_
    for letters, size in _SIZES.items():
        made[f"ldx{letters}"] = _load, b.BPF_LDX | b.BPF_MEM | size, 0
        made[f"stx{letters}"] = _store, b.BPF_STX | b.BPF_MEM | size, 0
        made[f"st{letters}"] = _store_immediate, b.BPF_ST | b.BPF_MEM | size, 0
        made[f"ldacq{letters}"] = _load, b.BPF_STX | b.BPF_ATOMIC | size, b.BPF_LOAD_ACQ
        made[f"strel{letters}"] = _store, b.BPF_STX | b.BPF_ATOMIC | size, b.BPF_STORE_REL
        if size != b.BPF_DW:
            made[f"ldxs{letters}"] = _load, b.BPF_LDX | b.BPF_MEMSX | size, 0
            made[f"ldabs{letters}"] = _absolute, b.BPF_LD | b.BPF_ABS | size, 0
            made[f"ldind{letters}"] = _indirect, b.BPF_LD | b.BPF_IND | size, 0
    made["ja"] = _goto, b.BPF_JMP | b.BPF_JA, 0
    made["ja32"] = _goto, b.BPF_JMP32 | b.BPF_JA, 1
    made["lddw"] = _wide, 0, 0
    made["lock"] = _lock, 0, 0
    made["addr_space_cast"] = _address_space_cast, b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, b.BPF_ADDR_SPACE_CAST
    return made


CLASSIC = _forms()
