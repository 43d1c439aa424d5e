"""Programs made to break the machine, run in a process of their own: python tests/bpf/vm/hostile.py SEED COUNT.

Three kinds: random bytes; random instructions that keep to the form and to nothing else; programs of the generator
with bits flipped.  Whatever the form check lets through runs in interpreter and JIT, which must agree.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))
from differential import RECORD_BYTES, new_machine, outcome
from generator import INTERESTING, maps, random_program

from linscope.abi import bpf as b
from linscope.bpf.instructions import SIZE, Instruction, decode, encode, wide
from linscope.bpf.program import Program
from linscope.bpf.vm import validate as v
from linscope.bpf.vm.errors import MachineError

CODES = sorted(v.RULES)
HELPERS = (
    *range(1, 12), 14, 15, 16, 25, 27, 35, 45, 67, 87, 88, 89, 112, 113, 114, 115, 118, 125, 130, 131, 132, 133, 134,
    160, 164, 165, 177, 181, 182,
)  # fmt: skip
OFFSETS = (0, -8, 8, 16, -512, 512, -32768, 32767)


def formed(random: Random, length: int) -> list[Instruction]:
    """Instructions whose fields are as the form wants them, and otherwise anything."""
    out: list[Instruction] = []
    while len(out) < length:
        code = random.choice(CODES)
        kind, flags = v.RULES[code]
        dst = 0 if flags & v.NO_DST else random.randrange(10 if flags & v.WRITES_DST else 11)
        src = 0 if flags & v.NO_SRC else random.randrange(11)
        off = 0 if flags & v.NO_OFF else random.choice((*OFFSETS, random.randrange(-600, 600)))
        imm = 0 if flags & v.NO_IMM else random.choice(INTERESTING)
        if kind == v.WIDE:
            src = random.choice((0, 0, 0, b.BPF_PSEUDO_MAP_IDX, b.BPF_PSEUDO_MAP_IDX_VALUE))
            out += wide(dst, random.randrange(7) if src else random.getrandbits(64), src)
            continue
        if kind in (v.BRANCH, v.JUMP, v.MAY_GOTO):
            off = random.randrange(-min(len(out), 20) - 1, min(12, max(length - len(out), 1)))
        elif kind == v.JUMP_LONG:
            imm = random.randrange(-min(len(out), 20) - 1, min(12, max(length - len(out), 1)))
        elif kind == v.END:
            imm = random.choice((16, 32, 64))
        elif kind == v.ATOMIC:
            imm, src = random.choice(sorted(v._ATOMICS)), random.randrange(10)
        elif kind == v.CALL:
            src, off, imm = 0, 0, random.choice(HELPERS)
            if random.random() < 0.1:
                src, imm = 1, random.randrange(-len(out) - 1, 30)
        elif kind == v.ALU:
            allowed = (0, 0, 8, 16) if code & 0xF0 == b.BPF_MOV else (0, 1)
            off = random.choice(allowed) if not flags & v.NO_OFF else 0
        elif kind == v.CALL_REGISTER:
            if random.random() < 0.8:
                continue
            src = off = imm = 0
        out.append(Instruction(code, dst, src, off, imm))
    return [*out, Instruction(b.BPF_JMP | b.BPF_EXIT, 0, 0, 0, 0)]


def flipped(random: Random) -> list[Instruction]:
    """A sensible program with some bits turned."""
    data = bytearray(encode(random_program(random).instructions))
    for _ in range(random.randrange(1, 4)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return decode(bytes(data))


def attempt(seed: int) -> str:
    """How the program of a seed ended: "refused", "r0" or "fault"."""
    random = Random(seed)
    kind = seed % 3
    if kind == 0:
        code = decode(random.randbytes(SIZE * random.randrange(0, 12)))
    elif kind == 1:
        code = formed(random, random.randrange(1, 25))
    else:
        code = flipped(random)
    try:
        machine = new_machine(Program(code, maps=maps(), name="hostile"))
    except MachineError:
        return "refused"
    record = random.randbytes(RECORD_BYTES)
    expected = outcome(machine, record, True)
    got = outcome(machine, record, False)
    assert expected == got, f"seed {seed}\n{code}\ninterpreter {expected}\njit         {got}"
    return str(expected[0][0])


def main() -> None:
    """Try many and count how they ended; the seed is said before each, for the case that it is the last."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    ends: dict[str, int] = {}
    for seed in range(first, first + count):
        if len(sys.argv) > 3:
            print(seed, file=sys.stderr, flush=True)
        end = attempt(seed)
        ends[end] = ends.get(end, 0) + 1
    print(ends)


if __name__ == "__main__":
    main()
