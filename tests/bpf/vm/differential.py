"""Interpreter beside JIT on random programs.  Run by hand: python tests/bpf/vm/differential.py SEED COUNT."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from generator import random_program

from linscope.bpf.dis import format_instruction
from linscope.bpf.program import Program
from linscope.bpf.vm.errors import Fault
from linscope.bpf.vm.machine import Machine

RECORD_BYTES = 32
BUDGET = 600


def outcome(machine: Machine, record: bytes, interpret: bool) -> tuple[Any, ...]:
    """Everything that a run leaves: r0 or the fault, the record, the maps."""
    machine.seed = 7
    for map_ in machine.map_list():
        map_.clear()
    shown = bytearray(record)
    try:
        end: tuple[Any, ...] = ("r0", machine.run(shown, interpret=interpret))
    except Fault as fault:
        end = ("fault", fault.code, fault.slot, fault.address)
    left = [map_.drain() if map_.name == "ring" else map_.dump() for map_ in machine.map_list()]
    return end, bytes(shown), left, machine.seed


def new_machine(program: Program) -> Machine:
    """A machine whose record has something to say."""
    machine = Machine(program, budget=BUDGET, cpus=2)
    row = machine.row
    row.time_ns, row.pid_tgid, row.uid_gid, row.cpu = 123456789012, 77 << 32 | 78, 1 << 32 | 1000, 1
    row.cookie, row.ip, row.task = 0xC0FFEE, 0xFFFFFFFF81000000, 0xFFFF888000000000
    return machine


def compare(seed: int) -> str:
    """How the seed's program ended: "r0" or "fault".  Raises AssertionError with its text: the machines differ."""
    random = Random(seed)
    program = random_program(random)
    machine = new_machine(program)
    record = random.randbytes(RECORD_BYTES)
    expected = outcome(machine, record, True)
    got = outcome(machine, record, False)
    if expected != got:
        text = "\n".join(
            f"{slot:4} {format_instruction(program.instructions, slot)}"
            for slot in range(len(program.instructions))
            if program.instructions[slot].code or not slot
        )
        raise AssertionError(f"seed {seed}\n{text}\ninterpreter {expected}\njit         {got}")
    return str(expected[0][0])


def main() -> None:
    """Compare many and count how they ended."""
    first, count = int(sys.argv[1]), int(sys.argv[2])
    ends: dict[str, int] = {}
    for seed in range(first, first + count):
        end = compare(seed)
        ends[end] = ends.get(end, 0) + 1
    print(ends)


if __name__ == "__main__":
    main()
