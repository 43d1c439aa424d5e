"""Packets for programs that read them by pointer: XDP, traffic control, socket and cgroup filters.

Their contexts hold addresses of packet data in 32-bit fields, which the kernel rewrites to 64-bit loads.  Here packets
lie in the lowest 2 GiB of this process, so that the 32-bit field is the address, and programs run as they are.
Source: include/uapi/linux/bpf.h, struct xdp_md, struct __sk_buff; mmap(2), MAP_32BIT.
"""

from __future__ import annotations

import ctypes
import mmap

from linscope.bpf.vm.errors import MachineError, UnavailableError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PACKET_BYTES = 1 << 16
_MAP_32BIT = 0x40  # include/uapi/asm/mman.h of x86
_WITH_PACKETS = ("xdp_md", "__sk_buff")


class PacketMemory:
    """One packet at a time, at an address below 2 GiB."""

    def __init__(self) -> None:
        """Raises UnavailableError: no such memory."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT
        self._memory = mmap.mmap(-1, MAX_PACKET_BYTES, flags, mmap.PROT_READ | mmap.PROT_WRITE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        if self.address >= 1 << 31:
            raise UnavailableError("no memory at an address of 32 bits for packets")
        self.size = 0

    def put(self, packet: bytes) -> None:
        """Put a packet there.  Raises MachineError: it is longer than 64 KiB."""
        if len(packet) > MAX_PACKET_BYTES:
            raise MachineError(f"a packet of {len(packet)} bytes: {MAX_PACKET_BYTES} is the most")
        self._memory[: len(packet)] = packet
        self.size = len(packet)

    def get(self) -> bytes:
        """The packet as it is now."""
        return self._memory[: self.size]

    def context(self, type: int, fields: Mapping[str, int]) -> bytearray:
        """struct xdp_md or struct __sk_buff of the packet; fields: more of its fields by name.

        type: BPF_PROG_TYPE_*.  Raises MachineError: programs of the type have no packet; no such field.
        """
        from linscope.abi.bpf_contexts import CONTEXTS, LAYOUTS  # for programs with packets only

        known = CONTEXTS.get(type)
        if known is None or known.layout not in _WITH_PACKETS:
            raise MachineError(f"programs of type {type} get no packet")
        begin, end = self.address, self.address + self.size
        values = {"data": begin, "data_end": end, "data_meta": begin}
        if known.layout == "__sk_buff":
            values |= {"len": self.size, "wire_len": self.size}
        layout = {field.name: field for field in LAYOUTS[known.layout]}
        made = bytearray(max(field.offset + field.size for field in layout.values()))
        for name, value in {**values, **fields}.items():
            field = layout.get(name)
            if field is None:
                raise MachineError(f"struct {known.layout} has no field {name!r}")
            place = slice(field.offset, field.offset + field.size)
            made[place] = (value & (1 << field.size * 8) - 1).to_bytes(field.size, "little")
        return made
