"""What every program must keep to before it is run: the form of instructions, jumps and functions.

Nothing here looks at values: that is the verifier's work.  A division by a constant zero and a shift by too much are
let through, for the instruction set defines what they do (RFC 9669, section 4.1); the kernel's verifier refuses both.
Source: RFC 9669; kernel/bpf/verifier.c, check_subprogs, resolve_pseudo_ldimm64, bpf_opcode_in_insntable, check_alu_op.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.vm.errors import InvalidProgram

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple, NoReturn

    from linscope.bpf.instructions import Instruction
else:
    from collections import namedtuple

# kinds of instructions
(ALU, END, WIDE, LOAD, STORE, STORE_REGISTER, ATOMIC, PACKET, JUMP, JUMP_LONG, BRANCH, MAY_GOTO, CALL, CALL_REGISTER,
 EXIT) = range(15)  # fmt: skip
# what must be zero, and what is written
NO_DST, NO_SRC, NO_OFF, NO_IMM, WRITES_DST = 1, 2, 4, 8, 16
_ZERO = NO_DST | NO_SRC | NO_OFF | NO_IMM

FETCHING = frozenset({b.BPF_ADD | 1, b.BPF_OR | 1, b.BPF_AND | 1, b.BPF_XOR | 1, b.BPF_XCHG})
PLAIN_ATOMICS = frozenset({b.BPF_ADD, b.BPF_OR, b.BPF_AND, b.BPF_XOR})
_ATOMICS = FETCHING | PLAIN_ATOMICS | {b.BPF_CMPXCHG, b.BPF_LOAD_ACQ, b.BPF_STORE_REL}


def _rules() -> dict[int, tuple[int, int]]:
    rules: dict[int, tuple[int, int]] = {b.BPF_LD | b.BPF_IMM | b.BPF_DW: (WIDE, NO_OFF | WRITES_DST)}
    for cls in (b.BPF_ALU, b.BPF_ALU64):
        for op in range(b.BPF_ADD, b.BPF_END, 0x10):
            if op == b.BPF_NEG:
                rules[cls | op] = (ALU, NO_SRC | NO_IMM | NO_OFF | WRITES_DST)
                continue
            off = 0 if op in (b.BPF_DIV, b.BPF_MOD) else NO_OFF
            rules[cls | op] = (ALU, NO_SRC | off | WRITES_DST)
            rules[cls | op | b.BPF_X] = (ALU, NO_IMM | (0 if op == b.BPF_MOV else off) | WRITES_DST)
        rules[cls | b.BPF_END] = (END, NO_SRC | NO_OFF | WRITES_DST)
    rules[b.BPF_ALU | b.BPF_END | b.BPF_TO_BE] = (END, NO_SRC | NO_OFF | WRITES_DST)
    for size in (b.BPF_B, b.BPF_H, b.BPF_W, b.BPF_DW):
        rules[b.BPF_LDX | b.BPF_MEM | size] = (LOAD, NO_IMM | WRITES_DST)
        rules[b.BPF_ST | b.BPF_MEM | size] = (STORE, NO_SRC)
        rules[b.BPF_STX | b.BPF_MEM | size] = (STORE_REGISTER, NO_IMM)
        rules[b.BPF_STX | b.BPF_ATOMIC | size] = (ATOMIC, 0)
        if size != b.BPF_DW:
            rules[b.BPF_LDX | b.BPF_MEMSX | size] = (LOAD, NO_IMM | WRITES_DST)
            rules[b.BPF_LD | b.BPF_ABS | size] = (PACKET, NO_DST | NO_SRC | NO_OFF)
            rules[b.BPF_LD | b.BPF_IND | size] = (PACKET, NO_DST | NO_OFF)
    for cls in (b.BPF_JMP, b.BPF_JMP32):
        for op in range(b.BPF_JEQ, b.BPF_JCOND, 0x10):
            if op not in (b.BPF_CALL, b.BPF_EXIT):
                rules[cls | op] = (BRANCH, NO_SRC)
                rules[cls | op | b.BPF_X] = (BRANCH, NO_IMM)
    rules[b.BPF_JMP | b.BPF_JA] = (JUMP, NO_DST | NO_SRC | NO_IMM)
    rules[b.BPF_JMP32 | b.BPF_JA] = (JUMP_LONG, NO_DST | NO_SRC | NO_OFF)
    rules[b.BPF_JMP | b.BPF_JCOND] = (MAY_GOTO, NO_DST | NO_SRC | NO_IMM)
    rules[b.BPF_JMP | b.BPF_CALL] = (CALL, NO_DST)
    rules[b.BPF_JMP | b.BPF_CALL | b.BPF_X] = (CALL_REGISTER, NO_SRC | NO_OFF | NO_IMM)
    rules[b.BPF_JMP | b.BPF_EXIT] = (EXIT, _ZERO)
    return rules


RULES = _rules()
_FIELDS = ((NO_DST, 1, "dst"), (NO_SRC, 2, "src"), (NO_OFF, 3, "off"), (NO_IMM, 4, "imm"))

if TYPE_CHECKING:

    class Shape(NamedTuple):
        """Where functions begin and where jumps go."""

        functions: list[int]  # first slots, ascending; 0 is the program itself
        jumps: dict[int, int]  # slot of a jump or branch -> slot it may go to
        calls: dict[int, int]  # slot of a call or of a function's address -> first slot of the function

else:
    Shape = namedtuple("Shape", "functions jumps calls")


def _refuse(what: str, slot: int, why: str = "") -> NoReturn:
    raise InvalidProgram(what, slot=slot, why=why)


def _check_fields(instruction: Instruction, flags: int, slot: int) -> None:
    """The sad path: which of the fields that are unused is not zero."""
    for flag, place, name in _FIELDS:
        if flags & flag and instruction[place]:
            _refuse(f"field {name} is unused in opcode {instruction.code:#04x} and must be zero", slot)


def _one_of(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


def _check_special(kind: int, instruction: Instruction, slot: int, maps: int) -> None:
    """What the fields of one instruction may be, beyond zero or not."""
    code, _, src, off, imm = instruction
    if kind == ALU:
        op = code & 0xF0
        allowed: tuple[int, ...] = (0, 1)  # of BPF_DIV and BPF_MOD
        if op == b.BPF_MOV:
            allowed = (0, 8, 16, 32) if code & 7 == b.BPF_ALU64 else (0, 8, 16)
        if off not in allowed:
            why = ""
            if op == b.BPF_MOV and off == b.BPF_ADDR_SPACE_CAST and code & 7 == b.BPF_ALU64:
                why = "1 is an address space cast, for which there is no arena"
            _refuse(f"field off of opcode {code:#04x} must be {_one_of(allowed)}, not {off}", slot, why)
    elif kind == END:
        if imm not in (16, 32, 64):
            _refuse(f"field imm of opcode {code:#04x} must be 16, 32 or 64, not {imm}", slot)
    elif kind == ATOMIC:
        size = code & 0x18
        if imm not in _ATOMICS:
            _refuse(f"unknown atomic operation {imm:#x}", slot)
        if size in (b.BPF_B, b.BPF_H) and imm not in (b.BPF_LOAD_ACQ, b.BPF_STORE_REL):
            _refuse("atomic operation on less than 4 bytes", slot)
        if src == 10 and imm in FETCHING:
            _refuse("write to r10, the frame pointer, which is read-only", slot)
    elif kind == PACKET:
        return
    elif kind == CALL:
        if src > b.BPF_PSEUDO_KFUNC_CALL:
            _refuse(f"call of unknown kind {src}", slot)
        if off and src != b.BPF_PSEUDO_KFUNC_CALL:
            _refuse(f"field off is unused in opcode {code:#04x} and must be zero", slot)
    elif kind == WIDE:
        if src > b.BPF_PSEUDO_MAP_IDX_VALUE:
            _refuse(f"wide load of unknown kind {src}", slot)
        if src in (b.BPF_PSEUDO_MAP_IDX, b.BPF_PSEUDO_MAP_IDX_VALUE) and not 0 <= imm < maps:
            _refuse(f"no map number {imm}: the program has {maps}", slot)


_SPECIAL = frozenset({END, ATOMIC, CALL, WIDE})


def validate(instructions: Sequence[Instruction], maps: int = 0) -> Shape:
    """Check a program's form; maps: how many it has.

    Raises InvalidProgram with the instruction and the rule: unknown opcode, unused field not zero, register above 10,
    write to r10, jump out of the program, out of its function or into a wide load, the end not reached by exit.
    """
    total = len(instructions)
    if not total:
        raise InvalidProgram("the program is empty")
    jumps: dict[int, int] = {}
    calls: dict[int, int] = {}
    inside: set[int] = set()  # second halves of wide loads
    slot = 0
    while slot < total:
        instruction = instructions[slot]
        code, dst, src, off, imm = instruction
        rule = RULES.get(code)
        if rule is None:
            _refuse(f"unknown opcode {code:#04x}", slot)
        kind, flags = rule
        if dst > 10 or (src > 10 and not flags & NO_SRC):
            _refuse(f"register r{max(dst, src)} does not exist", slot)
        if (dst and flags & NO_DST) or (src and flags & NO_SRC) or (off and flags & NO_OFF) or (imm and flags & NO_IMM):
            _check_fields(instruction, flags, slot)
        if flags & WRITES_DST and dst == 10:
            _refuse("write to r10, the frame pointer, which is read-only", slot)
        if kind == ALU:
            if off:
                _check_special(kind, instruction, slot, maps)
        elif kind in _SPECIAL:
            _check_special(kind, instruction, slot, maps)
            if kind == WIDE:
                if slot + 1 >= total:
                    _refuse("wide load without its second half", slot)
                if instructions[slot + 1][:4] != (0, 0, 0, 0):
                    _refuse("the second half of a wide load has other fields than imm", slot + 1)
                if src == b.BPF_PSEUDO_FUNC:
                    calls[slot] = slot + 1 + imm
                elif src and src != b.BPF_PSEUDO_MAP_IDX_VALUE and instructions[slot + 1].imm:
                    _refuse("the upper half of a wide load of this kind must be zero", slot + 1)
                inside.add(slot + 1)
                slot += 1
            elif kind == CALL and src == b.BPF_PSEUDO_CALL:
                calls[slot] = slot + 1 + imm
            elif kind == ATOMIC and imm == b.BPF_LOAD_ACQ and dst == 10:
                _refuse("write to r10, the frame pointer, which is read-only", slot)
        elif kind in (BRANCH, JUMP, MAY_GOTO):
            jumps[slot] = slot + 1 + off
        elif kind == JUMP_LONG:
            jumps[slot] = slot + 1 + imm
        slot += 1
    return _check_flow(instructions, jumps, calls, inside)


def _check_flow(
    instructions: Sequence[Instruction], jumps: dict[int, int], calls: dict[int, int], inside: set[int]
) -> Shape:
    total = len(instructions)
    for slot, target in calls.items():
        if not 0 <= target < total or target in inside:
            _refuse(f"call of instruction {target}, where no function can begin", slot)
    functions = sorted({0, *calls.values()})
    if len(functions) > b.BPF_MAX_SUBPROGS:
        _refuse(f"{len(functions)} functions: {b.BPF_MAX_SUBPROGS} are possible", functions[b.BPF_MAX_SUBPROGS])
    ends = [*functions[1:], total]
    single = len(functions) == 1
    place = 0
    for slot, target in jumps.items():
        if not 0 <= target < total:
            _refuse(f"jump out of the program, to instruction {target} of {total}", slot)
        if target in inside:
            _refuse(f"jump into the middle of the wide load at instruction {target - 1}", slot)
        if not single:
            while slot >= ends[place]:
                place += 1
            if not functions[place] <= target < ends[place]:
                _refuse(f"jump to instruction {target}, out of its function", slot)
    for start, end in zip(functions, ends, strict=True):
        last = end - 1 if end - 1 not in inside else end - 2
        kind = RULES[instructions[last].code][0]
        if kind not in (EXIT, JUMP, JUMP_LONG) and _is_reached(instructions, jumps, start, last):
            _refuse("the end of the function can be fallen over: its last instruction is not exit or a jump", last)
    return Shape(functions, jumps, calls)


def _is_reached(instructions: Sequence[Instruction], jumps: dict[int, int], start: int, wanted: int) -> bool:
    """The sad path: whether some way leads from the start of a function to a slot of it."""
    seen: set[int] = set()
    left = [start]
    while left:
        slot = left.pop()
        if slot in seen:
            continue
        if slot == wanted:
            return True
        seen.add(slot)
        kind = RULES[instructions[slot].code][0]
        if slot in jumps:
            left.append(jumps[slot])
        if kind not in (EXIT, JUMP, JUMP_LONG):
            left.append(slot + (2 if kind == WIDE else 1))
    return False
