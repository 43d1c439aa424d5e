"""Packets: skboutput() hands a socket buffer to user space by a perf event array, which the kernel fills from it.

A record is an event as lang/unit.py has it (time of the boot clock in ns, bytes of the packet that follow, bytes of
them to leave out), then the packet.
"""

from __future__ import annotations

from linscope.abi import bpf as b
from linscope.bpf.program import Map
from linscope.lang import ir
from linscope.lang.built import PACKETS
from linscope.lang.codegen import memory, scalars
from linscope.lang.codegen.assembler import R0, R1, R2, R3, R4, R5
from linscope.lang.codegen.function import Function
from linscope.lang.unit import event_layout

_MOST = 65_000  # bytes of a packet: a record of perf has 64 KB at most
_BOOT_TIME, _SKB_OUTPUT, _CURRENT_CPU = 125, 111, 0xFFFFFFFF


def output(f: Function, node: ir.PacketOutput) -> None:
    """r0 = 0, or a negative errno"""
    code, generator = f.code, f.generator
    mark = f.mark()
    (time, length, offset), size = event_layout(node.event.values)
    scalars.scalar(f, node.length)
    memory.clamp(f, R0, _MOST)
    taken = f.keep(R0, known=True)
    record = f.memory(size)
    base, at = f.with_base(record, R1)
    code.store_constant(base, at, generator.number_of(node.event), 4)
    code.store_constant(base, at + 4, size, 4)
    code.store_constant(base, at + offset, node.offset, 4)
    code.call(_BOOT_TIME)
    base, at = f.with_base(record, R1)
    code.store(base, at + time, R0, 8)
    f.restore(taken, R2)
    code.store(base, at + length, R2, 4)
    scalars.scalar(f, node.packet)
    code.move(R1, R0)
    f.restore(taken, R3)
    f.give_up(taken)
    code.alu_constant("<<", R3, 32)
    code.constant(R4, _CURRENT_CPU)
    code.alu("|", R3, R4)
    place = generator.places.get(PACKETS)
    if place is None:
        made = Map(PACKETS, b.BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, generator.options.cpus)
        place = generator.add_map(PACKETS, made)
    code.map(R2, place)
    f.address(record, R4)
    code.constant(R5, size)
    code.call(_SKB_OUTPUT)
    f.release(mark)
