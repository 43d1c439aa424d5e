"""Which registers may still be read, in one pass backwards: so that the JIT clears no register that nobody reads."""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.vm import validate as v

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Sequence

    from linscope.bpf.instructions import Instruction

ALL = 0x7FF  # a bit a register
_AFTER_CALL = 0x3F
_ARGUMENTS = 0x3E


def live_registers(instructions: Sequence[Instruction], shape: v.Shape) -> list[int]:
    """For each slot, the registers that may be read from there on before they are written; one more for the end.

    Jumps backwards are taken to need all registers, which is never wrong and needs no second pass.
    """
    live = [0] * (len(instructions) + 1)
    jumps = shape.jumps
    rules = v.RULES
    previous = 0
    for slot in range(len(instructions) - 1, -1, -1):
        code, dst, src, _, imm = instructions[slot]
        if not code:  # the second half of a wide load
            live[slot] = previous
            continue
        kind = rules[code][0]
        if kind == v.ALU:
            op = code & 0xF0
            if op == b.BPF_MOV:
                previous &= ~(1 << dst)
            else:
                previous |= 1 << dst
            if code & b.BPF_X:
                previous |= 1 << src
        elif kind == v.LOAD:
            previous = previous & ~(1 << dst) | 1 << src
        elif kind == v.STORE_REGISTER:
            previous |= 1 << dst | 1 << src
        elif kind == v.BRANCH:
            target = jumps[slot]
            previous |= ALL if target <= slot else live[target]
            previous |= 1 << dst | (1 << src if code & b.BPF_X else 0)
        elif kind in (v.JUMP, v.JUMP_LONG):
            target = jumps[slot]
            previous = ALL if target <= slot else live[target]
        elif kind == v.WIDE:
            previous &= ~(1 << dst)
        elif kind == v.EXIT:
            previous = 1
        elif kind == v.CALL:
            previous = ALL if src == b.BPF_PSEUDO_CALL else previous & ~_AFTER_CALL | _ARGUMENTS
        elif kind == v.STORE or kind == v.END:
            previous |= 1 << dst
        elif kind == v.MAY_GOTO:
            target = jumps[slot]
            previous |= ALL if target <= slot else live[target]
        elif kind == v.ATOMIC:
            previous |= 1 << dst | 1 << src | (imm == b.BPF_CMPXCHG)
        else:  # CALL_REGISTER, PACKET
            previous = ALL
        live[slot] = previous
    return live
