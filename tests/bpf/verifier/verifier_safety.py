"""Run what the verifier accepts, three ways, over random records, packets and maps; a fault is a bug.

``python tests/bpf/verifier/verifier_safety.py --count N --seed N`` prints how many programs were run.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

import verifier_programs as programs

from linscope.abi import bpf as b
from linscope.bpf.program import Program
from linscope.bpf.verifier import verify
from linscope.bpf.vm.errors import BUDGET, Fault, InvalidProgram, UnavailableError
from linscope.bpf.vm.machine import Machine

BUDGET_SLOTS = 20_000
_RECORDS = {  # bytes of a context that holds no packet
    b.BPF_PROG_TYPE_RAW_TRACEPOINT: 96,
    b.BPF_PROG_TYPE_TRACEPOINT: 8192,
    b.BPF_PROG_TYPE_KPROBE: 168,
}
_UNEQUAL = frozenset(programs.HELPER[name] for name in ("ktime_get_ns",))


def outcome(machine: Machine, program: Program, seed: int) -> tuple[Any, ...]:
    """What one run leaves: r0 or the fault, the record or packet, the maps."""
    chance = random.Random(seed)
    machine.seed = seed
    for map_ in machine.map_list():
        map_.clear()
    for name, key_size in (("array", 4), ("hash", 8)):
        for key in range(4):
            machine.maps[name].update(key.to_bytes(key_size, "little"), chance.randbytes(48 if name == "array" else 16))
    left: object = None
    try:
        if program.type in _RECORDS:
            record = bytearray(chance.randbytes(_RECORDS[program.type]))
            end: tuple[Any, ...] = ("r0", machine.run(record))
            left = bytes(record)
        else:
            result, left = machine.run_packet(chance.randbytes(chance.choice((14, 34, 64, 200))))
            end = ("r0", result)
    except Fault as fault:
        end = ("fault", fault.code, fault.slot, str(fault))
    return end, left, [map_.drain() if map_.name == "ring" else map_.dump() for map_ in machine.map_list()]


def run(seed: int) -> bool:
    """Make a program, damage it perhaps, and run it if it is accepted; whether it was run.

    Raises AssertionError: it faulted, or the machines differ.
    """
    generator = programs.Generator(seed)
    program = generator.make()
    for _ in range(generator.random.choice((0, 0, 1, 2, 4))):
        generator.spoil(program.instructions)
    verdict = verify(program)
    if not verdict.accepted:
        return False
    size = _RECORDS.get(program.type, 0)
    try:
        reference = Machine(program, jit=False, budget=BUDGET_SLOTS)
        elsewhere = Machine(program, jit=False, budget=BUDGET_SLOTS)
        checked = Machine(program, budget=BUDGET_SLOTS)
        trusting = Machine(program, budget=BUDGET_SLOTS, safe=verdict.proven, safe_size=size)
    except (UnavailableError, InvalidProgram):
        return False
    equal = not any(one.code == b.BPF_JMP | b.BPF_CALL and not one.src and one.imm in _UNEQUAL
                    for one in program.instructions)  # fmt: skip
    for number in range(2):
        ends = [outcome(one, program, seed * 2 + number) for one in (reference, elsewhere, checked, trusting)]
        for end, _, _ in ends:
            assert end[0] == "r0" or end[1] == BUDGET, f"seed {seed}: accepted, but {end}"
        assert len({end[0] for end, _, _ in ends}) == 1, f"seed {seed}: {[end for end, _, _ in ends]}"
        # two interpreters differ where the program shows addresses
        if equal and ends[0] == ends[1]:
            assert ends[1] == ends[2] == ends[3], f"seed {seed}: {[end for end, _, _ in ends]}"
    return True


def main() -> int:
    """Run all; stops at the first that is wrong."""
    parser = argparse.ArgumentParser(description="run what the verifier accepts; a fault is a bug")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ran = 0
    for seed in range(options.seed, options.seed + options.count):
        ran += run(seed)
    print(f"{options.count} programs made, {ran} run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
