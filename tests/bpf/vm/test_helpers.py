"""What helpers tell and make, in interpreter and JIT: the record's surroundings, stacks, memory, output, text."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machines import M64, both, fault, machine, result

from linscope.bpf.asm import assemble_program
from linscope.bpf.vm import errors as e
from linscope.bpf.vm import state
from linscope.bpf.vm.errors import Fault, MachineError
from linscope.bpf.vm.machine import Machine
from linscope.bpf.vm.rows import make_rows

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


@both
def test_dynamic_pointers(interpret: bool) -> None:
    made = machine("""
        .map events ringbuf 0 0 4096
        r1 = map[events]
        r2 = 16
        r3 = 0
        r4 = r10
        r4 += -16
        call bpf_ringbuf_reserve_dynptr
        *(u64 *)(r10 -24) = 77
        r1 = r10
        r1 += -16
        r2 = 8
        r3 = r10
        r3 += -24
        r4 = 8
        r5 = 0
        call bpf_dynptr_write
        r6 = r0
        r1 = r10
        r1 += -16
        r2 = 9
        r3 = 8
        call bpf_dynptr_data
        r7 = r0
        r1 = r10
        r1 += -16
        r2 = 0
        r3 = 8
        call bpf_dynptr_data
        if r0 == 0 goto end
        *(u64 *)(r0 +0) = 5
        r1 = r10
        r1 += -16
        r2 = 0
        call bpf_ringbuf_submit_dynptr
        r0 = r6
        r0 |= r7
    end:
        exit
    """)
    assert made.run(interpret=interpret) == 0
    assert made.maps["events"].drain() == [(0, struct.pack("<QQ", 5, 77))]


@both
def test_a_forged_dynamic_pointer_is_a_fault(interpret: bool) -> None:
    text = """
        *(u64 *)(r10 -16) = 4096
        *(u64 *)(r10 -8) = 64
        r1 = r10
        r1 += -32
        r2 = 8
        r3 = r10
        r3 += -16
        r4 = 0
        r5 = 0
        call bpf_dynptr_read
        exit
    """
    forged = fault(text, b"", interpret)
    assert (forged.code, forged.slot, forged.address) == (e.READ, 9, 4096)
