"""The code of a program in the kernel: its instructions after the verifier, and what the JIT made of them.

Source: kernel/bpf/syscall.c, bpf_prog_get_info_by_fd: addresses and machine code are hidden from who lacks
CAP_SYS_ADMIN, or by net.core.bpf_jit_harden and kernel.kptr_restrict.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from linscope.binfmt import btf_types as bt
from linscope.bpf.instructions import Instruction, decode
from linscope.bpf.kernel.listing import object_info
from linscope.bpf.kernel.types import KernelTypes
from linscope.bpf.program import Function, Line
from linscope.errors import PermissionDenied
from linscope.sys import bpf as sys_bpf

if TYPE_CHECKING:
    from linscope.binfmt.btf import Btf

_SIZE = 256
_MAX_BYTES = 1 << 26


class JitFunction(NamedTuple):
    """Machine code of one function; address 0 when the kernel hides it."""

    name: str
    address: int
    code: bytes


class ProgramDump(NamedTuple):
    """A program as the kernel runs it.

    Wide loads of maps name them by id, in ``imm``; calls of helpers are relative to __bpf_call_base.
    """

    instructions: list[Instruction]
    functions: list[Function]
    lines: list[Line]
    jited: list[JitFunction]
    btf: Btf | None


# name -> offset of the count, bytes of an element, offset of the pointer (struct bpf_prog_info)
_ARRAYS = {
    "xlated": (20, 1, 32),
    "jited": (16, 1, 24),
    "ksyms": (104, 8, 112),
    "lengths": (108, 4, 120),
    "functions": (144, 0, 136),
    "lines": (148, 0, 152),
}
_FUNCTION_SIZE_AT, _LINE_SIZE_AT = 132, 172


def dump_program(fd: int) -> ProgramDump:
    """Everything of a program, by its descriptor.  Raises PermissionDenied: the kernel hides it; SystemCallError."""
    first = object_info("program", fd)
    ask = bytearray(_SIZE)
    buffers: dict[str, bytearray] = {}
    sizes: dict[str, int] = {}
    for name, (count_at, width, pointer_at) in _ARRAYS.items():
        (count,) = struct.unpack_from("=I", first, count_at)
        if not width:
            size_at = _FUNCTION_SIZE_AT if name == "functions" else _LINE_SIZE_AT
            (width,) = struct.unpack_from("=I", first, size_at)
            struct.pack_into("=I", ask, size_at, width)
        if 0 < count * width <= _MAX_BYTES:
            buffers[name] = bytearray(count * width)
            sizes[name] = width
            struct.pack_into("=I", ask, count_at, count)
            struct.pack_into("=Q", ask, pointer_at, sys_bpf.address_of(buffers[name]))
    info = object_info("program", fd, ask)
    if struct.unpack_from("=I", first, 20)[0] and not struct.unpack_from("=Q", info, 32)[0]:
        raise PermissionDenied(
            "the kernel hides the program's instructions", errno=1,
            next_step="run as root, with kernel.kptr_restrict=0 and net.core.bpf_jit_harden=0",
        )  # fmt: skip
    instructions = decode(bytes(buffers.get("xlated", b"")))
    btf = _types_of(info)
    functions: list[Function] = []
    lines: list[Line] = []
    if btf is not None:
        for slot, type_id in _records(buffers, sizes, "functions", 2):
            kind = btf.type(type_id)
            functions.append(Function(slot, kind.name if isinstance(kind, bt.Func) else "", type_id))
        for slot, file, text, place in _records(buffers, sizes, "lines", 4):
            lines.append(Line(slot, _string(btf, file), place >> 10, place & 0x3FF, _string(btf, text)))
    return ProgramDump(instructions, functions, lines, _jited(buffers, info, functions), btf)


def _records(buffers: dict[str, bytearray], sizes: dict[str, int], name: str, words: int) -> list[tuple[int, ...]]:
    data = buffers.get(name, bytearray())
    step = sizes.get(name, 1)
    if step < 4 * words:
        return []
    return [struct.unpack_from(f"={words}I", data, at) for at in range(0, len(data), step)]


def _types_of(info: bytes) -> Btf | None:
    (number,) = struct.unpack_from("=I", info, 128)
    if not number:
        return None
    with KernelTypes.by_id(number) as types:
        return types.read()


def _string(btf: Btf, offset: int) -> str:
    return btf._text(offset, 0)


def _jited(buffers: dict[str, bytearray], info: bytes, functions: list[Function]) -> list[JitFunction]:
    code = bytes(buffers.get("jited", b""))
    if not struct.unpack_from("=Q", info, 24)[0]:  # hidden
        return []
    lengths = struct.unpack(f"={len(buffers.get('lengths', b'')) // 4}I", buffers.get("lengths", b""))
    addresses = struct.unpack(f"={len(buffers.get('ksyms', b'')) // 8}Q", buffers.get("ksyms", b""))
    name: bytes = struct.unpack_from("16s", info, 64)[0]
    found: list[JitFunction] = []
    at = 0
    for index, length in enumerate(lengths or (len(code),)):
        label = functions[index].name if index < len(functions) else name.partition(b"\0")[0].decode()
        found.append(JitFunction(label, addresses[index] if index < len(addresses) else 0, code[at : at + length]))
        at += length
    return found
