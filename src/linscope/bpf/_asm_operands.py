"""Operands that all forms of assembler share: numbers, places in memory, targets of jumps and calls."""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf import mnemonics as m
from linscope.bpf._asm_text import Scanner, WrongText
from linscope.bpf.instructions import Instruction, signed32

_LOW, _HIGH = -(1 << 31), (1 << 31) - 1
_LOW64, _HIGH64 = -(1 << 63), (1 << 64) - 1


class Statement:
    """The instructions of one line, and the label that one of their fields waits for."""

    __slots__ = ("instructions", "label", "label_at", "label_in")

    def __init__(self, instructions: list[Instruction], label: str = "", label_in: str = "", label_at: int = 0) -> None:
        """label_in: "off" or "imm" of the first instruction; label_at: its place in the line."""
        self.instructions = instructions
        self.label = label
        self.label_in = label_in
        self.label_at = label_at


def immediate(line: Scanner) -> int:
    """A number of 32 bits; a hexadecimal one may be unsigned."""
    return signed32(line.number(_LOW, _HIGH, "a 32-bit number", hexadecimal_to=0xFFFFFFFF))


def offset(line: Scanner) -> int:
    """A distance in memory: "+8", "- 8", or nothing."""
    if line.rest().lstrip()[:1] not in ("+", "-"):
        return 0
    return line.number(-(1 << 15), (1 << 15) - 1, "an offset")


def memory_place(line: Scanner) -> tuple[int, int]:
    """Register and offset of "[%r1+8]"."""
    line.expect("[")
    register = line.register().number
    off = offset(line)
    line.expect("]")
    return register, off


def wide_operand(line: Scanner, *, plain_decimals: bool) -> tuple[int, int] | None:
    """(value, BPF_PSEUDO_*) of what a wide load takes; None: none stands here, and nothing is passed over.

    plain_decimals: a decimal number is none, unless "ll" follows or it needs more than 32 bits.
    """
    line.space()
    start = line.at
    if line.take("map ["):
        return _map_operand(line)
    if line.take("btf [ id :"):
        type_id = line.number(0, 0xFFFFFFFF, "a BTF id")
        line.expect("]")
        fd = 0
        if line.take("[ fd :"):
            fd = line.number(0, 0xFFFFFFFF, "a descriptor")
            line.expect("]")
        return fd << 32 | type_id, b.BPF_PSEUDO_BTF_ID
    if line.take("subprog ["):
        distance = line.number(_LOW, _HIGH, "a distance")
        line.expect("]")
        return distance & 0xFFFFFFFF, b.BPF_PSEUDO_FUNC
    value = line.find_number()
    if value is None:
        return None
    written = line.line[start : line.at].lower()
    is_wide = bool(line.take("ll")) or "x" in written or not _LOW <= value <= _HIGH
    if plain_decimals and not is_wide:
        line.at = start
        return None
    if not _LOW64 <= value <= _HIGH64:
        raise WrongText(f"{value} does not fit into 64 bits", start)
    return value, 0


def _map_operand(line: Scanner) -> tuple[int, int]:
    kinds = {"id": (b.BPF_PSEUDO_MAP_FD, b.BPF_PSEUDO_MAP_VALUE)}
    kinds["idx"] = (b.BPF_PSEUDO_MAP_IDX, b.BPF_PSEUDO_MAP_IDX_VALUE)
    at = line.at
    word = line.word()
    if word in line.maps:
        number, word = line.maps[word], "idx"
    elif word in kinds:
        line.expect(":")
        number = line.number(0, 0xFFFFFFFF, "a map")
    else:
        hint = "map[NAME] of a .map above, map[idx:0] by place, map[id:5] by descriptor"
        raise WrongText(f"no map {word!r}", at, hint)
    line.expect("]")
    if not line.take("[ 0 ]"):
        return number, kinds[word][0]
    off = line.number(0, 0xFFFFFFFF, "an offset") if line.take("+") else 0
    return off << 32 | number, kinds[word][1]


def jump_target(line: Scanner, one: Instruction, field: str) -> Statement:
    """Put a distance into "off" or "imm", or wait for a label to do it."""
    line.take("pc")
    line.space()
    at = line.at
    limit = 1 << (15 if field == "off" else 31)
    if line.rest()[:1] in "+-0123456789":
        distance = line.number(-limit, limit - 1, "a distance")
        return Statement([one._replace(off=distance) if field == "off" else one._replace(imm=distance)])
    label = line.word()
    if not label:
        raise WrongText("where to?", at, "a label, or a distance: +3")
    return Statement([one], label, field, at)


def call_target(line: Scanner) -> Statement:
    """What stands behind "call": local NAME, %r1, pc+2, 12, bpf_ktime_get_ns, bpf_ktime_get_ns#5."""
    call = Instruction(b.BPF_JMP | b.BPF_CALL, 0, 0, 0, 0)
    register = line.find_register()
    if register is not None:
        return Statement([call._replace(code=call.code | b.BPF_X, dst=register.number)])
    line.space()
    at = line.at
    if line.rest()[:1].isdigit() or line.rest()[:1] in ("-", "+"):
        return Statement([call._replace(imm=immediate(line))])
    word = line.word()
    if word == "local":
        return jump_target(line, call._replace(src=b.BPF_PSEUDO_CALL), "imm")
    if word == "pc":
        line.at = at
        return jump_target(line, call._replace(src=b.BPF_PSEUDO_CALL), "imm")
    if not word:
        raise WrongText("what is called?", at, "a helper, local LABEL, pc+2, or a register")
    if line.take("#"):
        if word == m.KFUNC:
            kfunc = call._replace(src=b.BPF_PSEUDO_KFUNC_CALL, imm=immediate(line))
            return Statement([kfunc._replace(off=offset_of_descriptor(line))])
        return Statement([call._replace(imm=immediate(line))])
    number = m.helper_number(word)
    if number:
        return Statement([call._replace(imm=number)])
    import difflib

    from linscope.abi.bpf_helpers import HELPER_NAMES

    near = difflib.get_close_matches(word.removeprefix("bpf_"), HELPER_NAMES, n=2)
    hint = f"did you mean {' or '.join(f'bpf_{name}' for name in near)}?" if near else "call local NAME: a subprogram"
    raise WrongText(f"no helper {word!r}", at, hint)


def offset_of_descriptor(line: Scanner) -> int:
    """What stands behind a kfunc whose BTF is not the kernel's: " fd_idx:1"; 0: nothing."""
    return line.number(-(1 << 15), (1 << 15) - 1, "an index") if line.take("fd_idx :") else 0
