"""Arithmetic, jumps and the frame, beside the running kernel: programs that it accepts give the same r0 here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from generator import JUMPS, SIZES, Writer

from linscope.abi import bpf as b
from linscope.bpf.instructions import wide
from linscope.bpf.kernel.programs import load
from linscope.bpf.program import Program
from linscope.bpf.vm import Machine
from linscope.errors import LinscopeError

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="loads eBPF programs: run the tests as root"),
    pytest.mark.xdist_group("bpf-kernel"),
]
PACKET = bytes(range(14)) + bytes(range(100, 150))  # the kernel takes an Ethernet header off


def arithmetic(random: Random) -> Program:
    """A socket filter that computes with ten numbers, its frame and its packet."""
    writer = Writer(random, 0)
    writer.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 6, 1)
    for register in (0, 1, 2, 3, 4, 5, 7, 8, 9):
        writer.out += wide(register, random.getrandbits(random.choice((8, 32, 64))))
    for off in range(-64, 0, 8):
        writer.emit(b.BPF_STX | b.BPF_MEM | b.BPF_DW, 10, random.choice((0, 1, 2, 3, 4, 5, 7, 8, 9)), off)
    begin = len(writer.out)
    while len(writer.out) < begin + 40:
        kind = random.random()
        length = len(writer.out)
        if kind < 0.7:
            writer.alu()
        elif kind < 0.85:
            size = random.choice(SIZES)
            off = -random.randrange(1, 64 // b.SIZE_BYTES[size] + 1) * b.SIZE_BYTES[size]
            mode = random.choice((b.BPF_MEM, b.BPF_MEMSX)) if size != b.BPF_DW else b.BPF_MEM
            if random.random() < 0.5:
                writer.emit(b.BPF_LDX | mode | size, random.randrange(10), 10, off)
            else:
                writer.emit(b.BPF_STX | b.BPF_MEM | size, 10, random.randrange(10), off)
        elif kind < 0.88:
            op = random.choice((0, 0x40, 0x50, 0xA0, 1, 0x41, 0x51, 0xA1, b.BPF_XCHG, b.BPF_CMPXCHG))
            size = random.choice((b.BPF_W, b.BPF_DW))
            writer.emit(b.BPF_STX | b.BPF_ATOMIC | size, 10, random.randrange(10), -8 * random.randrange(1, 9), op)
        else:
            cls = random.choice((b.BPF_JMP, b.BPF_JMP32))
            off = random.randrange(0, 4)
            writer.emit(cls | random.choice(JUMPS), random.randrange(10), 0, off, writer.imm())
        last = writer.out[-1]
        touches = last.dst == 6 or last.src == 6 or (last.src == 10 and last.code & 7 in (4, 7))
        shifts = last.code & 7 in (4, 7) and last.code & 0xF0 in (b.BPF_LSH, b.BPF_RSH, b.BPF_ARSH)
        if touches or (shifts and not last.code & 8 and not 0 <= last.imm < 32):
            del writer.out[length:]
    for _ in range(4):
        writer.emit(b.BPF_ALU64 | b.BPF_MOV, random.choice((1, 2, 3)), imm=0)  # where the last jumps go
    for register in (7, 8, 9):
        writer.emit(b.BPF_ALU64 | b.BPF_XOR | b.BPF_X, 0, register)
    writer.emit(b.BPF_ALU64 | b.BPF_MOV | b.BPF_X, 7, 0)
    writer.emit(b.BPF_ALU64 | b.BPF_RSH, 7, imm=32)
    writer.emit(b.BPF_LD | b.BPF_ABS | random.choice(SIZES[:3]), imm=random.randrange(0, 46))
    writer.emit(b.BPF_ALU64 | b.BPF_XOR | b.BPF_X, 0, 7)
    writer.emit(b.BPF_JMP | b.BPF_EXIT)
    return Program(writer.out, type=b.BPF_PROG_TYPE_SOCKET_FILTER, name="arithmetic")


def test_programs_that_the_kernel_accepts_give_the_same() -> None:
    ran = 0
    for seed in range(400):
        program = arithmetic(Random(seed))
        try:
            with load(program) as loaded:
                theirs = loaded.test_run(PACKET).result & 0xFFFFFFFF
        except LinscopeError:
            continue
        machine = Machine(program)
        ours = machine.run(b"", packet=PACKET[14:])
        assert machine.run(b"", packet=PACKET[14:], interpret=True) == ours, seed
        assert ours & 0xFFFFFFFF == theirs, seed
        ran += 1
    assert ran >= 200, f"the kernel took {ran} of 400"
