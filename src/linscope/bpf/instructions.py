"""eBPF instructions as values: one ``Instruction`` for each slot of eight bytes.

A wide instruction (BPF_LD | BPF_IMM | BPF_DW) takes two slots; its second has code 0 and the upper half in ``imm``.
So the index in a list is what jumps, line tables and the verifier count in.
Source: RFC 9669; include/uapi/linux/bpf.h, struct bpf_insn; Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

import struct

from linscope.abi import bpf as b
from linscope.errors import FormatError

TYPE_CHECKING = False  # typing itself costs a third of a bare start
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NamedTuple
else:
    from linscope.bpf._named import named_tuple

SIZE = 8  # bytes of a slot
WIDE = b.BPF_LD | b.BPF_IMM | b.BPF_DW
_LITTLE = struct.Struct("<BBhi")
_BIG = struct.Struct(">BBhi")

if TYPE_CHECKING:

    class Instruction(NamedTuple):
        """One slot: struct bpf_insn."""

        code: int  # u8
        dst: int  # register, 0 to 15
        src: int
        off: int  # s16
        imm: int  # s32

else:
    Instruction = named_tuple("Instruction", "code dst src off imm")


def decode(data: bytes | memoryview, *, little_endian: bool = True, where: str = "") -> list[Instruction]:
    """The instructions of some code, a slot each; nothing is judged.  Raises FormatError: not a multiple of 8 bytes."""
    if len(data) % SIZE:
        raise FormatError("instruction cut short", where=where, offset=len(data) // SIZE * SIZE)
    if little_endian:
        return [Instruction(c, r & 15, r >> 4, o, i) for c, r, o, i in _LITTLE.iter_unpack(data)]
    return [Instruction(c, r >> 4, r & 15, o, i) for c, r, o, i in _BIG.iter_unpack(data)]


def encode(instructions: Iterable[Instruction], *, little_endian: bool = True) -> bytes:
    """The code of some instructions.  Raises struct.error when off or imm is out of range."""
    if little_endian:
        return b"".join(_LITTLE.pack(c, d | s << 4, o, i) for c, d, s, o, i in instructions)
    return b"".join(_BIG.pack(c, d << 4 | s, o, i) for c, d, s, o, i in instructions)


def wide(dst: int, value: int, src: int = 0) -> list[Instruction]:
    """The two slots that load a 64-bit value (signed or not); src: BPF_PSEUDO_*."""
    value &= (1 << 64) - 1
    return [Instruction(WIDE, dst, src, 0, signed32(value)), Instruction(0, 0, 0, 0, signed32(value >> 32))]


def wide_value(instructions: Sequence[Instruction], index: int) -> int:
    """The unsigned 64-bit value that the wide instruction at an index loads.  Raises IndexError: it is cut short."""
    return (instructions[index + 1].imm & 0xFFFFFFFF) << 32 | instructions[index].imm & 0xFFFFFFFF


def signed32(value: int) -> int:
    """The low 32 bits as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def signed64(value: int) -> int:
    """The low 64 bits as a signed number."""
    return ((value & (1 << 64) - 1) ^ 1 << 63) - (1 << 63)
