"""What a proof may leave out, and what stays checked whatever the proof says."""

from __future__ import annotations

import numpy as np
import pytest

from linscope.bpf.asm import assemble_program
from linscope.bpf.vm import Machine, MachineError
from linscope.bpf.vm import errors as e

SPILLED = """
    *(u64 *)(r10 -8) = r1
    r0 = 1
    r3 = *(u64 *)(r10 -8)
    r0 = *(u32 *)(r3 +4)
    *(u8 *)(r3 +0) = 9
    exit
"""
LOAD, STORE = 3, 4


def test_a_proved_load_has_no_check_and_gives_the_same() -> None:
    program = assemble_program(SPILLED)
    checked, proved = Machine(program), Machine(program, safe={LOAD}, safe_size=8)
    assert [checked.run(b"abcdefgh"), proved.run(b"abcdefgh")] == [int.from_bytes(b"efgh", "little")] * 2

    def sizes(machine: Machine) -> int:
        return len(bytes(machine._codes[0]._memory).rstrip(b"\0"))

    assert sizes(proved) < sizes(checked) - 20


def test_records_shorter_than_the_proof_are_not_run() -> None:
    machine = Machine(assemble_program(SPILLED), safe={LOAD}, safe_size=8)
    with pytest.raises(MachineError, match="the proof"):
        machine.run(b"abcdefg")
    with pytest.raises(MachineError, match="the proof"):
        machine.run_batch(bytearray(64), stride=8, size=7, writable=True)
    for interpret in (True, False):
        batch = machine.run_batch(
            bytearray(64), offsets=np.array([0, 8], "u8"), sizes=np.array([8, 7], "u4"), writable=True,
            interpret=interpret,
        )  # fmt: skip
        assert list(batch.codes) == [0, e.READ]


def test_a_proof_of_a_write_does_not_make_records_writable() -> None:
    machine = Machine(assemble_program(SPILLED), safe={LOAD, STORE}, safe_size=8)
    data = bytes(16)
    batch = machine.run_batch(data, stride=8)
    assert [(one.code, one.slot) for one in batch.faults] == [(e.WRITE, STORE)] * 2
    assert data == bytes(16)


def test_code_is_never_writable_and_executable() -> None:
    machine = Machine(assemble_program("r0 = 0\nexit"))
    address = machine._codes[0].address
    with open("/proc/self/maps") as maps:
        for line in maps:
            begin, end = (int(word, 16) for word in line.split()[0].split("-"))
            if begin <= address < end:
                assert line.split()[1] == "r-xp"
                return
    pytest.fail("the code is in no mapping")
