"""The machine as a whole, each question to interpreter and JIT: records, faults, budgets, calls, surroundings."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
import pytest

from linscope.abi import bpf as b
from linscope.bpf.asm import assemble_program
from linscope.bpf.instructions import Instruction, wide
from linscope.bpf.program import Map, Program
from linscope.bpf.vm import errors as e
from linscope.bpf.vm import state
from linscope.bpf.vm.errors import Fault, InvalidProgram, MachineError, UnavailableError
from linscope.bpf.vm.machine import Machine
from linscope.bpf.vm.rows import make_rows

M64 = (1 << 64) - 1
both = pytest.mark.parametrize("interpret", [True, False], ids=["interpreter", "jit"])


ADDRESS = re.compile(r"r(\d) = subprog\[(\w+)\]")


def machine(text: str, **options: Any) -> Machine:
    """Assembled; `r2 = subprog[label]` is the address of a function."""
    program = assemble_program(ADDRESS.sub(r"call local \2\nr0 s>>= 1\1", text))  # takes two slots, too
    code = program.instructions
    for slot, one in enumerate(code):
        if one.code == 0xC7 and one.imm >= 10 and code[slot - 1].src == b.BPF_PSEUDO_CALL:
            code[slot - 1 : slot + 1] = wide(one.imm - 10, code[slot - 1].imm, b.BPF_PSEUDO_FUNC)
    return Machine(program, **options)


def result(text: str, record: bytes = b"", interpret: bool = False, **options: Any) -> int:
    return machine(text, **options).run(record, interpret=interpret)


def fault(text: str, record: bytes, interpret: bool, **options: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        machine(text, **options).run(record, interpret=interpret)
    return caught.value


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


# -- what is known of a record


@both
def test_helpers_tell_about_the_record(interpret: bool) -> None:
    fields = {"ktime_get_ns": 5_000_000_000, "get_current_pid_tgid": 7 << 32 | 8, "get_current_uid_gid": 1 << 32 | 2,
              "get_smp_processor_id": 3, "jiffies64": 1250, "get_attach_cookie": 11, "get_func_ip": 12,
              "get_current_task": 13, "get_current_cgroup_id": 14}  # fmt: skip
    for name, value in fields.items():
        made = machine(f"call bpf_{name}\nexit")
        row = made.row
        row.time_ns, row.pid_tgid, row.uid_gid, row.cpu = 5_000_000_000, 7 << 32 | 8, 1 << 32 | 2, 3
        row.cookie, row.ip, row.task, row.cgroup = 11, 12, 13, 14
        assert made.run(interpret=interpret) == value
    made = machine("r1 = r10\nr1 += -16\nr2 = 16\ncall bpf_get_current_comm\nr0 = *(u64 *)(r10 -16)\nexit")
    made.row.comm = b"postgres"
    assert made.run(interpret=interpret).to_bytes(8, "little") == b"postgres"


@both
def test_a_batch_has_rows_offsets_and_faults_of_its_own(interpret: bool) -> None:
    made = machine("call bpf_get_current_pid_tgid\nr6 = r0\nr1 = 0\nexit")
    rows = np.zeros(4, np.dtype(state.ROW_FIELDS))
    rows["pid_tgid"] = [5, 6, 0, 8]
    batch = made.run_batch(bytes(32), stride=8, rows=rows, interpret=interpret)
    assert (list(batch.results), batch.nonzero, batch.records) == ([5, 6, 0, 8], 3, 4)

    made = machine("r0 = *(u16 *)(r1 +2)\nr0 += r2\nexit")
    data = bytes(range(40))
    offsets, sizes = np.array([30, 0, 8, 39, 36, 1 << 63], "u8"), np.array([4, 6, 3, 1, 5, 9], "u4")
    batch = made.run_batch(data, offsets=offsets, sizes=sizes, interpret=interpret)
    assert list(batch.results) == [0x2120 + 4, 0x0302 + 6, 0, 0, 0, 0]
    assert list(batch.codes) == [0, 0, e.READ, e.READ, e.READ, e.READ]
    assert batch.fault_count == 4
    assert [(one.record, one.slot) for one in batch.faults] == [(2, 0), (3, 0), (4, -1), (5, -1)]


@both
def test_records_of_a_batch_are_read_only_unless_asked(interpret: bool) -> None:
    made = machine("*(u8 *)(r1 +0) = 9\nr0 = 1\nexit")
    data = bytearray(4)
    assert made.run_batch(data, stride=2, interpret=interpret).fault_count == 2
    assert made.run_batch(data, stride=2, writable=True, interpret=interpret).nonzero == 2
    assert data == b"\x09\0\x09\0"
    with pytest.raises(MachineError, match="read-only"):
        made.run_batch(b"1234", stride=2, writable=True)
    with pytest.raises(MachineError, match="stride"):
        made.run_batch(data)
    with pytest.raises(MachineError, match="writable buffer"):
        made.run_batch(data, stride=1, results=bytearray(8))


def test_rows_from_columns() -> None:
    rows = make_rows(3, pid=[1, 2, 3], tid=np.array([11, -1, 13], "i4"), uid=1000, gid=5, cpu=[0, 1, 0], comm=b"sh")
    assert rows["pid_tgid"].tolist() == [1 << 32 | 11, 2 << 32 | 0xFFFFFFFF, 3 << 32 | 13]
    assert rows["uid_gid"].tolist() == [5 << 32 | 1000] * 3
    assert rows["kernel_stack"].tolist() == [state.NO_STACK] * 3
    batch = machine("call bpf_get_current_pid_tgid\nr0 >>= 32\nexit").run_batch(bytes(3), stride=1, rows=rows)
    assert list(batch.results) == [1, 2, 3]
    with pytest.raises(MachineError, match="no column 'pit'"):
        make_rows(1, pit=[1])


@both
def test_per_cpu_values_are_of_the_records_cpu(interpret: bool) -> None:
    made = machine("""
        .map counts percpu_array 4 8 1
        *(u32 *)(r10 -4) = 0
        r1 = map[counts]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto end
        r1 = 1
        lock *(u64 *)(r0 +0) += r1
    end:
        exit
    """, cpus=3)
    made.run_batch(bytes(6), stride=1, rows=make_rows(6, cpu=[0, 2, 2, 1, 2, 77]), interpret=interpret)
    assert struct.unpack("<3Q", made.maps["counts"].lookup(bytes(4)) or b"") == (2, 1, 3)


@both
def test_long_work_in_helpers_costs_budget(interpret: bool) -> None:
    text = """
        .map big array 4 1048576 1
        r1 = map[big][0]+0
        r2 = 1048576
        r3 = 0
        call bpf_probe_read_kernel
        exit
    """
    assert machine(text, budget=65536).run(interpret=interpret) == -14 & M64
    ended = fault(text, b"", interpret, budget=65535)
    assert (ended.code, ended.slot) == (e.BUDGET, 4)


@both
def test_a_fault_names_the_program_it_happened_in(interpret: bool) -> None:
    caller = assemble_program("""
        .name outer
        .map programs prog_array 4 4 4
        r6 = r1
        r7 = *(u8 *)(r1 +0)
        call local f
        r0 = *(u8 *)(r7 +0)
        exit
    f:  r2 = map[programs]
        r3 = 0
        r1 = r6
        call bpf_tail_call
        r0 = 1
        exit
    """)
    made = Machine(caller)
    made.set_program("programs", 0, assemble_program(".name inner\nr0 = *(u8 *)(r1 +1)\nexit"))
    for record, where in ((b"\0\0", "outer: instruction 3"), (b"\0", "inner: instruction 0")):
        with pytest.raises(Fault) as caught:
            made.run(record, interpret=interpret)
        assert caught.value.where == where


@both
def test_text_to_numbers_and_back(interpret: bool) -> None:
    made = machine("""
        r6 = r1
        r2 = 8
        r3 = 0
        r4 = r10
        r4 += -8
        call bpf_strtol
        r7 = r0
        r1 = r6
        r2 = 8
        r3 = 0x6800 ll
        *(u64 *)(r10 -24) = r3
        *(u64 *)(r10 -16) = 0x642520
        r3 = r10
        r3 += -16
        r4 = r10
        r4 += -8
        r5 = 8
        call bpf_snprintf
        r0 <<= 32
        r0 |= r7
        exit
    """)
    record = bytearray(b"-0x1fz\0\0")
    assert made.run(record, interpret=interpret) == 5 << 32 | 5  # " -31" and its zero byte; 5 characters read
    assert record[:5] == b" -31\0"


@both
def test_strncmp(interpret: bool) -> None:
    text = "r3 = r1\nr3 += 4\nr2 = 4\ncall bpf_strncmp\nexit"
    assert result(text, b"abc\0abc\0", interpret) == 0
    assert result(text, b"abc\0abd\0", interpret) == M64
    assert result(text, b"abd\0abc\0", interpret) == 1
    assert fault(text, b"abcdabc", interpret).code == e.READ


def test_a_batch_may_see_less_than_its_stride() -> None:
    made = machine("r0 = r2\nr3 = *(u8 *)(r1 +4)\nexit")
    out = bytearray(16)
    assert made.run_batch(bytes(16), stride=8, size=5, results=out).fault_count == 0
    assert struct.unpack("<QQ", out) == (5, 5)
    assert made.run_batch(bytes(16), stride=8, size=4).fault_count == 2


@both
def test_legacy_loads_read_the_packet(interpret: bool) -> None:
    made = machine("r6 = r1\nr7 = 1\nr0 = *(u16 *)skb[2]\nr8 = r0\nr0 = *(u32 *)skb[r7 + 0]\nr0 += r8\nexit")
    assert made.run(b"", packet=bytes(range(8)), interpret=interpret) == 0x0203 + 0x01020304
    assert made.run(bytes(range(8)), interpret=interpret) == 0x0203 + 0x01020304
    assert made.run(b"abcd", interpret=interpret) == 0  # beyond the end: the program is over with 0
    batch = made.run_batch(bytes(range(16)), stride=8, interpret=interpret)
    assert list(batch.results) == [0x0203 + 0x01020304, 0x0A0B + 0x090A0B0C]


@both
def test_stacks_of_a_record(interpret: bool) -> None:
    made = machine("""
        .map stacks stack_trace 4 32 64
        r6 = r1
        r2 = map[stacks]
        r3 = 0
        call bpf_get_stackid
        r7 = r0
        r1 = r6
        r2 = r10
        r2 += -32
        r3 = 32
        r4 = 0x101
        call bpf_get_stack
        *(u64 *)(r6 +0) = r7
        r1 = *(u64 *)(r10 -32)
        *(u64 *)(r6 +8) = r1
        exit
    """)
    made.set_stacks(np.array([0, 3, 5], "u8"), np.array([10, 11, 12, 20, 21], "u8"))
    made.row.kernel_stack, made.row.user_stack = 0, 1
    record = bytearray(16)
    assert made.run(record, interpret=interpret) == 8  # bytes
    stack_id, first = struct.unpack("<qQ", record)
    assert first == 21
    value = made.maps["stacks"].lookup(struct.pack("<I", stack_id))
    assert value is not None and struct.unpack("<4Q", value) == (10, 11, 12, 0)
    made.row.kernel_stack = state.NO_STACK
    made.run(record, interpret=interpret)
    assert struct.unpack("<qQ", record)[0] == -14
    with pytest.raises(MachineError, match="ascend"):
        made.set_stacks(np.array([0, 9], "u8"), np.array([1], "u8"))


@both
def test_memory_of_the_recorded_system(interpret: bool) -> None:
    read = "r1 = r10\nr1 += -8\nr2 = {}\nr3 = {:#x} ll\ncall bpf_probe_read_kernel{}\nr1 = *(u64 *)(r10 -8)\n"
    ranges = [(0xFFFF888000001000, b"a text\0and more of it")]
    made = machine(read.format(8, 0xFFFF888000001007, "") + "r0 = r1\nexit")
    assert made.run(interpret=interpret) == 0 and made.probe_faults == 1
    made.set_memory(ranges)
    assert made.run(interpret=interpret).to_bytes(8, "little") == b"and more" and made.probe_faults == 1
    made = machine(read.format(8, 0xFFFF888000001002, "_str") + "exit")
    made.set_memory(ranges)
    assert made.run(interpret=interpret) == 5
    made = machine(read.format(8, 0xFFFF888000009000, "_str") + "exit")
    assert made.run(interpret=interpret) == -14 & M64


@both
def test_loads_that_probe_give_zero(interpret: bool) -> None:
    text = "r3 = 0xffff888000001000 ll\nr0 = 7\nr0 = *(u32 *)(r3 +8)\nr0 += *(u8 *)(r1 +0)\nexit"
    text = text.replace("r0 += *(u8 *)(r1 +0)", "r4 = *(u8 *)(r1 +0)\nr0 += r4")
    assert fault(text, b"\5", interpret).slot == 3
    made = machine(text, probes={3, 4})
    assert made.run(b"\5", interpret=interpret) == 5
    assert made.probe_faults == 1


# -- output


@both
def test_ring_buffer_records(interpret: bool) -> None:
    made = machine("""
        .map events ringbuf 0 0 4096
        r6 = r1
        r1 = map[events]
        r2 = 16
        r3 = 0
        call bpf_ringbuf_reserve
        if r0 == 0 goto full
        r1 = *(u64 *)(r6 +0)
        *(u64 *)(r0 +0) = r1
        *(u64 *)(r0 +8) = 2
        r7 = r0
        r1 = r0
        r2 = 0
        r8 = *(u8 *)(r6 +0)
        r8 &= 1
        if r8 != 0 goto discard
        call bpf_ringbuf_submit
        goto after
    discard:
        call bpf_ringbuf_discard
    after:
        r0 = 0
        if r8 != 3 goto end
        r0 = *(u64 *)(r7 +0)
    end:
        exit
    full:
        r0 = 1
        exit
    """)
    records = struct.pack("<4Q", 10, 11, 12, 14)
    assert made.run_batch(records, stride=8, interpret=interpret).fault_count == 0
    assert [struct.unpack("<QQ", data) for _, data in made.maps["events"].drain()] == [(10, 2), (12, 2), (14, 2)]
    batch = made.run_batch(bytes(8 * 200), stride=8, interpret=interpret)
    assert batch.nonzero == 200 - 4096 // 24 == made.maps["events"].dropped


@both
def test_a_reservation_ends_with_its_submit(interpret: bool) -> None:
    text = """
        .map events ringbuf 0 0 4096
        r1 = map[events]
        r2 = 8
        r3 = 0
        call bpf_ringbuf_reserve
        if r0 == 0 goto end
        r6 = r0
        r1 = r0
        r2 = 0
        call bpf_ringbuf_submit
        *(u64 *)(r6 +0) = 1
    end:
        exit
    """
    assert fault(text, b"", interpret).code == e.WRITE
    bad = fault(".map events ringbuf 0 0 4096\nr1 = 5\nr2 = 0\ncall bpf_ringbuf_submit\nexit", b"", interpret)
    assert (bad.code, bad.slot, bad.address) == (e.ARGUMENT, 2, 5)


@both
def test_perf_event_output(interpret: bool) -> None:
    made = machine("""
        .map events perf_event_array 4 4 8
        *(u64 *)(r10 -8) = 77
        r2 = map[events]
        r3 = 0xffffffff ll
        r4 = r10
        r4 += -8
        r5 = 8
        call bpf_perf_event_output
        exit
    """)
    made.row.cpu = 3
    assert made.run(interpret=interpret) == 0
    assert made.maps["events"].drain() == [(3, (77).to_bytes(8, "little"))]


@both
def test_printing(interpret: bool) -> None:
    made = machine("""
        r1 = 0x64253a6425207325 ll
        *(u64 *)(r10 -16) = r1
        *(u64 *)(r10 -8) = 0x0a
        *(u64 *)(r10 -24) = 0x6968
        r1 = r10
        r1 += -16
        r2 = 10
        r3 = r10
        r3 += -24
        r4 = -5
        r5 = 6
        call bpf_trace_printk
        exit
    """)
    assert made.run(interpret=interpret) == len("hi -5:6\n")
    assert made.output.take() == ["hi -5:6\n"]


@both
def test_helpers_of_ones_own_and_what_they_raise(interpret: bool) -> None:
    def helper(core: Any, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        if r1 == 3:
            raise Fault(e.ARGUMENT, slot=0, address=r1)
        return 1 // (r1 - 4) + 2 * r1

    made = machine("r1 = *(u8 *)(r1 +0)\ncall 200\nexit", helpers={200: helper})
    assert made.run(b"\5", interpret=interpret) == 11
    with pytest.raises(Fault) as caught:
        made.run(b"\3", interpret=interpret)
    assert (caught.value.code, caught.value.slot, caught.value.address) == (e.ARGUMENT, 1, 3)


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


def test_two_machines_share_nothing() -> None:
    program = assemble_program(
        ".map m array 4 8 1\nr1 = map[m][0]+0\nr0 = *(u64 *)(r1 +0)\nr0 += 1\n*(u64 *)(r1 +0) = r0\nexit"
    )
    one_, other = Machine(program), Machine(program)
    assert [one_.run(), one_.run(), other.run(), one_.run()] == [1, 2, 1, 3]
