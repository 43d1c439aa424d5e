"""Attach to USDT probes, and tell programs made with libbpf's usdt.bpf.h where each probe's arguments are.

Source: sourceware.org/systemtap/wiki/UserSpaceProbeImplementation for the operands; libbpf 1.5, src/usdt.bpf.h, struct
__bpf_usdt_spec, for what its programs read; arch/x86/include/uapi/asm/ptrace.h, struct pt_regs.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

from linscope.bpf.kernel.attach_perf import attach_uprobe
from linscope.bpf.kernel.links import Link
from linscope.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

    from linscope.binfmt.usdt import UsdtProbe
    from linscope.bpf.kernel.maps import KernelMap
    from linscope.bpf.kernel.programs import KernelProgram

SPECS = "__bpf_usdt_specs"
_MAX_ARGUMENTS = 12
CONSTANT, REGISTER, MEMORY = range(3)
# by the order of struct pt_regs: 64, 32, 16 and 8 bits
_REGISTERS = (
    "r15 r15d r15w r15b", "r14 r14d r14w r14b", "r13 r13d r13w r13b", "r12 r12d r12w r12b", "rbp ebp bp bpl",
    "rbx ebx bx bl", "r11 r11d r11w r11b", "r10 r10d r10w r10b", "r9 r9d r9w r9b", "r8 r8d r8w r8b", "rax eax ax al",
    "rcx ecx cx cl", "rdx edx dx dl", "rsi esi si sil", "rdi edi di dil", "", "rip eip ip", "", "", "rsp esp sp spl",
)  # fmt: skip
_OFFSETS = {name: 8 * place for place, names in enumerate(_REGISTERS) for name in names.split()}
_NUMBER = r"(?P<value>-?(?:0x[0-9a-fA-F]+|\d+))"
_SHAPES = (
    (CONSTANT, re.compile(rf"\${_NUMBER}")),
    (MEMORY, re.compile(rf"{_NUMBER}?\(%(?P<register>\w+)\)")),
    (REGISTER, re.compile(r"%(?P<register>\w+)")),
)


def argument_spec(probe: UsdtProbe, cookie: int = 0) -> bytes:
    """struct __bpf_usdt_spec of a probe.  Raises UnsupportedError: an operand that it cannot hold, or not x86-64."""
    if os.uname().machine != "x86_64":
        raise UnsupportedError("arguments of USDT probes are read on x86-64 only")
    words = probe.arguments.split()
    if len(words) > _MAX_ARGUMENTS:
        raise UnsupportedError(f"{probe.provider}:{probe.name} has {len(words)} arguments; programs read 12")
    packed = b"".join(_argument(probe, word) for word in words)
    return packed.ljust(16 * _MAX_ARGUMENTS, b"\0") + struct.pack("=QhHI", cookie, len(words), 0, 0)


def _argument(probe: UsdtProbe, word: str) -> bytes:
    found = parse_operand(word)
    if found is None:
        raise UnsupportedError(f"the argument {word!r} of the USDT probe {probe.provider}:{probe.name} cannot be read")
    kind, value, register, size = found
    return struct.pack("=QIhBb", value & (1 << 64) - 1, kind, register, size < 0, 64 - 8 * abs(size))


def parse_operand(word: str) -> tuple[int, int, int, int] | None:
    """(kind, value, register, size) of a note's operand ("-4@8(%rbp)"); None when it cannot be read.

    kind: CONSTANT (value), REGISTER, MEMORY (at the register plus value); register: its offset in struct pt_regs; size:
    bytes, negative for a signed value.
    """
    size_text, at, operand = word.partition("@")
    for kind, shape in _SHAPES:
        found = shape.fullmatch(operand)
        if not found or not at or size_text.lstrip("-") not in ("1", "2", "4", "8"):
            continue
        fields = found.groupdict()
        register = _OFFSETS.get(fields.get("register") or "", -1)
        if register < 0 and kind != CONSTANT:
            break
        return kind, int(fields.get("value") or "0", 0), max(register, 0), int(size_text)
    return None


def attach_usdt(
    program: KernelProgram, path: str, probes: Sequence[UsdtProbe], maps: Mapping[str, KernelMap] | None = None, *,
    known: MutableMapping[bytes, int] | None = None, cookie: int = 0, pid: int = -1,
) -> Link:  # fmt: skip
    """Run a program at all places of a USDT probe; the probe's counter is raised while the link is open.

    maps: of the program's object: the one that usdt.bpf.h declares is filled; known: what is in it already, and is
    added to; without such a map the program gets the cookie itself.  Raises UnsupportedError, SystemCallError.
    """
    specs = (maps or {}).get(SPECS)
    known = known if known is not None else {}
    parts: list[Link] = []
    try:
        for probe in probes:
            mark = cookie
            if specs is not None:
                spec = argument_spec(probe, cookie)
                mark = known.setdefault(spec, len(known))
                specs.update(struct.pack("=i", mark), spec)
            parts.append(
                attach_uprobe(program, path, probe.offset, semaphore=probe.semaphore, cookie=mark, pid=pid)
            )
    except BaseException:
        for part in parts:
            part.close()
        raise
    return Link(-1, "usdt", parts=parts)
