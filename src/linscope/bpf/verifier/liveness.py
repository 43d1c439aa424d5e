"""Which registers are still read behind an instruction, on any path.

Two states need not agree in a register that nobody reads.  Source: kernel/bpf/verifier.c, compute_live_registers,
since v6.15 (14c8552db644).
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.abi.bpf_helpers import HELPER_NAMES
from linscope.abi.bpf_prototypes import HELPERS, PROTOTYPES
from linscope.bpf.instructions import WIDE
from linscope.bpf.verifier.control_flow import CALL, EXIT, JUMP, LONG_JUMP, MAY_GOTO, target

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.bpf.instructions import Instruction

_CALLER_SAVED = 0b111111
_ARGUMENTS = 0b111110
_SOCKET = 1 << 6
ALL = (1 << 11) - 1
_MAX_ROUNDS = 30  # one, and one for each loop in a loop; beyond, all registers count as read


def uses(instruction: Instruction) -> tuple[int, int]:
    """(registers that it reads, registers that it sets), as bits."""
    code = instruction.code
    kind = code & 7
    dst, src = 1 << instruction.dst, 1 << instruction.src
    if kind in (b.BPF_ALU, b.BPF_ALU64):
        operation = code & 0xF0
        if operation == b.BPF_MOV:
            return (src if code & b.BPF_X else 0), dst
        if operation in (b.BPF_END, b.BPF_NEG):
            return dst, dst
        return dst | (src if code & b.BPF_X else 0), dst
    if kind == b.BPF_LDX:
        return src, dst
    if kind == b.BPF_ST:
        return dst, 0
    if kind == b.BPF_STX:
        if code & 0xE0 != b.BPF_ATOMIC:
            return dst | src, 0
        if instruction.imm == b.BPF_CMPXCHG:
            return dst | src | 1, 1
        if instruction.imm == b.BPF_LOAD_ACQ:
            return src, dst
        return dst | src, src if instruction.imm & b.BPF_FETCH and instruction.imm != b.BPF_STORE_REL else 0
    if kind == b.BPF_LD:
        if code == WIDE:
            return 0, dst
        mode = code & 0xE0
        if mode in (b.BPF_ABS, b.BPF_IND):
            return _SOCKET | (src if mode == b.BPF_IND else 0), _CALLER_SAVED
        return 0, 0
    if code == CALL:
        return _arguments(instruction), _CALLER_SAVED
    if code == EXIT:
        return 1, 0
    if code in (JUMP, LONG_JUMP, MAY_GOTO):
        return 0, 0
    return dst | (src if code & b.BPF_X else 0), 0


def _arguments(instruction: Instruction) -> int:
    """Registers that a call reads: as many as the helper has arguments; all five where that is not known."""
    number = instruction.imm
    if instruction.src or not 0 < number < len(HELPER_NAMES):
        return _ARGUMENTS
    counts = [
        len(PROTOTYPES[helpers[name]][2]) for helpers in HELPERS.values() if helpers.get(name := HELPER_NAMES[number])
    ]
    return (2 << max(counts)) - 2 if counts else _ARGUMENTS


def live_registers(code: Sequence[Instruction]) -> list[int]:
    """For each slot the registers, as bits, whose values matter when it is about to run."""
    count = len(code)
    live = [0] * (count + 2)
    known: dict[Instruction, tuple[int, int]] = {}
    facts = []
    for instruction in code:
        if instruction not in known:
            known[instruction] = uses(instruction)
        facts.append(known[instruction])
    targets = [0] * count
    for slot, instruction in enumerate(code):
        if instruction.code & 7 in (b.BPF_JMP, b.BPF_JMP32) and instruction.code not in (CALL, EXIT):
            targets[slot] = target(instruction, slot) + 1
    for _ in range(_MAX_ROUNDS):
        changed = False
        for slot in range(count - 1, -1, -1):
            operation = code[slot].code
            reads, sets = facts[slot]
            if operation == EXIT:
                after = 0
            elif operation in (JUMP, LONG_JUMP):
                after = live[targets[slot] - 1]
            else:
                after = live[slot + 2 if operation == WIDE else slot + 1]
                if targets[slot]:
                    after |= live[targets[slot] - 1]
            now = reads | after & ~sets
            if now != live[slot]:
                live[slot] = now
                changed = True
        if not changed:
            return live[:count]
    return [ALL] * count
