"""Stacks of kernel code by ORC: frame by frame, through interrupts, exceptions and other stacks.

Source: arch/x86/kernel/unwind_orc.c, unwind_next_frame; arch/x86/include/asm/ptrace.h, struct pt_regs.
"""

from __future__ import annotations

from linscope.errors import MemoryFault
from linscope.target import orc as o

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from linscope.contracts import Memory
else:
    from linscope.binfmt.records import NamedTuple

_MASK = (1 << 64) - 1
# struct pt_regs, 64 bits each; names as gdb has them
PT_REGS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "eflags", "rsp", "ss",
)  # fmt: skip
PT_REGS_SIZE = 8 * len(PT_REGS)
_RIP, _CS, _RSP = 8 * PT_REGS.index("rip"), 8 * PT_REGS.index("cs"), 8 * PT_REGS.index("rsp")
_MOST_FRAMES = 512


class Frame(NamedTuple):
    """One function that is running."""

    pc: int  # where it goes on; for all but the innermost and interrupted ones behind a call
    sp: int  # stack pointer in it
    return_at: int | None  # where its caller's address lies; None: in registers
    registers: dict[str, int] | None  # all of them, where an interrupt, exception or system call saved them here
    interrupted: bool  # pc is an instruction that was not done, not one behind a call
    reliable: bool  # found by the kernel's own rules, not guessed
    bp: int = 0


class Stop(NamedTuple):
    """Why a stack ends where it does; "" for its proper end."""

    why: str


class Unwinder:
    """Stacks of one kernel."""

    def __init__(self, memory: Memory, orc: o.Orc | None, is_text: Callable[[int], bool]) -> None:
        """is_text: whether an address is of kernel code."""
        self.memory = memory
        self.orc = orc
        self.is_text = is_text

    def _word(self, address: int) -> int:
        return int.from_bytes(self.memory.read(address & _MASK, 8), "little")

    def saved_registers(self, address: int) -> dict[str, int]:
        """struct pt_regs at an address, by gdb's names.  Raises MemoryFault."""
        data = self.memory.read(address & _MASK, PT_REGS_SIZE)
        words = memoryview(data).cast("Q")
        return dict(zip(PT_REGS, words, strict=True))

    def unwind(
        self, pc: int, sp: int, bp: int, registers: dict[str, int] | None = None, *, interrupted: bool = True
    ) -> tuple[list[Frame], str]:
        """The frames from an instruction on, innermost first, and why they end ("" for the stack's end).

        registers: all of them at pc, when they are known; interrupted: pc is not behind a call.  A frame of user space
        ends it and is the last.  Never raises for what it finds in memory.
        """
        frames: list[Frame] = []
        here, seen = registers, set()
        at: int | None = None
        saved = False
        while len(frames) < _MOST_FRAMES:
            shown = here if saved else None
            frames.append(Frame(pc, sp, at, shown, interrupted, True, bp))
            if not self.is_text(pc):
                if here is not None and here.get("cs", 0) & 3:
                    return frames, ""
                return frames, f"{pc:#x} is no address of kernel code"
            if (pc, sp) in seen:
                return frames, f"the stack goes in a circle at {sp:#x}"
            seen.add((pc, sp))
            try:
                row = self.orc.find(pc if interrupted else pc - 1) if self.orc is not None else None
                if row is None or row.kind == o.NOTHING:
                    return frames, f"nothing is known of how to go on from {pc:#x}"
                if row.kind == o.END:
                    return frames, ""
                top = self._stack_top(row, sp, bp, here)
                if top is None:
                    return frames, f"the register that holds the frame of {pc:#x} is not known"
                bp_at = {o.PREV_SP: top + row.bp_offset, o.BP: bp + row.bp_offset}.get(row.bp_register)
                before = here
                saved = False
                if row.kind == o.CALL:
                    pc, sp, at, here = self._word(top - 8), top, top - 8, None
                elif row.kind == o.REGS:
                    here = self.saved_registers(top)
                    pc, sp, at, saved = here["rip"], here["rsp"], top + _RIP, True
                else:  # only what the processor itself saves
                    pc, sp, at = self._word(top), self._word(top + 24), top
                    here = {"rip": pc, "cs": self._word(top + 8), "rsp": sp}
                interrupted = row.kind != o.CALL
                if bp_at is not None:
                    bp = self._word(bp_at)
                elif here is not None and "rbp" in here:
                    bp = here["rbp"]
                elif row.kind != o.CALL and before is not None and "rbp" in before:
                    bp = before["rbp"]
            except MemoryFault as fault:
                return frames, str(fault)
        return frames, f"more than {_MOST_FRAMES} frames"

    def _stack_top(self, row: o.Row, sp: int, bp: int, registers: dict[str, int] | None) -> int | None:
        """The caller's stack pointer; None when it is counted from a register that is not known."""
        match row.sp_register:
            case o.SP:
                return sp + row.sp_offset & _MASK
            case o.BP:
                return bp + row.sp_offset & _MASK
            case o.SP_INDIRECT:
                return self._word(sp) + row.sp_offset & _MASK
            case o.BP_INDIRECT:
                return self._word(bp + row.sp_offset)
        name = {o.R10: "r10", o.R13: "r13", o.DI: "rdi", o.DX: "rdx"}.get(row.sp_register)
        value = None if name is None or registers is None else registers.get(name)
        return None if value is None else value + row.sp_offset & _MASK
