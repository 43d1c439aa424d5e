"""Ring buffers: what a program wrote comes out, whole, in order and once; and perf event arrays."""

from __future__ import annotations

import os
import struct

import pytest

from linscope.abi import bpf as b
from linscope.bpf.instructions import Instruction, wide
from linscope.bpf.kernel.maps import KernelMap
from linscope.bpf.kernel.perf_array import PerfArray
from linscope.bpf.kernel.programs import KernelProgram, load
from linscope.bpf.kernel.ring_buffer import RingBuffer, UserRingBuffer
from linscope.bpf.program import Map, Program
from linscope.errors import UsageError

pytestmark = pytest.mark.kernel
_RINGBUF_OUTPUT, _PERF_EVENT_OUTPUT, _SKB_LOAD_BYTES_RELATIVE = 130, 25, 68


def writer(size: int, flags: int = b.BPF_RB_NO_WAKEUP) -> KernelProgram:
    """A program that writes the first bytes of its packet as a record; it returns what the helper did."""
    code = [
        *(Instruction(0x7A, 10, 0, -64 + 8 * n, 0) for n in range(8)),  # zero the stack
        Instruction(0xB7, 2, 0, 0, 0),
        Instruction(0xBF, 3, 10, 0, 0),
        Instruction(0x07, 3, 0, 0, -64),
        Instruction(0xB7, 4, 0, 0, size),
        Instruction(0xB7, 5, 0, 0, 0),  # BPF_HDR_START_MAC
        Instruction(0x85, 0, 0, 0, _SKB_LOAD_BYTES_RELATIVE),
        *wide(1, 0, b.BPF_PSEUDO_MAP_IDX),
        Instruction(0xBF, 2, 10, 0, 0),
        Instruction(0x07, 2, 0, 0, -64),
        Instruction(0xB7, 3, 0, 0, size),
        Instruction(0xB7, 4, 0, 0, flags),
        Instruction(0x85, 0, 0, 0, _RINGBUF_OUTPUT),
        Instruction(0x95, 0, 0, 0, 0),
    ]
    ring = Map("ring", b.BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 16)
    return load(Program(code, type=b.BPF_PROG_TYPE_SOCKET_FILTER, name="writer", maps=[ring]))


def packet(number: int) -> bytes:
    return struct.pack("=Q", number) * 8


def test_records_come_in_order_and_once() -> None:
    with writer(24) as program, RingBuffer(program.maps[0]) as ring:
        assert ring.read() == [] and ring.read_chunk(24) is None and not ring.wait(0)
        expected = 0
        for _ in range(20):  # more than the ring holds at once, so that it wraps
            for number in range(expected, expected + 300):
                assert program.test_run(packet(number)).result == 0
            assert ring.wait(0)
            assert ring.read() == [packet(number)[:24] for number in range(expected, expected + 300)]
            expected += 300
        assert ring.pending_bytes == 0


def test_chunks_of_records_of_one_size() -> None:
    with writer(20) as program, RingBuffer(program.maps[0]) as ring:
        expected = 0
        for _ in range(10):
            for number in range(expected, expected + 1000):
                assert program.test_run(packet(number)).result == 0
            assert ring.read_chunk(16) is None  # they are of 20
            first = ring.read_chunk(20, 400)
            rest = ring.read_chunk(20)
            assert first is not None and rest is not None and (first.records, rest.records) == (400, 600)
            for chunk in (first, rest):
                for number in range(chunk.records):
                    record = chunk.data[number * chunk.stride : number * chunk.stride + chunk.size]
                    assert record == packet(expected)[:20]
                    expected += 1
        assert ring.read_chunk(20) is None


def test_a_full_ring_refuses_and_goes_on() -> None:
    with writer(56) as program, RingBuffer(program.maps[0]) as ring:
        results = [program.test_run(packet(number)).result for number in range(1100)]
        written = results.count(0)
        assert 1000 < written < 1100 and results[-1] == -11  # EAGAIN
        assert len(ring.read(10)) == 10 and len(ring.read()) == written - 10
        assert program.test_run(packet(1)).result == 0 and ring.read() == [packet(1)[:56]]


class FakeMap(KernelMap):
    """A ring buffer whose pages are a file of ours, to write what only a program can."""


def test_records_that_are_not_submitted_or_discarded() -> None:
    """A busy record stops the reading, a discarded one is left out (kernel/bpf/ringbuf.c)."""
    page = os.sysconf("SC_PAGE_SIZE")
    fd = os.memfd_create("ring")
    os.ftruncate(fd, 4 * page)
    headers = [8, 8 | b.BPF_RINGBUF_DISCARD_BIT, 8, 8 | b.BPF_RINGBUF_BUSY_BIT, 8]
    records = b"".join(struct.pack("=IIQ", header, 0, number) for number, header in enumerate(headers))
    os.pwrite(fd, struct.pack("=Q", len(records)), page)
    os.pwrite(fd, records, 2 * page)
    with FakeMap(fd, b.BPF_MAP_TYPE_RINGBUF, 0, 0, page) as fake, RingBuffer(fake) as ring:
        chunk = ring.read_chunk(8)
        assert chunk is not None and chunk.records == 1 and chunk.data == struct.pack("=Q", 0)
        assert ring.read_chunk(8) is None
        assert ring.read() == [struct.pack("=Q", 2)] and ring.read() == []
        os.pwrite(fd, struct.pack("=I", 8), 2 * page + 3 * 16)
        assert ring.read() == [struct.pack("=Q", 3), struct.pack("=Q", 4)]


def test_records_for_programs() -> None:
    with KernelMap.create(Map("user", b.BPF_MAP_TYPE_USER_RINGBUF, 0, 0, 4096)) as held, UserRingBuffer(held) as ring:
        written = 0
        while ring.write(b"x" * 24):
            written += 1
        assert written == 4096 // 32


def test_other_maps_are_no_rings() -> None:
    with KernelMap.create(Map("hash", b.BPF_MAP_TYPE_HASH, 4, 4, 1)) as table:
        for kind in (RingBuffer, UserRingBuffer, PerfArray):
            with pytest.raises(UsageError):
                kind(table)


def test_a_perf_event_array() -> None:
    code = [
        Instruction(0xBF, 6, 1, 0, 0),
        Instruction(0x7A, 10, 0, -16, 0x1234),
        Instruction(0x7A, 10, 0, -8, 0x5678),
        *wide(2, 0, b.BPF_PSEUDO_MAP_IDX),
        *wide(3, b.BPF_F_CURRENT_CPU),
        Instruction(0xBF, 4, 10, 0, 0),
        Instruction(0x07, 4, 0, 0, -16),
        Instruction(0xB7, 5, 0, 0, 16),
        Instruction(0x85, 0, 0, 0, _PERF_EVENT_OUTPUT),
        Instruction(0x95, 0, 0, 0, 0),
    ]
    events = Map("events", b.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 0)
    program = load(Program(code, type=b.BPF_PROG_TYPE_RAW_TRACEPOINT, name="output", maps=[events]))
    with program, PerfArray(program.maps[0], ring_size=1 << 14) as array:
        cpus = sorted(os.sched_getaffinity(0))
        for number in range(10):
            program.test_run(cpu=cpus[number % len(cpus)])
        assert array.wait(1)
        found = list(array.read())
        assert [record[:16] for _, record in found] == [struct.pack("=QQ", 0x1234, 0x5678)] * 10
        assert {cpu for cpu, _ in found} == set(cpus[:10])
        assert list(array.read()) == [] and array.lost == 0
        for _ in range(2000):  # more than the ring holds
            program.test_run(cpu=cpus[0])
        kept = len(list(array.read()))
        program.test_run(cpu=cpus[0])
        kept += len(list(array.read()))
        assert kept + array.lost == 2001 and array.lost > 0
