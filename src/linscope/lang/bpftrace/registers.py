"""Where registers lie in the context of a probe on an instruction: struct pt_regs.

Source: arch/x86/include/asm/ptrace.h; arch/arm64/include/uapi/asm/ptrace.h, struct user_pt_regs.
"""

from __future__ import annotations

import os

_X86_64 = (
    "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split(),
    "di si dx cx r8 r9".split(),
    "di si dx r10 r8 r9".split(),
    "ax",
)
_ARM64 = (
    [f"r{place}" for place in range(31)] + ["sp", "pc", "pstate"],
    [f"r{place}" for place in range(8)],
    [f"r{place}" for place in range(6)],
    "r0",
)
_NAMES, ARGUMENTS, SYSCALL_ARGUMENTS, RETURN = _ARM64 if os.uname().machine == "aarch64" else _X86_64
OFFSETS = {name: 8 * place for place, name in enumerate(_NAMES)}
IS_X86 = "cs" in OFFSETS
SYSCALL_NUMBER = OFFSETS.get("orig_ax", 0)  # of a system call, at its end; 0: not in the registers


def find_register(name: str) -> int | None:
    """Offset of a register in the context, by its name in pt_regs, with or without the r of 64 bits."""
    return OFFSETS.get(name, OFFSETS.get(name.removeprefix("r")))
