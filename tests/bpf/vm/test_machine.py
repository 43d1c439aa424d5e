"""The machine as a whole, each question to interpreter and JIT: records, faults, budgets, calls, maps, refusals."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machines import M64, both, fault, machine, result

from linscope.abi import bpf as b
from linscope.bpf.asm import assemble_program
from linscope.bpf.instructions import Instruction
from linscope.bpf.program import Map, Program
from linscope.bpf.vm import errors as e
from linscope.bpf.vm import state
from linscope.bpf.vm.errors import Fault, InvalidProgram, MachineError, UnavailableError
from linscope.bpf.vm.machine import Machine


def test_both_sides_have_one_layout() -> None:
    assert state.check_layout()
    assert np.dtype(state.ROW_FIELDS).itemsize == 96
    assert all(np.dtype(state.ROW_FIELDS).fields[name][1] == at for name, at in state.ROW_OFFSET.items())


@both
def test_a_record_may_be_written_and_read_to_its_end(interpret: bool) -> None:
    made = machine("r0 = *(u32 *)(r1 +4)\n*(u32 *)(r1 +0) = 0x11223344\nexit")
    record = bytearray(struct.pack("<II", 1, 2))
    assert made.run(record, interpret=interpret) == 2
    assert record[:4] == bytes.fromhex("44332211")


@pytest.mark.parametrize(
    ("line", "code", "off"),
    [
        ("r0 = *(u32 *)(r1 +5)", e.READ, 5),
        ("r0 = *(u8 *)(r1 -1)", e.READ, -1),
        ("*(u64 *)(r1 +8) = 1", e.WRITE, 8),
        ("lock *(u64 *)(r1 +4) += r1", e.WRITE, 4),
        ("r1 += r2\nr0 = *(u8 *)(r1 +0)", e.READ, 8),
    ],
)
@both
def test_outside_of_the_record_is_a_fault_with_its_place(line: str, code: int, off: int, interpret: bool) -> None:
    made = machine(f"{line}\nr0 = 0\nexit")
    with pytest.raises(Fault) as caught:
        made.run(bytes(8), interpret=interpret)
    assert caught.value.code == code
    assert caught.value.slot == line.count("\n")
    record = made._state.context
    assert caught.value.address == record + off
    assert f"address {record + off:#x}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "r0 = *(u64 *)(r10 -520)",
        "r0 = *(u8 *)(r10 +0)",
        "r2 = r10\nr2 += -516\nr0 = *(u64 *)(r2 +0)",
        "r2 = r10\nr3 = 4\nr2 -= r3\n*(u64 *)(r2 +0) = r3",
        "r2 = 0\nr0 = *(u64 *)(r2 +0)",
        "r2 = -1\nr0 = *(u8 *)(r2 +0)",
        "r2 = -8\nr0 = *(u64 *)(r2 +4)",
        "r2 = 0x7fffffffffffffff ll\nr0 = *(u64 *)(r2 +4)",
    ],
)
@both
def test_wild_addresses_are_faults(text: str, interpret: bool) -> None:
    assert fault(f"{text}\nr0 = 0\nexit", bytes(8), interpret).code in (e.READ, e.WRITE)


@both
def test_frames_begin_zeroed_and_unwritten_registers_are_zero(interpret: bool) -> None:
    made = machine("*(u64 *)(r10 -8) += r1\nr0 = *(u64 *)(r10 -16)\nr0 |= r7\nr0 |= r3\n"
                   "*(u64 *)(r10 -16) = -1\nexit".replace("*(u64 *)(r10 -8) += r1\n", ""))  # fmt: skip
    for _ in range(3):
        assert made.run(bytes(8), interpret=interpret) == 0
    loose = machine("r2 = r10\nr3 = -8\nr2 += r3\nr0 = *(u64 *)(r2 +0)\n*(u64 *)(r2 +0) = -1\nexit")
    for _ in range(3):
        assert loose.run(interpret=interpret) == 0


# -- budget


@both
def test_an_endless_loop_ends_with_its_budget(interpret: bool) -> None:
    ended = fault("r0 = 1\nagain:\nr0 += 1\ngoto again", b"", interpret, budget=1000)
    assert (ended.code, ended.slot) == (e.BUDGET, 2)


@both
def test_the_budget_counts_slots_that_jumps_go_back_over(interpret: bool) -> None:
    text = "r1 = 10\nagain:\nr0 += 1\nr1 += -1\nif r1 != 0 goto again\nexit"  # 9 jumps back over 3 slots
    assert result(text, interpret=interpret, budget=27) == 10
    assert fault(text, b"", interpret, budget=26).code == e.BUDGET


@both
def test_may_goto_leaves_at_half_of_the_budget(interpret: bool) -> None:
    may_goto = Instruction(b.BPF_JMP | b.BPF_JCOND, 0, 0, 2, b.BPF_MAY_GOTO)
    code = [
        Instruction(0xB7, 0, 0, 0, 0),
        may_goto,
        Instruction(0x07, 0, 0, 0, 1),
        Instruction(0x05, 0, 0, -3, 0),
        Instruction(0x95, 0, 0, 0, 0),
    ]
    assert Machine(Program(code), budget=600).run(interpret=interpret) == 100


# -- calls


@both
def test_recursion_ends_at_8_frames(interpret: bool) -> None:
    text = "r0 = 0\ncall local f\nexit\nf:\nr0 += 1\nif r0 == {} goto end\ncall local f\nend:\nexit"
    assert result(text.format(7), interpret=interpret) == 7
    assert fault(text.format(8), b"", interpret).code == e.DEPTH


@both
def test_functions_have_frames_of_their_own_and_reach_their_callers(interpret: bool) -> None:
    text = """
        *(u64 *)(r10 -8) = 5
        r6 = 9
        r1 = r10
        r1 += -8
        call local f
        r1 = *(u64 *)(r10 -8)
        r0 += r1
        r0 += r6
        exit
    f:  *(u64 *)(r10 -8) = 100
        r6 = 1000
        r0 = *(u64 *)(r1 +0)
        *(u64 *)(r1 +0) = 7
        exit
    """
    assert result(text, interpret=interpret) == 5 + 7 + 9


@both
def test_bpf_loop_calls_back(interpret: bool) -> None:
    text = """
        *(u64 *)(r10 -8) = 0
        r1 = {}
        r2 = subprog[body]
        r3 = r10
        r3 += -8
        r4 = 0
        call bpf_loop
        r1 = *(u64 *)(r10 -8)
        r0 <<= 32
        r0 |= r1
        exit
    body:
        r3 = *(u64 *)(r2 +0)
        r3 += r1
        *(u64 *)(r2 +0) = r3
        r0 = 0
        if r1 < 100 goto go_on
        r0 = 1
    go_on:
        exit
    """
    assert result(text.format(10), interpret=interpret) == 10 << 32 | 45
    assert result(text.format(1000), interpret=interpret) == 101 << 32 | 5050
    assert result(text.format(9000000), interpret=interpret) == (-7 & M64) << 32 & M64  # E2BIG
    assert fault(text.format(1000), b"", interpret, budget=100).code == e.BUDGET


@both
def test_for_each_map_elem(interpret: bool) -> None:
    made = machine("""
        .map counts hash 4 8 16
        *(u64 *)(r10 -8) = 0
        r1 = map[counts]
        r2 = subprog[body]
        r3 = r10
        r3 += -8
        r4 = 0
        call bpf_for_each_map_elem
        r1 = *(u64 *)(r10 -8)
        r0 <<= 32
        r0 |= r1
        exit
    body:
        r5 = *(u32 *)(r2 +0)
        r6 = *(u64 *)(r3 +0)
        r5 *= r6
        r7 = *(u64 *)(r4 +0)
        r7 += r5
        *(u64 *)(r4 +0) = r7
        *(u64 *)(r3 +0) = 1
        r0 = 0
        exit
    """)
    made.maps["counts"].fill({struct.pack("<I", n): struct.pack("<Q", n * 10) for n in range(1, 4)})
    assert made.run(interpret=interpret) == 3 << 32 | 10 + 40 + 90
    assert made.run(interpret=interpret) == 3 << 32 | 1 + 2 + 3


@both
def test_calls_through_a_register(interpret: bool) -> None:
    text = "r1 = 4\nr2 = subprog[f]\ncallx r2\nexit\nf:\nr0 = r1\nr0 *= 3\nexit"
    assert result(text, interpret=interpret) == 12
    assert result("r2 = 7\ncallx r2\nr0 = 3\nexit", interpret=interpret) == 3
    bad = fault("r2 = 0x12345\ncallx r2\nexit", b"", interpret)
    assert (bad.code, bad.slot, bad.address) == (e.BAD_CALL, 2, 0x12345)


@both
def test_tail_calls(interpret: bool) -> None:
    caller = assemble_program("""
        .map programs prog_array 4 4 4
        r6 = r1
        r2 = map[programs]
        r3 = *(u8 *)(r1 +0)
        call bpf_tail_call
        r0 = 1
        exit
    """)
    made = Machine(caller)
    made.set_program("programs", 2, assemble_program("r0 = *(u8 *)(r1 +1)\nr0 += r6\nr0 += 100\nexit"))
    assert made.run(b"\x02\x07", interpret=interpret) == 107
    assert made.run(b"\x01\x07", interpret=interpret) == 1
    assert made.run(b"\x09\x07", interpret=interpret) == 1
    made.set_program("programs", 3, caller)  # calls itself until the limit of 33
    assert made.run(b"\x03", interpret=interpret) == 1
    with pytest.raises(MachineError, match="index"):
        made.set_program("programs", 9, caller)


# -- maps and values


@both
def test_values_of_maps_are_fenced(interpret: bool) -> None:
    text = """
        .map values array 4 12 4
        *(u32 *)(r10 -4) = {}
        r1 = map[values]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        {}
        r0 = *(u32 *)(r0 {})
        exit
    """
    assert result(text.format(1, "if r0 == 0 goto +1", "+8"), interpret=interpret) == 0
    assert fault(text.format(1, "if r0 == 0 goto +1", "+9"), b"", interpret).slot == 7
    assert fault(text.format(1, "if r0 == 0 goto +1", "-4"), b"", interpret).slot == 7
    null = fault(text.format(4, "", "+8"), b"", interpret)
    assert (null.code, null.slot, null.address) == (e.READ, 6, 8)
    assert fault(text.format(1, "r3 = 8\nr0 += r3", "+1"), b"", interpret).code == e.READ


@both
def test_constant_maps_are_not_written(interpret: bool) -> None:
    program = assemble_program(
        ".map rodata array 4 8 1\nr1 = map[rodata][0]+0\nr0 = *(u64 *)(r1 +0)\n*(u64 *)(r1 +0) = 1\nexit"
    )
    program.maps = [Map("rodata", b.BPF_MAP_TYPE_ARRAY, 4, 8, 1, initial=b"abc", frozen=True)]
    with pytest.raises(Fault) as caught:
        Machine(program).run(interpret=interpret)
    assert (caught.value.code, caught.value.slot) == (e.WRITE, 3)


@both
def test_maps_of_maps(interpret: bool) -> None:
    made = machine("""
        .map outer array_of_maps 4 4 2
        *(u32 *)(r10 -4) = 1
        r1 = map[outer]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto end
        *(u32 *)(r10 -4) = 0
        r1 = r0
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto end
        r0 = *(u64 *)(r0 +0)
    end:
        exit
    """)
    assert made.run(interpret=interpret) == 0
    inner = made.add_map(Map("inner", b.BPF_MAP_TYPE_ARRAY, 4, 8, 1))
    inner.update(bytes(4), (5).to_bytes(8, "little"))
    made.maps["outer"].set_map((1).to_bytes(4, "little"), inner)
    assert made.run(interpret=interpret) == 5


# -- what is refused


def one(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Instruction:
    return Instruction(code, dst, src, off, imm)


EXIT = one(0x95)


@pytest.mark.parametrize(
    ("code", "slot", "reason"),
    [
        ([], -1, "empty"),
        ([one(0xFF), EXIT], 0, "unknown opcode 0xff"),
        ([one(0x8F, 1, 1), EXIT], 0, "unknown opcode 0x8f"),
        ([one(0xB7, 11), EXIT], 0, "register r11 does not exist"),
        ([one(0xBF, 0, 12), EXIT], 0, "register r12 does not exist"),
        ([one(0xB7, 10), EXIT], 0, "write to r10"),
        ([one(0xDB, 1, 10, 0, 1), EXIT], 0, "write to r10"),
        ([one(0x05, off=1), EXIT], 0, "jump out of the program"),
        ([one(0x05, off=-2), EXIT], 0, "jump out of the program"),
        ([one(0x05, off=1), one(0x18), one(0), EXIT], 0, "middle of the wide load at instruction 1"),
        ([one(0x18)], 0, "without its second half"),
        ([one(0x18), one(0, 1), EXIT], 1, "second half"),
        ([one(0xB7)], 0, "fallen over"),
        ([one(0x15, off=-1)], 0, "fallen over"),
        ([one(0x85, src=1, imm=5), EXIT], 0, "call of instruction 6"),
        ([one(0x85, src=1, imm=1), EXIT, one(0x05, off=-2), EXIT], 2, "out of its function"),
        ([one(0x18, 1, 5, imm=3), one(0), EXIT], 0, "no map number 3"),
        ([one(0xDB, 10, 1, -8, 2), EXIT], 0, "unknown atomic"),
        ([one(0xCB, 10, 1, -8, 0), EXIT], 0, "unknown opcode|less than 4 bytes"),
        ([one(0x37, 1, off=2, imm=1), EXIT], 0, "must be 0 or 1"),
        ([one(0xD4, 1, imm=8), EXIT], 0, "must be 16, 32 or 64"),
        ([one(0x85, imm=5000), EXIT], 0, "5000 is not available"),
        ([one(0x85, imm=170), EXIT], 0, r"timer_set_callback \(170\) is not available"),
        ([one(0x18, 1, 3), one(0), EXIT], 0, "kernel symbol"),
    ],
)  # fmt: skip
def test_wrong_programs_are_refused_with_place_and_reason(code: list[Instruction], slot: int, reason: str) -> None:
    with pytest.raises((InvalidProgram, UnavailableError), match=reason) as caught:
        Machine(Program(code))
    assert caught.value.slot == slot


@both
def test_code_that_nothing_reaches_may_end_anyhow(interpret: bool) -> None:
    code = [one(0xB7, 0, imm=3), EXIT, one(0xB7, 0, imm=4)]
    assert Machine(Program(code)).run(interpret=interpret) == 3
    assert Machine(Program([*code[:2], one(0x18), one(0)])).run(interpret=interpret) == 3


def test_two_machines_share_nothing() -> None:
    program = assemble_program(
        ".map m array 4 8 1\nr1 = map[m][0]+0\nr0 = *(u64 *)(r1 +0)\nr0 += 1\n*(u64 *)(r1 +0) = r0\nexit"
    )
    one_, other = Machine(program), Machine(program)
    assert [one_.run(), one_.run(), other.run(), one_.run()] == [1, 2, 1, 3]
