"""Programs that read packets by pointer: faults, changes, and the running kernel's answers beside ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from machines import both

from linscope.bpf.asm import assemble_program
from linscope.bpf.vm import Fault, Machine, MachineError
from linscope.bpf.vm import errors as e

XDP = """
    .type xdp
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r4 = r2
    r4 += 20
    r0 = 1
    if r4 > r3 goto out
    r0 = *(u16 *)(r2 +12)
    r0 = be16 r0
    r5 = *(u8 *)(r2 +19)
    r0 += r5
    *(u8 *)(r2 +0) = 0xab
    r0 &= 3
out:
    exit
"""
SOCKET = """
    .type sched_cls
    r2 = *(u32 *)(r1 +76)
    r3 = *(u32 *)(r1 +80)
    r0 = *(u32 *)(r1 +0)
    r4 = r2
    r4 += 34
    if r4 > r3 goto out
    r5 = *(u32 *)(r2 +30)
    r0 ^= r5
    r5 = 7
    *(u32 *)(r1 +8) = r5
out:
    exit
"""


@both
def test_a_packet_is_read_and_written_by_pointer(interpret: bool) -> None:
    machine = Machine(assemble_program(XDP))
    packet = bytes(range(30))
    result, after = machine.run_packet(packet, interpret=interpret)
    assert result == (0x0C0D + 19) & 3
    assert after == b"\xab" + packet[1:]
    assert machine.run_packet(bytes(19), interpret=interpret) == (1, bytes(19))


@both
def test_beyond_the_packet_is_a_fault(interpret: bool) -> None:
    machine = Machine(assemble_program(".type xdp\nr2 = *(u32 *)(r1 +0)\nr0 = *(u32 *)(r2 +4)\nexit"))
    assert machine.run_packet(b"12345678", interpret=interpret)[0] == int.from_bytes(b"5678", "little")
    with pytest.raises(Fault) as caught:
        machine.run_packet(b"1234567", interpret=interpret)
    assert (caught.value.code, caught.value.slot) == (e.READ, 1)
    with pytest.raises(MachineError, match="no packet"):
        Machine(assemble_program(".type kprobe\nr0 = 0\nexit")).run_packet(b"")
    with pytest.raises(MachineError, match="no field 'color'"):
        machine.run_packet(b"", fields={"color": 1})


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="loads eBPF programs: run the tests as root")
@pytest.mark.xdist_group("bpf-kernel")
@pytest.mark.parametrize("text", [XDP, SOCKET], ids=["xdp", "tc"])
def test_the_kernel_says_the_same(text: str) -> None:
    from linscope.bpf.kernel.programs import load

    program = assemble_program(text)
    machine = Machine(program)
    random = Random(2)
    with load(program) as loaded:
        for _ in range(20):
            packet = random.randbytes(random.choice((14, 20, 34, 60, 200)))
            theirs = loaded.test_run(packet)
            for interpret in (True, False):
                result, after = machine.run_packet(packet, interpret=interpret)
                assert (result & 0xFFFFFFFF, after) == (theirs.result & 0xFFFFFFFF, theirs.data)
