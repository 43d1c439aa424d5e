"""Small programs that count only what a test does."""

from __future__ import annotations

from collections.abc import Sequence

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction, wide
from linscope.bpf.kernel.programs import KernelProgram
from linscope.bpf.program import Map, Program

RETURN_0 = [Instruction(0xB7, 0, 0, 0, 0), Instruction(0x95, 0, 0, 0, 0)]
_GET_CURRENT_PID_TGID, _MAP_LOOKUP_ELEM = 14, 1


def counter(
    type: int, *, tgid: int = 0, target: str = "", attach_type: int = 0, increment: Sequence[Instruction] = (),
    result: int = 0,
) -> Program:  # fmt: skip
    """A program that counts the events of one process (0: all) in the only value of its map "counts".

    increment: puts what is to be added into r6, 1 without.
    """
    body = [
        Instruction(0xBF, 6, 1, 0, 0),
        *(increment or [Instruction(0xB7, 6, 0, 0, 1)]),
        Instruction(0x62, 10, 0, -4, 0),
        *wide(1, 0, b.BPF_PSEUDO_MAP_IDX),
        Instruction(0xBF, 2, 10, 0, 0),
        Instruction(0x07, 2, 0, 0, -4),
        Instruction(0x85, 0, 0, 0, _MAP_LOOKUP_ELEM),
        Instruction(0x15, 0, 0, 1, 0),
        Instruction(0xDB, 0, 6, 0, 0),
    ]
    code = list(body)
    if tgid:
        code = [
            Instruction(0xBF, 7, 1, 0, 0),
            Instruction(0x85, 0, 0, 0, _GET_CURRENT_PID_TGID),
            Instruction(0x77, 0, 0, 0, 32),
            Instruction(0x55, 0, 0, len(body) + 1, tgid),
            Instruction(0xBF, 1, 7, 0, 0),
            *body,
        ]
    maps = [Map("counts", b.BPF_MAP_TYPE_ARRAY, 4, 8, 1)]
    end = [Instruction(0xB7, 0, 0, 0, result), Instruction(0x95, 0, 0, 0, 0)]
    return Program([*code, *end], type=type, name="counter", attach_type=attach_type, target=target, maps=maps)


def count_of(program: KernelProgram) -> int:
    """What a ``counter`` has counted."""
    value = program.maps[0].lookup(bytes(4))
    assert value is not None
    return int.from_bytes(value, "little")
