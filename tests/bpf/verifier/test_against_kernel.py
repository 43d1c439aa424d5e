"""Generated programs: our verdict against the running kernel's, and against what happens when they run."""

from __future__ import annotations

import os
import random

import pytest
import verifier_programs as programs
from verifier_kernel import Kernel

from linscope.abi import bpf as b
from linscope.bpf.instructions import decode
from linscope.bpf.program import Program
from linscope.bpf.verifier import verify
from linscope.bpf.vm.errors import BUDGET, Fault, InvalidProgram, UnavailableError
from linscope.bpf.vm.machine import Machine

LEAST_AGREEMENT = 0.97
_RECORDS = {
    b.BPF_PROG_TYPE_RAW_TRACEPOINT: 96,
    b.BPF_PROG_TYPE_TRACEPOINT: 8192,
    b.BPF_PROG_TYPE_KPROBE: 168,
}


@pytest.mark.kernel
def test_the_running_kernel_agrees() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: loads programs")
    kernel = Kernel(programs.make_maps())
    try:
        seeds = range(1_000_000, 1_000_400)
        disagree = []
        for seed in seeds:
            program = programs.generate(seed)
            loads, _ = kernel.load(program)
            if verify(program).accepted != loads:
                disagree.append(seed)
    finally:
        kernel.close()
    assert len(disagree) <= (1 - LEAST_AGREEMENT) * len(seeds), disagree


def run_accepted(seed: int) -> bool:
    """Make a program, damage it, and run it in the checked interpreter if it is accepted; whether it was run.

    A fault of what was proved is an AssertionError.
    """
    generator = programs.Generator(seed)
    program = generator.make()
    for _ in range(generator.random.choice((0, 0, 1, 2, 4))):
        generator.spoil(program.instructions)
    verdict = verify(program)
    if not verdict.accepted:
        return False
    try:
        machine = Machine(program, jit=False)
    except (UnavailableError, InvalidProgram):
        return False
    chance = random.Random(seed)
    try:
        if program.type in _RECORDS:
            machine.run(chance.randbytes(_RECORDS[program.type]), interpret=True)
        else:
            machine.run_packet(chance.randbytes(chance.choice((14, 64, 200))), interpret=True)
    except Fault as fault:
        assert fault.code == BUDGET, f"seed {seed}: accepted, but {fault}"
    return True


@pytest.mark.slow
def test_what_is_accepted_does_not_fault() -> None:
    run = sum(run_accepted(seed) for seed in range(1500))
    assert run > 500


def test_any_bytes_give_a_verdict() -> None:
    chance = random.Random(4)
    for _ in range(3000):
        code = decode(chance.randbytes(8 * chance.randrange(1, 20)))
        verdict = verify(Program(code, type=chance.randrange(34)))
        assert verdict.accepted or verdict.message


def test_any_damage_gives_a_verdict() -> None:
    chance = random.Random(5)
    for seed in range(500):
        program = programs.generate(seed)
        slot = chance.randrange(len(program.instructions))
        one = program.instructions[slot]
        field, limit = chance.choice((("code", 256), ("dst", 16), ("src", 16), ("off", 128), ("imm", 128)))
        program.instructions[slot] = one._replace(**{field: chance.randrange(limit) - limit // 2 * (limit == 128)})
        program.type = chance.randrange(34)
        verdict = verify(program, privileged=chance.random() < 0.5, kernel=chance.choice(((6, 1), (6, 18))))
        assert verdict.accepted or verdict.message
