"""Registers of CPUs as dumps keep them: NT_PRSTATUS notes, and QEMU's own.

Source: struct elf_prstatus of include/linux/elfcore.h, struct user_regs_struct of
arch/x86/include/asm/user_64.h; QEMUCPUState of QEMU's target/i386/arch_dump.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from linscope.binfmt.notes import Note

NT_PRSTATUS, NT_PRPSINFO, NT_TASKSTRUCT = 1, 3, 4  # include/uapi/linux/elf.h
_PID, _REGISTERS = 32, 112  # offsets in struct elf_prstatus
_GENERAL = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
)  # fmt: skip
_QEMU_GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "rflags",
)  # fmt: skip
_QEMU_SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt")
_QEMU_CONTROL = ("cr0", "cr1", "cr2", "cr3", "cr4")
_GENERAL_LAYOUT = struct.Struct("<27Q")
_SEGMENT = struct.Struct("<IIIIQ")  # selector, limit, flags, padding, base


class CpuRegisters(NamedTuple):
    """One CPU; the place in the list is not always its number: a CPU that did not answer has no note."""

    pid: int  # of the task that ran there, 0 when idle or not known (QEMU writes the CPU's number + 1)
    registers: dict[str, int]  # r15 ... rax, rip, rsp, rflags, cs, ss, fs_base, gs_base: unsigned
    qemu: dict[str, int]  # {}, or QEMU's: the general, cr0 ... cr4, <segment>_base, _limit, ..., kernel_gs_base

    @property
    def cr3(self) -> int | None:
        """Physical address of the page tables with PCID bits, None when the dump does not say."""
        return self.qemu.get("cr3")


def parse_prstatus(description: bytes) -> tuple[int, dict[str, int]] | None:
    """(pid, registers by name) of a NT_PRSTATUS note of x86-64, None when it is shorter than one."""
    if len(description) < _REGISTERS + _GENERAL_LAYOUT.size:
        return None
    (pid,) = struct.unpack_from("<i", description, _PID)
    return pid, dict(zip(_GENERAL, _GENERAL_LAYOUT.unpack_from(description, _REGISTERS), strict=True))


def parse_qemu(description: bytes) -> dict[str, int]:
    """Registers of QEMU's note by name; {} when it is not one of x86-64.

    The note says its own size: kernel_gs_base came with QEMU 3.0 and is left out of older ones.
    """
    if len(description) < 8 + 8 * 18 + 24 * 10 + 8 * 5:
        return {}
    version, _size = struct.unpack_from("<II", description)
    if version != 1:
        return {}
    found = dict(zip(_QEMU_GENERAL, struct.unpack_from("<18Q", description, 8), strict=True))
    at = 8 + 8 * 18
    for name in _QEMU_SEGMENTS:
        selector, limit, flags, _, base = _SEGMENT.unpack_from(description, at)
        found |= {f"{name}_selector": selector, f"{name}_limit": limit, f"{name}_flags": flags, f"{name}_base": base}
        at += _SEGMENT.size
    found |= zip(_QEMU_CONTROL, struct.unpack_from("<5Q", description, at), strict=True)
    at += 8 * 5
    if len(description) >= at + 8:
        (found["kernel_gs_base"],) = struct.unpack_from("<Q", description, at)
    return found


def read_cpus(notes: Iterable[Note]) -> list[CpuRegisters]:
    """The CPUs in the order of their NT_PRSTATUS notes, each with the QEMU note of the same place."""
    states, qemu = [], []
    for note in notes:
        if note.name == b"CORE" and note.kind == NT_PRSTATUS:
            state = parse_prstatus(note.description)
            if state is not None:
                states.append(state)
        elif note.name == b"QEMU":
            qemu.append(parse_qemu(note.description))
    qemu += [{}] * (len(states) - len(qemu))
    return [CpuRegisters(pid, registers, more) for (pid, registers), more in zip(states, qemu, strict=False)]


def find_vmcoreinfo_note(notes: Iterable[Note]) -> bytes | None:
    """The text of the VMCOREINFO note without trailing NULs, None when there is none."""
    for note in notes:
        if note.name == b"VMCOREINFO":
            return note.description.rstrip(b"\0")
    return None
